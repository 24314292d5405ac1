//! What engines rely on beyond the life of a container: flags in every spelling, logs, pid files, phrases, `spec` and help.
//! Also the file itself: static, without any libc, small.

use runtime_tests::{Bundle, Cmd, Value, host, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

runtime_tests::tests![
    engines_see_that_checkpoint_and_restore_are_there,
    the_file_is_static_without_interpreter_or_dynamic_section,
    the_file_is_under_600_kilobytes,
    version_is_three_lines_with_name_commit_and_spec,
    every_command_has_its_help,
    flags_are_accepted_in_every_spelling,
    flags_that_engines_pass_and_we_ignore_are_accepted,
    the_calls_of_containerds_shim_work,
    the_calls_of_conmon_work,
    the_json_log_has_exactly_one_object_for_a_failure,
    the_json_log_is_appended_to,
    the_json_log_escapes_what_it_quotes,
    a_success_writes_nothing_to_the_log_and_nothing_to_stderr,
    the_text_log_has_the_error_too,
    the_pid_file_is_decimal_without_newline_and_renamed_into_place,
    features_say_what_engines_look_for,
    a_backtrace_variable_changes_nothing,
    a_closed_stdout_or_stderr_does_not_confuse_us,
    state_and_list_do_not_need_a_state_directory,
    two_roots_may_hold_the_same_id,
    the_umask_of_the_caller_does_not_change_what_we_make,
    a_hook_phrase_never_contains_dockers_words_by_accident
];

fn the_file_is_static_without_interpreter_or_dynamic_section() {
    let file = fs::read(host::runtime()).unwrap();
    assert_eq!(&file[..5], b"\x7fELF\x02", "not a 64-bit ELF file");
    let word = |at: usize, size: usize| -> usize {
        file[at..at + size]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    let kinds: Vec<usize> = (0..count).map(|n| word(table + n * size, 4)).collect();
    assert!(!kinds.contains(&2), "a DYNAMIC segment: {kinds:?}");
    assert!(!kinds.contains(&3), "an INTERP segment: {kinds:?}");
    let names = [&b"GLIBC_"[..], b"libc.so", b"musl"];
    let found = names
        .iter()
        .find(|n| file.windows(n.len()).any(|w| w == **n));
    assert!(
        found.is_none(),
        "a libc in the file: {:?}",
        found.map(|n| String::from_utf8_lossy(n))
    );
}

fn the_file_is_under_600_kilobytes() {
    let size = fs::metadata(host::runtime()).unwrap().size();
    assert!(size < 700_000, "{size} bytes");
}

fn version_is_three_lines_with_name_commit_and_spec() {
    let b = Bundle::empty();
    for words in [
        &["--version"][..],
        &["-v"],
        &["--root", "/nowhere", "--version"],
    ] {
        let run = Cmd::new(&b.dir, &b.runtime).args(words).ok();
        let lines = run.lines();
        let version = lines[0]
            .strip_prefix("runtime version ")
            .unwrap_or_else(|| panic!("{run}"));
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{run}");
        assert!(
            lines[1]
                .strip_prefix("commit: ")
                .is_some_and(|c| !c.is_empty()),
            "{run}"
        );
        assert!(lines[2].strip_prefix("spec: 1.").is_some(), "{run}");
        assert_eq!(run.err, "");
    }
}

fn every_command_has_its_help() {
    let b = Bundle::empty();
    let flags: &[(&str, &[&str])] = &[
        (
            "create",
            &[
                "--bundle",
                "--console-socket",
                "--pid-file",
                "--no-pivot",
                "--no-new-keyring",
                "--preserve-fds",
            ],
        ),
        (
            "run",
            &[
                "--bundle",
                "--detach",
                "--keep",
                "--pid-file",
                "--console-socket",
            ],
        ),
        ("delete", &["--force"]),
        ("kill", &["--all"]),
        ("list", &["--format", "--quiet"]),
        ("spec", &["--bundle"]),
        ("start", &[]),
        ("state", &[]),
    ];
    for (command, flags) in flags {
        for words in [&[*command, "--help"][..], &[command, "-h"]] {
            let help = b.call(words).ok();
            assert!(help.err.is_empty() && help.out.contains(command), "{help}");
            assert!(flags.iter().all(|f| help.out.contains(f)), "{help}");
        }
    }
    for words in [&["--help"][..], &["-h"], &["help"]] {
        let help = b.call(words).ok();
        assert!(
            flags.iter().all(|(c, _)| help.out.contains(c)) && help.out.contains("--root"),
            "{help}"
        );
    }
}

fn flags_are_accepted_in_every_spelling() {
    let b = Bundle::new();
    b.write();
    let (root, path, pid, log) = (
        b.text("state"),
        b.text("bundle"),
        b.text("pid"),
        b.text("log"),
    );
    let spellings: &[&[String]] = &[
        &[
            "--root".into(),
            root.clone(),
            "--log".into(),
            log.clone(),
            "--log-format".into(),
            "json".into(),
            "run".into(),
            "--bundle".into(),
            path.clone(),
            "--pid-file".into(),
            pid.clone(),
        ],
        &[
            format!("--root={root}"),
            format!("--log={log}"),
            "--log-format=text".into(),
            "run".into(),
            format!("--bundle={path}"),
            format!("--pid-file={pid}"),
        ],
        &[
            "-root".into(),
            root.clone(),
            format!("-log={log}"),
            "run".into(),
            "-bundle".into(),
            path.clone(),
            format!("-pid-file={pid}"),
        ],
        &[
            format!("--root={root}"),
            "run".into(),
            "-b".into(),
            path.clone(),
        ],
        &[format!("--root={root}"), "run".into(), format!("-b={path}")],
    ];
    for words in spellings {
        Cmd::new(&b.dir, &b.runtime).args(*words).arg(&b.id).ok();
        b.left_nothing();
    }
}

fn flags_that_engines_pass_and_we_ignore_are_accepted() {
    let b = Bundle::new();
    b.write();
    let globals: &[&[&str]] = &[
        &["--debug"],
        &["--rootless=false"],
        &["--rootless", "auto"],
        &["--criu", "/bin/criu"],
        &["--debug=false"],
        &["--systemd-cgroup=false"],
    ];
    for words in globals {
        let run = b
            .call(words)
            .args(["run", "--no-subreaper", "--no-new-keyring", "--bundle"])
            .arg(b.path())
            .arg(&b.id);
        run.ok();
    }
    b.left_nothing();
}

fn the_calls_of_containerds_shim_work() {
    let mut b = Bundle::new();
    b.waits().write();
    let (log, pid) = (b.text("log.json"), b.text("init.pid"));
    let globals = ["--log", &log, "--log-format", "json"];
    b.call(&globals)
        .args(["create", "--bundle"])
        .arg(b.path())
        .args(["--pid-file", &pid, "--no-new-keyring", &b.id])
        .ok();
    b.call(&globals).args(["start", &b.id]).ok();
    b.call(&globals).args(["kill", "--all", &b.id, "9"]).ok();
    b.wait_for_status("stopped");
    b.call(&globals).args(["delete", &b.id]).ok();
    b.call(&globals).args(["delete", "--force", &b.id]).ok();
    assert_eq!(b.read("log.json"), "");
    b.left_nothing();
}

fn the_calls_of_conmon_work() {
    let mut b = Bundle::new();
    b.waits().write();
    let (log, pid) = (b.text("oci-log"), b.text("pidfile"));
    let create = b
        .call(&["--log-format=json", "--log", &log, "create", "--bundle"])
        .arg(b.path());
    create
        .args(["--pid-file", &pid, "--preserve-fds", "0", &b.id])
        .dir("/")
        .ok();
    assert_eq!(b.read("pidfile"), b.pid().to_string());
    b.call(&["start", &b.id]).ok();
    b.call(&["kill", &b.id, "15"]).ok();
    b.call(&["kill", &b.id, "KILL"]).ok();
    b.wait_for_status("stopped");
    b.call(&["delete", "--force", &b.id]).ok();
    b.left_nothing();
}

/// Fails with a message that names the missing executable, logging to `log`.
#[track_caller]
fn fail_with_log(b: &mut Bundle, format: &str) -> runtime_tests::Output {
    let log = b.text("log");
    b.args(&["/bin/no \"such\"\n\u{1}file"]).write();
    let output = b
        .call(&["--log", &log, "--log-format", format, "run", "--bundle"])
        .arg(b.path())
        .arg(&b.id)
        .output();
    output.ends(1);
    output
}

fn the_json_log_has_exactly_one_object_for_a_failure() {
    let mut b = Bundle::new();
    let output = fail_with_log(&mut b, "json");
    // Podman unmarshals the whole file, so a second object or a blank line would fail.
    let log: Value =
        serde_json::from_str(&b.read("log")).unwrap_or_else(|e| panic!("{e}: {}", b.read("log")));
    assert_eq!(log["level"], "error");
    assert!(b.read("log").ends_with("}\n"));
    let message = log["msg"].as_str().unwrap();
    assert!(
        message.contains("no such file or directory") && message.contains("/bin/no"),
        "{message}"
    );
    let time = log["time"].as_str().unwrap();
    assert!(
        time.len() >= 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z'),
        "{time}"
    );
    // The same error stands on stderr, once.
    assert_eq!(
        output.err.matches("no such file or directory").count(),
        1,
        "{output}"
    );
}

fn the_json_log_is_appended_to() {
    let mut b = Bundle::new();
    fs::write(b.file("log"), "earlier\n").unwrap();
    fail_with_log(&mut b, "json");
    fail_with_log(&mut b, "json");
    let log = b.read("log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "earlier"));
    for line in &lines[1..] {
        assert_eq!(
            serde_json::from_str::<Value>(line).unwrap()["level"],
            "error"
        );
    }
}

fn the_json_log_escapes_what_it_quotes() {
    let mut b = Bundle::new();
    let output = fail_with_log(&mut b, "json");
    let log: Value = serde_json::from_str(&b.read("log")).unwrap();
    assert!(log["msg"].as_str().unwrap().contains("such"), "{log}");
    // A newline in a name must not forge a second line.
    assert_eq!(output.err.lines().count(), 1, "{output}");
}

fn a_success_writes_nothing_to_the_log_and_nothing_to_stderr() {
    let b = Bundle::new();
    b.write();
    let run = b
        .call(&[
            "--log",
            &b.text("log"),
            "--log-format=json",
            "run",
            "--bundle",
        ])
        .arg(b.path())
        .arg(&b.id)
        .ok();
    assert_eq!((run.err.as_str(), b.read("log").as_str()), ("", ""));
}

fn the_text_log_has_the_error_too() {
    let mut b = Bundle::new();
    let output = fail_with_log(&mut b, "text");
    assert!(
        b.read("log").contains("no such file or directory"),
        "{}",
        b.read("log")
    );
    assert!(
        b.read("log").lines().count() == 1 && output.err.contains("no such file or directory"),
        "{output}"
    );
    let mut b = Bundle::new();
    b.args(&["x"]).write();
    b.call(&["--log-format", "nonsense", "run", "--bundle"])
        .arg(b.path())
        .arg(&b.id)
        .output()
        .ends(1)
        .says(&["nonsense"]);
}

fn the_pid_file_is_decimal_without_newline_and_renamed_into_place() {
    let mut b = Bundle::new();
    b.waits();
    fs::write(b.file("pid"), "an older and longer text").unwrap();
    let before = fs::metadata(b.file("pid")).unwrap().ino();
    b.launch("create", &["--pid-file", &b.text("pid")]).ok();
    assert_eq!(b.read("pid"), b.pid().to_string());
    assert_ne!(
        fs::metadata(b.file("pid")).unwrap().ino(),
        before,
        "written in place"
    );
    let beside: Vec<_> = fs::read_dir(&b.dir)
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n.contains("pid"))
        .collect();
    assert_eq!(beside, ["pid"]);
    // A path relative to the caller's directory, as a person types it.
    b.delete(&["--force"]).ok();
    b.launch("create", &["--pid-file", "here"]).dir(&b.dir).ok();
    assert_eq!(b.read("here"), b.pid().to_string());
}

fn features_say_what_engines_look_for() {
    let b = Bundle::empty();
    let run = b.call(&["features"]).ok();
    // containerd and moby take anything on stderr for a failure.
    assert_eq!(run.err, "");
    let features: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(
        features["ociVersionMax"]
            .as_str()
            .unwrap()
            .starts_with("1.")
    );
    let has = |pointer: &str, word: &str| {
        let list = features.pointer(pointer).and_then(|l| l.as_array());
        let list = list.unwrap_or_else(|| panic!("no list {pointer}"));
        assert!(list.iter().any(|w| w == word), "no {word} in {pointer}");
    };
    // containerd: user namespaces need both of these.
    has("/linux/namespaces", "user");
    assert_eq!(
        features["linux"]["mountExtensions"]["idmap"]["enabled"],
        true
    );
    // moby: recursive read-only mounts.
    has("/mountOptions", "rro");
    has("/hooks", "createRuntime");
    has("/linux/capabilities", "CAP_CHOWN");
    has("/linux/seccomp/actions", "SCMP_ACT_NOTIFY");
    has("/linux/seccomp/archs", "SCMP_ARCH_X86_64");
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    for controller in ["v1", "v2", "systemd"] {
        assert!(features["linux"]["cgroup"][controller].is_boolean());
    }
    // What it says is what it does: each of its mount options is taken.
    let mut b = Bundle::new();
    for option in features["mountOptions"].as_array().unwrap() {
        let option = option.as_str().unwrap();
        b.set("/mounts/0/options", json!([option]));
        let run = b.launch("run", &["--dry-run"]).output();
        assert!(
            run.status == 0 || !run.err.contains("unknown"),
            "{option}: {run}"
        );
    }
}

fn a_backtrace_variable_changes_nothing() {
    let b = Bundle::empty();
    let output = b
        .call(&["state", "nobody"])
        .env("RUST_BACKTRACE", "full")
        .env("RUST_LOG", "trace")
        .output();
    output.fails(&["does not exist"]);
}

fn a_closed_stdout_or_stderr_does_not_confuse_us() {
    let mut b = Bundle::new();
    // What we open ourselves must not land in the place of a closed standard descriptor.
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        b.sh("helper fds > /tmp/fds 2>/dev/null </dev/null");
        let script = format!("\"$@\" {closed}");
        b.launch("run", &[])
            .through(["sh", "-c", &script, "sh"])
            .output()
            .ends(0);
        let fds = fs::read_to_string(b.rootfs().join("tmp/fds")).unwrap();
        assert_eq!(fds.lines().count(), 3, "{closed}: {fds}");
    }
    b.left_nothing();
}

fn state_and_list_do_not_need_a_state_directory() {
    let b = Bundle::empty();
    b.call(&["state", "x"]).output().fails(&["does not exist"]);
    b.call(&["list", "--quiet"]).ok().prints("");
    b.call(&["delete", "--force", "x"]).ok();
    assert!(!b.state_dir().exists() || b.state_dir().read_dir().unwrap().next().is_none());
}

fn two_roots_may_hold_the_same_id() {
    let (mut one, mut two) = (Bundle::new(), Bundle::new());
    one.waits().create().ok();
    let other = two.waits().launch_as(&one.id, "create", &[]).output();
    other.ok();
    two.call(&["delete", "--force", &one.id]).ok();
    assert_eq!(one.status(), "created");
}

fn the_umask_of_the_caller_does_not_change_what_we_make() {
    let mut b = Bundle::new();
    b.mount("/made/by/us", "tmpfs", "tmpfs", &[])
        .sh("stat -c %a /dev/null /dev/zero /made /made/by");
    let run = b
        .launch("run", &[])
        .through(["sh", "-c", "umask 0077; exec \"$@\"", "sh"])
        .ok();
    run.prints("666\n666\n755\n755\n");
}

fn a_hook_phrase_never_contains_dockers_words_by_accident() {
    // Docker makes exit codes out of "permission denied", "no such file or directory" and their like.
    let mut b = Bundle::new();
    let output = b.set("/hostname", json!(7)).create();
    output.fails(&["hostname"]);
    let err = output.err.to_lowercase();
    for word in [
        "permission denied",
        "is a directory",
        "executable file not found",
        "no such file or directory",
        "not a directory",
        "operation not permitted",
    ] {
        assert!(!err.contains(word), "{output}");
    }
}

fn engines_see_that_checkpoint_and_restore_are_there() {
    let b = Bundle::empty();
    for verb in ["checkpoint", "restore"] {
        let help = b.call(&[verb, "--help"]).ok();
        assert!(help.out.contains("--image-path"), "{help}");
    }
    // Podman looks for these words.
    let probe = b.call(&["restore", "--lsm-mount-context"]).output();
    probe.ends(1).says(&["requires an argument"]);
    b.call(&["checkpoint", &b.id])
        .output()
        .fails(&[&b.id, "does not exist"]);
    // One dash, as containerd's shim says it.
    b.call(&["restore", "-no-subreaper", "--bundle", "/nowhere", &b.id])
        .output()
        .fails(&["/nowhere"]);
}
