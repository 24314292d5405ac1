//! Configurations that real engines passed to their runtime, captured once and kept in data/engines.
//! Podman 4.3, Docker 20.10 and containerd 1.6 wrote them for ordinary containers, with and without a user namespace
//! and a tty.

use runtime_tests::terminal::ConsoleSocket;
use runtime_tests::{Bundle, Output, host};
use std::fs;
use std::os::unix::fs::PermissionsExt;

runtime_tests::tests![
    podmans_ordinary_container_runs,
    podmans_container_in_a_user_namespace_runs,
    podmans_container_with_a_terminal_and_limits_runs,
    dockers_ordinary_container_runs,
    dockers_read_only_container_with_init_runs,
    containerds_ordinary_container_runs,
    containerds_container_in_a_user_namespace_runs,
    containerds_container_with_a_terminal_runs,
    every_captured_config_can_be_planned_without_being_run,
];

const CAPTURED: [(&str, &str); 8] = [
    ("podman", include_str!("data/engines/podman.json")),
    (
        "podman-userns",
        include_str!("data/engines/podman-userns.json"),
    ),
    ("podman-tty", include_str!("data/engines/podman-tty.json")),
    ("docker", include_str!("data/engines/docker.json")),
    (
        "docker-readonly-init",
        include_str!("data/engines/docker-readonly-init.json"),
    ),
    ("containerd", include_str!("data/engines/containerd.json")),
    (
        "containerd-userns",
        include_str!("data/engines/containerd-userns.json"),
    ),
    (
        "containerd-tty",
        include_str!("data/engines/containerd-tty.json"),
    ),
];

/// A bundle for a captured config, with the files that the engine provided and its placeholders replaced.
fn captured(name: &str) -> Bundle {
    let mut b = Bundle::new();
    let text = CAPTURED.iter().find(|c| c.0 == name).unwrap().1;
    let short = "0123456789ab";
    let text = text
        .replace("@ROOTFS@", b.rootfs().to_str().unwrap())
        .replace("@BUNDLE@", b.path().to_str().unwrap());
    let text = text
        .replace("@CGROUP@", &format!("/{}", b.id))
        .replace("@SHORTID@", short)
        .replace("@ID@", &b.id);
    b.config = serde_json::from_str(&text).unwrap();
    for file in ["hosts", "hostname", "resolv.conf", ".containerenv"] {
        fs::write(b.path().join(file), format!("{file} of the engine\n")).unwrap();
    }
    fs::create_dir(b.path().join("shm")).unwrap();
    // This substitute for Docker's init only executes its arguments. The network hook records that it was called.
    for (file, text) in [
        ("docker-init", "#!/bin/sh\nshift\nexec \"$@\"\n"),
        ("setkey", "#!/bin/sh\ncat > \"${0%/*}/setkey.state\"\n"),
    ] {
        fs::write(b.path().join(file), text).unwrap();
        fs::set_permissions(b.path().join(file), fs::Permissions::from_mode(0o755)).unwrap();
    }
    if text.contains("\"user\"\n") {
        b.give_root_to(100_000);
    }
    b
}

/// Runs the bundle as its engine does: create, start, wait, delete. Returns the output of the process.
#[track_caller]
fn lives(b: &Bundle) -> Output {
    let run = b.run_ok();
    assert_eq!(run.err, "", "{run}");
    b.left_nothing();
    run
}

#[track_caller]
fn lives_with_terminal(b: &Bundle) -> String {
    let socket = ConsoleSocket::bind(&b.file("console"));
    b.launch(
        "create",
        &["--console-socket", socket.path.to_str().unwrap()],
    )
    .ok();
    let mut terminal = socket.terminal();
    b.start().ok();
    let text = terminal.read_all().replace('\r', "");
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.left_nothing();
    text
}

fn podmans_ordinary_container_runs() {
    lives(&captured("podman")).prints("hi\nuid=0(root) gid=0(root)\n");
    let mut b = captured("podman");
    b.sh("cat /etc/hostname /etc/hosts /run/.containerenv; hostname");
    lives(&b).prints(
        "hostname of the engine\nhosts of the engine\n.containerenv of the engine\n0123456789ab\n",
    );
}

fn podmans_container_in_a_user_namespace_runs() {
    let b = captured("podman-userns");
    let run = lives(&b);
    let lines: Vec<Vec<&str>> = run
        .out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines, [vec!["hi"], vec!["0", "100000", "65536"]], "{run}");
}

fn podmans_container_with_a_terminal_and_limits_runs() {
    host::controller("memory");
    let mut b = captured("podman-tty");
    assert_eq!(lives_with_terminal(&b), "hi\n/dev/pts/0\n");
    b.sh("tty; stat -f -c %T /tt; echo $A; cat /proc/self/cgroup");
    let text = lives_with_terminal(&b);
    assert!(
        text.starts_with("/dev/pts/0\ntmpfs\nB\n") && text.contains(&format!("memory:/{}", b.id)),
        "{text}"
    );
}

fn dockers_ordinary_container_runs() {
    let b = captured("docker");
    lives(&b).prints("hi\nuid=0(root) gid=0(root) groups=0(root)\n");
    // Its prestart hook received the state.
    let state: runtime_tests::Value =
        serde_json::from_str(&fs::read_to_string(b.path().join("setkey.state")).unwrap()).unwrap();
    assert_eq!(state["id"], b.id);
}

fn dockers_read_only_container_with_init_runs() {
    host::controller("pids");
    let b = captured("docker-readonly-init");
    lives(&b).prints("hi\nuid=1000 gid=1000 groups=1000\n");
    // With a new root that lacks /tt: the tmpfs there is writable for everyone.
    let mut b = captured("docker-readonly-init");
    b.set(
        "/process/args",
        runtime_tests::json!([
            "sh",
            "-c",
            "touch /x 2>&1; touch /tt/x && echo written; grep Seccomp: /proc/self/status"
        ]),
    );
    lives(&b).prints("touch: /x: Read-only file system\nwritten\nSeccomp:\t2\n");
}

fn containerds_ordinary_container_runs() {
    lives(&captured("containerd")).prints("hi\nuid=0(root) gid=0(root) groups=0(root)\n");
}

fn containerds_container_in_a_user_namespace_runs() {
    let run = lives(&captured("containerd-userns"));
    assert!(
        run.out.starts_with("hi\n") && run.out.contains("100000"),
        "{run}"
    );
}

fn containerds_container_with_a_terminal_runs() {
    assert_eq!(
        lives_with_terminal(&captured("containerd-tty")),
        "hi\n/dev/pts/0\n"
    );
}

fn every_captured_config_can_be_planned_without_being_run() {
    for (name, _) in CAPTURED {
        let b = captured(name);
        let plan = b.launch("run", &["--dry-run"]).ok();
        assert!(plan.out.lines().count() > 10, "{name}\n{plan}");
        b.left_nothing();
    }
}
