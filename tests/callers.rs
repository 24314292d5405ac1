//! The engines as callers: each of these tests calls the runtime in the words, the order and the environment of one
//! of them, and reads what comes back as that engine does.

use crate::answers::{last_error, only_object};
use runtime_tests::terminal::{ConsoleSocket, Terminal};
use runtime_tests::{Bundle, Cmd, Output, Value, host, json, wait_for};
use std::fs;
use std::os::unix::fs::MetadataExt;

runtime_tests::tests![
    go_runc_as_containerds_shim_calls_us,
    go_runc_with_a_terminal,
    conmon_creates_and_hears_the_exit_status,
    conmon_hears_the_exit_status_of_an_exec,
    conmon_finds_no_pid_file_of_what_failed,
    conmon_rs_execs_with_a_terminal,
    podman_calls_us_without_a_path,
    cri_o_calls_us_directly,
    buildkit_runs_and_execs_in_the_foreground,
    buildkit_with_a_terminal_as_stdio,
    buildah_asks_for_the_state_until_it_is_over,
    listen_fds_of_the_caller_reach_an_exec,
    every_flag_of_exec_is_taken_in_every_spelling,
    the_console_socket_of_exec_is_taken_in_every_spelling
];

/// go-runc: the globals of containerd's shim before every command.
fn go_runc(b: &Bundle, words: &[&str]) -> Cmd {
    let root = format!("--root={}/k8s.io", b.text("state"));
    Cmd::new(&b.dir, &b.runtime)
        .args([
            "--root",
            root.strip_prefix("--root=").unwrap(),
            "--log",
            &b.text("log.json"),
        ])
        .args(["--log-format", "json"])
        .args(words)
}

fn go_runc_as_containerds_shim_calls_us() {
    let mut b = Bundle::new();
    b.waits().write();
    let path = b.path();
    let path = path.to_str().unwrap();
    let pid_file = b.text("init.pid");
    let object =
        |args: &[&str]| -> Value { serde_json::from_str(&go_runc(&b, args).ok().out).unwrap() };
    let init = ["create", "--bundle", path, "--pid-file", &pid_file];
    go_runc(&b, &init).args(["--no-new-keyring", &b.id]).ok();
    let state = object(&["state", &b.id]);
    assert_eq!(state["status"], "created");
    assert_eq!(b.read("init.pid"), state["pid"].to_string());
    go_runc(&b, &["start", &b.id]).ok();
    let mut process = b.config["process"].clone();
    process["args"] = json!(["sleep", "1000"]);
    fs::write(b.file("process.json"), process.to_string()).unwrap();
    let (file, exec_pid) = (b.text("process.json"), b.text("exec.pid"));
    go_runc(
        &b,
        &[
            "exec",
            "--process",
            &file,
            "--detach",
            "--pid-file",
            &exec_pid,
            &b.id,
        ],
    )
    .ok();
    let pids = object(&["ps", "--format", "json", &b.id]);
    let expected: Vec<i64> = ["init.pid", "exec.pid"]
        .map(|f| b.read(f).parse().unwrap())
        .into();
    assert_eq!(pids, json!(expected));
    go_runc(&b, &["update", "--resources=-", &b.id])
        .stdin_text(r#"{"pids": {"limit": 77}}"#)
        .ok();
    go_runc(&b, &["pause", &b.id]).ok();
    assert_eq!(object(&["state", &b.id])["status"], "paused");
    go_runc(&b, &["resume", &b.id]).ok();
    assert_eq!(object(&["events", "--stats", &b.id])["id"], json!(b.id));
    go_runc(&b, &["kill", "--all", &b.id, "9"]).ok();
    let is_stopped = || {
        let state = go_runc(&b, &["state", &b.id]).ok();
        state.out.contains("\"stopped\"")
    };
    wait_for("it has stopped", is_stopped);
    assert_eq!(b.read("log.json"), "");
    // What containerd makes out of a failure: it looks for these words.
    go_runc(&b, &["kill", &b.id, "15"]).output().ends(1);
    assert!(last_error(&b.read("log.json")).contains("container not running"));
    go_runc(&b, &["delete", &b.id]).ok();
    go_runc(&b, &["kill", &b.id, "15"]).output().ends(1);
    assert!(last_error(&b.read("log.json")).contains("does not exist"));
    go_runc(&b, &["delete", "--force", &b.id]).ok();
}

fn go_runc_with_a_terminal() {
    let mut b = Bundle::new();
    b.set("/process/terminal", json!(true))
        .sh("tty; exec sleep 1000")
        .write();
    let socket = ConsoleSocket::bind(&b.file("pty.sock"));
    let (path, console, pid_file) = (b.path(), b.text("pty.sock"), b.text("init.pid"));
    let path = path.to_str().unwrap();
    let create = [
        "create",
        "--bundle",
        path,
        "--pid-file",
        &pid_file,
        "--console-socket",
        &console,
    ];
    let call = go_runc(&b, &create).arg(&b.id).ok();
    assert_eq!((call.out.as_str(), call.err.as_str()), ("", ""));
    let mut terminal = socket.terminal();
    go_runc(&b, &["start", &b.id]).ok();
    terminal.expect("/dev/pts/0");
    terminal.resize(44, 99);
    // The shim sets the size by the descriptor that it has.
    let mut process = b.config["process"].clone();
    process["args"] = json!(["sh", "-c", "helper winch"]);
    fs::write(b.file("process.json"), process.to_string()).unwrap();
    let file = b.text("process.json");
    go_runc(
        &b,
        &[
            "exec",
            "--process",
            &file,
            "--console-socket",
            &console,
            "--detach",
            "--pid-file",
        ],
    )
    .args([&b.text("exec.pid"), &b.id])
    .ok();
    let mut terminal = socket.terminal();
    terminal.expect("size ");
    terminal.resize(44, 99);
    terminal.expect("size 44 99");
    go_runc(&b, &["delete", "--force", &b.id]).ok();
}

/// Runs the words as conmon does, and waits for whom they leave behind.
fn conmon(b: &Bundle, pid_file: &str, words: &[&str]) -> Cmd {
    let helper = host::helper().to_str().unwrap();
    let log = format!("--log={}", b.text("oci-log"));
    Cmd::new(&b.dir, &b.runtime)
        .args(["--log-format=json", &log, "--root", &b.text("state")])
        .args(words)
        .dir(b.path())
        .through([helper, "conmon", pid_file])
}

fn create_words<'a>(path: &'a str, pid_file: &'a str, id: &'a str) -> [&'a str; 8] {
    [
        "create",
        "--bundle",
        path,
        "--pid-file",
        pid_file,
        "--preserve-fds",
        "0",
        id,
    ]
}

fn conmon_creates_and_hears_the_exit_status() {
    let mut b = Bundle::new();
    b.sh("exit 7").write();
    let (path, pid_file) = (b.path(), b.text("pidfile"));
    let words = create_words(path.to_str().unwrap(), &pid_file, &b.id);
    let monitor = conmon(&b, &pid_file, &words).spawn();
    wait_for("create ends", || monitor.out().contains("runtime 0"));
    b.start().ok();
    let run = monitor.wait();
    run.ok()
        .prints("runtime 0\nprocess 7\nmore children: ECHILD\n");
    assert_eq!((run.err.as_str(), b.read("oci-log").as_str()), ("", ""));
    assert_eq!(b.status(), "stopped");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn conmon_hears_the_exit_status_of_an_exec() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let mut process = b.config["process"].clone();
    process["args"] = json!(["sh", "-c", "echo out; exit 9"]);
    fs::write(b.file("process"), process.to_string()).unwrap();
    let (pid_file, file) = (b.text("exec_pid"), b.text("process"));
    let words = [
        "exec",
        "--pid-file",
        &pid_file,
        "--process",
        &file,
        "--detach",
        &b.id,
    ];
    let run = conmon(&b, &pid_file, &words).ok();
    // The output may come at any time.
    assert_eq!(
        run.out.replace("out\n", ""),
        "runtime 0\nprocess 9\nmore children: ECHILD\n"
    );
    assert!(run.out.contains("out\n") && run.err.is_empty());
}

fn conmon_finds_no_pid_file_of_what_failed() {
    let mut b = Bundle::new();
    b.args(&["/bin/nothing"]).write();
    let (path, pid_file) = (b.path(), b.text("pidfile"));
    let words = create_words(path.to_str().unwrap(), &pid_file, &b.id);
    conmon(&b, &pid_file, &words)
        .output()
        .ends(1)
        .prints("runtime 1\npid file: ENOENT\n");
    let message = only_object(&b.read("oci-log"))["msg"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("no such file or directory"), "{message}");
    b.left_nothing();
    fs::remove_file(b.file("oci-log")).unwrap();
    let _running = b.waits().up();
    let words = [
        "exec",
        "--pid-file",
        &pid_file,
        "--detach",
        &b.id,
        "/bin/nothing",
    ];
    conmon(&b, &pid_file, &words)
        .output()
        .ends(1)
        .prints("runtime 255\npid file: ENOENT\n");
    only_object(&b.read("oci-log"));
    // One from before is not taken for the new one's.
    fs::write(&pid_file, "1").unwrap();
    let run = b.call(&words).output();
    run.ends(255);
    assert_eq!(b.read("pidfile"), "1");
}

fn conmon_rs_execs_with_a_terminal() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let mut process = b.config["process"].clone();
    process["args"] = json!(["tty"]);
    process["terminal"] = json!(true);
    fs::write(b.file("process"), process.to_string()).unwrap();
    let socket = ConsoleSocket::bind(&b.file("console"));
    let (console, file, pid) = (b.text("console"), b.text("process"), b.text("pid"));
    let flags = [
        format!("--console-socket={console}"),
        format!("--pid-file={pid}"),
        format!("--process={file}"),
    ];
    b.call(&["exec", "-d", "--tty"]).args(flags).arg(&b.id).ok();
    assert_eq!(socket.terminal().read_all(), "/dev/pts/0\r\n");
}

/// Podman's own calls: an environment of one variable.
fn podman(b: &Bundle, words: &[&str]) -> Output {
    b.call(words)
        .through(["env", "-i", "XDG_RUNTIME_DIR=/run/user/0"])
        .output()
}

fn podman_calls_us_without_a_path() {
    let mut b = Bundle::new();
    b.waits().create().ok();
    let update = b.text("resources.json");
    fs::write(&update, r#"{"pids": {"limit": 55}}"#).unwrap();
    let id = b.id.as_str();
    podman(&b, &["start", id]).ok();
    podman(&b, &["pause", id]).ok();
    podman(&b, &["resume", id]).ok();
    podman(&b, &["update", &format!("--resources={update}"), id]).ok();
    podman(&b, &["exec", id, "true"]).ok();
    podman(&b, &["ps", "--format", "json", id]).ok();
    podman(&b, &["list", "--format=json"]).ok();
    let state = podman(&b, &["state", id]);
    assert_eq!(
        serde_json::from_str::<Value>(&state.ok().out).unwrap()["status"],
        "running"
    );
    podman(&b, &["kill", id, "15"]).ok();
    podman(&b, &["kill", "--all", id, "9"]).ok();
    b.wait_for_status("stopped");
    podman(&b, &["kill", "--all", id, "9"]).ok();
    podman(&b, &["delete", "--force", id]).ok();
    podman(&b, &["delete", "--force", id]).ok();
    podman(&b, &["--version"]).ok();
    podman(&b, &["features"]).ok();
    let path = b.path();
    podman(
        &b,
        &["run", "--detach", "--bundle", path.to_str().unwrap(), id],
    )
    .ok();
    podman(&b, &["delete", "--force", id]).ok();
    b.left_nothing();
}

fn cri_o_calls_us_directly() {
    let mut b = Bundle::new();
    b.waits().create().ok();
    let root = format!("--root={}", b.text("state"));
    let call = |words: &[&str]| Cmd::new(&b.dir, &b.runtime).arg(&root).args(words);
    call(&["start", &b.id]).ok();
    call(&["update", "--resources", "-", &b.id])
        .stdin_text(r#"{"cpu": {"shares": 512}}"#)
        .ok();
    let mut process = b.config["process"].clone();
    process["args"] = json!(["sh", "-c", "echo probe; exit 4"]);
    fs::write(b.file("process"), process.to_string()).unwrap();
    call(&["exec", "--process", &b.text("process"), &b.id])
        .output()
        .ends(4)
        .prints("probe\n");
    call(&["kill", &b.id, "15"]).ok();
    call(&["kill", &b.id, "KILL"]).ok();
    b.wait_for_status("stopped");
    call(&["kill", &b.id, "KILL"])
        .output()
        .fails(&["container not running"]);
    call(&["exec", "--process", &b.text("process"), &b.id])
        .output()
        .ends(255)
        .says(&["container not running"]);
    call(&["delete", "--force", &b.id]).ok();
    call(&["state", &b.id]).output().fails(&["does not exist"]);
    b.left_nothing();
}

fn buildkit_runs_and_execs_in_the_foreground() {
    let mut b = Bundle::new();
    b.sh("echo up; exec sleep 1000").write();
    let log = b.text("shared.log");
    let globals = ["--log", &log, "--log-format", "json"];
    let path = b.path();
    let run = b
        .call(&globals)
        .args(["run", "--bundle", path.to_str().unwrap(), "--keep", &b.id]);
    let running = run.spawn();
    wait_for("the process is up", || running.out().contains("up"));
    let mut process = b.config["process"].clone();
    process["args"] = json!(["sh", "-c", "cat; exit 6"]);
    fs::write(b.file("process.json"), process.to_string()).unwrap();
    let (file, pid) = (b.text("process.json"), b.text("exec.pid"));
    b.call(&globals)
        .args(["exec", "--process", &file, "--pid-file", &pid, &b.id])
        .stdin_text("through\n")
        .output()
        .ends(6)
        .prints("through\n");
    assert_eq!(b.status(), "running");
    b.call(&globals).args(["kill", &b.id, "9"]).ok();
    running.wait().ends(128 + 9);
    assert_eq!(b.status(), "stopped");
    b.call(&globals).args(["delete", &b.id]).ok();
    assert_eq!(b.read("shared.log"), "");
    b.left_nothing();
}

fn buildkit_with_a_terminal_as_stdio() {
    let mut b = Bundle::new();
    b.set("/process/terminal", json!(true))
        .args(&["helper", "winch"])
        .write();
    let (mut terminal, slave) = Terminal::open();
    terminal.resize(24, 80);
    let path = b.path();
    let run = b.call(&["run", "--bundle", path.to_str().unwrap(), "--keep", &b.id]);
    // It is not the controlling terminal: BuildKit sends SIGWINCH itself.
    let running = run.stdio(&slave).spawn();
    terminal.expect("size 24 80");
    terminal.resize(50, 132);
    Cmd::new(&b.dir, "kill")
        .args(["-WINCH", &running.pid().to_string()])
        .ok();
    terminal.expect("size 50 132");
    running.wait().ok();
    b.call(&["delete", &b.id]).ok();
}

fn buildah_asks_for_the_state_until_it_is_over() {
    let mut b = Bundle::new();
    b.sh("exit 0").write();
    let (path, pid_file) = (b.path(), b.text("pid"));
    let path = path.to_str().unwrap();
    b.call(&["create", "--bundle", path, "--pid-file", &pid_file, &b.id])
        .ok();
    let status = || b.state()["status"].as_str().unwrap().to_owned();
    assert_eq!(status(), "created");
    b.call(&["start", &b.id]).ok();
    let mut seen = Vec::new();
    wait_for("it is over", || {
        seen.push(status());
        seen.last().unwrap() == "stopped"
    });
    assert!(
        seen.iter()
            .all(|s| ["running", "stopped"].contains(&s.as_str())),
        "{seen:?}"
    );
    b.call(&["kill", &b.id])
        .output()
        .fails(&["container not running"]);
    b.call(&["delete", &b.id]).ok();
    b.left_nothing();
}

fn listen_fds_of_the_caller_reach_an_exec() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let helper = host::helper().to_str().unwrap();
    let dir = b.dir.to_str().unwrap();
    // LISTEN_PID is the runtime's own pid, which only it can know: the shell becomes it.
    let script = "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
    for (flags, count) in [(&[][..], 5), (&["--preserve-fds", "1"], 6)] {
        let call = b
            .call(&["exec"])
            .args(flags)
            .arg(&b.id)
            .args(["helper", "fds"]);
        let run = call
            .through([helper, "leak", "4", dir, "sh", "-c", script, "sh"])
            .ok();
        assert_eq!(run.lines().len(), count, "{run}");
    }
    // The program takes the descriptors only if LISTEN_PID is its own pid (sd_listen_fds(3)).
    let ask = "echo $LISTEN_FDS; test $LISTEN_PID = $$ && echo mine";
    let call = b.call(&["exec", &b.id, "sh", "-c", ask]);
    let run = call.through([helper, "leak", "4", dir, "sh", "-c", script, "sh"]);
    run.ok().prints("2\nmine\n");
}

fn every_flag_of_exec_is_taken_in_every_spelling() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let mut process = b.config["process"].clone();
    process["args"] = json!(["true"]);
    fs::write(b.file("process.json"), process.to_string()).unwrap();
    let (pid_file, process) = (b.text("pid"), b.text("process.json"));
    let with_values: &[(&str, Option<&str>, &str)] = &[
        ("cwd", None, "/tmp"),
        ("env", Some("e"), "A=1"),
        ("user", Some("u"), "0:0"),
        ("additional-gids", Some("g"), "5"),
        ("process", Some("p"), &process),
        ("pid-file", None, &pid_file),
        ("process-label", None, ""),
        ("apparmor", None, "unconfined"),
        ("cap", Some("c"), "CAP_KILL"),
        ("preserve-fds", None, "0"),
        ("cgroup", None, "/"),
    ];
    let spellings = |long: &str, short: Option<&str>| {
        let of_one_letter = short.map(|short| format!("-{short}"));
        [format!("--{long}"), format!("-{long}")]
            .into_iter()
            .chain(of_one_letter)
    };
    for (long, short, value) in with_values {
        // A label can be set only where there is SELinux: that the flag is known is all there is to see.
        let status = if *long == "process-label" { 255 } else { 0 };
        for name in spellings(long, *short) {
            let glued = format!("{name}={value}");
            for flags in [vec![name.as_str(), value], vec![glued.as_str()]] {
                let run = b
                    .call(&["exec"])
                    .args(&flags)
                    .args([&b.id, "true"])
                    .output();
                run.ends(status);
                assert!(!run.err.contains("flag"), "{run}");
            }
        }
    }
    for (long, short) in [
        ("tty", Some("t")),
        ("detach", Some("d")),
        ("no-new-privs", None),
        ("ignore-paused", None),
        ("no-subreaper", None),
    ] {
        for name in spellings(long, short) {
            for value in ["", "=true", "=false", "=1"] {
                let flag = format!("{name}{value}");
                b.call(&["exec", &flag, &b.id, "true"]).ok();
            }
        }
    }
    assert!(fs::metadata(b.file("pid")).unwrap().size() > 0);
}

fn the_console_socket_of_exec_is_taken_in_every_spelling() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let socket = b.text("console");
    for name in ["--console-socket", "-console-socket"] {
        for flags in [
            vec![name.to_owned(), socket.clone()],
            vec![format!("{name}={socket}")],
        ] {
            let listener = ConsoleSocket::bind(&b.file("console"));
            b.call(&["exec", "-t"])
                .args(&flags)
                .args([&b.id, "true"])
                .ok();
            assert_eq!(listener.receive().1.len(), 1);
        }
    }
}
