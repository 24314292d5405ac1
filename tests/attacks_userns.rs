//! The attacks of attacks.rs and attacks_paths.rs on containers with a user namespace: once root's, which maps the
//! container's root to an unprivileged uid, and once an ordinary user's, where nobody has a privilege.

use crate::attacks::{Victim, until_dropped};
use runtime_tests::ordinary::UID;
use runtime_tests::terminal::Terminal;
use runtime_tests::{Bundle, Cmd, Output, Running, host, json, wait_for};
use std::fs;
use std::io::PipeWriter;
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;

runtime_tests::tests![
    an_id_mapped_bind_is_locked,
    a_bind_of_an_ordinary_user_is_locked,
    a_bind_of_root_of_a_user_namespace_is_locked,
    the_root_and_the_devices_are_locked,
    the_directory_of_the_notify_socket_is_locked,
    a_proc_or_sys_that_is_a_symlink_is_refused,
    devices_are_not_made_through_a_symlinked_dev,
    masking_is_not_fooled_by_a_racer_on_dev_null,
    a_masked_path_that_is_a_link_does_not_reach_the_host,
    read_only_paths_keep_the_flags_of_their_mounts,
    a_racer_on_a_mount_destination_reaches_nothing,
    destinations_with_dots_and_links_stay_inside,
    a_copy_up_of_a_link_reaches_nothing,
    a_console_that_is_a_link_is_not_followed,
    a_racer_on_the_console_mounts_nothing_else,
    a_false_ptmx_is_refused,
    sysctls_do_not_go_through_the_containers_proc,
    a_working_directory_and_an_executable_in_proc_self_fd_reach_nothing,
    without_pivot_root_the_old_root_is_unreachable,
];

/// Whose user namespace it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    Root,
    User,
}

pub const BOTH: [Whose; 2] = [Whose::Root, Whose::User];

impl Whose {
    pub fn bundle(self) -> Bundle {
        let mut b = Bundle::new();
        match self {
            Whose::Root => b.user_namespace(),
            Whose::User => b.ordinary(),
        };
        b
    }

    /// The container's root on the host.
    pub fn uid(self) -> u32 {
        match self {
            Whose::Root => 100_000,
            Whose::User => UID,
        }
    }

    /// Gives a file to the container's root, so that only the lookup protects it.
    pub fn own(self, path: &Path) {
        lchown(path, Some(self.uid()), Some(self.uid())).unwrap();
    }

    fn directory(self, path: &Path) {
        fs::create_dir_all(path).unwrap();
        self.own(path);
    }

    /// A victim that belongs to the container's root.
    fn victim(self, b: &Bundle) -> Victim {
        let victim = Victim::new(b);
        self.own(&victim.0);
        self.own(&victim.0.join("canary"));
        victim
    }

    /// A bundle without any mount on /dev.
    fn without_dev_mount(self) -> Bundle {
        let mut b = self.bundle();
        let mounts = b.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
        b
    }
}

/// Starts a process that swaps two names until the writer drops.
fn racer(b: &Bundle, one: &Path, other: &Path) -> (Running, PipeWriter) {
    let (input, hold) = until_dropped();
    let swap = Cmd::new(&b.dir, host::helper()).arg("swap");
    let racer = swap.args([one, other]).stdin(input).spawn();
    wait_for("the racer is up", || racer.out().contains("up"));
    (racer, hold)
}

/// Tries to undo what the host's mounts forbid at /to: its flags, and the mount that covers a file.
const UNLOCK: &str = "mount -o remount,bind,rw,exec /to; echo $?; echo x > /to/x; echo $?; umount /to/cover; echo $?; cat /to/cover/file; echo $?";

/// Mounts `source` with these flags, and a mount below it that covers a file, then runs the rest.
fn covered(b: &Bundle, flags: &str) -> [String; 6] {
    let m = b.text("source");
    let script = format!(
        "mount -t tmpfs t {m} && mkdir {m}/cover && echo hidden > {m}/cover/file && mount -t tmpfs t {m}/cover && chmod 777 {m} && mount -o remount,bind,{flags} {m} && exec \"$@\""
    );
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(String::from)
}

#[track_caller]
fn nothing_succeeded(run: &Output) {
    assert_eq!(run.out.lines().filter(|l| *l == "0").count(), 0, "{run}");
    assert_eq!(run.out.lines().count(), 4, "{run}");
}

/// Runs the attack as the container's process and as one of exec.
#[track_caller]
fn is_locked(b: &mut Bundle) {
    fs::create_dir(b.file("source")).unwrap();
    let call = b.sh(UNLOCK).launch("run", &[]);
    nothing_succeeded(&call.through(covered(b, "ro,noexec")).output());
    b.waits();
    let call = b.launch("run", &["--detach"]);
    call.through(covered(b, "ro,noexec")).ok();
    nothing_succeeded(&b.call(&["exec", &b.id, "sh", "-c", UNLOCK]).output());
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn an_id_mapped_bind_is_locked() {
    for own in [false, true] {
        let mut b = Whose::Root.bundle();
        b.capabilities(&["CAP_SYS_ADMIN"]);
        let n = b.config["mounts"].as_array().unwrap().len();
        let source = b.text("source");
        match own {
            false => b.mount("/to", "bind", &source, &["rbind", "ridmap"]),
            true => {
                let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
                b.mount("/to", "bind", &source, &["rbind"])
                    .set(&format!("/mounts/{n}/uidMappings"), map.clone())
                    .set(&format!("/mounts/{n}/gidMappings"), map)
            }
        };
        is_locked(&mut b);
    }
}

fn a_bind_of_an_ordinary_user_is_locked() {
    let mut b = Whose::User.bundle();
    b.capabilities(&["CAP_SYS_ADMIN"]);
    let source = b.text("source");
    b.mount("/to", "bind", &source, &["rbind"]);
    is_locked(&mut b);
}

fn a_bind_of_root_of_a_user_namespace_is_locked() {
    // With a user namespace of the container's own below that one, and without.
    for nested in [true, false] {
        let mut b = Whose::User.bundle();
        b.capabilities(&["CAP_SYS_ADMIN"]);
        let outer = ["unshare", "--user", "--map-root-user", "--mount"];
        b.launcher.extend(outer.map(String::from));
        match nested {
            true => b
                .set("/linux/uidMappings/0/hostID", json!(0))
                .set("/linux/gidMappings/0/hostID", json!(0)),
            false => b
                .without_namespace("user")
                .remove("/linux/uidMappings")
                .remove("/linux/gidMappings"),
        };
        let source = b.text("source");
        b.mount("/to", "bind", &source, &["rbind"]);
        fs::create_dir(b.file("source")).unwrap();
        let call = b.sh(UNLOCK).launch("run", &[]);
        nothing_succeeded(&call.through(covered(&b, "ro,noexec")).output());
        b.left_nothing();
    }
}

fn the_root_and_the_devices_are_locked() {
    for whose in BOTH {
        let mut b = whose.bundle();
        b.capabilities(&["CAP_SYS_ADMIN"]);
        let root = b.rootfs();
        fs::write(root.join("tmp/hidden"), "hidden\n").unwrap();
        let script = format!(
            "mount --bind {0} {0} && mount -t tmpfs -o mode=777 t {0}/tmp && mount -o remount,bind,ro,nodev {0} && mount --bind /dev /dev && mount -o remount,bind,nosuid,noexec /dev && exec \"$@\"",
            root.display()
        );
        b.sh("mount -o remount,bind,rw,dev /; echo $?; echo x > /made; echo $?; umount /tmp; echo $?; cat /tmp/hidden; echo $?; mount -o remount,bind,suid,exec /dev/null; echo $?");
        let call = b.launch("run", &[]);
        let run = call
            .through(["unshare", "--mount", "sh", "-c", &script, "sh"])
            .output();
        assert_eq!(run.lines(), ["1", "1", "1", "1", "1"], "{whose:?}: {run}");
        b.left_nothing();
    }
}

fn the_directory_of_the_notify_socket_is_locked() {
    for whose in BOTH {
        let mut b = whose.bundle();
        b.capabilities(&["CAP_SYS_ADMIN"]);
        let manager = b.text("manager");
        let _socket = std::os::unix::net::UnixDatagram::bind(&manager).unwrap();
        fs::create_dir_all(b.state_dir()).unwrap();
        let script = format!(
            "mount -t tmpfs -o mode=777,nosuid,nodev,noexec t {} && exec \"$@\"",
            b.state_dir().display()
        );
        // A bind of the same mount by the container would be locked as well.
        b.sh("grep -q ' /run/notify ' /proc/mounts && echo there; mount -o remount,bind,ro,nodev,noexec,suid /run/notify; echo $?; grep ' /run/notify ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1-4");
        let call = b.launch("run", &[]).env("NOTIFY_SOCKET", &manager);
        let run = call
            .through(["unshare", "--mount", "sh", "-c", &script, "sh"])
            .output();
        let expected = "there\n1\nro,nosuid,nodev,noexec\n";
        assert_eq!(run.out, expected, "{whose:?}: {run}");
    }
}

fn a_proc_or_sys_that_is_a_symlink_is_refused() {
    for whose in BOTH {
        for name in ["proc", "sys"] {
            let b = whose.bundle();
            whose.directory(&b.rootfs().join("bad"));
            fs::remove_dir(b.rootfs().join(name)).unwrap();
            symlink("/bad", b.rootfs().join(name)).unwrap();
            b.run().fails(&[&format!("/{name}")]);
            b.left_nothing();
        }
    }
}

fn devices_are_not_made_through_a_symlinked_dev() {
    for whose in BOTH {
        for absolute in [true, false] {
            let b = whose.without_dev_mount();
            let victim = whose.victim(&b);
            let target = match absolute {
                true => victim.path().to_owned(),
                false => format!("{}{}", "../".repeat(20), &victim.path()[1..]),
            };
            fs::remove_dir(b.rootfs().join("dev")).unwrap();
            symlink(target, b.rootfs().join("dev")).unwrap();
            b.run();
            victim.is_untouched();
        }
    }
}

fn masking_is_not_fooled_by_a_racer_on_dev_null() {
    for whose in BOTH {
        let mut b = whose.without_dev_mount();
        fs::write(b.rootfs().join("secret"), "secret\n").unwrap();
        fs::write(b.rootfs().join("decoy"), "decoy\n").unwrap();
        symlink("/decoy", b.rootfs().join("dev/other")).unwrap();
        b.run_ok();
        let dev = b.rootfs().join("dev");
        let (racer, hold) = racer(&b, &dev.join("null"), &dev.join("other"));
        b.set("/linux/maskedPaths", json!(["/secret"]))
            .sh("stat -c '%F %t:%T' /secret; cat /secret");
        for _ in 0..60 {
            let run = b.run();
            // A start may fail under such a race, but what is mounted is the true null device.
            assert!(
                run.status == 1 && run.out.is_empty() || run.out == "character special file 1:3\n",
                "{whose:?}: {run}"
            );
        }
        drop(hold);
        racer.wait().ok();
    }
}

fn a_masked_path_that_is_a_link_does_not_reach_the_host() {
    for whose in BOTH {
        let mut b = whose.bundle();
        let victim = whose.victim(&b);
        symlink(victim.path(), b.rootfs().join("way")).unwrap();
        let inside = b.rootfs().join(&victim.path()[1..]).join("below");
        fs::create_dir_all(&inside).unwrap();
        whose.own(&inside);
        b.set("/linux/maskedPaths", json!(["/way/below"]))
            .set("/linux/readonlyPaths", json!(["/way"]))
            .sh("cd /way && helper mkdir x; helper mkdir below/x; ls below; stat -c %a below")
            .run();
        let run = b.run();
        run.prints("mkdir: EROFS\nmkdir: EROFS\n1777\n");
        victim.is_untouched();
        assert!(host::mounts_beneath(&b.dir).is_empty());
    }
}

fn read_only_paths_keep_the_flags_of_their_mounts() {
    for whose in BOTH {
        let mut b = whose.bundle();
        b.mount("/tmp", "tmpfs", "t", &["nosuid", "nodev", "noexec"])
            .mount("/tmp/below", "tmpfs", "t", &["nosuid", "nodev"]);
        let list = ["/proc/sys", "/tmp", "/tmp", "/none", "/tmp/below"];
        b.capabilities(&["CAP_NET_ADMIN"]);
        b.set("/linux/readonlyPaths", json!(list)).sh(
            "helper mkdir /tmp/x; helper mkdir /tmp/below/x; helper open /proc/sys/net/ipv4/ip_default_ttl w; \
            while read -r _ dir _ flags _; do case $dir in /tmp) tmp=$flags;; /tmp/below) below=$flags;; esac; done < /proc/mounts; echo ${tmp%%,rel*} ${below%%,rel*}",
        );
        b.run_ok().prints(
            "mkdir: EROFS\nmkdir: EROFS\nopen: EROFS\nro,nosuid,nodev,noexec ro,nosuid,nodev\n",
        );
    }
}

fn a_racer_on_a_mount_destination_reaches_nothing() {
    for whose in BOTH {
        let mut b = whose.bundle();
        let victim = whose.victim(&b);
        let volume = b.rootfs().join("vol");
        let places = [volume.clone(), volume.join("a"), volume.join("a/deep")];
        places.iter().for_each(|dir| whose.directory(dir));
        symlink(victim.path(), volume.join("link")).unwrap();
        whose.directory(&victim.0.join("deep"));
        for n in 0..3 {
            let target = victim.0.join(format!("deep/m{n}"));
            whose.directory(&target);
            fs::write(target.join("marker"), "").unwrap();
        }
        let reached = b.text("reached");
        fs::write(&reached, "").unwrap();
        whose.own(Path::new(&reached));
        let deep = victim.0.join("deep");
        // This hook still sees the host's tree, with the container's mounts.
        b.hook(
            "createContainer",
            &format!(
                "for n in 0 1 2; do test -e {}/m$n/marker || echo $n >> {reached}; done",
                deep.display()
            ),
        );
        let (racer, hold) = racer(&b, &volume.join("a"), &volume.join("link"));
        let mounts = b.config["mounts"].clone();
        let mut succeeded = 0;
        for round in 0..80 {
            b.config["mounts"] = mounts.clone();
            for n in 0..3 {
                b.mount(&format!("/vol/a/deep/m{n}"), "tmpfs", "tmpfs", &[]);
                let new = format!("/vol/a/deep/new{round}-{n}/x");
                b.mount(&new, "tmpfs", "tmpfs", &[]);
            }
            succeeded += u32::from(b.run().status == 0);
            assert_eq!(b.read("reached"), "", "{whose:?}: mounted on the host");
            assert_eq!(fs::read_dir(&deep).unwrap().count(), 3, "{whose:?}");
        }
        assert!(succeeded > 0, "{whose:?}: no start succeeded");
        drop(hold);
        racer.wait().ok();
        fs::remove_dir_all(deep).unwrap();
        victim.is_untouched();
        assert!(host::mounts_beneath(&b.dir).is_empty());
    }
}

fn destinations_with_dots_and_links_stay_inside() {
    for whose in BOTH {
        let mut b = whose.bundle();
        let victim = whose.victim(&b);
        let up = format!("{}{}", "../".repeat(20), &victim.path()[1..]);
        symlink(victim.path(), b.rootfs().join("absolute")).unwrap();
        symlink(&up, b.rootfs().join("relative")).unwrap();
        whose.directory(&b.file("source"));
        for base in ["/absolute", "/relative", &format!("/{up}")] {
            b.mount(&format!("{base}/tmpfs"), "tmpfs", "tmpfs", &[]);
            b.bind(&b.file("source"), &format!("{base}/bind"), &[]);
            b.mount(base, "tmpfs", "tmpfs", &[]);
        }
        b.run();
        victim.is_untouched();
        assert!(host::mounts_beneath(&b.dir).is_empty());
    }
}

fn a_copy_up_of_a_link_reaches_nothing() {
    for whose in BOTH {
        let mut b = whose.bundle();
        let victim = whose.victim(&b);
        symlink(victim.path(), b.rootfs().join("way")).unwrap();
        whose.directory(&b.rootfs().join("full"));
        symlink(victim.0.join("canary"), b.rootfs().join("full/link")).unwrap();
        for path in ["/full", "/way"] {
            b.mount(path, "tmpfs", "tmpfs", &["tmpcopyup"]);
        }
        let run = b.sh("cat /full/link /way/canary; true").run();
        assert!(!run.out.contains("untouched"), "{whose:?}: {run}");
        victim.is_untouched();
    }
}

/// Runs the bundle on a terminal and returns what it prints.
fn on_a_terminal(b: &mut Bundle, script: &str) -> (i32, String) {
    b.set("/process/terminal", json!(true)).sh(script);
    let (mut terminal, slave) = Terminal::open();
    let call = b.launch("run", &[]);
    let running = call
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    drop(slave);
    let text = terminal.read_all().replace('\r', "");
    (running.wait().status, text)
}

/// A bundle with a devpts, and files of the root below it.
fn with_devpts(whose: Whose) -> Bundle {
    let mut b = whose.without_dev_mount();
    whose.directory(&b.rootfs().join("dev/pts"));
    b.mount(
        "/dev/pts",
        "devpts",
        "devpts",
        &["newinstance", "ptmxmode=0666", "mode=0620"],
    );
    b
}

const LOOK: &str =
    "grep -c ' /etc/passwd ' /proc/self/mountinfo; test -c /dev/console && echo console";

fn a_console_that_is_a_link_is_not_followed() {
    for whose in BOTH {
        let mut b = with_devpts(whose);
        symlink("/etc/passwd", b.rootfs().join("dev/console")).unwrap();
        let (status, text) = on_a_terminal(&mut b, LOOK);
        assert!(
            status == 1 && text.contains("terminal") || text == "0\nconsole\n",
            "{whose:?}: {status} {text:?}"
        );
    }
}

fn a_racer_on_the_console_mounts_nothing_else() {
    for whose in BOTH {
        let mut b = with_devpts(whose);
        let dev = b.rootfs().join("dev");
        fs::write(dev.join("console"), "").unwrap();
        symlink("/etc/passwd", dev.join("other")).unwrap();
        let (racer, hold) = racer(&b, &dev.join("console"), &dev.join("other"));
        let mut bound = 0;
        for _ in 0..40 {
            let (status, text) = on_a_terminal(&mut b, LOOK);
            // By the time it looks, the name may be the link again.
            assert!(
                status == 1 && text.contains("terminal") || text.starts_with("0\n"),
                "{whose:?}: {status} {text:?}"
            );
            bound += u32::from(text.starts_with("0\n"));
        }
        assert!(bound > 0, "{whose:?}: no start succeeded");
        drop(hold);
        racer.wait().ok();
    }
}

fn a_false_ptmx_is_refused() {
    for whose in BOTH {
        for link_to in [None, Some("/dev/host/ptmx")] {
            let mut b = whose.bundle();
            let pts = b.file("pts");
            whose.directory(&pts);
            match link_to {
                None => {
                    let mknod = Cmd::new(&b.dir, "mknod").arg(pts.join("ptmx"));
                    mknod.args(["c", "5", "2"]).ok();
                    whose.own(&pts.join("ptmx"));
                }
                Some(target) => symlink(target, pts.join("ptmx")).unwrap(),
            }
            let mounts = b.config["mounts"].as_array_mut().unwrap();
            mounts.retain(|m| m["destination"] != "/dev/pts");
            b.mount("/dev/host", "bind", "/dev/pts", &["rbind"])
                .bind(&pts, "/dev/pts", &[]);
            let (status, text) = on_a_terminal(&mut b, "true");
            assert!(
                status == 1 && text.contains("terminal"),
                "{whose:?}: {status} {text:?}"
            );
            b.left_nothing();
        }
    }
}

fn sysctls_do_not_go_through_the_containers_proc() {
    for whose in BOTH {
        let mut b = whose.bundle();
        let decoy = b.file("decoy");
        fs::write(&decoy, "").unwrap();
        whose.own(&decoy);
        let path = "/proc/sys/net/ipv4/ip_default_ttl";
        b.mount("/tmp", "proc", "proc", &[])
            .bind(&decoy, path, &[])
            .set("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "77"}))
            .args(&["cat", &path.replace("/proc", "/tmp")]);
        b.run_ok().prints("77\n");
        assert_eq!(b.read("decoy"), "", "{whose:?}");
    }
}

fn a_working_directory_and_an_executable_in_proc_self_fd_reach_nothing() {
    for whose in BOTH {
        let mut b = whose.bundle();
        let victim = whose.victim(&b);
        let helper = host::helper().to_str().unwrap();
        let leak = [helper, "leak", "20", victim.path()];
        for n in 3..=23 {
            let fd = format!("/proc/self/fd/{n}");
            b.set("/process/cwd", json!(fd))
                .sh("cat canary ../victim/canary; ls -a; true");
            let run = b.launch("run", &[]).through(leak).output();
            assert!(!run.out.contains("untouched"), "{whose:?} {n}: {run}");
            assert!(!run.out.contains("canary"), "{whose:?} {n}: {run}");
            b.set("/process/cwd", json!("/"))
                .args(&[&format!("{fd}/canary")]);
            let run = b.launch("run", &[]).through(leak).output();
            run.fails(&[&format!("{fd}/canary")]);
        }
        victim.is_untouched();
        b.left_nothing();
    }
}

fn without_pivot_root_the_old_root_is_unreachable() {
    for whose in BOTH {
        let mut b = whose.bundle();
        let victim = whose.victim(&b);
        let script = format!(
            "mkdir -p /tmp/deep; chroot /tmp/deep /bin/true 2>/dev/null; cd /; cat ../../..{0} {0} /proc/1/root{0}; ls /; helper mount /tmp proc",
            victim.0.join("canary").display()
        );
        b.capabilities(&["CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"]);
        b.waits().launch("run", &["--no-pivot", "--detach"]).ok();
        let run = b.call(&["exec", &b.id, "sh", "-c", &script]).output();
        assert!(!run.out.contains("untouched"), "{whose:?}: {run}");
        let there = [
            "bin",
            "dev",
            "etc",
            "proc",
            "root",
            "sys",
            "tmp",
            "mount: EPERM",
        ];
        assert_eq!(run.lines(), there, "{whose:?}");
        b.delete(&["--force"]).ok();
        victim.is_untouched();
        b.left_nothing();
    }
}
