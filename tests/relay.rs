//! The relay between the caller's terminal and the container's: no data is lost, neither side blocks the other by not
//! reading, and the caller's terminal is restored however the runtime exits.

use runtime_tests::terminal::{ConsoleSocket, Terminal};
use runtime_tests::{Bundle, Cmd, Running, json, wait_for};
use rustix::termios::{Termios, tcgetattr};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;

runtime_tests::tests![
    run_relays_ten_megabytes_unchanged,
    the_console_socket_relays_ten_megabytes_unchanged,
    a_reader_that_does_not_read_costs_no_cpu_time,
    a_container_that_does_not_read_costs_no_cpu_time,
    a_reader_that_does_not_read_does_not_delay_signals,
    a_signal_ends_the_wait_for_a_reader_that_does_not_read,
    a_reader_that_goes_away_does_not_end_the_process,
    the_callers_terminal_is_restored_after_every_signal,
    the_callers_terminal_is_restored_after_a_failed_start,
    the_size_comes_from_the_output_if_the_input_is_no_terminal,
    a_console_size_out_of_range_is_refused,
    control_keys_are_sent_to_the_container,
];

fn with_terminal(script: &str) -> Bundle {
    let mut b = Bundle::new();
    b.set("/process/terminal", json!(true)).sh(script);
    b
}

fn signal(b: &Bundle, running: &Running, number: i32) {
    let pid = running.pid().to_string();
    Cmd::new(&b.dir, "kill")
        .args([format!("-{number}"), pid])
        .ok();
}

const LAST: u32 = 1_400_000;

#[track_caller]
fn is_whole(text: &str) {
    let text = text.replace('\r', "");
    let expected: String = (1..=LAST).map(|n| format!("{n}\n")).collect();
    assert!(
        text == expected,
        "{} of {} bytes came",
        text.len(),
        expected.len()
    );
}

fn run_relays_ten_megabytes_unchanged() {
    let b = with_terminal(&format!("seq 1 {LAST}"));
    let (mut terminal, slave) = Terminal::open();
    let running = b
        .launch("run", &[])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    drop(slave);
    is_whole(&terminal.read_all());
    running.wait().ok();
    // To a pipe, which accepts more at once than a terminal.
    let run = b.launch("run", &[]).ok();
    is_whole(&run.out);
}

fn the_console_socket_relays_ten_megabytes_unchanged() {
    let b = with_terminal(&format!("seq 1 {LAST}"));
    let socket = ConsoleSocket::bind(&b.file("console"));
    let path = socket.path.to_str().unwrap();
    b.launch("create", &["--console-socket", path]).ok();
    let mut terminal = socket.terminal();
    b.start().ok();
    is_whole(&terminal.read_all());
    b.delete(&["--force"]).ok();
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let socket = ConsoleSocket::bind(&b.file("console"));
    let path = socket.path.to_str().unwrap();
    let script = format!("seq 1 {LAST}");
    let words = ["exec", "--tty", "--detach", "--console-socket", path];
    let args = [&words[..], &[&b.id, "sh", "-c", &script]].concat();
    b.call(&args).ok();
    is_whole(&socket.terminal().read_all());
}

/// The CPU time of a process, in hundredths of a second (proc(5), stat: utime and stime).
fn used(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The CPU time a process uses while another program uses one second.
#[track_caller]
fn uses_little(b: &Bundle, running: &Running) {
    let before = used(running.pid());
    Cmd::new(&b.dir, "sleep").arg("1").ok();
    let used = used(running.pid()) - before;
    assert!(used < 10, "{used} hundredths of a second");
}

fn is_full(pipe: &impl std::os::fd::AsFd) -> bool {
    // Checked at the writer's end: the pipe accepts no more.
    let mut fds = [rustix::event::PollFd::new(
        pipe,
        rustix::event::PollFlags::OUT,
    )];
    let none = rustix::event::Timespec::default();
    rustix::event::poll(&mut fds, Some(&none)).unwrap() == 0
}

/// Runs with a pipe as stdout until it is full, without reading from it. Returns the reader's end.
fn into_a_full_pipe(b: &Bundle) -> (Running, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let probe = writer.try_clone().unwrap();
    let call = b.launch("run", &[]).stdout(OwnedFd::from(writer));
    let running = call.spawn();
    wait_for("the pipe is full", || is_full(&probe));
    (running, reader)
}

fn a_reader_that_does_not_read_costs_no_cpu_time() {
    let b = with_terminal("exec yes");
    let (running, reader) = into_a_full_pipe(&b);
    uses_little(&b, &running);
    drop(reader);
    b.call(&["kill", &b.id, "KILL"]).ok();
    running.wait().ends(128 + 9);
}

fn a_container_that_does_not_read_costs_no_cpu_time() {
    // Its terminal buffers a few thousand bytes. The rest of the caller's input waits.
    let b = with_terminal("stty raw -echo; echo up; exec sleep 1000");
    let (input, mut output) = std::io::pipe().unwrap();
    let probe = output.try_clone().unwrap();
    let running = b.launch("run", &[]).stdin(OwnedFd::from(input)).spawn();
    wait_for("the container is up", || running.out().contains("up"));
    let feeder = std::thread::spawn(move || {
        use std::io::Write;
        // Ends when the reader closes its end.
        while output.write_all(&[b'x'; 4096]).is_ok() {}
    });
    wait_for("the pipe is full", || is_full(&probe));
    drop(probe);
    uses_little(&b, &running);
    b.call(&["kill", &b.id, "KILL"]).ok();
    running.wait().ends(128 + 9);
    feeder.join().unwrap();
}

const PATIENT: &str = "trap 'exit 7' TERM; yes & while :; do wait; done";

fn a_reader_that_does_not_read_does_not_delay_signals() {
    let b = with_terminal(PATIENT);
    let (running, mut reader) = into_a_full_pipe(&b);
    let init = b.pid();
    signal(&b, &running, 15);
    wait_for("the process has exited", || {
        b.call(&["state", &b.id])
            .output()
            .out
            .contains("\"stopped\"")
    });
    assert!(runtime_tests::host::children_of(running.pid()).contains(&(init, 'Z')));
    // What it wrote before can still be read, then end-of-file.
    let in_pipe = rustix::io::ioctl_fionread(&reader).unwrap();
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    let came = text.len() as u64;
    assert!(
        came > in_pipe,
        "{came} bytes arrived, {in_pipe} of them from the pipe"
    );
    running.wait().ends(7);
    b.left_nothing();
}

fn a_signal_ends_the_wait_for_a_reader_that_does_not_read() {
    let b = with_terminal(PATIENT);
    let (running, reader) = into_a_full_pipe(&b);
    signal(&b, &running, 15);
    wait_for("the process has exited", || {
        b.call(&["state", &b.id])
            .output()
            .out
            .contains("\"stopped\"")
    });
    uses_little(&b, &running);
    signal(&b, &running, 15);
    running.wait().ends(7);
    drop(reader);
    b.left_nothing();
}

fn a_reader_that_goes_away_does_not_end_the_process() {
    let b = with_terminal("seq 1 100000; exit 3");
    let (running, reader) = into_a_full_pipe(&b);
    drop(reader);
    running.wait().ends(3);
    b.left_nothing();
}

fn modes(slave: &File) -> impl PartialEq + std::fmt::Debug + use<> {
    let t: Termios = tcgetattr(slave).unwrap();
    (
        t.input_modes,
        t.output_modes,
        t.local_modes,
        t.control_modes,
    )
}

fn the_callers_terminal_is_restored_after_every_signal() {
    for exec in [false, true] {
        for number in [1, 2, 3, 15] {
            let mut b = Bundle::new();
            let _running = exec.then(|| b.waits().up());
            let (mut terminal, slave) = Terminal::open();
            let before = modes(&slave);
            let call = match exec {
                true => b.call(&["exec", "--tty", &b.id, "helper", "signals"]),
                false => {
                    b.set("/process/terminal", json!(true));
                    b.args(&["helper", "signals"]).launch("run", &[])
                }
            };
            // Without --wait, setsid becomes the runtime, which then receives the signal.
            let running = call.through(["setsid", "--ctty"]).stdio(&slave).spawn();
            terminal.expect("up");
            assert_ne!(before, modes(&slave));
            signal(&b, &running, number);
            running.wait().ends(40 + number);
            assert_eq!(before, modes(&slave));
        }
    }
}

fn the_callers_terminal_is_restored_after_a_failed_start() {
    let mut missing = with_terminal("");
    missing.args(&["/bin/nothing"]);
    let mut broken = with_terminal("true");
    broken.mount("/nowhere", "nonsense", "none", &[]);
    let mut hook = with_terminal("true");
    hook.hook("createRuntime", "exit 1");
    for b in [missing, broken, hook] {
        let (_terminal, slave) = Terminal::open();
        let before = modes(&slave);
        let call = b.launch("run", &[]).through(["setsid", "--ctty"]);
        call.stdio(&slave).spawn().wait().ends(1);
        assert_eq!(before, modes(&slave));
        b.left_nothing();
    }
}

fn the_size_comes_from_the_output_if_the_input_is_no_terminal() {
    let mut b = with_terminal("");
    b.args(&["helper", "winsize"]);
    let (mut terminal, slave) = Terminal::open();
    terminal.resize(33, 111);
    let running = b
        .launch("run", &[])
        .stdout(slave.try_clone().unwrap())
        .spawn();
    drop(slave);
    assert_eq!(terminal.read_all(), "33 111\r\n");
    running.wait().ok();
}

fn a_console_size_out_of_range_is_refused() {
    for (name, size) in [
        ("height", json!({"height": 65536, "width": 1})),
        ("width", json!({"height": 1, "width": 65536})),
        ("width", json!({"height": 1, "width": -1})),
    ] {
        let mut b = with_terminal("true");
        b.set("/process/consoleSize", size)
            .run()
            .fails(&["process.consoleSize", name]);
        b.left_nothing();
    }
}

fn control_keys_are_sent_to_the_container() {
    // Ctrl-C at the caller's terminal interrupts the process in the container, not the runtime.
    let b =
        with_terminal("trap 'echo interrupted; exit 5' INT; echo up; while :; do sleep 1; done");
    let (mut terminal, slave) = Terminal::open();
    let call = b.launch("run", &[]).through(["setsid", "--ctty"]);
    let running = call.stdio(&slave).spawn();
    terminal.expect("up");
    terminal.send("\x03");
    terminal.expect("interrupted");
    running.wait().ends(5);
}
