//! What an image or a peer controls holds up nobody: files without an end, and sockets whose other end says nothing.

use runtime_tests::{Bundle, json};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

runtime_tests::tests![
    an_endless_passwd_file_gives_the_default_home,
    only_the_owner_may_connect_to_the_start_socket_whatever_the_umask,
    peers_that_say_nothing_hold_up_neither_start_nor_kill,
    a_peer_that_takes_no_connection_is_an_error_within_seconds,
    a_service_manager_that_reads_nothing_keeps_nobody_waiting,
    a_config_without_an_end_is_refused,
    a_fifo_in_a_checkpoint_keeps_nobody_waiting,
];

fn an_endless_passwd_file_gives_the_default_home() {
    let mut b = Bundle::new();
    b.set("/process/env", json!(["PATH=/bin"]))
        .sh("echo $HOME; exec sleep 1000");
    let endless = File::create(b.rootfs().join("etc/passwd")).unwrap();
    endless.set_len(1 << 40).unwrap();
    b.create().ok();
    b.start().ok();
    let exec = b.call(&["exec", &b.id, "sh", "-c", "echo $HOME"]);
    exec.deadline(20).ok().prints("/\n");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

/// A connection to the socket on which the created container waits for `start`.
fn connect(b: &Bundle) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let socket = socket.unwrap();
    let address = SocketAddrUnix::new(b.state_dir().join(&b.id).join("start")).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    socket
}

fn only_the_owner_may_connect_to_the_start_socket_whatever_the_umask() {
    for umask in ["0000", "0022", "0077"] {
        let b = Bundle::new();
        let script = format!("umask {umask}; exec \"$@\"");
        b.launch("create", &[])
            .through(["sh", "-c", &script, "sh"])
            .ok();
        let socket = b.state_dir().join(&b.id).join("start");
        let mode = socket.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "umask {umask}");
        b.start().ok();
        b.delete(&["--force"]).ok();
    }
}

fn peers_that_say_nothing_hold_up_neither_start_nor_kill() {
    for peers in [1, 3, 6] {
        let mut b = Bundle::new();
        b.sh("exit 7");
        b.create().ok();
        let silent: Vec<OwnedFd> = (0..peers).map(|_| connect(&b)).collect();
        // One that leaves again without a word.
        drop(connect(&b));
        b.call(&["start", &b.id]).deadline(20).ok();
        b.wait_for_status("stopped");
        drop(silent);
        b.delete(&[]).ok();

        let b = Bundle::new();
        b.create().ok();
        let silent: Vec<OwnedFd> = (0..peers).map(|_| connect(&b)).collect();
        b.kill("TERM").ok();
        b.wait_for_status("stopped");
        drop(silent);
        b.delete(&[]).ok();
        b.left_nothing();
    }
}

/// A socket that listens and takes nobody; who waits for a place is in the second.
fn full(b: &Bundle, name: &str) -> (OwnedFd, Vec<OwnedFd>) {
    let socket = |flags| {
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    };
    let listener = socket(SocketFlags::CLOEXEC);
    let address = SocketAddrUnix::new(b.file(name)).unwrap();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let peer = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        if rustix::net::connect(&peer, &address).is_err() {
            return (listener, waiting);
        }
        waiting.push(peer);
    }
}

fn a_peer_that_takes_no_connection_is_an_error_within_seconds() {
    let start = |change: &dyn Fn(&mut Bundle), flags: &[&str]| {
        let mut b = Bundle::new();
        let held = full(&b, "peer");
        change(&mut b);
        let flags: Vec<String> = flags
            .iter()
            .map(|flag| flag.replace("PEER", &b.text("peer")))
            .collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let running = b.launch("create", &flags).deadline(25).spawn();
        (b, running, held)
    };
    let agent = |b: &mut Bundle| {
        let path = b.text("peer");
        let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
        let filter =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": rules});
        b.set("/linux/seccomp", filter);
    };
    let terminal = |b: &mut Bundle| {
        b.set("/process/terminal", true.into());
    };
    let nothing = |_: &mut Bundle| ();
    let all = [
        start(&agent, &[]),
        start(&terminal, &["--console-socket", "PEER"]),
        start(&nothing, &["--pidfd-socket", "PEER"]),
    ];
    for (b, running, _held) in all {
        running
            .wait()
            .fails(&["cannot connect to", "connection timed out"]);
        b.left_nothing();
    }
}

fn a_service_manager_that_reads_nothing_keeps_nobody_waiting() {
    let b = &mut Bundle::new();
    let kind = SocketType::DGRAM;
    let manager = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let manager = manager.unwrap();
    let address = SocketAddrUnix::new(b.file("manager")).unwrap();
    rustix::net::bind(&manager, &address).unwrap();
    let noise = std::os::unix::net::UnixDatagram::unbound().unwrap();
    noise.set_nonblocking(true).unwrap();
    while noise.send_to(b"noise", b.file("manager")).is_ok() {}
    b.sh("helper notify READY=1; exit 7");
    let run = b
        .launch("run", &[])
        .env("NOTIFY_SOCKET", &b.text("manager"));
    run.deadline(25)
        .output()
        .ends(7)
        .says(&["READY=1", "timed out"]);
    b.left_nothing();
}

fn a_config_without_an_end_is_refused() {
    let b = Bundle::new();
    let create = b.launch("create", &[]);
    let config = File::create(b.path().join("config.json")).unwrap();
    config.set_len(1 << 40).unwrap();
    create
        .deadline(20)
        .output()
        .fails(&["cannot read config.json", "file too large"]);
    b.left_nothing();
}

fn a_fifo_in_a_checkpoint_keeps_nobody_waiting() {
    let b = Bundle::new();
    std::fs::create_dir(b.file("images")).unwrap();
    let fifo = b.file("images").join("descriptors.json");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let restore = b.launch("restore", &["--image-path", &b.text("images")]);
    restore
        .deadline(20)
        .output()
        .fails(&["cannot restore", "descriptors.json"]);
    b.left_nothing();
}
