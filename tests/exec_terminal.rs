//! Terminals, pid files and detached processes of `exec`, and the signals that it forwards.

use crate::exec::{exec, numbers, process_file, refused, sh, up, with_file};
use runtime_tests::terminal::{ConsoleSocket, Terminal};
use runtime_tests::{Cmd, Running, host, json, wait_for};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;

runtime_tests::tests![
    a_tty_under_the_callers_terminal,
    a_tty_without_a_terminal_of_the_caller,
    a_tty_follows_the_size_and_restores_the_callers_terminal,
    a_tty_brings_ten_megabytes_whole,
    a_detached_tty_goes_to_the_console_socket,
    a_detached_tty_needs_a_console_socket,
    the_pid_file_is_renamed_into_place,
    detaching_leaves_no_process_but_the_one_asked_for,
    signals_are_forwarded
];

/// The command with a new terminal as its controlling one.
fn under_terminal(command: Cmd) -> (Terminal, Running) {
    let (terminal, slave) = Terminal::open();
    terminal.resize(33, 111);
    let command = command.through(["setsid", "--ctty", "--wait"]);
    let running = command.stdio(&slave).spawn();
    (terminal, running)
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
