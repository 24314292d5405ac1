//! Device nodes and the links in /dev: the default set, those in config.json, and bind mounts in a user namespace.
//! Also the device rules of a v1 cgroup.

use runtime_tests::{Bundle, Cmd, Value, host, json};
use std::fs;

runtime_tests::tests![
    the_default_devices_exist,
    the_default_links_exist,
    the_default_devices_work,
    the_null_device_as_stdio_is_the_containers_own,
    there_is_no_console_without_a_terminal,
    devices_of_the_specification_are_made,
    a_fifo_needs_no_numbers,
    an_existing_device_of_the_same_kind_is_left_alone,
    something_else_in_the_place_of_a_device_is_refused_by_its_name,
    devices_are_bound_in_a_user_namespace,
    a_device_outside_dev_is_made,
    the_host_dev_can_be_bound_whole,
    ptmx_opens_a_pty_of_the_container,
    a_device_that_no_rule_allows_cannot_be_opened,
    a_device_that_a_rule_allows_can_be_opened,
    the_default_devices_are_allowed_whatever_the_rules_say,
    the_order_of_the_device_rules_matters,
];

const NODES: [(&str, &str); 6] = [
    ("null", "1:3"),
    ("zero", "1:5"),
    ("full", "1:7"),
    ("random", "1:8"),
    ("urandom", "1:9"),
    ("tty", "5:0"),
];

const LIST: &str =
    "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u %g' /dev/$d; done";

fn the_default_devices_exist() {
    let mut b = Bundle::new();
    let expected: String = NODES
        .iter()
        .map(|(name, number)| format!("/dev/{name} character special file {number} 666 0 0\n"))
        .collect();
    b.sh(LIST).run_ok().prints(&expected);
}

fn the_default_links_exist() {
    let mut b = Bundle::new();
    b.sh("for l in fd stdin stdout stderr ptmx; do echo $l $(readlink /dev/$l); done");
    let run = b.run_ok();
    assert_eq!(
        run.lines(),
        [
            "fd /proc/self/fd",
            "stdin /proc/self/fd/0",
            "stdout /proc/self/fd/1",
            "stderr /proc/self/fd/2",
            "ptmx pts/ptmx"
        ]
    );
}

fn the_default_devices_work() {
    let mut b = Bundle::new();
    b.sh("echo x > /dev/null; head -c 3 /dev/zero | od -An -tx1; head -c 5 /dev/urandom | wc -c; echo x 2>&1 > /dev/full; echo end");
    let run = b.run_ok();
    assert_eq!(run.lines()[..2], [" 00 00 00", "5"], "{run}");
    assert!(
        run.err.contains("No space left") || run.out.contains("No space left"),
        "{run}"
    );
}

/// Otherwise the container's root could change the mode and the times of the host's node.
fn the_null_device_as_stdio_is_the_containers_own() {
    let script = "cat /dev/null > /dev/null; stat -L -c %d:%i:%t:%T /dev/null /proc/self/fd/0 /proc/self/fd/2 | sort -u | wc -l; echo x >&2";
    let mut b = Bundle::new();
    let line = |call: &str| {
        let all = format!("{call} < /dev/null 2> /dev/null");
        Cmd::new(host::scratch(), "sh").args(["-c", &all]).output()
    };
    b.sh(script).write();
    let runtime = host::runtime().display();
    let state = b.state_dir();
    let global = format!("{runtime} --root {}", state.display());
    line(&format!(
        "{global} run --bundle {} {}",
        b.path().display(),
        b.id
    ))
    .prints("1\n");
    b.waits();
    let _running = b.up();
    line(&format!("{global} exec {} sh -c '{script}'", b.id)).prints("1\n");
}

fn there_is_no_console_without_a_terminal() {
    let mut b = Bundle::new();
    // /dev/core exists if the kernel provides its target.
    let core = if fs::exists("/proc/kcore").unwrap() {
        "core\n"
    } else {
        ""
    };
    let rest = "fd\nfull\nnull\nptmx\npts\nrandom\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    b.sh("ls /dev").run_ok().prints(&format!("{core}{rest}"));
}

fn devices_of_the_specification_are_made() {
    let mut b = Bundle::new();
    b.set(
        "/linux/devices",
        json!([
            {"type": "c", "path": "/dev/mem2", "major": 1, "minor": 1, "fileMode": 0o640, "uid": 12, "gid": 34},
            {"type": "b", "path": "/dev/sub/disk", "major": 7, "minor": 300, "fileMode": 0o600},
            {"type": "u", "path": "/dev/unbuffered", "major": 1, "minor": 3, "fileMode": 0o666}
        ]),
    );
    b.sh("stat -c '%n %F %t:%T %a %u %g' /dev/mem2 /dev/sub/disk /dev/unbuffered")
        .run_ok()
        .prints(
            "/dev/mem2 character special file 1:1 640 12 34\n\
         /dev/sub/disk block special file 7:12c 600 0 0\n\
         /dev/unbuffered character special file 1:3 666 0 0\n",
        );
}

fn a_fifo_needs_no_numbers() {
    let mut b = Bundle::new();
    b.set(
        "/linux/devices",
        json!([{"type": "p", "path": "/dev/pipe", "fileMode": 0o622, "uid": 5, "gid": 6}]),
    );
    b.args(&["stat", "-c", "%F %a %u %g", "/dev/pipe"])
        .run_ok()
        .prints("fifo 622 5 6\n");
}

fn an_existing_device_of_the_same_kind_is_left_alone() {
    let mut b = Bundle::new();
    // Without a mount on /dev the nodes are created in the root itself, and the second run finds them.
    b.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| m["destination"] == "/proc");
    b.sh("stat -c '%t:%T' /dev/null").run_ok().prints("1:3\n");
    b.run_ok().prints("1:3\n");
}

fn something_else_in_the_place_of_a_device_is_refused_by_its_name() {
    let wanted =
        |kind: &str, path: &str| json!([{"type": kind, "path": path, "major": 1, "minor": 3}]);
    for (there, script) in [
        ("a regular file", "touch"),
        ("a directory", "mkdir"),
        ("the character device 1:5", "dev() { mknod $1 c 1 5; }; dev"),
        ("the block device 7:9", "dev() { mknod $1 b 7 9; }; dev"),
        ("another file", "mkfifo"),
    ] {
        let mut b = Bundle::new();
        let script = format!("{script} {}/etc/thing", b.rootfs().display());
        Cmd::new(&b.dir, "sh").args(["-c", &script]).ok();
        b.set("/linux/devices", wanted("c", "/etc/thing"));
        let words = ["make the device /etc/thing", there, "is in its place"];
        b.create().fails(&words);
        b.left_nothing();
    }
    // Equal ones may be there, also behind a link.
    let mut b = Bundle::new();
    let script = "mknod $0/etc/null c 1 3; ln -s null $0/etc/link; mkfifo $0/etc/fifo";
    let root = b.rootfs();
    Cmd::new(&b.dir, "sh").args(["-c", script]).arg(root).ok();
    for (kind, path) in [("c", "/etc/null"), ("c", "/etc/link"), ("p", "/etc/fifo")] {
        b.set("/linux/devices", wanted(kind, path)).run_ok();
    }
    // In a user namespace that of the host is bound.
    b.user_namespace()
        .set("/linux/devices", wanted("c", "/dev/zero"));
    b.create()
        .fails(&["/dev/zero", "the character device 1:5 is in its place"]);
    b.left_nothing();
}

fn devices_are_bound_in_a_user_namespace() {
    let mut b = Bundle::new();
    let expected: String = NODES
        .iter()
        .map(|(name, number)| format!("{name} {number}\n"))
        .collect();
    b.user_namespace().sh("for d in null zero full random urandom tty; do echo $d $(stat -c %t:%T /dev/$d); done; echo x > /dev/null");
    b.run_ok().prints(&expected);
    // A user namespace cannot create nodes, so devices in config.json are also bound from the host.
    b.set(
        "/linux/devices",
        json!([{"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11, "fileMode": 0o600}]),
    );
    b.args(&["stat", "-c", "%t:%T", "/dev/kmsg"])
        .run_ok()
        .prints("1:b\n");
}

fn a_device_outside_dev_is_made() {
    let mut b = Bundle::new();
    b.mount("/lib/dev", "tmpfs", "tmpfs", &[]);
    b.set(
        "/linux/devices",
        json!([{"type": "c", "path": "/lib/dev/null", "major": 1, "minor": 3, "fileMode": 0o666}]),
    );
    b.args(&["stat", "-c", "%t:%T", "/lib/dev/null"])
        .run_ok()
        .prints("1:3\n");
}

fn the_host_dev_can_be_bound_whole() {
    let mut b = Bundle::new();
    b.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| m["destination"] == "/proc");
    let before: Vec<_> = fs::read_dir("/dev")
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    b.bind(std::path::Path::new("/dev"), "/dev", &["rbind", "ro"])
        .sh("stat -c '%t:%T' /dev/null; echo x > /dev/null");
    b.run_ok().prints("1:3\n");
    let after: Vec<_> = fs::read_dir("/dev")
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(before, after);
}

fn ptmx_opens_a_pty_of_the_container() {
    let mut b = Bundle::new();
    b.args(&["helper", "openpty"])
        .run_ok()
        .prints("pty 0 /dev/pts/0 136:0\n");
}

/// A bundle with the device node /dev/kmsg (1:11), which is not a default device, under the given rules.
fn with_rules(rules: Value) -> Bundle {
    host::controller("devices");
    let mut b = Bundle::new();
    b.set(
        "/linux/devices",
        json!([{"type": "c", "path": "/dev/log", "major": 1, "minor": 11, "fileMode": 0o666}]),
    );
    b.set("/linux/resources/devices", rules);
    b
}

fn a_device_that_no_rule_allows_cannot_be_opened() {
    let mut b = with_rules(json!([{"allow": false, "access": "rwm"}]));
    b.args(&["helper", "open", "/dev/log", "w"])
        .run()
        .ends(1)
        .prints("open: EPERM\n");
    b.left_nothing();
}

fn a_device_that_a_rule_allows_can_be_opened() {
    let mut b = with_rules(json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}
    ]));
    b.sh("helper open /dev/log w; helper open /dev/log r")
        .run()
        .ends(1)
        .prints("open: ok\nopen: EPERM\n");
}

fn the_default_devices_are_allowed_whatever_the_rules_say() {
    let mut b = with_rules(json!([{"allow": false, "access": "rwm"}]));
    b.capabilities(&["CAP_MKNOD"]);
    b.sh("for d in null zero full random urandom; do helper open /dev/$d r; done; mknod /tmp/x c 1 3; mknod /tmp/y c 200 3; helper open /tmp/y r");
    let run = b.run();
    assert_eq!(run.lines()[..5], ["open: ok"; 5], "{run}");
    // mknod is allowed for every device, but opening requires a rule.
    assert_eq!(run.lines()[5..], ["open: EPERM"], "{run}");
}

fn the_order_of_the_device_rules_matters() {
    let mut b = with_rules(json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"},
        {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}
    ]));
    b.args(&["helper", "open", "/dev/log", "w"])
        .run()
        .ends(1)
        .prints("open: EPERM\n");
}
