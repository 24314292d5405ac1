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
