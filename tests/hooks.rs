//! The six kinds of hooks: order, namespaces, state on stdin, environment, timeout, and the effect of a failure.
//! The hooks here append their observations to a file outside the bundle.

use crate::attacks_userns::BOTH;
use runtime_tests::{Bundle, Output, Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

runtime_tests::tests![
    all_kinds_run_in_the_order_of_the_specification,
    hooks_of_one_kind_run_in_the_order_of_the_list,
    each_kind_sees_its_status_and_the_whole_state,
    each_kind_runs_in_its_namespaces,
    start_container_hooks_run_in_the_root_of_the_container,
    hooks_get_exactly_the_given_environment,
    hooks_get_exactly_the_given_arguments,
    a_hook_without_arguments_gets_its_path_as_argv_0,
    hooks_have_only_the_standard_descriptors,
    a_hook_may_ignore_its_stdin,
    a_hook_may_close_its_stdin,
    a_hook_that_overruns_its_timeout_is_killed,
    a_hook_within_its_timeout_is_not_killed,
    a_failing_prestart_hook_fails_create_and_leaves_nothing,
    a_failing_create_runtime_hook_fails_create_and_leaves_nothing,
    a_failing_create_container_hook_fails_create_and_leaves_nothing,
    a_failing_start_container_hook_fails_start_and_destroys_the_container,
    a_failing_poststart_hook_fails_start_and_destroys_the_container,
    a_failing_poststop_hook_is_logged_and_the_others_still_run,
    a_failing_hook_keeps_the_next_ones_of_its_kind_from_running,
    a_missing_hook_is_an_error_that_names_it,
    a_hook_killed_by_a_signal_is_a_failure,
    a_relative_hook_path_is_refused,
    poststop_hooks_run_once_everything_of_a_failed_start_is_gone,
    a_hook_of_create_meets_the_state_that_it_was_given,
    create_container_hooks_start_in_the_root_of_the_container,
    poststop_hooks_run_with_delete_force,
    a_background_child_of_a_hook_does_not_delay_create,
    hooks_run_with_the_callers_identity_and_not_the_processes,
];

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A bundle with a `/log` directory at the same path on the host and in the container.
fn with_log() -> Bundle {
    with_log_in(Bundle::new())
}

fn with_log_in(mut b: Bundle) -> Bundle {
    fs::create_dir(b.file("log")).unwrap();
    fs::set_permissions(b.file("log"), fs::Permissions::from_mode(0o777)).unwrap();
    let log = b.file("log");
    b.bind(&log, log.to_str().unwrap(), &[]);
    b
}

fn all_kinds_run_in_the_order_of_the_specification() {
    let mut b = with_log();
    let order = b.text("log/order");
    for kind in KINDS.into_iter().rev() {
        b.hook(kind, &format!("echo {kind} >> {order}"));
    }
    // poststart runs after the process has started. The process waits for it, so that the order in the file is fixed.
    let script = format!("while ! grep -q poststart {order}; do :; done; echo process >> {order}");
    b.sh(&script).create().ok();
    assert_eq!(
        b.read("log/order"),
        "prestart\ncreateRuntime\ncreateContainer\n"
    );
    b.start().ok();
    b.wait_for_status("stopped");
    assert!(!b.read("log/order").contains("poststop"));
    b.delete(&[]).ok();
    let expected =
        "prestart\ncreateRuntime\ncreateContainer\nstartContainer\npoststart\nprocess\npoststop\n";
    assert_eq!(b.read("log/order"), expected);
}

fn hooks_of_one_kind_run_in_the_order_of_the_list() {
    let mut b = with_log();
    let order = b.text("log/order");
    for n in 0..5 {
        for kind in KINDS {
            b.hook(kind, &format!("echo {kind}{n} >> {order}"));
        }
    }
    b.run_ok();
    for kind in KINDS {
        let order = b.read("log/order");
        let of_kind: Vec<&str> = order
            .lines()
            .filter_map(|l| l.strip_prefix(kind))
            .filter(|r| r.len() == 1)
            .collect();
        assert_eq!(of_kind, ["0", "1", "2", "3", "4"], "{kind}");
    }
}

fn each_kind_sees_its_status_and_the_whole_state() {
    let mut b = with_log();
    b.set("/annotations", json!({"key": "value"}));
    for kind in KINDS {
        let file = b.text(&format!("log/{kind}"));
        b.hook(kind, &format!("cat > {file}"));
    }
    b.waits().create().ok();
    let pid = b.pid();
    b.start().ok();
    b.delete(&["--force"]).ok();
    for (kind, status) in KINDS.into_iter().zip([
        "creating", "creating", "creating", "created", "running", "stopped",
    ]) {
        let text = b.read(&format!("log/{kind}"));
        let state: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind}: {e}: {text:?}"));
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["id"], b.id, "{kind}");
        assert_eq!(state["bundle"], json!(b.path()), "{kind}");
        assert_eq!(state["annotations"], json!({"key": "value"}), "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        // Hooks in the container's namespaces see the pid inside the container.
        let inside = ["createContainer", "startContainer"].contains(&kind);
        if status != "stopped" {
            assert_eq!(state["pid"], if inside { 1 } else { pid }, "{kind}");
        }
    }
}

fn each_kind_runs_in_its_namespaces() {
    let mut b = with_log();
    for kind in KINDS {
        let file = b.text(&format!("log/{kind}"));
        b.hook(
            kind,
            &format!("for n in mnt uts net pid; do readlink /proc/self/ns/$n; done > {file}"),
        );
    }
    b.waits().create().ok();
    let pid = b.pid();
    let links = |of: &str| -> String {
        let link = |n| {
            fs::read_link(format!("/proc/{of}/ns/{n}"))
                .unwrap()
                .display()
                .to_string()
                + "\n"
        };
        ["mnt", "uts", "net", "pid"].into_iter().map(link).collect()
    };
    let (host, container) = (links("self"), links(&pid.to_string()));
    b.start().ok();
    b.delete(&["--force"]).ok();
    for kind in KINDS {
        let inside = ["createContainer", "startContainer"].contains(&kind);
        assert_eq!(
            b.read(&format!("log/{kind}")),
            *if inside { &container } else { &host },
            "{kind}"
        );
    }
}

fn start_container_hooks_run_in_the_root_of_the_container() {
    let mut b = with_log();
    let (outside, inside) = (b.text("log/outside"), b.text("log/inside"));
    fs::write(b.rootfs().join("etc/only-here"), "").unwrap();
    b.hook(
        "createContainer",
        &format!("ls /etc/only-here 2>/dev/null; ls -d / > {outside}; test ! -e /etc/only-here"),
    );
    b.set("/hooks/startContainer/-", json!({"path": "/bin/busybox", "args": ["sh", "-c", format!("ls /etc/only-here > {inside}")]}));
    b.run_ok();
    assert_eq!(b.read("log/outside"), "/\n");
    assert_eq!(b.read("log/inside"), "/etc/only-here\n");
}

/// Adds a hook of every kind that runs the helper with these arguments and this environment. The helper is in the
/// scratch directory and in the root.
fn helper_everywhere(b: &mut Bundle, words: &[&str], env: Value) {
    let helper = b.text("log/helper");
    runtime_tests::host::copy(runtime_tests::host::helper(), &helper);
    for kind in KINDS {
        // The helper prints to stdout, so a shell redirects it.
        let mut args = vec!["sh", "-c", "exec \"$@\" >> \"$0\""];
        let file = b.text(&format!("log/{kind}"));
        args.extend([file.as_str(), helper.as_str()]);
        args.extend(words);
        b.set(
            &format!("/hooks/{kind}/-"),
            json!({"path": "/bin/sh", "args": args, "env": env}),
        );
    }
}

fn hooks_get_exactly_the_given_environment() {
    exactly_the_given_environment(Bundle::new);
    BOTH.iter()
        .for_each(|whose| exactly_the_given_environment(|| whose.bundle()));
}

fn exactly_the_given_environment(bundle: impl Fn() -> Bundle) {
    const DEFAULT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
    for (env, expected) in [
        (json!(["A=1", "B=two words"]), "A=1\nB=two words\n"),
        (Value::Null, DEFAULT),
        (json!([]), DEFAULT),
    ] {
        let mut b = with_log_in(bundle());
        b.set("/process/env", json!(["OF=the process"]));
        helper_everywhere(&mut b, &["env"], env);
        b.launch("run", &[])
            .env("LEAK", "of the caller")
            .env("LD_PRELOAD_CANARY", "x")
            .ok();
        for kind in KINDS {
            // Variables that dash or busybox add themselves when they start with an empty environment.
            let added = [
                "PWD=/",
                "SHLVL=1",
                "_=",
                "PATH=/sbin:/usr/sbin:/bin:/usr/bin",
            ];
            let seen = b.read(&format!("log/{kind}"));
            let given = seen
                .lines()
                .filter(|l| !added.contains(l) && !l.starts_with("PWD="));
            let seen: String = given.map(|l| format!("{l}\n")).collect();
            // As in runc, a startContainer hook without an environment gets that of the process.
            let expected = match (kind, expected) {
                ("startContainer", DEFAULT) => "HOME=/root\nOF=the process\n",
                _ => expected,
            };
            assert_eq!(seen, expected, "{kind}");
        }
    }
}

fn hooks_get_exactly_the_given_arguments() {
    let mut b = with_log();
    helper_everywhere(
        &mut b,
        &["args", "", "two words", "--flag"],
        json!(["PATH=/bin"]),
    );
    b.run_ok();
    for kind in KINDS {
        let seen = b.read(&format!("log/{kind}"));
        assert_eq!(
            seen,
            format!("[{}][args][][two words][--flag]\n", b.text("log/helper")),
            "{kind}"
        );
    }
}

fn a_hook_without_arguments_gets_its_path_as_argv_0() {
    let mut b = with_log();
    let (script, file) = (b.text("log/script"), b.text("log/argv0"));
    fs::write(
        &script,
        format!("#!/bin/sh\ntr '\\0' ' ' < /proc/$$/cmdline > {file}\n"),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    b.set(
        "/hooks/createRuntime/-",
        json!({"path": script, "env": ["PATH=/bin:/usr/bin"]}),
    )
    .run_ok();
    assert_eq!(b.read("log/argv0"), format!("/bin/sh {script} "));
}

fn hooks_have_only_the_standard_descriptors() {
    only_the_standard_descriptors(Bundle::new());
    BOTH.iter()
        .for_each(|whose| only_the_standard_descriptors(whose.bundle()));
}

fn only_the_standard_descriptors(b: Bundle) {
    let mut b = with_log_in(b);
    helper_everywhere(&mut b, &["fds"], json!(["PATH=/bin"]));
    b.sh("exec sleep 1000");
    let helper = runtime_tests::host::helper().to_str().unwrap();
    let leak = [helper, "leak", "12", "/"];
    b.launch("create", &["--preserve-fds", "3"])
        .through(leak)
        .ok();
    b.call(&["start", &b.id]).through(leak).ok();
    b.call(&["delete", "--force", &b.id]).through(leak).ok();
    for kind in KINDS {
        let seen = b.read(&format!("log/{kind}"));
        let numbers: Vec<&str> = seen.lines().filter_map(|l| l.split(' ').next()).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{kind}: {seen}");
    }
}

/// A bundle whose state exceeds the capacity of a pipe, so that writing it to a hook's stdin can block or fail.
fn with_large_state() -> Bundle {
    let mut b = with_log();
    b.set("/annotations", json!({"large": "x".repeat(200_000)}));
    b
}

fn a_hook_may_ignore_its_stdin() {
    let mut b = with_large_state();
    for kind in KINDS {
        b.hook(kind, "true");
    }
    b.run_ok();
    b.left_nothing();
}

fn a_hook_may_close_its_stdin() {
    let mut b = with_large_state();
    for kind in KINDS {
        b.hook(kind, "exec <&-; true");
    }
    b.run_ok();
    b.create().ok();
    b.start().ok();
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn a_hook_that_overruns_its_timeout_is_killed() {
    let mut b = with_log();
    let pid = b.text("log/pid");
    b.set(
        "/hooks/createRuntime/-",
        json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo $$ > {pid}; exec sleep 1000")], "timeout": 1}),
    );
    b.launch("run", &[])
        .output()
        .fails(&["createRuntime", "time"]);
    // On a busy machine the hook may be killed before it writes its pid.
    let pid = b.read("log/pid");
    assert!(
        pid.is_empty() || !fs::exists(format!("/proc/{}", pid.trim())).unwrap(),
        "the hook is still alive"
    );
    b.left_nothing();
}

fn a_hook_within_its_timeout_is_not_killed() {
    let mut b = with_log();
    for kind in KINDS {
        b.set(
            &format!("/hooks/{kind}/-"),
            json!({"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null"], "timeout": 30}),
        );
    }
    b.run_ok();
}

/// A bundle whose process waits, with a failing hook of this kind.
fn failing(kind: &str) -> Bundle {
    let mut b = with_log();
    b.waits().hook(kind, "exit 23");
    b
}

#[track_caller]
fn fails_create(kind: &str) {
    let b = failing(kind);
    b.create().fails(&["hook", "23"]);
    b.left_nothing();
    b.run().fails(&["hook", kind, "23"]);
    b.left_nothing();
}

fn a_failing_prestart_hook_fails_create_and_leaves_nothing() {
    fails_create("prestart");
}

fn a_failing_create_runtime_hook_fails_create_and_leaves_nothing() {
    fails_create("createRuntime");
}

fn a_failing_create_container_hook_fails_create_and_leaves_nothing() {
    fails_create("createContainer");
}

fn a_failing_start_container_hook_fails_start_and_destroys_the_container() {
    let mut b = failing("startContainer");
    b.sh("echo ran > /tmp/ran").create().ok();
    b.start().fails(&["startContainer", "23"]);
    assert!(!b.rootfs().join("tmp/ran").exists());
    b.left_nothing();
}

fn a_failing_poststart_hook_fails_start_and_destroys_the_container() {
    let b = failing("poststart");
    b.create().ok();
    b.start().fails(&["poststart", "23"]);
    b.left_nothing();
}

fn a_failing_poststop_hook_is_logged_and_the_others_still_run() {
    let mut b = failing("poststop");
    let file = b.text("log/ran");
    b.hook("poststop", &format!("echo ran > {file}"));
    b.create().ok();
    let delete: Output = b.delete(&["--force"]);
    delete.ok().says(&["poststop", "23"]);
    assert_eq!(b.read("log/ran"), "ran\n");
    b.left_nothing();
}

fn a_failing_hook_keeps_the_next_ones_of_its_kind_from_running() {
    let mut b = failing("createRuntime");
    let file = b.text("log/ran");
    b.hook("createRuntime", &format!("echo ran > {file}"))
        .create()
        .fails(&["hook"]);
    assert_eq!(b.read("log/ran"), "");
}

fn a_missing_hook_is_an_error_that_names_it() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut b = with_log();
        b.set(
            &format!("/hooks/{kind}/-"),
            json!({"path": "/nothing/here"}),
        );
        b.create()
            .fails(&["/nothing/here", "no such file or directory"]);
        b.left_nothing();
    }
}

fn a_hook_killed_by_a_signal_is_a_failure() {
    let mut b = with_log();
    b.hook("createRuntime", "kill -SEGV $$")
        .create()
        .fails(&["createRuntime", "signal"]);
    b.left_nothing();
}

fn a_relative_hook_path_is_refused() {
    for kind in KINDS {
        let mut b = with_log();
        b.set(&format!("/hooks/{kind}"), json!([{"path": "bin/true"}]));
        b.create()
            .fails(&[&format!("hooks.{kind}[0].path"), "bin/true"]);
        b.left_nothing();
    }
}

/// Whatever fails, the poststop hooks run, and find neither the cgroup nor the state.
fn poststop_hooks_run_once_everything_of_a_failed_start_is_gone() {
    type Spoil = fn(&mut Bundle);
    let fails: [(&str, Spoil); 6] = [
        ("prestart", |b| _ = b.hook("prestart", "exit 23")),
        ("createRuntime", |b| _ = b.hook("createRuntime", "exit 23")),
        ("createContainer", |b| {
            _ = b.hook("createContainer", "exit 23")
        }),
        ("startContainer", |b| {
            _ = b.hook("startContainer", "exit 23")
        }),
        ("poststart", |b| _ = b.hook("poststart", "exit 23")),
        // The interpreter is looked up by the exec alone.
        ("exec", |b| {
            fs::write(b.rootfs().join("script"), "#!/missing\n").unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(b.rootfs().join("script"), mode).unwrap();
            b.args(&["/script"]);
        }),
    ];
    for (kind, fail) in fails {
        let mut b = with_log();
        b.waits();
        fail(&mut b);
        let (file, left) = (b.text("log/stopped"), b.text("log/left"));
        let (id, state) = (b.id.clone(), b.state_dir().join(&b.id));
        let state = state.display();
        b.hook(
            "poststop",
            &format!("cat > {file}; ls -d {state} $(find /sys/fs/cgroup -name {id}) 2> /dev/null > {left}; true"),
        );
        b.run().fails(&[]);
        let said: Value =
            serde_json::from_str(&b.read("log/stopped")).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(said["status"], "stopped", "{kind}");
        let left = b.read("log/left");
        assert_eq!(left.matches(&b.id).count(), 0, "{kind}: {left}");
        b.left_nothing();
    }
}

fn a_hook_of_create_meets_the_state_that_it_was_given() {
    for kind in ["prestart", "createRuntime"] {
        let mut b = with_log();
        let (given, asked) = (b.text("log/given"), b.text("log/asked"));
        let runtime = runtime_tests::host::runtime();
        let (runtime, root, id) = (runtime.display(), b.state_dir(), b.id.clone());
        let root = root.display();
        let ask = format!("cat > {given}; {runtime} --root {root} state {id} > {asked}");
        b.hook(kind, &ask);
        b.waits().create().ok();
        let [given, asked] = ["log/given", "log/asked"]
            .map(|file| serde_json::from_str::<Value>(&b.read(file)).unwrap());
        assert_eq!(given["status"], "creating", "{kind}");
        assert_eq!(given["pid"], b.pid(), "{kind}");
        assert_eq!(given, asked, "{kind}");
    }
}

fn create_container_hooks_start_in_the_root_of_the_container() {
    let mut b = with_log();
    let file = b.text("log/seen");
    fs::write(b.rootfs().join("only-here"), "").unwrap();
    b.hook("createContainer", &format!("ls only-here > {file}"));
    b.run_ok();
    assert_eq!(b.read("log/seen"), "only-here\n");
}

fn poststop_hooks_run_with_delete_force() {
    let mut b = with_log();
    let file = b.text("log/stopped");
    b.hook("poststop", &format!("cat > {file}"))
        .waits()
        .launch("run", &["--detach"])
        .ok();
    b.delete(&["--force"]).ok();
    assert_eq!(
        serde_json::from_str::<Value>(&b.read("log/stopped")).unwrap()["status"],
        "stopped"
    );
}

fn a_background_child_of_a_hook_does_not_delay_create() {
    let mut b = with_log();
    let pid = b.text("log/pid");
    b.hook("createRuntime", &format!("sleep 1000 & echo $! > {pid}"));
    b.launch("run", &[]).ok();
    let child: i32 = b.read("log/pid").trim().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
}

fn hooks_run_with_the_callers_identity_and_not_the_processes() {
    let mut b = with_log();
    b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    for kind in KINDS {
        let file = b.text(&format!("log/{kind}"));
        b.hook(kind, &format!("id -u > {file}"));
    }
    b.run_ok();
    for kind in KINDS.into_iter().filter(|k| *k != "startContainer") {
        assert_eq!(b.read(&format!("log/{kind}")), "0\n", "{kind}");
    }
}
