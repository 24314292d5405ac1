//! What a hostile container or a careless caller could make of exec: terminals that are not the container's own, the
//! caller's keyring and terminal. Capabilities are in exec_identity.rs; descriptors and the binary itself in exec.rs.

use runtime_tests::terminal::Terminal;
use runtime_tests::{Bundle, Cmd, Running, host, json, wait_for};
use std::fs;
use std::os::unix::fs::symlink;

runtime_tests::tests![
    a_false_ptmx_of_the_container_is_refused,
    a_console_that_is_a_link_is_not_followed,
    without_a_tty_the_callers_terminal_is_out_of_reach,
    the_session_keyring_is_not_the_callers,
    ids_of_a_process_file_that_are_none_are_refused,
    an_exec_shows_the_container_nothing_of_its_command_line_or_of_the_host,
    a_process_that_waits_for_start_shows_nothing_of_its_command_line,
];

#[track_caller]
fn up_with(change: impl FnOnce(&mut Bundle)) -> (Bundle, Running) {
    let mut b = Bundle::new();
    b.waits();
    change(&mut b);
    let running = b.up();
    (b, running)
}

fn a_false_ptmx_of_the_container_is_refused() {
    // The container has replaced its devpts since it was created.
    let host_pts = "/dev/host";
    for false_one in [
        "mknod /dev/pts/ptmx c 5 2",
        "ln -s /dev/host/ptmx /dev/pts/ptmx",
        "mkfifo /dev/pts/ptmx",
        "true",
    ] {
        let (b, _running) = up_with(|b| {
            b.capabilities(&["CAP_SYS_ADMIN", "CAP_MKNOD"]);
            b.bind(std::path::Path::new("/dev/pts"), host_pts, &[]);
        });
        let script = format!("umount /dev/pts && {false_one}");
        b.call(&["exec", &b.id, "sh", "-c", &script]).ok();
        let run = b.call(&["exec", "--tty", &b.id, "true"]).output();
        run.ends(255).says(&["terminal"]);
        assert_eq!(run.err.lines().count(), 1, "{run}");
        b.call(&["exec", &b.id, "echo", "still"])
            .ok()
            .prints("still\n");
    }
}

fn a_console_that_is_a_link_is_not_followed() {
    let (b, _running) = up_with(|_| ());
    fs::write(b.file("victim"), "untouched").unwrap();
    let link = "ln -sf /etc/passwd /dev/console; ln -sf /etc/passwd /dev/tty; true";
    b.call(&["exec", &b.id, "sh", "-c", link]).ok();
    let look = "tty; grep -c ' /etc/passwd ' /proc/self/mountinfo; stat -c %u /etc/passwd";
    let run = b
        .call(&["exec", "--tty", "--user", "7:8", &b.id, "sh", "-c", look])
        .ok();
    assert_eq!(run.out.replace('\r', ""), "/dev/pts/0\n0\n0\n");
    symlink(b.file("victim"), b.rootfs().join("etc/link")).unwrap();
    assert_eq!(b.read("victim"), "untouched");
}

fn without_a_tty_the_callers_terminal_is_out_of_reach() {
    let (b, _running) = up_with(|_| ());
    for (verb, answers) in [
        ("ctty", &["ctty: ENXIO\n"][..]),
        (
            "tiocsti",
            &["tiocsti: EPERM\n", "tiocsti: EIO\n", "tiocsti: ENOTTY\n"],
        ),
    ] {
        let (mut terminal, slave) = Terminal::open();
        let call = b.call(&["exec", &b.id, "helper", verb]);
        let running = call
            .through(["setsid", "--ctty", "--wait"])
            .stdio(&slave)
            .spawn();
        drop(slave);
        let text = terminal.read_all().replace('\r', "");
        assert!(answers.contains(&text.as_str()), "{text:?}");
        running.wait().ends(1);
    }
}

fn the_session_keyring_is_not_the_callers() {
    let (b, _running) = up_with(|_| ());
    let host = Cmd::new(&b.dir, host::helper()).arg("keyring").ok().out;
    let run = b.call(&["exec", &b.id, "helper", "keyring"]).ok();
    assert_ne!(run.out, host);
    assert!(run.out.contains(&format!("_ses.{}", b.id)), "{run}");
    // With --no-new-keyring, as at create.
    let mut b = Bundle::new();
    b.waits()
        .launch("run", &["--detach", "--no-new-keyring"])
        .ok();
    b.call(&["exec", &b.id, "helper", "keyring"])
        .ok()
        .prints(&host);
}

fn ids_of_a_process_file_that_are_none_are_refused() {
    let (b, _running) = up_with(|_| ());
    for (field, value) in [
        ("uid", json!(4_294_967_295u64)),
        ("gid", json!(4_294_967_295u64)),
        ("gid", json!(-1)),
        ("uid", json!("0")),
        ("uid", json!(1.5)),
        ("additionalGids", json!([-1])),
        ("additionalGids", json!([4_294_967_296u64])),
    ] {
        let mut process = b.config["process"].clone();
        process["user"][field] = value;
        fs::write(b.file("process.json"), process.to_string()).unwrap();
        let run = b
            .call(&["exec", "--process", &b.text("process.json"), &b.id])
            .output();
        run.ends(255).says(&[&format!("user.{field}")]);
    }
}

/// A container that looks at every other process in its pid namespace as long as the writer lives.
fn peeking(b: &mut Bundle, known: &[&str]) -> (Running, std::io::PipeWriter) {
    let mut args = vec!["helper", "peek"];
    args.extend(known);
    b.args(&args)
        .capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
    let (input, hold) = std::io::pipe().unwrap();
    let running = b
        .launch("run", &[])
        .stdin(std::os::fd::OwnedFd::from(input))
        .spawn();
    wait_for("it looks", || {
        running.out().contains("up") || !running.err().is_empty()
    });
    (running, hold)
}

fn an_exec_shows_the_container_nothing_of_its_command_line_or_of_the_host() {
    for pure_v2 in [false, true] {
        let mut b = Bundle::new();
        if pure_v2 {
            b.in_pure_v2();
        }
        let known = [
            "cmdline runtime init",
            "comm runtime",
            "cmdline true x",
            "comm true",
            "environ PATH=/bin HOME=/root PASSWORD=secret",
            // The container's own null device, on its way to become stdin.
            "fd /dev/null",
        ];
        let (running, hold) = peeking(&mut b, &known);
        for _ in 0..40 {
            let words = ["exec", "-e", "PASSWORD=secret", &b.id, "true", "x"];
            // As engines do, the caller leaks a directory of the host.
            let leak = [host::helper().to_str().unwrap(), "leak", "1", "/etc"];
            b.call(&words).through(leak).env("CALLERS", "secret").ok();
        }
        drop(hold);
        running.wait().ok().prints("up\n");
    }
}

fn a_process_that_waits_for_start_shows_nothing_of_its_command_line() {
    let mut first = Bundle::new();
    let known = ["cmdline runtime init", "comm runtime"];
    let (running, hold) = peeking(&mut first, &known);
    let namespace = format!("/proc/{}/ns/pid", first.pid());
    let mut b = Bundle::new();
    b.namespace("pid", Some(&namespace)).waits();
    b.launch("create", &[]).env("CALLERS", "secret").ok();
    let cmdline = fs::read(format!("/proc/{}/cmdline", b.pid())).unwrap();
    assert_eq!(String::from_utf8_lossy(&cmdline), "runtime init\0");
    let environ = fs::read(format!("/proc/{}/environ", b.pid())).unwrap();
    assert!(environ.iter().all(|byte| *byte == 0), "{environ:?}");
    b.delete(&["--force"]).ok();
    drop(hold);
    let output = running.wait();
    assert!(!output.ok().out.contains("cmdline"), "{output}");
    assert!(!output.out.contains("secret"), "{output}");
}
