//! NOTIFY_SOCKET, through which a service manager learns that a service is ready (sd_notify(3)). The test is the
//! manager, and the process in the container is the service.

use runtime_tests::{Bundle, Cmd, host, json, wait_for};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;

runtime_tests::tests![
    start_passes_readiness_on_and_waits_for_it,
    run_passes_readiness_on_in_the_foreground,
    a_detached_run_waits_for_readiness,
    the_wait_ends_if_the_process_exits_without_readiness,
    waiting_for_readiness_can_be_interrupted,
    only_readiness_is_passed_on,
    an_ordinary_user_in_a_user_namespace_can_report_readiness,
    an_abstract_socket_works,
    a_manager_that_is_gone_changes_nothing,
    a_notify_socket_in_the_configuration_is_kept,
    the_process_can_change_nothing_in_the_directory,
    a_link_in_the_root_is_not_followed_out_of_it,
    a_link_in_the_state_directory_is_not_followed,
    exec_and_hooks_do_not_get_the_socket,
];

/// The service manager.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn of(b: &Bundle) -> Manager {
        let path = b.text("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        let patience = runtime_tests::harness::patience();
        socket.set_read_timeout(Some(patience)).unwrap();
        Manager { socket, path }
    }

    /// Returns the next message and the descriptors sent with it.
    #[track_caller]
    fn hears(&self) -> (String, Vec<OwnedFd>) {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let socket = self.socket.as_fd();
        // A socket with a timeout is not waited for again by the kernel after a signal.
        let n = rustix::io::retry_on_intr(|| recvmsg(socket, &mut parts, &mut control, flags))
            .expect("a message within a minute")
            .bytes;
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(list) = part {
                fds.extend(list);
            }
        }
        (String::from_utf8(text[..n].to_vec()).unwrap(), fds)
    }

    #[track_caller]
    fn hears_that_it_is_ready(&self, pid: i32) {
        let (text, fds) = self.hears();
        assert_eq!(text, format!("READY=1\nMAINPID={pid}\n"));
        assert!(fds.is_empty());
    }

    /// Receives the barrier that follows. Its descriptor is closed on drop.
    #[track_caller]
    fn hears_the_barrier(&self) {
        let (text, fds) = self.hears();
        assert_eq!((text.as_str(), fds.len()), ("BARRIER=1", 1));
    }

    #[track_caller]
    fn hears_nothing(&self) {
        self.socket.set_nonblocking(true).unwrap();
        assert!(self.socket.recv(&mut [0; 4096]).is_err());
    }
}

/// A container that reports readiness once the test creates `go` in its root.
fn service(b: &mut Bundle) -> Manager {
    b.sh("while ! [ -e /tmp/go ]; do :; done; helper notify READY=1; exec sleep 1000");
    Manager::of(b)
}

fn start_passes_readiness_on_and_waits_for_it() {
    let mut b = Bundle::new();
    let manager = service(&mut b);
    b.launch("create", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .ok();
    let start = b
        .call(&["start", &b.id])
        .env("NOTIFY_SOCKET", &manager.path)
        .spawn();
    b.wait_for_status("running");
    fs::write(b.rootfs().join("tmp/go"), "").unwrap();
    manager.hears_that_it_is_ready(b.pid());
    // It must not exit before the manager has handled the message.
    assert!(fs::exists(format!("/proc/{}", start.pid())).unwrap());
    manager.hears_the_barrier();
    start.wait().ok();
    assert_eq!(b.status(), "running");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn run_passes_readiness_on_in_the_foreground() {
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    b.sh("helper notify READY=1; exec sleep 1000");
    let running = b
        .launch("run", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .spawn();
    let (text, _) = manager.hears();
    assert_eq!(text, format!("READY=1\nMAINPID={}\n", b.pid()));
    b.kill("KILL").ok();
    running.wait().ends(128 + 9);
    // The same later, when the supervisor has given up most system calls.
    let manager = Manager {
        path: b.text("later"),
        socket: UnixDatagram::bind(b.file("later")).unwrap(),
    };
    let service = service_again(&mut b);
    let running = b
        .launch("run", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .spawn();
    wait_for("the supervisor is confined", || {
        let status = fs::read_to_string(format!("/proc/{}/status", running.pid()));
        status.unwrap_or_default().contains("Seccomp:\t2")
    });
    fs::write(b.rootfs().join(service), "").unwrap();
    let (text, _) = manager.hears();
    assert_eq!(text, format!("READY=1\nMAINPID={}\n", b.pid()));
    b.kill("KILL").ok();
    running.wait().ends(128 + 9);
    b.left_nothing();
}

fn service_again(b: &mut Bundle) -> &'static str {
    b.sh("while ! [ -e /tmp/go ]; do :; done; helper notify READY=1; exec sleep 1000");
    "tmp/go"
}

fn a_detached_run_waits_for_readiness() {
    let mut b = Bundle::new();
    let manager = service(&mut b);
    let run = b
        .launch("run", &["--detach"])
        .env("NOTIFY_SOCKET", &manager.path)
        .spawn();
    fs::write(b.rootfs().join("tmp/go"), "").unwrap();
    let (text, _) = manager.hears();
    assert_eq!(text, format!("READY=1\nMAINPID={}\n", b.pid()));
    assert!(fs::exists(format!("/proc/{}", run.pid())).unwrap());
    manager.hears_the_barrier();
    run.wait().ok();
    assert_eq!(b.status(), "running");
}

fn the_wait_ends_if_the_process_exits_without_readiness() {
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    b.args(&["true"]);
    b.launch("create", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .ok();
    b.call(&["start", &b.id])
        .env("NOTIFY_SOCKET", &manager.path)
        .ok();
    manager.hears_nothing();
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn waiting_for_readiness_can_be_interrupted() {
    for verb in ["start", "run"] {
        let mut b = Bundle::new();
        let manager = Manager::of(&b);
        b.sh("touch /tmp/up; exec sleep 1000");
        let call = match verb {
            "run" => b.launch("run", &["--detach"]),
            _ => {
                let create = b.launch("create", &[]);
                create.env("NOTIFY_SOCKET", &manager.path).ok();
                b.call(&["start", &b.id])
            }
        };
        let running = call.env("NOTIFY_SOCKET", &manager.path).spawn();
        wait_for("the process is up", || b.rootfs().join("tmp/up").exists());
        let pid = running.pid().to_string();
        Cmd::new(&b.dir, "kill").args(["-TERM", &pid]).ok();
        let status = running.wait().status;
        assert_eq!(status, 128 + 15, "{verb}");
        // Only the wait ends; the container runs on.
        assert_eq!(b.status(), "running");
        b.delete(&["--force"]).ok();
        b.left_nothing();
    }
}

fn only_readiness_is_passed_on() {
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    // Sends everything else that a manager would accept, then readiness in the middle of a message.
    b.args(&[
        "helper",
        "notify",
        "MAINPID=1",
        "STOPPING=1",
        "READY=0",
        "WATCHDOG=trigger",
        "XREADY=1",
        "STATUS=up\nREADY=1\nMAINPID=1",
    ]);
    let running = b
        .launch("run", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .spawn();
    let (text, _) = manager.hears();
    let pid = text.strip_prefix("READY=1\nMAINPID=").expect(&text);
    assert_ne!(pid, "1\n");
    running.wait().ok();
    manager.hears_nothing();
}

fn an_ordinary_user_in_a_user_namespace_can_report_readiness() {
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    b.user_namespace()
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .args(&["helper", "notify", "READY=1"]);
    let run = b.launch("run", &[]).env("NOTIFY_SOCKET", &manager.path);
    // The caller's umask must not make the socket inaccessible.
    run.through(["sh", "-c", "umask 077; exec \"$@\"", "sh"])
        .ok();
    assert!(manager.hears().0.starts_with("READY=1\n"));
    b.left_nothing();
}

fn an_abstract_socket_works() {
    use std::os::linux::net::SocketAddrExt;
    let mut b = Bundle::new();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&b.id).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    b.args(&["helper", "notify", "READY=1"]);
    let name = format!("@{}", b.id);
    b.launch("run", &[]).env("NOTIFY_SOCKET", &name).ok();
    let mut text = [0; 4096];
    let n = socket.recv(&mut text).unwrap();
    assert!(text[..n].starts_with(b"READY=1\nMAINPID="));
}

fn a_manager_that_is_gone_changes_nothing() {
    let mut b = Bundle::new();
    b.sh("helper notify READY=1; exit 3");
    for socket in [b.text("nobody"), "nonsense".into(), "/".into()] {
        let run = b.launch("run", &[]).env("NOTIFY_SOCKET", &socket).output();
        run.ends(3);
        assert_eq!(run.err, "", "{run}");
    }
    // An empty variable counts as unset.
    b.args(&["helper", "env"]);
    let run = b.launch("run", &[]).env("NOTIFY_SOCKET", "").ok();
    run.prints("PATH=/bin\nHOME=/root\n");
    b.left_nothing();
}

fn a_notify_socket_in_the_configuration_is_kept() {
    // Podman mounts a socket of its own and sets NOTIFY_SOCKET itself.
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    fs::create_dir(b.file("podman")).unwrap();
    let podman = UnixDatagram::bind(b.file("podman/notify.sock")).unwrap();
    let source = b.file("podman");
    b.bind(&source, "/run/notify", &[])
        .set(
            "/process/env/-",
            json!("NOTIFY_SOCKET=/run/notify/notify.sock"),
        )
        .args(&["helper", "notify", "READY=1"]);
    b.launch("run", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .ok();
    let mut text = [0; 4096];
    let n = podman.recv(&mut text).unwrap();
    assert_eq!(&text[..n], b"READY=1");
    manager.hears_nothing();
}

fn the_process_can_change_nothing_in_the_directory() {
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    b.capabilities(&["CAP_DAC_OVERRIDE", "CAP_FOWNER"]).sh(
        "for what in 'rm /run/notify/notify.sock' 'touch /run/notify/x' 'chmod 0 /run/notify'; do
            $what 2>/dev/null && echo \"did $what\"
        done; ls -A /run/notify; grep -o ' /run/notify ro,nosuid,nodev,noexec' /proc/self/mountinfo; echo $NOTIFY_SOCKET",
    );
    b.launch("run", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .ok()
        .prints("notify.sock\n /run/notify ro,nosuid,nodev,noexec\n/run/notify/notify.sock\n");
    b.left_nothing();
}

fn a_link_in_the_root_is_not_followed_out_of_it() {
    for link in ["run", "run/notify"] {
        let mut b = Bundle::new();
        let manager = Manager::of(&b);
        let victim = b.file("victim");
        fs::create_dir(&victim).unwrap();
        let at = b.rootfs().join(link);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(&victim, at).unwrap();
        b.args(&["true"]);
        b.launch("run", &[])
            .env("NOTIFY_SOCKET", &manager.path)
            .output();
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{link}");
        assert!(host::mounts_beneath(&b.dir).is_empty());
        b.left_nothing();
    }
}

fn a_link_in_the_state_directory_is_not_followed() {
    // Only root can write there, but what is removed with the container must be ours alone.
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    b.waits();
    b.launch("create", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .ok();
    let notify = b.state_dir().join(&b.id).join("notify");
    let victim = b.file("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("notify.sock"), "untouched").unwrap();
    fs::remove_dir(&notify).unwrap();
    symlink(&victim, &notify).unwrap();
    b.delete(&["--force"]).ok();
    assert_eq!(
        fs::read_to_string(victim.join("notify.sock")).unwrap(),
        "untouched"
    );
    b.left_nothing();
}

fn exec_and_hooks_do_not_get_the_socket() {
    let mut b = Bundle::new();
    let manager = Manager::of(&b);
    b.hook(
        "createRuntime",
        &format!("env | grep NOTIFY > {}; true", b.text("hook")),
    );
    b.waits();
    let running = b
        .launch("run", &[])
        .env("NOTIFY_SOCKET", &manager.path)
        .spawn();
    wait_for("the container is up", || running.out().contains("up"));
    b.call(&["exec", &b.id, "helper", "env"])
        .env("NOTIFY_SOCKET", &manager.path)
        .ok()
        .prints("PATH=/bin\nHOME=/root\n");
    assert_eq!(b.read("hook"), "");
    b.kill("KILL").ok();
    running.wait().ends(128 + 9);
    manager.hears_nothing();
}
