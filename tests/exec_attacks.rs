//! What a hostile container or a careless caller could make of exec: terminals that are not the container's own, the
//! caller's keyring and terminal. Capabilities are in exec_identity.rs; descriptors and the binary itself in exec.rs.

use crate::attacks::{Victim, until_dropped};
use crate::attacks_userns::{BOTH, Whose};
use crate::exec_identity::{CAPABILITIES, THREE, sets};
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
    nothing_is_written_through_what_the_container_mounted_on_proc,
    a_false_null_device_of_the_container_is_not_given_as_stdio,
    a_working_directory_that_is_swapped_reaches_nothing,
    masked_and_read_only_paths_are_so_for_exec,
    the_callers_rights_do_not_reach_a_user_namespace,
    a_tty_of_exec_injects_nothing_into_the_callers_terminal,
    a_call_of_another_architecture_is_killed,
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
    let [root, user] = BOTH.map(Whose::bundle);
    let mut pure_v2 = Bundle::new();
    pure_v2.in_pure_v2();
    for mut b in [Bundle::new(), pure_v2, root, user] {
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

/// Bundles without a user namespace, and with one of root's and of an ordinary user's.
fn everybodys() -> [Bundle; 3] {
    let [root, user] = BOTH.map(Whose::bundle);
    [Bundle::new(), root, user]
}

fn nothing_is_written_through_what_the_container_mounted_on_proc() {
    for mut b in everybodys() {
        b.capabilities(&["CAP_SYS_ADMIN"])
            .mount("/tmp", "proc", "proc", &[])
            .waits();
        let _running = b.up();
        // Files that exec might write to or trust, for every process that it could be.
        let decoys = "mount -t tmpfs t /proc; cd /proc; for pid in self thread-self $(seq 1 400); do \
            mkdir -p $pid/attr/apparmor $pid/fd; for file in attr/exec attr/keycreate attr/apparmor/exec oom_score_adj setgroups \
            uid_map gid_map timens_offsets coredump_filter; do echo -n > $pid/$file; done; ln -s / $pid/root; done";
        b.call(&["exec", &b.id, "sh", "-c", decoys]).ok();
        let mut process = b.config["process"].clone();
        process["oomScoreAdj"] = json!(700);
        process["args"] = json!([
            "sh",
            "-c",
            "cat /tmp/self/oom_score_adj; find /proc -type f -size +0 | head -3; pwd; ls /proc | wc -l"
        ]);
        fs::write(b.file("process.json"), process.to_string()).unwrap();
        let call = b.call(&["exec", "--process", &b.text("process.json"), &b.id]);
        call.ok().prints("700\n/\n402\n");
    }
}

fn a_false_null_device_of_the_container_is_not_given_as_stdio() {
    for false_one in [
        "echo mine > /dev/null",
        "ln -s tty /dev/null",
        "mkfifo /dev/null",
    ] {
        let (b, _running) = up_with(|_| ());
        let script = format!("rm /dev/null; {false_one}");
        b.call(&["exec", &b.id, "sh", "-c", &script]).ok();
        let look = ["sh", "-c", "cat; stat -L -c %t:%T /proc/self/fd/0"];
        let run = b.call(&["exec", &b.id]).args(look).ok();
        run.prints("1:3\n");
    }
}

/// A process of the container swaps the directory with a link to the caller's descriptors.
fn a_working_directory_that_is_swapped_reaches_nothing() {
    for mut b in everybodys() {
        let victim = Victim::new(&b);
        b.sh("mkdir /tmp/a; ln -s /proc/self/fd/9 /tmp/b; exec helper swap /tmp/a /tmp/b");
        let (input, hold) = until_dropped();
        let running = b.launch("run", &[]).stdin(input).spawn();
        wait_for("the racer is up", || running.out().contains("up"));
        let helper = host::helper().to_str().unwrap();
        let mut succeeded = 0;
        for _ in 0..60 {
            let words = ["exec", "--cwd", "/tmp/a", &b.id, "sh", "-c", "pwd; ls -a"];
            let run = b
                .call(&words)
                .through([helper, "leak", "20", victim.path()])
                .output();
            assert!(!run.out.contains("canary"), "{run}");
            match run.status {
                0 => succeeded += 1,
                _ => drop(run.ends(255).says(&["/tmp/a"])),
            }
        }
        assert!(succeeded > 0, "no exec succeeded");
        drop(hold);
        running.wait().ok();
        victim.is_untouched();
    }
}

fn masked_and_read_only_paths_are_so_for_exec() {
    for mut b in everybodys() {
        fs::create_dir(b.rootfs().join("secrets")).unwrap();
        fs::write(b.rootfs().join("secrets/file"), "secret").unwrap();
        fs::write(b.rootfs().join("secret"), "secret").unwrap();
        b.capabilities(&["CAP_DAC_OVERRIDE", "CAP_NET_ADMIN"])
            .set("/linux/maskedPaths", json!(["/secret", "/secrets"]))
            .set("/linux/readonlyPaths", json!(["/proc/sys", "/tmp"]))
            .waits();
        let _running = b.up();
        let script = "cat /secret; ls -A /secrets; helper mkdir /secrets/x; helper mkdir /tmp/x; \
            helper open /proc/sys/net/ipv4/ip_default_ttl w; umount /secret 2> /dev/null; \
            mount -o remount,bind,rw /tmp 2> /dev/null; helper nested-proc /etc";
        let run = b.call(&["exec", &b.id, "sh", "-c", script]).output();
        run.prints("mkdir: EROFS\nmkdir: EROFS\nopen: EROFS\nunshare: ok\nmount: EPERM\n");
    }
}

/// Groups, capabilities and the session keyring, for the container's process and for one of exec.
fn the_callers_rights_do_not_reach_a_user_namespace() {
    let callers = Cmd::new(host::scratch(), host::helper());
    let callers = callers.arg("keyring").ok().out;
    let mut subordinate = Bundle::new();
    subordinate.subordinate();
    let [mut root, user] = BOTH.map(Whose::bundle);
    root.launcher = ["setpriv", "--groups", "4,27,999"]
        .map(String::from)
        .to_vec();
    for (mut b, groups) in [(root, true), (subordinate, true), (user, false)] {
        let look =
            format!("{CAPABILITIES}; grep ^Groups /proc/self/status; helper keyring; echo up");
        b.sh(&format!("{look}; exec sleep 1000"));
        let running = b.up();
        let exec = |flags: &[&str]| {
            let call = b
                .call(&["exec"])
                .args(flags)
                .args([&b.id, "sh", "-c", &look]);
            call.ok().out
        };
        let net_raw = THREE | 1 << 13;
        for (out, caps) in [
            (running.out(), THREE),
            (exec(&[]), THREE),
            (exec(&["--cap", "CAP_NET_RAW"]), net_raw),
        ] {
            assert!(out.starts_with(&sets(0, caps, caps, caps, 0)), "{out}");
            // A user who maps only his own id cannot drop his groups, and here he has none.
            assert!(!groups || out.contains("Groups:\t \n"), "{out}");
            assert!(!out.contains(&callers), "{out}");
            assert!(out.contains(&format!("_ses.{}", b.id)), "{out}");
        }
    }
}

fn a_tty_of_exec_injects_nothing_into_the_callers_terminal() {
    for mut b in everybodys() {
        let _running = b.waits().up();
        let (mut terminal, slave) = Terminal::open();
        let call = b.call(&["exec", "--tty", &b.id, "helper", "tiocsti"]);
        // What the caller's shell would read after the exec.
        let then = "\"$@\"; stty -icanon min 0 time 1; echo \"after: $(head -c 1)\"";
        let running = call
            .through(["setsid", "--ctty", "--wait", "sh", "-c", then, "sh"])
            .stdio(&slave)
            .spawn();
        drop(slave);
        let text = terminal.read_all().replace('\r', "");
        running.wait().ok();
        assert!(
            text.starts_with("tiocsti: ") || text.starts_with('x'),
            "{text:?}"
        );
        assert!(text.ends_with("after: \n"), "{text:?}");
    }
}

fn a_call_of_another_architecture_is_killed() {
    for mut b in everybodys() {
        let rule = json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]);
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rule});
        b.set("/linux/seccomp", profile).waits();
        let _running = b.up();
        let exec = |words: &[&str]| b.call(&["exec", &b.id, "helper"]).args(words).output();
        exec(&["nr", "110"]).ok().prints("EPERM\n");
        exec(&["nr", "0x4000006e"]).ends(128 + 31);
        exec(&["int80", "20"]).ends(128 + 31);
    }
}
