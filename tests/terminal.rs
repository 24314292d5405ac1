//! Terminals: inherited by `run`, sent over the console socket by `create`, and out of reach of containers without
//! one.
//! The test holds the master of a pty, as a user's terminal or an engine does.

use crate::attacks_userns::{BOTH, Whose};
use runtime_tests::terminal::{ConsoleSocket, Terminal};
use runtime_tests::{Bundle, json};
use std::fs;

runtime_tests::tests![
    run_gives_the_process_a_terminal_of_its_own,
    run_passes_input_and_output_through,
    run_drains_what_the_process_wrote_last,
    run_follows_the_size_of_the_callers_terminal,
    run_restores_the_callers_terminal,
    newlines_are_translated_once_on_the_way_to_the_caller,
    the_console_socket_gets_one_message_with_one_descriptor,
    the_process_of_create_talks_through_the_console_socket,
    the_console_size_of_the_specification_is_set,
    the_console_is_bound_and_is_the_terminal,
    the_terminal_belongs_to_the_user_of_the_process,
    the_terminal_works_in_a_user_namespace,
    detaching_with_a_terminal_needs_a_console_socket,
    a_console_socket_without_a_terminal_is_refused,
    a_console_socket_that_nobody_listens_on_is_an_error_that_names_it,
    without_a_terminal_the_caller_gets_no_injected_input,
    without_a_terminal_the_process_has_no_controlling_terminal,
];

/// Runs the bundle with a new pty as its controlling terminal.
fn under_terminal(b: &Bundle) -> (Terminal, runtime_tests::Running) {
    let (terminal, slave) = Terminal::open();
    terminal.resize(33, 111);
    let running = b
        .launch("run", &[])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    (terminal, running)
}

fn with_terminal(script: &str) -> Bundle {
    let mut b = Bundle::new();
    b.set("/process/terminal", json!(true)).sh(script);
    b
}

fn run_gives_the_process_a_terminal_of_its_own() {
    let b = with_terminal(
        "tty; for n in 0 1 2; do readlink /proc/self/fd/$n; done; helper ctty; ls -1 /dev/pts",
    );
    let (mut terminal, running) = under_terminal(&b);
    let text = terminal.read_all().replace('\r', "");
    running.wait().ok();
    assert_eq!(
        text,
        "/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n/dev/pts/0\nctty: ok\n0\nptmx\n"
    );
}

fn run_passes_input_and_output_through() {
    let b = with_terminal("echo ready; read line; echo \"got $line\"; exit 5");
    let (mut terminal, running) = under_terminal(&b);
    terminal.expect("ready");
    terminal.send("hello\n");
    terminal.expect("got hello");
    assert!(terminal.read_all().contains("hello"));
    running.wait().ends(5);
}

fn run_drains_what_the_process_wrote_last() {
    let b = with_terminal("seq 1 20000");
    for _ in 0..5 {
        let (mut terminal, running) = under_terminal(&b);
        let text = terminal.read_all().replace('\r', "");
        running.wait().ok();
        let expected: String = (1..=20000).map(|n| format!("{n}\n")).collect();
        assert!(
            text == expected,
            "{} of {} bytes came",
            text.len(),
            expected.len()
        );
    }
}

fn run_follows_the_size_of_the_callers_terminal() {
    let mut b = with_terminal("");
    let (mut terminal, running) = under_terminal(b.args(&["helper", "winch"]));
    terminal.expect("size 33 111");
    terminal.resize(50, 200);
    terminal.expect("size 50 200");
    running.wait().ok();
}

fn run_restores_the_callers_terminal() {
    let b = with_terminal("true");
    let (mut terminal, slave) = Terminal::open();
    let before = rustix::termios::tcgetattr(&slave).unwrap();
    let running = b
        .launch("run", &[])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    running.wait().ok();
    let after = rustix::termios::tcgetattr(&slave).unwrap();
    let flags = |t: &rustix::termios::Termios| {
        (
            t.input_modes,
            t.output_modes,
            t.local_modes,
            t.control_modes,
        )
    };
    assert_eq!(flags(&before), flags(&after));
    drop(slave);
    terminal.read_all();
}

fn newlines_are_translated_once_on_the_way_to_the_caller() {
    let b = with_terminal("printf 'a\\nb\\n'");
    let (mut terminal, running) = under_terminal(&b);
    assert_eq!(terminal.read_all(), "a\r\nb\r\n");
    running.wait().ok();
}

fn the_console_socket_gets_one_message_with_one_descriptor() {
    for spelling in ["--console-socket=", "--console-socket "] {
        let b = with_terminal("true");
        let socket = ConsoleSocket::bind(&b.file("console"));
        let flag = format!("{spelling}{}", socket.path.display());
        b.launch("create", &flag.split(' ').collect::<Vec<_>>())
            .ok();
        let (payload, fds, closed) = socket.receive();
        assert!(
            !payload.is_empty() && payload.len() < 4096,
            "payload of {} bytes",
            payload.len()
        );
        assert_eq!(fds.len(), 1);
        assert!(rustix::termios::isatty(&fds[0]), "not a terminal");
        assert!(
            rustix::pty::ptsname(&fds[0], Vec::new()).is_ok(),
            "not a pty's master"
        );
        assert!(closed, "the sender left the connection open");
        b.delete(&["--force"]).ok();
        b.left_nothing();
    }
}

fn the_process_of_create_talks_through_the_console_socket() {
    let b = with_terminal("echo ready; read line; echo \"got $line\"; helper ctty");
    let socket = ConsoleSocket::bind(&b.file("console"));
    let create = b
        .launch(
            "create",
            &["--console-socket", socket.path.to_str().unwrap()],
        )
        .ok();
    assert_eq!((create.out.as_str(), create.err.as_str()), ("", ""));
    let mut terminal = socket.terminal();
    b.start().ok();
    terminal.expect("ready");
    terminal.send("hello\n");
    terminal.expect("ctty: ok");
    assert!(terminal.text.contains("got hello"), "{:?}", terminal.text);
    terminal.read_all();
    b.wait_for_status("stopped");
    // The same for a detached `run`.
    let mut b = with_terminal("");
    b.args(&["helper", "winsize"]);
    let socket = ConsoleSocket::bind(&b.file("console"));
    b.launch(
        "run",
        &[
            "--detach",
            "--console-socket",
            socket.path.to_str().unwrap(),
        ],
    )
    .ok();
    assert_eq!(socket.terminal().read_all().trim_end(), "0 0");
}

fn the_console_size_of_the_specification_is_set() {
    let mut b = with_terminal("");
    b.set("/process/consoleSize", json!({"height": 25, "width": 132}))
        .args(&["helper", "winsize"]);
    let socket = ConsoleSocket::bind(&b.file("console"));
    b.launch(
        "create",
        &["--console-socket", socket.path.to_str().unwrap()],
    )
    .ok();
    let mut terminal = socket.terminal();
    b.start().ok();
    assert_eq!(terminal.read_all().trim_end(), "25 132");
}

fn the_console_is_bound_and_is_the_terminal() {
    let b = with_terminal(
        "stat -c '%t:%T' /dev/console; echo through > /dev/console; grep -c ' /dev/console ' /proc/self/mountinfo",
    );
    let (mut terminal, running) = under_terminal(&b);
    let text = terminal.read_all().replace('\r', "");
    running.wait().ok();
    assert_eq!(text, "88:0\nthrough\n1\n");
}

fn the_terminal_belongs_to_the_user_of_the_process() {
    let mut b = with_terminal(
        "stat -c '%u %g %a' /dev/pts/0; echo through > /dev/pts/0; echo x > /dev/stdout",
    );
    b.set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .capabilities(&[]);
    let (mut terminal, running) = under_terminal(&b);
    let text = terminal.read_all().replace('\r', "");
    running.wait().ok();
    assert_eq!(text, "1000 5 620\nthrough\nx\n");
}

fn the_terminal_works_in_a_user_namespace() {
    let mut b = with_terminal("tty; stat -c %u /dev/pts/0; echo through > /dev/console");
    let (mut terminal, running) = under_terminal(b.user_namespace());
    let text = terminal.read_all().replace('\r', "");
    running.wait().ok();
    assert_eq!(text, "/dev/pts/0\n0\nthrough\n");
}

fn detaching_with_a_terminal_needs_a_console_socket() {
    let b = with_terminal("true");
    b.create().fails(&["console", "socket"]);
    b.launch("run", &["--detach"])
        .output()
        .fails(&["console", "socket"]);
    b.left_nothing();
}

fn a_console_socket_without_a_terminal_is_refused() {
    let b = Bundle::new();
    let socket = ConsoleSocket::bind(&b.file("console"));
    b.launch(
        "create",
        &["--console-socket", socket.path.to_str().unwrap()],
    )
    .output()
    .fails(&["console", "socket"]);
    b.left_nothing();
}

fn a_console_socket_that_nobody_listens_on_is_an_error_that_names_it() {
    let b = with_terminal("true");
    let path = b.text("nobody");
    b.launch("create", &["--console-socket", &path])
        .output()
        .fails(&[&path, "no such file or directory"]);
    drop(ConsoleSocket::bind(&b.file("nobody")));
    b.launch("create", &["--console-socket", &path])
        .output()
        .fails(&[&path, "connection refused"]);
    fs::write(b.file("plain"), "").unwrap();
    let path = b.text("plain");
    b.launch("create", &["--console-socket", &path])
        .output()
        .fails(&[&path]);
    b.left_nothing();
}

fn without_a_terminal_the_caller_gets_no_injected_input() {
    let [root, user] = BOTH.map(Whose::bundle);
    for mut b in [Bundle::new(), root, user] {
        b.capabilities(&[]).args(&["helper", "tiocsti"]);
        let (mut terminal, running) = under_terminal(&b);
        let text = terminal.read_all().replace('\r', "");
        running.wait().ends(1);
        // EIO: the kernel has disabled TIOCSTI altogether. Either way nothing was injected.
        let answers = ["tiocsti: EPERM\n", "tiocsti: EIO\n", "tiocsti: ENOTTY\n"];
        assert!(answers.contains(&text.as_str()), "{text:?}");
        // Every kernel shows the guard itself: the caller's terminal is not the container's controlling terminal.
        let (mut terminal, running) = under_terminal(b.args(&["helper", "ctty"]));
        assert_eq!(terminal.read_all().replace('\r', ""), "ctty: ENXIO\n");
        running.wait().ends(1);
    }
}

fn without_a_terminal_the_process_has_no_controlling_terminal() {
    let mut b = Bundle::new();
    b.args(&["helper", "ctty"])
        .run()
        .ends(1)
        .prints("ctty: ENXIO\n");
}
