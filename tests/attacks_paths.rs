//! Paths that an image or a racer chooses: links, devices, masks, destinations and files of the image reach nothing outside
//! the root.

use crate::attacks::{Victim, until_dropped};
use runtime_tests::{Bundle, Cmd, host, json, wait_for};
use std::fs::{self};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

runtime_tests::tests![
    a_proc_that_is_a_symlink_is_refused,
    a_sys_that_is_a_symlink_is_refused,
    a_proc_mount_cannot_be_placed_outside_proc_by_a_link_in_the_middle,
    devices_are_not_made_through_a_symlinked_dev,
    links_of_dev_are_not_made_through_a_symlinked_dev,
    a_device_node_does_not_follow_a_link_of_its_name,
    masking_does_not_use_the_containers_null_device,
    masking_is_not_fooled_by_a_racer_on_dev_null,
    a_false_null_device_of_the_host_is_refused,
    a_masked_path_that_is_a_link_does_not_reach_the_host,
    the_console_does_not_follow_a_link,
    a_false_ptmx_is_refused,
    destinations_with_dots_stay_inside,
    symlinked_destinations_stay_inside,
    a_racer_on_a_mount_destination_reaches_nothing,
    a_racer_on_a_directory_that_we_make_reaches_nothing,
    a_copy_up_of_a_link_reaches_nothing,
    a_working_directory_behind_a_link_is_made_inside,
    a_passwd_file_of_the_image_cannot_hold_up_the_start,
    sysctls_do_not_go_through_the_containers_proc,
    labels_do_not_go_through_the_containers_proc
];

/// Replaces a directory of the root by a link.
fn link(b: &Bundle, name: &str, target: &str) {
    fs::remove_dir(b.rootfs().join(name)).unwrap();
    symlink(target, b.rootfs().join(name)).unwrap();
}

fn a_proc_that_is_a_symlink_is_refused() {
    let b = Bundle::new();
    fs::create_dir(b.rootfs().join("bad")).unwrap();
    link(&b, "proc", "/bad");
    b.run().fails(&["/proc"]);
    b.left_nothing();
}

fn a_sys_that_is_a_symlink_is_refused() {
    let b = Bundle::new();
    fs::create_dir(b.rootfs().join("bad")).unwrap();
    link(&b, "sys", "bad");
    b.run().fails(&["/sys"]);
    b.left_nothing();
}

fn a_proc_mount_cannot_be_placed_outside_proc_by_a_link_in_the_middle() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    symlink(victim.path(), b.rootfs().join("way")).unwrap();
    fs::create_dir(victim.0.join("proc")).unwrap();
    b.mount("/way/proc", "proc", "proc", &[])
        .args(&["cat", "/proc/self/mountinfo"]);
    let run = b.run();
    // Refused, or mounted where the link leads inside the root.
    let inside = format!(" {}/proc ", victim.path());
    assert!(
        run.status == 1 && run.err.contains("/way/proc") || run.out.contains(&inside),
        "{run}"
    );
    fs::remove_dir(victim.0.join("proc")).unwrap();
    victim.is_untouched();
}

/// A bundle without any mount on /dev.
fn without_dev_mount() -> Bundle {
    let mut b = Bundle::new();
    b.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    b
}

fn devices_are_not_made_through_a_symlinked_dev() {
    let b = without_dev_mount();
    let victim = Victim::new(&b);
    link(&b, "dev", victim.path());
    let run = b.run();
    victim.is_untouched();
    // Resolved inside the root it may work; on the host it must leave nothing.
    assert!(run.status == 0 || run.err.contains("/dev"), "{run}");
}

fn links_of_dev_are_not_made_through_a_symlinked_dev() {
    let b = without_dev_mount();
    let victim = Victim::new(&b);
    fs::write(victim.0.join("ptmx"), "mine\n").unwrap();
    let up = format!("{}{}", "../".repeat(20), &victim.path()[1..]);
    link(&b, "dev", &up);
    b.run();
    assert_eq!(fs::read_to_string(victim.0.join("ptmx")).unwrap(), "mine\n");
    fs::remove_file(victim.0.join("ptmx")).unwrap();
    victim.is_untouched();
}

fn a_device_node_does_not_follow_a_link_of_its_name() {
    let b = without_dev_mount();
    let victim = Victim::new(&b);
    for name in ["null", "zero", "ptmx", "fd", "console", "tty"] {
        symlink(victim.0.join("canary"), b.rootfs().join("dev").join(name)).unwrap();
    }
    b.run();
    victim.is_untouched();
    // The same in a user namespace, where nodes are binds and a bind's target is opened.
    let mut b = without_dev_mount();
    let victim = Victim::new(&b);
    for name in ["null", "zero", "ptmx", "fd", "tty"] {
        symlink(
            victim.0.join(format!("made-{name}")),
            b.rootfs().join("dev").join(name),
        )
        .unwrap();
    }
    // The victim belongs to the root of that namespace, so that only the lookup protects it.
    chown(&victim.0, Some(100_000), Some(100_000)).unwrap();
    b.user_namespace().run();
    victim.is_untouched();
    // A device of the specification with an owner: a link of that name does not hand it on.
    let mut b = without_dev_mount();
    let victim = Victim::new(&b);
    symlink(victim.0.join("canary"), b.rootfs().join("dev/mine")).unwrap();
    b.set(
        "/linux/devices",
        json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "uid": 77, "gid": 77}]),
    )
    .run();
    victim.is_untouched();
    let canary = fs::metadata(victim.0.join("canary")).unwrap();
    assert_eq!(canary.uid(), 0);
}

fn masking_does_not_use_the_containers_null_device() {
    let mut b = without_dev_mount();
    let victim = Victim::new(&b);
    fs::write(b.rootfs().join("secret"), "secret\n").unwrap();
    // The root brings a link where the null device is looked for.
    symlink("/proc/sys/kernel/hostname", b.rootfs().join("dev/null")).unwrap();
    b.set("/linux/maskedPaths", json!(["/secret", "/proc/timer_list"]));
    b.sh("stat -c '%F %t:%T' /secret; cat /secret; grep -c hostname /proc/self/mountinfo");
    let run = b.run();
    assert!(
        run.status != 0 && run.out.is_empty() || run.out == "character special file 1:3\n0\n",
        "{run}"
    );
    victim.is_untouched();
}

fn masking_is_not_fooled_by_a_racer_on_dev_null() {
    let mut b = without_dev_mount();
    fs::write(b.rootfs().join("secret"), "secret\n").unwrap();
    fs::write(b.rootfs().join("decoy"), "decoy\n").unwrap();
    symlink("/decoy", b.rootfs().join("dev/other")).unwrap();
    b.run_ok();
    let (input, hold) = until_dropped();
    let dev = b.rootfs().join("dev");
    let racer = Cmd::new(&b.dir, host::helper())
        .arg("swap")
        .arg(dev.join("null"))
        .arg(dev.join("other"))
        .stdin(input)
        .spawn();
    wait_for("the racer is up", || racer.out().contains("up"));
    b.set("/linux/maskedPaths", json!(["/secret"]))
        .sh("stat -c '%F %t:%T' /secret; cat /secret");
    for _ in 0..100 {
        let run = b.run();
        // A start may fail under such a race, but what is mounted is the true null device.
        assert!(
            run.status == 1 && run.out.is_empty() || run.out == "character special file 1:3\n",
            "{run}"
        );
    }
    drop(hold);
    racer.wait().ok();
}

fn a_false_null_device_of_the_host_is_refused() {
    let mut b = Bundle::new();
    fs::write(b.rootfs().join("secret"), "secret\n").unwrap();
    let decoy = b.text("decoy");
    fs::write(&decoy, "decoy\n").unwrap();
    b.set("/linux/maskedPaths", json!(["/secret"]))
        .sh("cat /secret");
    // The caller's own /dev/null is a file.
    let script = format!("mount --bind {decoy} /dev/null && exec \"$@\"");
    b.launch("run", &[])
        .through(["unshare", "--mount", "sh", "-c", &script, "sh"])
        .output()
        .fails(&["/dev/null"])
        .prints("");
    b.left_nothing();
}

fn a_masked_path_that_is_a_link_does_not_reach_the_host() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    symlink(victim.path(), b.rootfs().join("way")).unwrap();
    symlink("../../../../../../../../../../..", b.rootfs().join("up")).unwrap();
    // Inside the root the links lead to directories of the container's, and those have to be hidden and protected.
    let inside = b.rootfs().join(&victim.path()[1..]);
    fs::create_dir_all(inside.join("below")).unwrap();
    fs::create_dir_all(b.rootfs().join("other/below")).unwrap();
    b.capabilities(&["CAP_DAC_OVERRIDE"]);
    b.set("/linux/maskedPaths", json!(["/way", "/up/other"]))
        .sh(&format!("ls {} /other", victim.path()))
        .run_ok()
        .prints(&format!("/other:\n\n{}:\n", victim.path()));
    b.set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!(["/way/below", "/up/other"]))
        .sh("for dir in way/below other; do helper mkdir /$dir/x; done; true")
        .run_ok()
        .prints("mkdir: EROFS\nmkdir: EROFS\n");
    victim.is_untouched();
    assert!(host::mounts_beneath(&b.dir).is_empty());
}

fn the_console_does_not_follow_a_link() {
    use runtime_tests::terminal::Terminal;
    let mut b = without_dev_mount();
    let victim = Victim::new(&b);
    symlink("/etc/passwd", b.rootfs().join("dev/console")).unwrap();
    symlink(victim.0.join("made"), b.rootfs().join("dev/tty")).unwrap();
    b.mount(
        "/dev/pts",
        "devpts",
        "devpts",
        &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    );
    b.set("/process/terminal", json!(true))
        .sh("test -f /etc/passwd && cat /etc/passwd; grep -c ' /etc/passwd ' /proc/self/mountinfo; test -c /dev/console && echo console");
    let (mut terminal, slave) = Terminal::open();
    let running = b
        .launch("run", &[])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    drop(slave);
    let text = terminal.read_all().replace('\r', "");
    let status = running.wait().status;
    assert!(
        status == 1 && !text.contains("root:x")
            || text == "root:x:0:0:root:/root:/bin/sh\n0\nconsole\n",
        "{text:?}"
    );
    victim.is_untouched();
}

fn a_false_ptmx_is_refused() {
    // What lies at /dev/pts is no devpts, and leads to the host's terminals by a device beside them or by a link.
    for link_to in [None, Some("/dev/host/ptmx")] {
        let mut b = Bundle::new();
        let pts = b.file("pts");
        fs::create_dir(&pts).unwrap();
        match link_to {
            // A ptmx that works, but makes its terminals in the devpts beside it.
            None => {
                fs::create_dir(pts.join("pts")).unwrap();
                let mknod = Cmd::new(&b.dir, "mknod").arg(pts.join("ptmx"));
                mknod.args(["c", "5", "2"]).ok();
            }
            Some(target) => symlink(target, pts.join("ptmx")).unwrap(),
        }
        b.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|m| m["destination"] != "/dev/pts");
        let host = Path::new("/dev/pts");
        if link_to.is_some() {
            b.bind(host, "/dev/host", &[]).bind(&pts, "/dev/pts", &[]);
        } else {
            b.bind(&pts, "/dev/pts", &[])
                .bind(host, "/dev/pts/pts", &[]);
        }
        b.set("/process/terminal", json!(true));
        let (terminal, slave) = runtime_tests::terminal::Terminal::open();
        let run = b.launch("run", &[]).stdin(slave).output();
        drop(terminal);
        run.fails(&["terminal"]);
        b.left_nothing();
    }
}

fn destinations_with_dots_stay_inside() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    let up = "/..".repeat(20);
    b.mount(
        &format!("{up}{}/made", victim.path()),
        "tmpfs",
        "tmpfs",
        &[],
    );
    b.mount("/a/../../../b", "tmpfs", "tmpfs", &[]).run();
    victim.is_untouched();
    assert!(!b.dir.join("b").exists() && !b.path().join("b").exists());
    // Where it is accepted, it lies at the same path inside the root.
    let mut b = Bundle::new();
    let run = b
        .mount("/../../../inside", "tmpfs", "tmpfs", &[])
        .args(&["cat", "/proc/self/mountinfo"])
        .run();
    assert!(
        run.status == 1 && run.err.contains("..") || run.out.contains(" /inside "),
        "{run}"
    );
}

fn symlinked_destinations_stay_inside() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    symlink(victim.path(), b.rootfs().join("absolute")).unwrap();
    symlink(
        format!("{}{}", "../".repeat(20), &victim.path()[1..]),
        b.rootfs().join("relative"),
    )
    .unwrap();
    let source = b.file("source");
    fs::create_dir(&source).unwrap();
    for base in ["/absolute", "/relative"] {
        b.mount(&format!("{base}/tmpfs"), "tmpfs", "tmpfs", &[]);
        b.bind(&source, &format!("{base}/bind"), &[]);
        b.mount(base, "tmpfs", "tmpfs", &[]);
    }
    b.run();
    victim.is_untouched();
}

fn a_racer_on_a_mount_destination_reaches_nothing() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    let volume = b.rootfs().join("vol");
    fs::create_dir_all(volume.join("a/deep")).unwrap();
    // A way out of the root for whoever looks it up without holding on to the root.
    symlink(victim.path(), volume.join("link")).unwrap();
    let targets =
        |dir: &Path| -> Vec<_> { (0..3).map(|n| dir.join(format!("deep/m{n}/x"))).collect() };
    for target in targets(&victim.0) {
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("marker"), "").unwrap();
    }
    // What is mounted on the victim shows in the namespace of the mounts only, whose root is still the host's in this hook.
    let reached = b.text("reached");
    b.hook(
        "createContainer",
        &format!(
            "for n in 0 1 2; do test -e {}/deep/m$n/x/marker || echo $n >> {reached}; done",
            victim.path()
        ),
    );
    let listed = || fs::read_dir(victim.0.join("deep")).unwrap().count();
    let (input, hold) = until_dropped();
    let racer = Cmd::new(&b.dir, host::helper())
        .arg("swap")
        .arg(volume.join("a"))
        .arg(volume.join("link"))
        .stdin(input)
        .spawn();
    wait_for("the racer is up", || racer.out().contains("up"));
    let mounts = b.config["mounts"].clone();
    for round in 0..200 {
        // Three that the victim has, for the mount; and three that nobody has, for the making of what is missing.
        b.config["mounts"] = mounts.clone();
        for n in 0..3 {
            b.mount(&format!("/vol/a/deep/m{n}/x"), "tmpfs", "tmpfs", &[]);
            let new = format!("/vol/a/deep/new{round}-{n}/x");
            b.mount(&new, "tmpfs", "tmpfs", &[]);
        }
        b.run();
        assert_eq!(b.read("reached"), "", "mounted on the host's tree");
        assert_eq!(listed(), 3, "made in the host's tree");
    }
    drop(hold);
    racer.wait().ok();
    fs::remove_dir_all(victim.0.join("deep")).unwrap();
    victim.is_untouched();
    assert!(host::mounts_beneath(&b.dir).is_empty());
}

fn a_racer_on_a_directory_that_we_make_reaches_nothing() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    let (fresh, link) = (b.rootfs().join("fresh"), b.rootfs().join("link"));
    b.mount("/fresh/x", "tmpfs", "tmpfs", &[]);
    let (input, hold) = until_dropped();
    // It can swap the two only from the moment on in which the missing one has been made.
    let racer = Cmd::new(&b.dir, host::helper())
        .arg("swap")
        .args([&fresh, &link])
        .stdin(input)
        .spawn();
    wait_for("the racer is up", || racer.out().contains("up"));
    for _ in 0..200 {
        // Neither follows a link, whichever of the two it is by now.
        for path in [&fresh, &link] {
            let _ = fs::remove_dir_all(path);
            let _ = fs::remove_file(path);
        }
        let _ = symlink(victim.path(), &link);
        b.run();
        victim.is_untouched();
    }
    drop(hold);
    racer.wait().ok();
}

fn a_copy_up_of_a_link_reaches_nothing() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    symlink(victim.path(), b.rootfs().join("way")).unwrap();
    let full = b.rootfs().join("full");
    fs::create_dir(&full).unwrap();
    symlink(victim.0.join("canary"), full.join("link")).unwrap();
    b.mount("/full", "tmpfs", "tmpfs", &["tmpcopyup"]).mount(
        "/way",
        "tmpfs",
        "tmpfs",
        &["tmpcopyup"],
    );
    let run = b
        .sh("readlink /full/link; cat /full/link /way/canary; cat /proc/self/mountinfo")
        .run_ok();
    assert!(!run.out.contains("untouched"), "{run}");
    // The link itself is copied, and the one in the way leads inside the root.
    assert_eq!(run.lines()[0], format!("{}/canary", victim.path()));
    assert!(run.out.contains(&format!(" {} ", victim.path())), "{run}");
    victim.is_untouched();
}

fn a_working_directory_behind_a_link_is_made_inside() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    symlink(victim.path(), b.rootfs().join("way")).unwrap();
    b.set("/process/cwd", json!("/way/made")).run();
    victim.is_untouched();
}

fn a_passwd_file_of_the_image_cannot_hold_up_the_start() {
    // Without HOME in the environment it is looked up there; opening a FIFO waits for a writer that never comes.
    let mut b = Bundle::new();
    let passwd = b.rootfs().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    Cmd::new(&b.dir, "mkfifo").arg(&passwd).ok();
    b.set("/process/env", json!(["PATH=/bin"]))
        .sh("echo $HOME")
        .run_ok()
        .prints("/\n");
    // Nor is a file of the host read, or one that has no end.
    let victim = Victim::new(&b);
    fs::write(
        victim.0.join("passwd"),
        "root:x:0:0:root:/escaped:/bin/sh\n",
    )
    .unwrap();
    for target in [&format!("{}/passwd", victim.path()), "/dev/zero"] {
        fs::remove_file(&passwd).unwrap();
        symlink(target, &passwd).unwrap();
        b.run_ok().prints("/\n");
    }
}

/// A createContainer hook binds an empty file over `path` of the container; returns what came to stand in it.
fn with_decoy(b: &mut Bundle, path: &str) -> (runtime_tests::Output, String) {
    let decoy = b.text("decoy");
    fs::write(&decoy, "").unwrap();
    let target = format!("{}{path}", b.rootfs().display());
    // The hook's namespace still shows the host's tree, in which the container's proc is already mounted.
    b.hook(
        "createContainer",
        &format!("mount --bind {decoy} {target} || mount --bind {decoy} {path}"),
    );
    b.set(
        "/hooks/createContainer/0/env",
        json!(["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]),
    );
    let run = b.run();
    (run, b.read("decoy"))
}

fn sysctls_do_not_go_through_the_containers_proc() {
    let mut b = Bundle::new();
    b.set(
        "/linux/sysctl",
        json!({"kernel.domainname": "real.example"}),
    )
    .args(&["helper", "uname"]);
    // Once by a mount of the configuration, which is there before any sysctl is written, and once more by a hook.
    let decoy = b.file("bound");
    fs::write(&decoy, "").unwrap();
    b.bind(&decoy, "/proc/sys/kernel/domainname", &[]);
    let (run, hooked) = with_decoy(&mut b, "/proc/sys/kernel/domainname");
    assert_eq!((b.read("bound"), hooked), (String::new(), String::new()));
    assert!(
        run.status == 1 || run.out.ends_with(" real.example\n"),
        "{run}"
    );
}

fn labels_do_not_go_through_the_containers_proc() {
    let mut b = Bundle::new();
    b.set("/process/apparmorProfile", json!("some-profile"));
    let (run, decoy) = with_decoy(&mut b, "/proc/self/attr/exec");
    // This kernel may have no AppArmor at all: then it must be an error, not a silent start.
    assert_eq!(decoy, "");
    run.ends(1);
}
