//! Signals that interrupt the set-up of a container or of an exec: the set-up stops, everything is undone, and the
//! exit status names the signal. All other signals are delivered once the process runs.

use runtime_tests::{Bundle, Cmd, Running, host, json, wait_for};
use std::fs;
use std::path::Path;

runtime_tests::tests![
    a_hanging_hook_is_killed_and_nothing_is_left,
    a_hanging_hook_in_the_container_is_killed_and_nothing_is_left,
    poststop_hooks_run_after_an_interrupted_create,
    a_hanging_poststart_hook_is_killed_together_with_the_container,
    a_hanging_poststop_hook_is_killed_and_the_others_run,
    a_signal_that_our_caller_ignores_does_not_stop_us,
    an_exec_into_a_paused_container_can_be_interrupted,
    other_signals_are_delivered_to_the_process,
];

const SIGNALS: [i32; 4] = [1, 2, 3, 15];

fn signal(b: &Bundle, running: &Running, number: i32) {
    let pid = running.pid().to_string();
    Cmd::new(&b.dir, "kill")
        .args([format!("-{number}"), pid])
        .ok();
}

/// Adds a hook that writes its pid and then hangs.
fn hangs(b: &mut Bundle, kind: &str) {
    let script = format!("echo $$ > {}; exec sleep 1000", b.text("hook"));
    b.hook(kind, &script);
}

/// The pid of the hook, once it hangs.
#[track_caller]
fn hook(b: &Bundle, running: &Running) -> i32 {
    wait_for("the hook runs", || {
        fs::read_to_string(b.file("hook")).is_ok_and(|pid| pid.ends_with('\n'))
            || !running.err().is_empty()
    });
    let text = fs::read_to_string(b.file("hook"));
    let pid = text.unwrap_or_else(|e| panic!("{e}: {}", running.err()));
    pid.trim().parse().unwrap()
}

fn is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn a_hanging_hook_is_killed_and_nothing_is_left() {
    for kind in ["prestart", "createRuntime"] {
        for verb in ["create", "run"] {
            for number in SIGNALS {
                let mut b = Bundle::new();
                hangs(&mut b, kind);
                let running = b.launch(verb, &["--pid-file", &b.text("pid")]).spawn();
                let pid = hook(&b, &running);
                signal(&b, &running, number);
                let output = running.wait();
                output.ends(128 + number).prints("");
                output.says(&[
                    &format!("error running {kind} hook #0: "),
                    &format!("interrupted by signal {number}"),
                ]);
                assert_eq!(output.err.lines().count(), 1, "{output}");
                assert!(is_gone(pid) && !b.file("pid").exists());
                b.left_nothing();
            }
        }
    }
}

fn a_hanging_hook_in_the_container_is_killed_and_nothing_is_left() {
    // startContainer hooks run in the container, so they use its shell.
    for kind in ["createContainer", "startContainer"] {
        for number in SIGNALS {
            let mut b = Bundle::new();
            let shared = b.dir.clone();
            b.bind(&shared, shared.to_str().unwrap(), &[]);
            // Its pid in there differs from its pid on the host.
            b.hook(
                kind,
                &format!("echo 1 > {}; exec sleep 1000", b.text("hook")),
            );
            let running = b.launch("run", &[]).spawn();
            hook(&b, &running);
            signal(&b, &running, number);
            let output = running.wait();
            output.ends(128 + number).says(&["interrupted by signal"]);
            b.left_nothing();
        }
    }
}

fn poststop_hooks_run_after_an_interrupted_create() {
    let mut b = Bundle::new();
    hangs(&mut b, "createRuntime");
    b.hook("poststop", &format!("echo ran >> {}", b.text("poststop")));
    let running = b.launch("create", &[]).spawn();
    hook(&b, &running);
    signal(&b, &running, 15);
    running.wait().ends(128 + 15);
    assert_eq!(b.read("poststop"), "ran\n");
    b.left_nothing();
}

fn a_hanging_poststart_hook_is_killed_together_with_the_container() {
    for verb in ["run", "start"] {
        let mut b = Bundle::new();
        b.waits();
        hangs(&mut b, "poststart");
        let running = match verb {
            "run" => b.launch("run", &[]).spawn(),
            _ => {
                b.create().ok();
                b.call(&["start", &b.id]).spawn()
            }
        };
        let pid = hook(&b, &running);
        signal(&b, &running, 2);
        let output = running.wait();
        output
            .ends(128 + 2)
            .says(&["error running poststart hook #0: "]);
        assert!(is_gone(pid));
        b.left_nothing();
    }
}

fn a_hanging_poststop_hook_is_killed_and_the_others_run() {
    let mut b = Bundle::new();
    hangs(&mut b, "poststop");
    b.hook("poststop", &format!("echo ran >> {}", b.text("poststop")));
    b.create().ok();
    let running = b.call(&["delete", "--force", &b.id]).spawn();
    let pid = hook(&b, &running);
    signal(&b, &running, 2);
    running
        .wait()
        .ends(0)
        .says(&["error running poststop hook #0: "]);
    assert!(is_gone(pid));
    assert_eq!(b.read("poststop"), "ran\n");
    b.left_nothing();
}

fn a_signal_that_our_caller_ignores_does_not_stop_us() {
    let mut b = Bundle::new();
    hangs(&mut b, "createRuntime");
    let ignoring = ["sh", "-c", "trap '' HUP INT; exec \"$@\"", "sh"];
    let running = b.launch("create", &[]).through(ignoring).spawn();
    hook(&b, &running);
    // Of several pending signals, the one with the lowest number is read first.
    signal(&b, &running, 1);
    signal(&b, &running, 2);
    signal(&b, &running, 15);
    running.wait().ends(128 + 15);
    b.left_nothing();
}

fn an_exec_into_a_paused_container_can_be_interrupted() {
    for pure_v2 in [false, true] {
        let mut b = Bundle::new();
        if pure_v2 {
            b.in_pure_v2();
        }
        let _running = b.waits().up();
        b.call(&["pause", &b.id]).ok();
        let flags = [
            "exec",
            "--ignore-paused",
            "--pid-file",
            &b.text("pid"),
            &b.id,
            "true",
        ];
        let running = b.call(&flags).spawn();
        let (hierarchy, id) = match pure_v2 {
            true => (host::controller("unified"), &b.id),
            false => (host::controller("freezer"), &b.id),
        };
        let procs = hierarchy.join(id).join("cgroup.procs");
        let count = || fs::read_to_string(&procs).unwrap().lines().count();
        wait_for("the process is in the cgroup", || {
            count() == 2 || !running.err().is_empty()
        });
        signal(&b, &running, 15);
        let output = running.wait();
        output.ends(128 + 15).says(&["interrupted by signal 15"]);
        assert!(!b.file("pid").exists());
        b.call(&["resume", &b.id]).ok();
        wait_for("only init is left", || count() == 1);
        b.call(&["exec", &b.id, "echo", "still"])
            .ok()
            .prints("still\n");
        assert_eq!(b.status(), "running");
    }
}

fn other_signals_are_delivered_to_the_process() {
    let mut b = Bundle::new();
    let fifo = b.file("fifo");
    Cmd::new(&b.dir, "mkfifo").arg(&fifo).ok();
    // Without a pid namespace the kernel delivers the signal even before the process has a handler.
    b.without_namespace("pid")
        .args(&["helper", "signals"])
        .set("/mounts", json!([]));
    let script = format!("echo 1 > {}; read go < {}", b.text("hook"), fifo.display());
    b.hook("createRuntime", &script);
    let running = b.launch("run", &[]).spawn();
    hook(&b, &running);
    signal(&b, &running, 10);
    fs::write(&fifo, "go\n").unwrap();
    let output = running.wait();
    assert!([128 + 10, 40 + 10].contains(&output.status), "{output}");
    b.left_nothing();
}
