//! The requests that `checkpoint` and `restore` make to criu, recorded by a script in its place. Tests with a real
//! criu are in tests/checkpoint_systemd.rs.

use runtime_tests::{Bundle, Cmd, Output, host};
use std::fs;
use std::os::unix::fs::PermissionsExt;

runtime_tests::tests![
    every_flag_of_checkpoint_reaches_criu,
    every_flag_of_restore_reaches_criu,
    a_checkpoint_declares_external_resources,
    a_failed_checkpoint_changes_nothing,
    a_failed_restore_leaves_nothing,
    a_pre_dump_and_leave_running_keep_the_container,
    a_checkpoint_ends_the_container,
    criu_inherits_only_the_status_descriptor,
    crius_own_configuration_file_is_passed_on,
    unsupported_requests_are_refused_before_criu_runs,
    a_restore_creates_the_mount_points_that_a_new_root_lacks,
];

/// A script in place of criu, which records its arguments and then runs `script`.
fn criu(b: &Bundle, script: &str) -> String {
    let path = b.file("criu");
    let args = b.file("args");
    let text = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {args:?}\n{script}\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.into_os_string().into_string().unwrap()
}

/// Runs `checkpoint` or `restore` with these flags and the script.
fn call(b: &Bundle, criu: &str, verb: &str, flags: &[&str]) -> Output {
    let images = b.file("images").into_os_string().into_string().unwrap();
    let bundle = b.path().into_os_string().into_string().unwrap();
    let mut words = vec!["--criu", criu, verb, "--image-path", &images];
    if verb == "restore" {
        words.extend(["--bundle", &bundle]);
    }
    words.extend(flags);
    words.push(&b.id);
    b.call(&words).output()
}

/// The recorded arguments, each with a space before and after it: ` --tree 7 `.
fn args(b: &Bundle) -> String {
    let text = fs::read_to_string(b.file("args")).unwrap();
    format!(" {} ", text.trim_end().replace('\n', " "))
}

#[track_caller]
fn has(b: &Bundle, words: &[&str]) {
    let args = args(b);
    for word in words {
        assert!(args.contains(&format!(" {word} ")), "no {word} in{args}");
    }
}

/// Our flags and criu's names for them.
const SAME: [(&str, &str); 7] = [
    ("--tcp-established", "--tcp-established"),
    ("--ext-unix-sk", "--ext-unix-sk"),
    ("--shell-job", "--shell-job"),
    ("--file-locks", "--file-locks"),
    ("--auto-dedup", "--auto-dedup"),
    ("--lazy-pages", "--lazy-pages"),
    ("--link-remap", "--link-remap"),
];

fn every_flag_of_checkpoint_reaches_criu() {
    let mut b = Bundle::new();
    b.waits();
    let _running = b.up();
    let criu = criu(&b, "exit 1");
    let pid = format!("--tree {}", b.pid());
    let images = format!("--images-dir {}", b.file("images").display());
    call(&b, &criu, "checkpoint", &[]).ends(1);
    assert!(args(&b).starts_with(" dump "), "{}", args(&b));
    has(
        &b,
        &[
            &pid,
            &images,
            "--log-file dump.log",
            "--manage-cgroups=soft",
        ],
    );
    for (_, name) in SAME {
        assert!(!args(&b).contains(name));
    }
    for (flag, name) in SAME {
        call(&b, &criu, "checkpoint", &[flag]).ends(1);
        has(&b, &[name]);
    }
    for (flags, name) in [
        (&["--leave-running"][..], "--leave-running"),
        (&["--manage-cgroups-mode", "full"], "--manage-cgroups=full"),
        (&["--parent-path", "../one"], "--prev-images-dir ../one"),
        (&["--parent-path", "../one"], "--track-mem"),
        (
            &["--page-server", "10.0.0.1:27"],
            "--page-server --address 10.0.0.1 --port 27",
        ),
        (&["--pre-dump"], "pre-dump"),
        (&["--pre-dump"], "--track-mem"),
        (&["--empty-ns", "network"], "--empty-ns net"),
    ] {
        call(&b, &criu, "checkpoint", flags).ends(1);
        has(&b, &[name]);
    }
    let work = b.file("work").into_os_string().into_string().unwrap();
    call(&b, &criu, "checkpoint", &["--work-path", &work]).ends(1);
    has(&b, &[&format!("--work-dir {work}")]);
    for (flags, word) in [
        (["--parent-path", "/one"], "relative to --image-path"),
        (["--page-server", "here"], "expected ADDRESS:PORT"),
        (["--manage-cgroups-mode", "some"], "soft"),
        (["--empty-ns", "user"], "network"),
    ] {
        call(&b, &criu, "checkpoint", &flags).fails(&[flags[0], word]);
    }
}

fn every_flag_of_restore_reaches_criu() {
    let b = Bundle::new();
    b.write();
    let criu = criu(&b, "exit 1");
    call(&b, &criu, "restore", &[]).ends(1);
    assert!(args(&b).starts_with(" restore "), "{}", args(&b));
    has(
        &b,
        &[
            "--restore-sibling",
            "--restore-detached",
            "--log-file restore.log",
            "--manage-cgroups=soft",
        ],
    );
    for (flag, name) in SAME {
        call(&b, &criu, "restore", &[flag]).ends(1);
        has(&b, &[name]);
    }
    for (flags, name) in [
        (
            ["--manage-cgroups-mode", "strict"],
            "--manage-cgroups=strict",
        ),
        (
            ["--lsm-profile", "apparmor:other"],
            "--lsm-profile apparmor:other",
        ),
        (
            ["--lsm-mount-context", "a:b:c"],
            "--lsm-mount-context a:b:c",
        ),
        (["--empty-ns", "network"], "--empty-ns net"),
    ] {
        call(&b, &criu, "restore", &flags).ends(1);
        has(&b, &[name]);
    }
    b.left_nothing();
}

fn a_checkpoint_declares_external_resources() {
    let mut b = Bundle::new();
    let source = b.file("source");
    fs::create_dir(&source).unwrap();
    b.bind(&source, "/outside", &["bind"]);
    b.set(
        "/linux/maskedPaths",
        serde_json::json!(["/proc/version", "/no"]),
    );
    b.waits();
    let _running = b.up();
    let criu = criu(&b, "exit 1");
    call(&b, &criu, "checkpoint", &[]).ends(1);
    has(
        &b,
        &[
            "--external mnt[/outside]:/outside",
            "--external mnt[/proc/version]:/dev/null",
        ],
    );
    assert!(!args(&b).contains("[/no]"), "{}", args(&b));
    b.delete(&["--force"]).ok();
    call(&b, &criu, "restore", &[]).ends(1);
    has(
        &b,
        &[
            &format!("--external mnt[/outside]:{}", source.display()),
            "--external mnt[/dev/null]:/dev/null",
        ],
    );
    b.left_nothing();
}

fn a_failed_checkpoint_changes_nothing() {
    let mut b = Bundle::new();
    b.waits();
    let _running = b.up();
    let log = b.file("images/dump.log");
    let criu = criu(
        &b,
        &format!("echo '(00.1) Error (file.c:7): it is Tuesday' > {log:?}; exit 3"),
    );
    call(&b, &criu, "checkpoint", &[]).fails(&[
        &b.id,
        "exit status 3",
        "it is Tuesday",
        "dump.log",
    ]);
    assert_eq!(b.status(), "running");
    call(&b, "/no/criu", "checkpoint", &[]).fails(&["/no/criu"]);
    let images = b.file("images").into_os_string().into_string().unwrap();
    b.call(&["checkpoint", "--image-path", &images, &b.id])
        .env("PATH", "/nowhere")
        .output()
        .fails(&["cannot run criu: there is none in PATH"]);
    assert_eq!(b.status(), "running");
}

fn a_failed_restore_leaves_nothing() {
    let b = Bundle::new();
    b.write();
    for script in ["exit 1", "exit 0", "kill -9 $$"] {
        // The second script reports success without restoring anything.
        let criu = criu(&b, script);
        call(&b, &criu, "restore", &["--pid-file", "pid"]).fails(&["cannot restore container"]);
        b.left_nothing();
        assert!(!b.file("pid").exists());
    }
}

fn a_pre_dump_and_leave_running_keep_the_container() {
    let mut b = Bundle::new();
    b.waits();
    let _running = b.up();
    let criu = criu(&b, "exit 0");
    for flag in ["--pre-dump", "--leave-running"] {
        call(&b, &criu, "checkpoint", &[flag]).ok();
        assert_eq!(b.status(), "running");
    }
}

fn a_checkpoint_ends_the_container() {
    let mut b = Bundle::new();
    b.waits();
    b.create().ok();
    b.start().ok();
    let criu = criu(&b, "exit 0");
    call(&b, &criu, "checkpoint", &[]).ok();
    b.left_nothing();
    let mode = fs::metadata(b.file("images")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it holds the memory of processes");
}

fn criu_inherits_only_the_status_descriptor() {
    let mut b = Bundle::new();
    b.waits();
    let _running = b.up();
    let (env, fds) = (b.file("env"), b.file("fds"));
    let criu = criu(
        &b,
        &format!("env > {env:?}; ls -l /proc/$$/fd > {fds:?}; echo x >&7; exit 0"),
    );
    let status = b.file("status");
    fs::write(&status, "").unwrap();
    let line = format!(
        "exec 7> {status:?} 8> /dev/null; exec {} --root {} --criu {criu} checkpoint --leave-running --status-fd 7 --image-path {} {}",
        host::runtime().display(),
        b.state_dir().display(),
        b.file("images").display(),
        b.id
    );
    Cmd::new(&b.path(), "sh")
        .args(["-c", &line])
        .env("SECRET", "of ours")
        .output()
        .ok();
    assert_eq!(fs::read_to_string(status).unwrap(), "x\n");
    let env = fs::read_to_string(env).unwrap();
    assert!(env.contains("PATH=") && !env.contains("SECRET"), "{env}");
    let fds = fs::read_to_string(fds).unwrap();
    // The shell itself opens the script and its output, and keeps a copy of its previous stdout.
    let names: Vec<_> = fds
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .collect();
    let expected = |name: &str| {
        ["pipe:", "/dev/null"]
            .iter()
            .any(|start| name.starts_with(start))
            || ["/fds", "/criu", "/status"]
                .iter()
                .any(|end| name.ends_with(end))
            || name.contains("/out.")
    };
    assert!(names.iter().all(|(_, name)| expected(name)), "{fds}");
    assert_eq!(fds.matches("/status").count(), 1, "{fds}");
    // Only stdin is /dev/null.
    assert_eq!(fds.matches("/dev/null").count(), 1, "{fds}");
}

fn crius_own_configuration_file_is_passed_on() {
    let mut b = Bundle::new();
    b.set(
        "/annotations",
        serde_json::json!({"org.criu.config": "/etc/criu/box.conf"}),
    );
    b.waits();
    let _running = b.up();
    let criu = criu(&b, "exit 1");
    call(&b, &criu, "checkpoint", &[]).ends(1);
    has(&b, &["--config /etc/criu/box.conf"]);
}

fn unsupported_requests_are_refused_before_criu_runs() {
    let mut b = Bundle::new();
    b.waits();
    let criu = criu(&b, "exit 0");
    let never = |output: Output, words: &[&str]| {
        output.fails(words);
        assert!(!b.file("args").exists());
    };
    b.create().ok();
    never(
        call(&b, &criu, "checkpoint", &[]),
        &["cannot checkpoint container", "it is created"],
    );
    b.delete(&["--force"]).ok();
    for (pointer, value, word) in [
        ("/process/terminal", true.into(), "process.terminal"),
        (
            "/hooks",
            serde_json::json!({"prestart": [{"path": "/bin/true"}]}),
            "hooks.prestart",
        ),
    ] {
        let mut other = Bundle::new();
        other.set(pointer, value).write();
        let flags: &[&str] = match word {
            "process.terminal" => &["--console-socket", "/nowhere"],
            _ => &[],
        };
        never(call(&other, &criu, "restore", flags), &[word]);
        other.left_nothing();
    }
}

fn a_restore_creates_the_mount_points_that_a_new_root_lacks() {
    let mut b = Bundle::new();
    let source = b.file("source");
    fs::write(&source, "").unwrap();
    b.bind(&source, "/deep/file", &["bind"]);
    b.mount("/deep/tmpfs", "tmpfs", "tmpfs", &[]);
    b.mount("/deep/tmpfs/below", "tmpfs", "tmpfs", &[]);
    b.write();
    let criu = criu(&b, "exit 1");
    call(&b, &criu, "restore", &[]).ends(1);
    assert!(b.rootfs().join("deep/file").is_file());
    assert!(b.rootfs().join("deep/tmpfs").is_dir());
    // It exists in the mount above it.
    assert!(!b.rootfs().join("deep/tmpfs/below").exists());
    // A link in the root must not lead out of it.
    fs::remove_dir_all(b.rootfs().join("deep")).unwrap();
    let outside = b.file("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, b.rootfs().join("deep")).unwrap();
    call(&b, &criu, "restore", &[]).ends(1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    b.left_nothing();
}
