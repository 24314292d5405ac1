//! Attacks on the runtime by what it runs, by a bundle's root, and by whoever shares a namespace with it.
//! Each must have no effect outside the container; racers run for a bounded number of starts.

use crate::attacks_userns::Whose;
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
    a_planted_state_directory_is_refused,
    a_link_in_the_state_directory_is_not_written_through,
    annotations_with_paths_are_only_text,
    without_pivot_root_the_old_root_is_unreachable,
    a_nested_user_namespace_cannot_mount_a_proc_without_the_masks,
    many_mappings_and_groups_arrive_whole,
    the_process_cannot_see_or_leave_through_leaked_directories,
    the_supervisor_confines_itself_with_a_filter
];

/// A pipe that keeps a helper's loop going until its writer drops.
pub fn until_dropped() -> (File, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer)
}

/// A host directory with a file that nobody may change, and its check.
pub struct Victim(pub std::path::PathBuf);

impl Victim {
    pub fn new(b: &Bundle) -> Victim {
        let dir = b.file("victim");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("canary"), "untouched\n").unwrap();
        Victim(dir)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    #[track_caller]
    pub fn is_untouched(&self) {
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
    let everybodys = [None, Some(Whose::Root), Some(Whose::User)];
    let cases = everybodys.map(|whose| [(whose, &[][..]), (whose, &["--no-pivot"])]);
    for (whose, flags) in cases.into_iter().flatten() {
        let mut b = whose.map_or_else(Bundle::new, Whose::bundle);
        b.capabilities(&[]).args(&["helper", "nested-proc", "/tmp"]);
        b.set(
            "/linux/maskedPaths",
            json!(["/proc/timer_list", "/proc/keys", "/proc/acpi", "/proc/scsi"]),
        );
        b.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/irq"]));
        // Where the host has one procfs over another, or something else over one, all.
        let stacked = "mount -t proc proc /proc && exec \"$@\"";
        let covered = "mount -t proc proc /mnt && mount -t tmpfs t /mnt && mount -t proc proc /mnt && exec \"$@\"";
        for script in ["exec \"$@\"", stacked, covered] {
            let launcher = ["unshare", "--mount", "sh", "-c", script, "sh"];
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
