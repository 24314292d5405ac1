//! `exec` as engines and people call it: one more process in a container, by flags or by a file.
//! What it gets is compared with what the container's first process has, and with what the specification says.

use runtime_tests::terminal::{ConsoleSocket, Terminal};
use runtime_tests::{Bundle, Cmd, Output, Running, Value, host, json, wait_for};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};

runtime_tests::tests![
    exec_returns_the_status_of_the_process,
    exec_returns_128_and_the_signal_that_killed_the_process,
    errors_of_our_own_end_with_255,
    exec_passes_stdin_and_stdout_through,
    what_follows_the_id_and_the_command_belongs_to_the_process,
    flags_are_taken_in_every_spelling,
    a_process_file_is_the_whole_process,
    a_wrong_process_file_is_refused_with_its_place,
    cwd_env_and_user_change_what_the_container_says,
    home_is_that_of_the_user,
    ids_that_are_none_are_refused,
    additional_gids_are_added_and_the_callers_are_not,
    limits_umask_and_oom_score_are_the_containers,
    a_tty_under_the_callers_terminal,
    a_tty_without_a_terminal_of_the_caller,
    a_tty_follows_the_size_and_restores_the_callers_terminal,
    a_tty_brings_ten_megabytes_whole,
    a_detached_tty_goes_to_the_console_socket,
    a_detached_tty_needs_a_console_socket,
    the_pid_file_is_renamed_into_place,
    detaching_leaves_no_process_but_the_one_asked_for,
    capabilities_are_the_containers_exactly,
    cap_adds_to_bounding_effective_and_permitted_alone,
    an_ordinary_user_has_no_capability_in_effect,
    no_new_privs_is_set_on_request,
    the_process_sees_its_stdio_alone,
    preserved_descriptors_arrive_and_no_others,
    a_working_directory_in_proc_self_fd_reaches_nothing,
    exec_joins_every_namespace_of_the_container,
    exec_joins_namespaces_that_the_container_joined,
    exec_joins_a_user_and_a_pid_namespace_that_the_container_joined,
    without_a_mount_namespace_the_root_is_the_containers,
    exec_joins_the_cgroup_in_every_hierarchy,
    exec_joins_the_cgroup_on_a_pure_v2_host,
    a_cgroup_below_the_containers_is_entered,
    the_seccomp_filter_applies_with_and_without_no_new_privs,
    a_missing_program_and_a_missing_interpreter_are_named,
    a_failed_exec_leaves_the_container_as_it_was,
    exec_in_a_stopped_or_unknown_container_fails,
    exec_in_a_created_container_runs_before_its_first_process,
    a_config_changed_after_create_has_no_effect,
    signals_are_forwarded,
    a_scanner_sees_nothing_of_us_before_the_execve,
    the_binary_cannot_be_overwritten_through_exec,
    thirty_at_once_do_not_disturb_each_other,
];

/// A container whose first process waits.
#[track_caller]
fn up() -> (Bundle, Running) {
    up_with(|_| ())
}

#[track_caller]
fn up_with(change: impl FnOnce(&mut Bundle)) -> (Bundle, Running) {
    let mut b = Bundle::new();
    b.waits();
    change(&mut b);
    let running = b.up();
    (b, running)
}

/// `exec FLAGS ID ARGS`.
fn exec(b: &Bundle, flags: &[&str], args: &[&str]) -> Cmd {
    b.call(&["exec"]).args(flags).arg(&b.id).args(args)
}

fn sh(b: &Bundle, flags: &[&str], script: &str) -> Cmd {
    exec(b, flags, &["sh", "-c", script])
}

/// `exec --process FILE ID`, the file being the process of config.json with `changes`.
fn with_file(b: &Bundle, changes: Value) -> Cmd {
    process_file(b, changes);
    exec(b, &["--process", &b.text("process.json")], &[])
}

fn process_file(b: &Bundle, changes: Value) {
    let mut process = b.config["process"].clone();
    for (key, value) in changes.as_object().unwrap() {
        process[key] = value.clone();
    }
    fs::write(b.file("process.json"), process.to_string()).unwrap();
}

/// An error of the runtime's own: status 255 and one line that holds every one of `words`.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    output.ends(255).prints("").says(words);
    assert_eq!(output.err.lines().count(), 1, "{output}");
}

/// The command with a new terminal as its controlling one.
fn under_terminal(command: Cmd) -> (Terminal, Running) {
    let (terminal, slave) = Terminal::open();
    terminal.resize(33, 111);
    let command = command.through(["setsid", "--ctty", "--wait"]);
    let running = command.stdio(&slave).spawn();
    (terminal, running)
}

fn exec_returns_the_status_of_the_process() {
    let (b, _running) = up();
    for status in [0, 1, 7, 255] {
        let run = sh(&b, &[], &format!("exit {status}")).output();
        run.ends(status).prints("");
        assert_eq!(run.err, "", "{run}");
    }
}

fn exec_returns_128_and_the_signal_that_killed_the_process() {
    let (b, _running) = up();
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let script = format!("kill -{name} $$; exec sleep 100");
        sh(&b, &[], &script).output().ends(128 + number);
        sh(&b, &["--tty"], &script).output().ends(128 + number);
    }
}

fn errors_of_our_own_end_with_255() {
    let (b, _running) = up();
    refused(&exec(&b, &[], &[]).output(), &["--process"]);
    refused(&exec(&b, &[], &["/bin/nothing"]).output(), &[]);
    refused(
        &exec(&b, &["--cwd", "/nowhere"], &["true"]).output(),
        &["/nowhere"],
    );
    let nobody = b.call(&["exec", "nobody", "true"]).output();
    refused(&nobody, &["nobody", "does not exist"]);
}

fn exec_passes_stdin_and_stdout_through() {
    let (b, _running) = up();
    let run = sh(&b, &[], "cat; echo error >&2").stdin_text("through\n");
    let run = run.ok();
    run.prints("through\n");
    assert_eq!(run.err, "error\n");
    // More than a pipe holds, and nothing is added to it.
    let run = sh(&b, &[], "seq 1 1400000").ok();
    assert!(
        run.out == numbers(1_400_000),
        "{} bytes came",
        run.out.len()
    );
}

fn numbers(last: u32) -> String {
    (1..=last).map(|n| format!("{n}\n")).collect()
}

fn what_follows_the_id_and_the_command_belongs_to_the_process() {
    let (b, _running) = up();
    let args = [
        "helper", "args", "--tty", "-d", "--cwd=/x", "--", "-e", "--help", "--", "",
    ];
    exec(&b, &[], &args)
        .ok()
        .prints("[helper][args][--tty][-d][--cwd=/x][--][-e][--help][--][]\n");
}

fn flags_are_taken_in_every_spelling() {
    let (b, _running) = up();
    let spellings: [&[&str]; 4] = [
        &["--cwd", "/tmp", "--env", "A=1=2", "--user", "7:8"],
        &["--cwd=/tmp", "--env=A=1=2", "--user=7:8"],
        &["-cwd", "/tmp", "-e", "A=1=2", "-u", "7:8"],
        &["-cwd=/tmp", "-env=A=1=2", "-u=7:8"],
    ];
    for flags in spellings {
        sh(&b, flags, "pwd; echo $A; id -u; id -g")
            .ok()
            .prints("/tmp\n1=2\n7\n8\n");
    }
}

fn a_process_file_is_the_whole_process() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env/-", json!("OF=the container"));
    });
    let process = json!({
        "args": ["sh", "-c", "env | grep -E '^(HOME|OF|PATH)=' | sort; pwd; id -u; id -g; umask; cat /proc/self/oom_score_adj;
            helper rlimits | grep '^7 '; grep -E '^(Groups|Cap|NoNewPrivs)' /proc/self/status"],
        "env": ["PATH=/bin", "HOME=/tmp", "OF=the file"], "cwd": "/tmp",
        "user": {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o27},
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 70, "hard": 80}], "oomScoreAdj": 300, "noNewPrivileges": false
    });
    let lines = [
        "HOME=/tmp",
        "OF=the file",
        "PATH=/bin",
        "/tmp",
        "7",
        "8",
        "0027",
        "300",
        "7 70 80",
        "Groups:\t9 10 ",
        "CapInh:\t0000000000000020",
        "CapPrm:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000021",
        "CapAmb:\t0000000000000020",
        "NoNewPrivs:\t0",
        "",
    ];
    with_file(&b, process).ok().prints(&lines.join("\n"));
    // What the file does not say is not taken from the container.
    fs::write(
        b.file("process.json"),
        json!({"args": ["/bin/helper", "env"], "cwd": "/"}).to_string(),
    )
    .unwrap();
    exec(&b, &["--process", &b.text("process.json")], &[])
        .ok()
        .prints("HOME=/root\n");
}

fn a_wrong_process_file_is_refused_with_its_place() {
    let (b, _running) = up();
    let path = b.text("process.json");
    let missing = exec(&b, &["--process", &b.text("nothing")], &[]).output();
    refused(&missing, &[&b.text("nothing"), "no such file or directory"]);
    for (changes, place) in [
        (json!({"args": "sh"}), "args"),
        (json!({"user": {"uid": -1}}), "user.uid"),
        (json!({"user": {"uid": 4_294_967_296u64}}), "user.uid"),
        (
            json!({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": "1"}]}),
            "rlimits[0].soft",
        ),
    ] {
        refused(&with_file(&b, changes).output(), &[&path, place]);
    }
    for (changes, place) in [
        (json!({"args": []}), "args"),
        (json!({"env": ["NONSENSE"]}), "env[0]"),
        (json!({"user": {"uid": 4_294_967_295u64}}), "user.uid"),
        (
            json!({"user": {"additionalGids": [1, 4_294_967_295u64]}}),
            "user.additionalGids[1]",
        ),
        (
            json!({"rlimits": [{"type": "NONSENSE", "soft": 1, "hard": 1}]}),
            "rlimits[0]",
        ),
    ] {
        refused(&with_file(&b, changes).output(), &[place]);
    }
    fs::write(&path, "{\"args\": [\"true\"]").unwrap();
    refused(&exec(&b, &["--process", &path], &[]).output(), &[&path]);
}

fn cwd_env_and_user_change_what_the_container_says() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env/-", json!("OF=the container"))
            .set("/process/cwd", json!("/etc"))
            .set("/process/user", json!({"uid": 5, "gid": 6}));
    });
    let script = "pwd; id -u; id -g; echo $OF $MORE";
    sh(&b, &[], script)
        .ok()
        .prints("/etc\n5\n6\nthe container\n");
    let flags = ["--cwd", "/tmp", "--env", "MORE=more", "--user", "7"];
    sh(&b, &flags, script)
        .ok()
        .prints("/tmp\n7\n6\nthe container more\n");
    sh(&b, &["--user", "0:4294967294"], script)
        .ok()
        .prints("/etc\n0\n4294967294\nthe container\n");
}

fn home_is_that_of_the_user() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env", json!(["PATH=/bin"]));
        let passwd = "root:x:0:0::/root:/bin/sh\nseven:x:7:7::/home/seven:/bin/sh\n";
        fs::write(b.rootfs().join("etc/passwd"), passwd).unwrap();
    });
    for (user, home) in [("0", "/root"), ("7", "/home/seven"), ("1000", "/")] {
        sh(&b, &["--user", user], "echo $HOME")
            .ok()
            .prints(&format!("{home}\n"));
    }
}

fn ids_that_are_none_are_refused() {
    let (b, _running) = up();
    for bad in [
        "-1",
        "+5",
        " 5",
        "5 ",
        "",
        "root",
        "0x5",
        "4294967295",
        "4294967296",
        "99999999999",
    ] {
        let word = format!("{bad:?}");
        for user in [bad.to_owned(), format!("{bad}:0"), format!("0:{bad}")] {
            let run = exec(&b, &[&format!("--user={user}")], &["true"]).output();
            refused(&run, &["--user", &word]);
        }
        let run = exec(&b, &[&format!("--additional-gids={bad}")], &["true"]).output();
        refused(&run, &["--additional-gids", &word]);
    }
    let run = exec(&b, &["--user", "1:2:3"], &["true"]).output();
    refused(&run, &["--user"]);
}

fn additional_gids_are_added_and_the_callers_are_not() {
    let (b, _running) = up();
    let groups = ["setpriv", "--groups", "4,27,999"];
    let script = "grep ^Groups /proc/self/status";
    sh(&b, &[], script)
        .through(groups)
        .ok()
        .prints("Groups:\t \n");
    let flags = ["--additional-gids", "8", "-g", "9"];
    sh(&b, &flags, script)
        .through(groups)
        .ok()
        .prints("Groups:\t8 9 \n");
    let (b, _running) = up_with(|b| {
        b.set(
            "/process/user",
            json!({"uid": 0, "gid": 0, "additionalGids": [5, 6]}),
        );
    });
    sh(&b, &[], script)
        .through(groups)
        .ok()
        .prints("Groups:\t5 6 \n");
    sh(&b, &flags, script).ok().prints("Groups:\t5 6 8 9 \n");
}

fn limits_umask_and_oom_score_are_the_containers() {
    let (b, _running) = up_with(|b| {
        let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]);
        b.set("/process/rlimits", limits)
            .set("/process/oomScoreAdj", json!(100))
            .set("/process/user/umask", json!(0o77));
    });
    sh(
        &b,
        &[],
        "helper rlimits | grep -E '^(4|7) '; umask; cat /proc/self/oom_score_adj",
    )
    .ok()
    .prints("4 1 2\n7 100 200\n0077\n100\n");
}

fn a_tty_under_the_callers_terminal() {
    let (b, _running) = up();
    let script = "tty; helper ctty; for n in 0 1 2; do readlink /proc/self/fd/$n; done; stat -c '%u %g' /dev/pts/0;
        grep -c ' /dev/console ' /proc/self/mountinfo; read line; echo \"got $line\"; printf 'a\\nb\\n'; exit 5";
    let (mut terminal, running) = under_terminal(sh(&b, &["--tty", "--user", "7:8"], script));
    terminal.expect("\n0\r\n");
    terminal.send("hello\n");
    let text = terminal.read_all();
    running.wait().ends(5);
    let tty = "/dev/pts/0\r\n";
    assert_eq!(
        text,
        format!("{tty}ctty: ok\r\n{tty}{tty}{tty}7 5\r\n0\r\nhello\r\ngot hello\r\na\r\nb\r\n")
    );
    // Each has its own, and the same from a file.
    let process = json!({"terminal": true, "args": ["tty"]});
    let (mut terminal, running) = under_terminal(with_file(&b, process));
    assert_eq!(terminal.read_all(), tty);
    running.wait().ok();
}

fn a_tty_without_a_terminal_of_the_caller() {
    let (b, _running) = up();
    let (input, mut hold) = std::io::pipe().unwrap();
    let running = sh(
        &b,
        &["--tty"],
        "tty; helper ctty; read line; echo \"got $line\"",
    )
    .stdin(fs::File::from(OwnedFd::from(input)))
    .spawn();
    wait_for("the process reads", || running.out().contains("ctty: ok"));
    hold.write_all(b"from a pipe\n").unwrap();
    let run = running.wait();
    assert_eq!(
        run.ok().out.replace('\r', ""),
        "/dev/pts/0\nctty: ok\nfrom a pipe\ngot from a pipe\n"
    );
}

fn a_tty_follows_the_size_and_restores_the_callers_terminal() {
    let (b, _running) = up();
    let (mut terminal, slave) = Terminal::open();
    terminal.resize(33, 111);
    let before = rustix::termios::tcgetattr(&slave).unwrap();
    let running = exec(&b, &["--tty"], &["helper", "winch"])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    terminal.expect("size 33 111");
    let raw = rustix::termios::tcgetattr(&slave).unwrap();
    assert_ne!(before.local_modes, raw.local_modes);
    terminal.resize(50, 200);
    terminal.expect("size 50 200");
    running.wait().ok();
    let after = rustix::termios::tcgetattr(&slave).unwrap();
    let modes = |t: &rustix::termios::Termios| {
        (
            t.input_modes,
            t.output_modes,
            t.local_modes,
            t.control_modes,
        )
    };
    assert_eq!(modes(&before), modes(&after));
}

fn a_tty_brings_ten_megabytes_whole() {
    let (b, _running) = up();
    let (mut terminal, running) = under_terminal(sh(&b, &["--tty"], "seq 1 1400000"));
    let text = terminal.read_all().replace('\r', "");
    running.wait().ok();
    assert!(text == numbers(1_400_000), "{} bytes came", text.len());
}

fn a_detached_tty_goes_to_the_console_socket() {
    let (b, _running) = up();
    let socket = ConsoleSocket::bind(&b.file("console"));
    let process = json!({"terminal": true, "consoleSize": {"height": 25, "width": 132},
        "args": ["sh", "-c", "helper winsize; read line; echo \"got $line\"; helper ctty"]});
    process_file(&b, process);
    // The words and their order are those of containerd's shim.
    let words = [
        "exec",
        "--process",
        &b.text("process.json"),
        "--console-socket",
        socket.path.to_str().unwrap(),
        "--detach",
        "--pid-file",
        &b.text("pid"),
        &b.id,
    ];
    let call = b.call(&words).ok();
    assert_eq!((call.out.as_str(), call.err.as_str()), ("", ""));
    let mut terminal = socket.terminal();
    terminal.expect("25 132");
    terminal.send("hello\n");
    terminal.expect("ctty: ok");
    assert!(terminal.read_all().contains("got hello"));
    // And by flags; the socket gets one message with one descriptor, and is closed.
    let flags = ["--tty", "-d", "--console-socket"];
    let flags = [&flags[..], &[socket.path.to_str().unwrap()]].concat();
    exec(&b, &flags, &["tty"]).ok();
    let (payload, fds, closed) = socket.receive();
    assert!(!payload.is_empty() && payload.len() < 4096 && fds.len() == 1 && closed);
}

fn a_detached_tty_needs_a_console_socket() {
    let (b, _running) = up();
    let run = exec(&b, &["--tty", "--detach"], &["true"]).output();
    refused(&run, &["console-socket"]);
    let missing = b.text("nobody");
    let run = exec(
        &b,
        &["--tty", "--detach", "--console-socket", &missing],
        &["true"],
    );
    refused(&run.output(), &[&missing, "no such file or directory"]);
}

fn the_pid_file_is_renamed_into_place() {
    let (b, _running) = up();
    // Whoever wrote in place would write through the link.
    fs::write(b.file("victim"), "untouched").unwrap();
    symlink(b.file("victim"), b.file("pid")).unwrap();
    let pid_file = b.text("pid");
    sh(
        &b,
        &["--detach", "--pid-file", &pid_file],
        "echo $$; exec sleep 1000",
    )
    .ok();
    assert_eq!(b.read("victim"), "untouched");
    assert!(!fs::symlink_metadata(b.file("pid")).unwrap().is_symlink());
    let text = b.read("pid");
    let pid: i32 = text.parse().expect("digits and nothing else");
    wait_for("the process is the one asked for", || {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == "sleep\x001000\0"
    });
    assert_ne!(pid, b.pid());
    // In the foreground it is there while the process runs; the process ends when its input does.
    let (input, hold) = std::io::pipe().unwrap();
    fs::remove_file(b.file("pid")).unwrap();
    let running = sh(&b, &["--pid-file", &pid_file], "cat")
        .stdin(fs::File::from(OwnedFd::from(input)))
        .spawn();
    wait_for("the pid file", || b.file("pid").exists());
    let pid = b.read("pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(
        status.contains(&format!("\nPPid:\t{}\n", running.pid())),
        "{status}"
    );
    drop(hold);
    running.wait().ok();
}

fn detaching_leaves_no_process_but_the_one_asked_for() {
    let (b, _running) = up();
    let script = "\"$@\"; echo status $?; read line";
    let (input, hold) = std::io::pipe().unwrap();
    let call = exec(
        &b,
        &["--detach", "--pid-file", &b.text("pid")],
        &["sleep", "1000"],
    );
    let helper = host::helper().to_str().unwrap();
    let monitor = call
        .through([helper, "subreap", "sh", "-c", script, "sh"])
        .stdin(fs::File::from(OwnedFd::from(input)))
        .spawn();
    wait_for("exec ends", || monitor.out().contains("status"));
    assert_eq!(monitor.out(), "status 0\n", "{}", monitor.err());
    let children = host::children_of(monitor.pid());
    let pids: Vec<i32> = children.iter().map(|c| c.0).collect();
    assert_eq!(pids, [b.read("pid").parse::<i32>().unwrap()]);
    drop(hold);
}

const CAPABILITIES: &str = "grep ^Cap /proc/self/status";

/// The five sets as /proc/self/status shows them.
fn sets(inheritable: u64, permitted: u64, effective: u64, bounding: u64, ambient: u64) -> String {
    format!(
        "CapInh:\t{inheritable:016x}\nCapPrm:\t{permitted:016x}\nCapEff:\t{effective:016x}\nCapBnd:\t{bounding:016x}\nCapAmb:\t{ambient:016x}\n"
    )
}

/// CAP_KILL, CAP_NET_BIND_SERVICE and CAP_AUDIT_WRITE, which every bundle here starts with.
const THREE: u64 = 1 << 5 | 1 << 10 | 1 << 29;
const NET_RAW: u64 = 1 << 13;

fn capabilities_are_the_containers_exactly() {
    let (b, _running) = up();
    sh(&b, &[], CAPABILITIES)
        .ok()
        .prints(&sets(0, THREE, THREE, THREE, 0));
    let (b, _running) = up_with(|b| {
        b.remove("/process/capabilities");
    });
    sh(&b, &[], CAPABILITIES).ok().prints(&sets(0, 0, 0, 0, 0));
    let (b, _running) = up_with(|b| {
        b.user_namespace();
    });
    sh(&b, &[], CAPABILITIES)
        .ok()
        .prints(&sets(0, THREE, THREE, THREE, 0));
}

fn cap_adds_to_bounding_effective_and_permitted_alone() {
    let (b, _running) = up();
    let more = THREE | NET_RAW;
    for flags in [&["--cap", "CAP_NET_RAW"][..], &["-c", "CAP_NET_RAW"]] {
        sh(&b, flags, CAPABILITIES)
            .ok()
            .prints(&sets(0, more, more, more, 0));
    }
    sh(
        &b,
        &["--cap", "CAP_NET_RAW", "--cap", "CAP_CHOWN"],
        CAPABILITIES,
    )
    .ok()
    .prints(&sets(0, more | 1, more | 1, more | 1, 0));
    // What the container has there stays as it is.
    let (b, _running) = up_with(|b| {
        for set in ["inheritable", "ambient"] {
            b.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL"]));
        }
    });
    sh(&b, &["--cap", "CAP_NET_RAW"], CAPABILITIES)
        .ok()
        .prints(&sets(1 << 5, more, more, more, 1 << 5));
    let (b, _running) = up_with(|b| {
        b.remove("/process/capabilities");
    });
    sh(&b, &["--cap", "CAP_NET_RAW"], CAPABILITIES)
        .ok()
        .prints(&sets(0, NET_RAW, NET_RAW, NET_RAW, 0));
}

fn an_ordinary_user_has_no_capability_in_effect() {
    let (b, _running) = up();
    sh(&b, &["--user", "1000"], CAPABILITIES)
        .ok()
        .prints(&sets(0, 0, 0, THREE, 0));
    sh(
        &b,
        &["--user", "1000", "--cap", "CAP_NET_RAW"],
        CAPABILITIES,
    )
    .ok()
    .prints(&sets(0, 0, 0, THREE | NET_RAW, 0));
}

fn no_new_privs_is_set_on_request() {
    let script = "grep NoNewPrivs /proc/self/status";
    let (b, _running) = up_with(|b| {
        b.set("/process/noNewPrivileges", json!(false));
    });
    sh(&b, &[], script).ok().prints("NoNewPrivs:\t0\n");
    sh(&b, &["--no-new-privs"], script)
        .ok()
        .prints("NoNewPrivs:\t1\n");
    let (b, _running) = up();
    sh(&b, &[], script).ok().prints("NoNewPrivs:\t1\n");
}

/// The command from a caller that leaked descriptors, from 3 on, on the directory of this test.
fn leaking(b: &Bundle, count: u32, command: Cmd) -> Cmd {
    let helper = host::helper().to_str().unwrap();
    command.through([helper, "leak", &count.to_string(), b.dir.to_str().unwrap()])
}

fn descriptors(run: &Output) -> Vec<u32> {
    let number = |line: &str| line.split(' ').next().unwrap().parse().unwrap();
    run.out.lines().map(number).collect()
}

fn the_process_sees_its_stdio_alone() {
    let (b, _running) = up();
    for flags in [&[][..], &["--tty"]] {
        let run = leaking(&b, 20, exec(&b, flags, &["helper", "fds"])).ok();
        assert_eq!(descriptors(&run), [0, 1, 2], "{run}");
    }
    let process =
        json!({"args": ["sh", "-c", "helper fds > /tmp/fds.new; mv /tmp/fds.new /tmp/fds"]});
    process_file(&b, process);
    let file = b.text("process.json");
    let call = exec(&b, &["--detach", "--process", &file], &[]);
    leaking(&b, 20, call).ok();
    let list = b.rootfs().join("tmp/fds");
    wait_for("the list of descriptors", || list.exists());
    let text = fs::read_to_string(list).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
}

fn preserved_descriptors_arrive_and_no_others() {
    let (b, _running) = up();
    let args = ["helper", "fds"];
    let run = leaking(&b, 3, exec(&b, &["--preserve-fds", "2"], &args)).ok();
    assert_eq!(descriptors(&run), [0, 1, 2, 3, 4], "{run}");
    let run = leaking(&b, 3, exec(&b, &["--preserve-fds=0"], &args)).ok();
    assert_eq!(descriptors(&run), [0, 1, 2], "{run}");
}

fn a_working_directory_in_proc_self_fd_reaches_nothing() {
    let (b, _running) = up();
    fs::write(b.file("canary"), "untouched\n").unwrap();
    for n in 3..=23 {
        let cwd = format!("/proc/self/fd/{n}");
        let look = "cat canary ../canary ../../../etc/passwd; ls -a; pwd; true";
        let by_flag = sh(&b, &["--cwd", &cwd], look);
        let by_file = with_file(&b, json!({"cwd": cwd, "args": ["sh", "-c", look]}));
        for call in [by_flag, by_file] {
            let run = leaking(&b, 20, call).output();
            assert!(
                !run.out.contains("untouched") && !run.out.contains("canary"),
                "fd {n}\n{run}"
            );
            refused(&run, &[&cwd]);
        }
        // Nor is a program found there.
        let program = format!("{cwd}/canary");
        let run = leaking(&b, 20, exec(&b, &[], &[&program])).output();
        refused(&run, &[&program]);
    }
}

const NAMESPACES: [&str; 8] = ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"];

/// The namespaces of a process of exec are those of the container's first one, all eight.
#[track_caller]
fn shares_every_namespace(b: &Bundle) {
    let init = b.pid();
    let of_init = NAMESPACES.map(|n| fs::read_link(format!("/proc/{init}/ns/{n}")).unwrap());
    let script = NAMESPACES.map(|n| format!("readlink /proc/self/ns/{n}"));
    let run = sh(b, &[], &script.join("; ")).ok();
    for (line, init) in run.lines().iter().zip(&of_init) {
        assert_eq!(line, &init.to_str().unwrap(), "{run}");
    }
    assert_eq!(run.lines().len(), NAMESPACES.len(), "{run}");
    // Its children would be in the same pid namespace, and all in the namespace that the container was made with.
    let run = sh(b, &[], "readlink /proc/self/ns/pid_for_children").ok();
    assert_eq!(run.out.trim_end(), of_init[0].to_str().unwrap());
}

fn exec_joins_every_namespace_of_the_container() {
    let (b, _running) = up();
    shares_every_namespace(&b);
    let (b, _running) = up_with(|b| {
        b.namespace("cgroup", None).namespace("time", None);
    });
    shares_every_namespace(&b);
    let (b, _running) = up_with(|b| {
        b.namespace("cgroup", None).namespace("time", None);
        b.user_namespace();
    });
    shares_every_namespace(&b);
    sh(&b, &[], "tr -s ' ' < /proc/self/uid_map; id -u; id -g")
        .ok()
        .prints(" 0 100000 65536\n0\n0\n");
    sh(&b, &["--user", "7:8"], "id -u; id -g")
        .ok()
        .prints("7\n8\n");
    let unmapped = exec(&b, &["--user", "65536"], &["true"]).output();
    refused(&unmapped, &["65536", "not mapped"]);
    // None at all but the mount namespace.
    let (b, _running) = up_with(|b| {
        for kind in ["pid", "network", "ipc", "uts"] {
            b.without_namespace(kind);
        }
        b.remove("/mounts/3");
    });
    shares_every_namespace(&b);
}

fn exec_joins_namespaces_that_the_container_joined() {
    let (first, _running) = up();
    let init = first.pid();
    let (second, _second) = up_with(|b| {
        for (kind, file) in [
            ("network", "net"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("pid", "pid"),
        ] {
            b.namespace(kind, Some(&format!("/proc/{init}/ns/{file}")));
        }
    });
    shares_every_namespace(&second);
    let same = |n| fs::read_link(format!("/proc/{init}/ns/{n}")).unwrap();
    let run = sh(&second, &[], "readlink /proc/self/ns/net").ok();
    assert_eq!(run.out.trim_end(), same("net").to_str().unwrap());
    // The file that it was joined by may be gone, and its first process too: the namespaces of the container count.
    let (third, _third) = up_with(|b| {
        let kept = b.file("net");
        fs::write(&kept, "").unwrap();
        let net = format!("/proc/{}/ns/net", second.pid());
        Cmd::new(&b.dir, "mount")
            .args(["--bind", &net])
            .arg(&kept)
            .ok();
        b.namespace("network", kept.to_str());
    });
    Cmd::new(&third.dir, "umount").arg(third.file("net")).ok();
    shares_every_namespace(&third);
}

fn exec_joins_a_user_and_a_pid_namespace_that_the_container_joined() {
    let (first, _running) = up_with(|b| {
        b.user_namespace();
    });
    let init = first.pid();
    let (second, _second) = up_with(|b| {
        b.give_root_to(100_000);
        for (kind, file) in [("user", "user"), ("pid", "pid")] {
            b.namespace(kind, Some(&format!("/proc/{init}/ns/{file}")));
        }
    });
    shares_every_namespace(&second);
}

fn without_a_mount_namespace_the_root_is_the_containers() {
    let (b, _running) = up_with(|b| {
        b.without_namespace("mount").set("/mounts", json!([]));
        fs::write(b.rootfs().join("etc/mark"), "here\n").unwrap();
    });
    exec(&b, &["--cwd", "/etc"], &["cat", "mark", "/etc/mark"])
        .ok()
        .prints("here\nhere\n");
}

fn exec_joins_the_cgroup_in_every_hierarchy() {
    let (b, _running) = up();
    let of_init = fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).unwrap();
    assert!(of_init.lines().any(|l| l.ends_with(&b.id)), "{of_init}");
    exec(&b, &[], &["cat", "/proc/self/cgroup"])
        .ok()
        .prints(&of_init);
    // The same while the process is in a cgroup namespace, seen from outside.
    let (b, _running) = up_with(|b| {
        b.namespace("cgroup", None);
    });
    exec(
        &b,
        &["--detach", "--pid-file", &b.text("pid")],
        &["sleep", "1000"],
    )
    .ok();
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(of(&b.read("pid")), of(&b.pid().to_string()));
}

fn exec_joins_the_cgroup_on_a_pure_v2_host() {
    let (b, _running) = up_with(|b| {
        b.in_pure_v2();
    });
    let of_init = fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).unwrap();
    assert!(of_init.contains(&format!("0::/{}\n", b.id)), "{of_init}");
    exec(&b, &[], &["cat", "/proc/self/cgroup"])
        .ok()
        .prints(&of_init);
}

fn a_cgroup_below_the_containers_is_entered() {
    let (b, _running) = up_with(|b| {
        b.in_pure_v2();
    });
    let below = host::controller("unified").join(&b.id).join("below");
    fs::create_dir(&below).unwrap();
    let run = exec(&b, &["--cgroup", "below"], &["cat", "/proc/self/cgroup"]).ok();
    assert!(run.out.contains(&format!("0::/{}/below\n", b.id)), "{run}");
    for bad in ["nothing", "../../escape", "..", "below/../.."] {
        let run = exec(&b, &["--cgroup", bad], &["true"]).output();
        refused(&run, &[]);
    }
}

fn the_seccomp_filter_applies_with_and_without_no_new_privs() {
    let script = "helper nr 110; grep Seccomp: /proc/self/status";
    for no_new_privileges in [false, true] {
        for capabilities in [&[][..], &["CAP_SYS_ADMIN", "CAP_KILL"]] {
            let (b, _running) = up_with(|b| {
                let rule =
                    json!({"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38});
                b.set("/process/noNewPrivileges", json!(no_new_privileges))
                    .capabilities(capabilities)
                    .set(
                        "/linux/seccomp",
                        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}),
                    );
            });
            for flags in [
                &[][..],
                &["--no-new-privs"],
                &["--user", "1000"],
                &["--cap", "CAP_CHOWN"],
            ] {
                sh(&b, flags, script).ok().prints("ENOSYS\nSeccomp:\t2\n");
            }
            let other =
                json!({"args": ["sh", "-c", script], "noNewPrivileges": !no_new_privileges});
            with_file(&b, other).ok().prints("ENOSYS\nSeccomp:\t2\n");
        }
    }
}

fn a_missing_program_and_a_missing_interpreter_are_named() {
    let (b, _running) = up();
    let run = exec(&b, &[], &["/bin/nothing"]).output();
    refused(&run, &["/bin/nothing", "no such file or directory"]);
    let run = exec(&b, &[], &["nothing"]).output();
    refused(&run, &["nothing"]);
    let err = run.err.to_lowercase();
    assert!(
        err.contains("executable file not found") || err.contains("no such file or directory"),
        "{run}"
    );
    let script = b.rootfs().join("bin/script");
    fs::write(&script, "#!/bin/nothing\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let run = exec(&b, &[], &["/bin/script"]).output();
    refused(&run, &["/bin/script", "no such file or directory"]);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    let run = exec(&b, &[], &["/bin/script"]).output();
    refused(&run, &["/bin/script", "permission denied"]);
    let run = exec(&b, &["--cwd", "/nowhere/at/all"], &["true"]).output();
    refused(&run, &["/nowhere/at/all", "no such file or directory"]);
}

fn a_failed_exec_leaves_the_container_as_it_was() {
    let (b, _running) = up();
    let socket = ConsoleSocket::bind(&b.file("console"));
    let console = socket.path.to_str().unwrap();
    for flags in [
        &["--pid-file", &b.text("pid")][..],
        &["--detach", "--pid-file", &b.text("pid")],
        &["--tty", "--detach", "--console-socket", console],
    ] {
        refused(
            &exec(&b, flags, &["/bin/nothing"]).output(),
            &["/bin/nothing"],
        );
    }
    assert!(!b.file("pid").exists());
    assert_eq!(b.status(), "running");
    for cgroup in b.cgroups() {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(procs, format!("{}\n", b.pid()), "{}", cgroup.display());
    }
    exec(&b, &[], &["echo", "still"]).ok().prints("still\n");
}

fn exec_in_a_stopped_or_unknown_container_fails() {
    let (b, running) = up();
    b.call(&["kill", &b.id, "KILL"]).ok();
    running.wait().ends(128 + 9);
    refused(
        &exec(&b, &[], &["true"]).output(),
        &[&b.id, "does not exist"],
    );
    let mut b = Bundle::new();
    b.args(&["true"]).launch("run", &["--keep"]).ok();
    assert_eq!(b.status(), "stopped");
    refused(
        &exec(&b, &[], &["true"]).output(),
        &[&b.id, "container not running"],
    );
}

fn exec_in_a_created_container_runs_before_its_first_process() {
    let mut b = Bundle::new();
    b.sh("echo ran > /tmp/ran; exec sleep 1000").create().ok();
    sh(&b, &[], "ls /tmp; echo in").ok().prints("in\n");
    shares_every_namespace(&b);
    assert_eq!(b.status(), "created");
    b.start().ok();
    wait_for("the process ran", || b.rootfs().join("tmp/ran").exists());
    sh(&b, &[], "ls /tmp").ok().prints("ran\n");
}

fn a_config_changed_after_create_has_no_effect() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env/-", json!("OF=the container"));
    });
    let mut changed = b.config.clone();
    changed["process"] = json!({"args": ["true"], "cwd": "/tmp", "env": ["PATH=/bin", "OF=the change"],
        "user": {"uid": 5, "gid": 5}, "capabilities": {"bounding": ["CAP_SYS_ADMIN"]}});
    changed["linux"]["namespaces"] = json!([]);
    let script = format!("pwd; echo $OF; id -u; {CAPABILITIES}");
    let expected = format!("/\nthe container\n0\n{}", sets(0, THREE, THREE, THREE, 0));
    for text in [changed.to_string(), "nonsense".into()] {
        fs::write(b.path().join("config.json"), text).unwrap();
        sh(&b, &[], &script).ok().prints(&expected);
        shares_every_namespace(&b);
    }
    fs::remove_file(b.path().join("config.json")).unwrap();
    sh(&b, &[], &script).ok().prints(&expected);
}

fn signals_are_forwarded() {
    let (b, _running) = up();
    for flags in [&[][..], &["--tty"]] {
        for signal in [1, 2, 3, 10, 12, 15] {
            let running = exec(&b, flags, &["helper", "signals"]).spawn();
            wait_for("the process prints up", || running.out().contains("up"));
            Cmd::new(&b.dir, "kill")
                .args([format!("-{signal}"), running.pid().to_string()])
                .ok();
            let run = running.wait();
            run.ends(40 + signal);
            assert!(run.out.contains(&format!("signal {signal}")), "{run}");
        }
    }
    assert_eq!(b.status(), "running");
}

fn a_scanner_sees_nothing_of_us_before_the_execve() {
    for user_namespace in [false, true] {
        let mut b = Bundle::new();
        if user_namespace {
            b.user_namespace();
        }
        b.args(&["helper", "scan", "/bin/busybox", "/bin/helper"]);
        let (input, hold) = std::io::pipe().unwrap();
        let input = fs::File::from(OwnedFd::from(input));
        let running = b.launch("run", &[]).stdin(input).spawn();
        wait_for("the scanner is up", || {
            running.out().contains("up") || !running.err().is_empty()
        });
        for n in 0..15 {
            let flags: &[&str] = if n % 3 == 0 { &["--tty"] } else { &[] };
            leaking(&b, 5, exec(&b, flags, &["true"])).ok();
        }
        // One that the scanner cannot miss, so that it has looked at something.
        exec(&b, &["--detach"], &["sleep", "1000"]).ok();
        drop(hold);
        running.wait().ok().prints("up\nseen some\n");
    }
}

/// FNV-1a, enough to see a change.
fn hash(path: &std::path::Path) -> u64 {
    let add = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    fs::read(path)
        .unwrap()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, add)
}

fn the_binary_cannot_be_overwritten_through_exec() {
    let mut b = Bundle::new();
    let copy = b.file("copy");
    host::copy(host::runtime(), &copy);
    let before = hash(&copy);
    let size = fs::metadata(&copy).unwrap().len().to_string();
    b.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"])
        .args(&["helper", "overwrite", &size]);
    // The runtime that the kernel runs again opens this log, and so waits until the attacker has caught it.
    let fifo = b.rootfs().join("tmp/fifo");
    Cmd::new(&b.dir, "mkfifo").arg(&fifo).ok();
    let script = b.rootfs().join("bin/script");
    fs::write(&script, "#!/proc/self/exe --log=/tmp/fifo\n").unwrap();
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    let interpreted = b.rootfs().join("bin/interpreted");
    host::copy(host::program_interpreted_by_its_parent(), interpreted);
    let (input, hold) = std::io::pipe().unwrap();
    let input = fs::File::from(OwnedFd::from(input));
    let running = b.launch("run", &[]).stdin(input).spawn();
    wait_for("the attacker is up", || {
        running.out().contains("up") || !running.err().is_empty()
    });
    // Only now, because a supervisor that runs the copy would keep it from being written to.
    b.runtime = copy.clone();
    for program in ["/proc/self/exe", "/bin/script", "/bin/interpreted"] {
        for _ in 0..3 {
            let caught = running.out().len();
            let args = [program, "--log=/tmp/fifo", "nonsense"];
            let run = exec(&b, &[], &args).spawn();
            // Bounded: where nothing can be caught, only the attack gets shorter.
            for _ in 0..100 {
                if running.out().len() > caught {
                    break;
                }
                std::thread::park_timeout(std::time::Duration::from_millis(2));
            }
            // From now on nobody who opens the FIFO for writing waits.
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
            let reader = rustix::fs::open(&fifo, flags, rustix::fs::Mode::empty()).unwrap();
            run.wait();
            drop(reader);
            assert_eq!(hash(&copy), before, "the binary was overwritten");
        }
    }
    drop(hold);
    let result = running.wait();
    assert!(result.ok().out.contains(" wrote 0 "), "{result}");
    assert_eq!(hash(&copy), before, "the binary was overwritten");
}

fn thirty_at_once_do_not_disturb_each_other() {
    let (b, _running) = up();
    let all: Vec<Running> = (1..=30)
        .map(|n| {
            let flags: &[&str] = if n % 5 == 0 { &["--tty"] } else { &[] };
            sh(&b, flags, &format!("echo {n}; cat /proc/1/comm; exit {n}")).spawn()
        })
        .collect();
    for (n, running) in (1..=30).zip(all) {
        let run = running.wait();
        run.ends(n);
        let text = run.out.replace('\r', "");
        assert_eq!(text, format!("{n}\nsleep\n"), "{run}");
    }
    assert_eq!(b.status(), "running");
    for cgroup in b.cgroups() {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(procs, format!("{}\n", b.pid()), "{}", cgroup.display());
    }
}
