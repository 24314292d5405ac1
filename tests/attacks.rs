//! Attacks on the runtime by what it runs, by a bundle's root, and by whoever shares a namespace with it.
//! Each must have no effect outside the container; racers run for a bounded number of starts.

use runtime_tests::{Bundle, Cmd, Running, host, json, wait_for};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

runtime_tests::tests![
    a_process_of_the_same_pid_namespace_sees_nothing_of_us_before_the_execve,
    a_process_of_the_same_user_namespace_sees_nothing_of_us_before_the_execve,
    the_binary_cannot_be_overwritten_through_a_script_interpreter,
    the_binary_cannot_be_overwritten_through_an_elf_interpreter,
    the_binary_cannot_be_overwritten_as_the_process_itself,
    the_binary_cannot_be_overwritten_when_executed_by_descriptor,
    an_ordinary_users_binary_cannot_be_overwritten,
    a_working_directory_in_proc_self_fd_reaches_nothing,
    an_executable_in_proc_self_fd_reaches_nothing,
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
    labels_do_not_go_through_the_containers_proc,
    a_planted_state_directory_is_refused,
    a_link_in_the_state_directory_is_not_written_through,
    annotations_with_paths_are_only_text,
    without_pivot_root_the_old_root_is_unreachable,
    a_nested_user_namespace_cannot_mount_a_proc_without_the_masks,
    many_mappings_and_groups_arrive_whole,
    the_process_cannot_see_or_leave_through_leaked_directories,
    the_supervisor_confines_itself_with_a_filter,
];

/// A pipe that keeps a helper's loop going until its writer drops.
fn until_dropped() -> (File, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer)
}

/// A host directory with a file that nobody may change, and its check.
struct Victim(std::path::PathBuf);

impl Victim {
    fn new(b: &Bundle) -> Victim {
        let dir = b.file("victim");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("canary"), "untouched\n").unwrap();
        Victim(dir)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    #[track_caller]
    fn is_untouched(&self) {
        let entries: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(entries, ["canary"]);
        assert_eq!(
            fs::read_to_string(self.0.join("canary")).unwrap(),
            "untouched\n"
        );
        assert_eq!(
            fs::metadata(&self.0).unwrap().permissions().mode() & 0o7777,
            0o755
        );
    }
}

/// A container that runs the helper's `verb` until the writer drops; others can join its pid namespace.
fn attacker(b: &mut Bundle, verb: &[&str]) -> (Running, PipeWriter, String) {
    let mut args = vec!["helper"];
    args.extend(verb);
    b.args(&args);
    let (input, hold) = until_dropped();
    let running = b.launch("run", &[]).stdin(input).spawn();
    wait_for("the attacker is up", || {
        running.out().contains("up") || !running.err().is_empty()
    });
    assert!(running.out().contains("up"), "{}", running.err());
    let namespace = format!("/proc/{}/ns/pid", b.pid());
    (running, hold, namespace)
}

fn a_process_of_the_same_pid_namespace_sees_nothing_of_us_before_the_execve() {
    let mut first = Bundle::new();
    let (running, hold, namespace) = attacker(&mut first, &["scan", "/bin/busybox", "/bin/helper"]);
    for _ in 0..15 {
        let mut b = Bundle::new();
        b.namespace("pid", Some(&namespace))
            .args(&["true"])
            .capabilities(&[]);
        b.create().ok();
        b.start().ok();
        b.wait_for_status("stopped");
    }
    drop(hold);
    running.wait().ok().prints("up\nseen some\n");
}

/// Whoever is root of the user namespace that we join may trace what is in it, but not what still is the host's: here it
/// looks at us while we are held just before we become that root ourselves.
fn a_process_of_the_same_user_namespace_sees_nothing_of_us_before_the_execve() {
    host::program("strace");
    let mut first = Bundle::new();
    let all = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"];
    first.user_namespace().capabilities(&all);
    let (running, hold, namespace) = attacker(&mut first, &["scan", "/bin/busybox", "/bin/helper"]);
    let user = format!("/proc/{}/ns/user", first.pid());
    let mut b = Bundle::new();
    b.give_root_to(100_000)
        .namespace("pid", Some(&namespace))
        .namespace("user", Some(&user))
        .capabilities(&[]);
    let log = b.text("strace");
    let words = ["strace", "-f", "-qq", "-o", &log, "-e", "trace=setresgid"];
    let held = ["-e", "inject=setresgid:delay_enter=500000"];
    b.launch("run", &[]).through(held).through(words).ok();
    assert!(b.read("strace").contains("setresgid"), "nothing was held");
    drop(hold);
    running.wait().ok().prints("up\nseen some\n");
}

/// FNV-1a, enough to see a change.
fn hash(path: &Path) -> u64 {
    fs::read(path)
        .unwrap()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
        })
}

const ATTACKER: [&str; 3] = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"];

/// Runs containers from a copy of the runtime whose entry point makes the kernel run the runtime again, while a container
/// in the same pid namespace catches every such executable it sees and writes to it. A FIFO at /tmp/fifo, which `prepare`
/// may make the runtime open, holds the runtime until the attacker has caught it.
fn attack_on_the_binary(prepare: fn(&mut Bundle)) {
    attack_on_the_binary_called_by(&[], prepare);
}

/// The same, where the caller starts the runtime through `words`.
fn attack_on_the_binary_called_by(words: &[&str], prepare: fn(&mut Bundle)) {
    attack_on_the_binary_of(|_| {}, words, prepare);
}

/// The same, where `owner` makes the containers and the binary a user's.
fn attack_on_the_binary_of(owner: fn(&mut Bundle), words: &[&str], prepare: fn(&mut Bundle)) {
    let mut first = Bundle::new();
    owner(&mut first);
    first.capabilities(&ATTACKER);
    let copy = first.file("copy");
    host::copy(&first.runtime, &copy);
    let binary = fs::metadata(&first.runtime).unwrap();
    chown(&copy, Some(binary.uid()), Some(binary.gid())).unwrap();
    let size = fs::metadata(&copy).unwrap().len().to_string();
    let (running, hold, namespace) = attacker(&mut first, &["overwrite", &size]);
    let before = hash(&copy);
    for _ in 0..12 {
        assert_eq!(hash(&copy), before, "the binary was overwritten");
        let mut b = Bundle::new();
        owner(&mut b);
        b.runtime = copy.clone();
        b.namespace("pid", Some(&namespace)).capabilities(&ATTACKER);
        if b.config["linux"]["uidMappings"].is_array() {
            b.namespace("user", Some(&namespace.replace("/pid", "/user")));
        }
        let fifo = b.rootfs().join("tmp/fifo");
        Cmd::new(&b.dir, "mkfifo").arg(&fifo).ok();
        prepare(&mut b);
        let caught = running.out().len();
        let run = b.launch("run", &[]).through(words).spawn();
        // Bounded: where nothing can be caught, only the attack gets shorter.
        for _ in 0..100 {
            if running.out().len() > caught {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
        // From now on nobody who opens the FIFO for writing waits.
        let reader =
            rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        run.wait();
        drop(reader);
        assert_eq!(hash(&copy), before, "the binary was overwritten");
    }
    drop(hold);
    let result = running.wait();
    assert!(result.ok().out.contains(" wrote 0 "), "{result}");
    assert_eq!(hash(&copy), before, "the binary was overwritten");
}

fn the_binary_cannot_be_overwritten_through_a_script_interpreter() {
    attack_on_the_binary(|b| {
        let script = b.rootfs().join("bin/script");
        fs::write(&script, "#!/proc/self/exe --log=/tmp/fifo\n").unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        b.args(&["/bin/script"]);
    });
}

fn the_binary_cannot_be_overwritten_through_an_elf_interpreter() {
    let interpreted = host::program_interpreted_by_its_parent();
    assert!(interpreted.exists());
    attack_on_the_binary(|b| {
        host::copy(
            host::program_interpreted_by_its_parent(),
            b.rootfs().join("bin/interpreted"),
        );
        b.args(&["/bin/interpreted", "--log=/tmp/fifo", "nonsense"]);
    });
}

fn the_binary_cannot_be_overwritten_as_the_process_itself() {
    attack_on_the_binary(|b| {
        b.args(&["/proc/self/exe", "--log=/tmp/fifo", "nonsense"]);
    });
}

fn the_binary_cannot_be_overwritten_when_executed_by_descriptor() {
    // As which we execute ourselves, but this file is still the writable one.
    let helper = host::helper().to_str().unwrap();
    attack_on_the_binary_called_by(&[helper, "by-descriptor"], |b| {
        b.args(&["/proc/self/exe", "--log=/tmp/fifo", "nonsense"]);
    });
}

/// The user's own binary belongs to him, and so does all that his containers do on the host.
fn an_ordinary_users_binary_cannot_be_overwritten() {
    let owner: fn(&mut Bundle) = |b| {
        b.ordinary();
    };
    attack_on_the_binary_of(owner, &[], |b| {
        b.args(&["/proc/self/exe", "--log=/tmp/fifo", "nonsense"]);
    });
    attack_on_the_binary_of(owner, &[], |b| {
        let script = b.rootfs().join("bin/script");
        fs::write(&script, "#!/proc/self/exe --log=/tmp/fifo\n").unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        b.args(&["/bin/script"]);
    });
    attack_on_the_binary_of(owner, &[], |b| {
        let interpreted = b.rootfs().join("bin/interpreted");
        host::copy(host::program_interpreted_by_its_parent(), interpreted);
        b.args(&["/bin/interpreted", "--log=/tmp/fifo", "nonsense"]);
    });
}

/// Runs the bundle from a caller that leaked its descriptors 3 to 22 on a host directory.
#[track_caller]
fn with_leaks(b: &Bundle, victim: &Victim) -> runtime_tests::Output {
    let helper = host::helper().to_str().unwrap();
    b.launch("run", &[])
        .through([helper, "leak", "20", victim.path()])
        .output()
}

fn a_working_directory_in_proc_self_fd_reaches_nothing() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    for n in 3..=23 {
        b.set("/process/cwd", json!(format!("/proc/self/fd/{n}")))
            .sh("cat canary ../victim/canary ../../../etc/passwd; pwd; ls -la .; true");
        let run = with_leaks(&b, &victim);
        assert!(!run.out.contains("untouched"), "fd {n}\n{run}");
        if run.status != 0 {
            run.fails(&[&format!("/proc/self/fd/{n}")]);
        } else {
            // Then it is a directory of the container: nothing of the host is listed.
            assert!(
                !run.out.contains("canary") && !run.out.contains("config.json"),
                "fd {n}\n{run}"
            );
        }
        b.left_nothing();
    }
    victim.is_untouched();
}

fn an_executable_in_proc_self_fd_reaches_nothing() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    let program = victim.0.join("canary");
    fs::write(&program, "#!/bin/sh\necho escaped\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for n in 3..=23 {
        b.args(&[&format!("/proc/self/fd/{n}/canary")]);
        let run = with_leaks(&b, &victim);
        run.fails(&[&format!("/proc/self/fd/{n}/canary")]);
        assert!(!run.out.contains("escaped"), "{run}");
    }
    b.left_nothing();
}

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

fn a_planted_state_directory_is_refused() {
    let b = Bundle::new();
    let victim = Victim::new(&b);
    fs::create_dir(b.state_dir()).unwrap();
    symlink(victim.path(), b.state_dir().join(&b.id)).unwrap();
    b.run().fails(&[&b.id]);
    b.create().fails(&[&b.id]);
    victim.is_untouched();
    b.delete(&["--force"]);
    victim.is_untouched();
    let _ = fs::remove_file(b.state_dir().join(&b.id));
    b.left_nothing();
}

fn a_link_in_the_state_directory_is_not_written_through() {
    let b = Bundle::new();
    let victim = Victim::new(&b);
    b.create().ok();
    let dir = b.state_dir().join(&b.id);
    fs::copy(dir.join("state.json"), b.file("valid")).unwrap();
    fs::remove_file(dir.join("state.json")).unwrap();
    symlink(b.file("valid"), dir.join("state.json")).unwrap();
    b.call(&["state", &b.id]).output().fails(&["state"]);
    for entry in fs::read_dir(&dir)
        .unwrap()
        .flatten()
        .filter(|e| e.file_type().unwrap().is_file())
    {
        fs::remove_file(entry.path()).unwrap();
        symlink(victim.0.join("canary"), entry.path()).unwrap();
    }
    // Not even read through, when what is there would do as a state.
    b.call(&["state", &b.id]).output().ends(1);
    b.start();
    b.kill("KILL");
    b.delete(&["--force"]);
    victim.is_untouched();
}

fn annotations_with_paths_are_only_text() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    b.set(
        "/annotations",
        json!({
            "../../escape": "../../escape",
            "run.oci.hooks.stdout": victim.0.join("canary"),
            "org.systemd.property.Description": "'x'",
            "run.oci.keep_original_groups": "1"
        }),
    );
    b.run_ok();
    victim.is_untouched();
    b.left_nothing();
}

fn without_pivot_root_the_old_root_is_unreachable() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    b.capabilities(&["CAP_SYS_CHROOT", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let canary = victim.0.join("canary");
    // The classic way out of a chroot: chroot deeper, then climb.
    b.sh(&format!("mkdir -p /tmp/deep; chroot /tmp/deep /bin/true 2>/dev/null; cd /; cat ../../../../..{0} {0} /proc/1/root{0}; ls /; true", canary.display()));
    let run = b.launch("run", &["--no-pivot"]).ok();
    assert!(!run.out.contains("untouched"), "{run}");
    assert_eq!(
        run.lines(),
        ["bin", "dev", "etc", "proc", "root", "sys", "tmp"]
    );
    victim.is_untouched();
    b.left_nothing();
}

fn a_nested_user_namespace_cannot_mount_a_proc_without_the_masks() {
    // The kernel allows it where a whole proc is visible; the host's own must not be, not even behind the moved root.
    for flags in [&[][..], &["--no-pivot"]] {
        let mut b = Bundle::new();
        b.capabilities(&[]).args(&["helper", "nested-proc", "/tmp"]);
        b.set(
            "/linux/maskedPaths",
            json!(["/proc/timer_list", "/proc/keys", "/proc/acpi", "/proc/scsi"]),
        );
        b.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/irq"]));
        // Where the host has one procfs over another, both.
        let stacked = "mount -t proc proc /proc && exec \"$@\"";
        for launcher in [&[][..], &["unshare", "--mount", "sh", "-c", stacked, "sh"]] {
            let run = b.launch("run", flags).through(launcher).output();
            run.ends(1).prints("unshare: ok\nmount: EPERM\n");
            b.left_nothing();
        }
    }
}

fn many_mappings_and_groups_arrive_whole() {
    for count in [4000, 9000] {
        let mut b = Bundle::new();
        let groups: Vec<u32> = (0..count).map(|n| 1_000_000 + n).collect();
        b.set("/process/user/additionalGids", json!(groups));
        let run = b.sh("grep Groups: /proc/self/status | wc -w").run();
        if run.status == 0 {
            run.prints(&format!("{}\n", count + 1));
        } else {
            // More than a runtime wants to take is an error, never a shorter list.
            assert!(count > 4096, "{run}");
            run.fails(&["process.user.additionalGids"]);
        }
    }
    // The kernel takes 340 mappings; one more must be an error, not a shorter map.
    let mut b = Bundle::new();
    b.user_namespace();
    let list: Vec<_> = (0..341)
        .map(|n| json!({"containerID": n * 2, "hostID": 100_000 + n, "size": 1}))
        .collect();
    b.set("/linux/uidMappings", json!(list))
        .run()
        .fails(&["uid"]);
    b.left_nothing();
    let list: Vec<_> = (0..3000)
        .map(|n| json!({"containerID": n * 2, "hostID": 100_000 + n, "size": 1}))
        .collect();
    b.set("/linux/uidMappings", json!(list))
        .run()
        .fails(&["uid"]);
    b.left_nothing();
}

fn the_process_cannot_see_or_leave_through_leaked_directories() {
    let mut b = Bundle::new();
    let victim = Victim::new(&b);
    b.sh("ls -l /proc/self/fd /proc/1/fd; cat /proc/self/fd/9/canary; for n in 3 4 5 6 7 8 9 10; do ls /proc/1/fd/$n/; done; true");
    let run = with_leaks(&b, &victim);
    assert!(
        !run.ok().out.contains("victim") && !run.out.contains("untouched"),
        "{run}"
    );
}

fn the_supervisor_confines_itself_with_a_filter() {
    let mut b = Bundle::new();
    let running = b.waits().up();
    let file = format!("/proc/{}/status", running.pid());
    wait_for("the supervisor has a filter", || {
        fs::read_to_string(&file)
            .unwrap()
            .contains("\nSeccomp:\t2\n")
    });
    b.delete(&["--force"]).ok();
    running.wait().ends(137);
}
