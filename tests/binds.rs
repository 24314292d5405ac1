//! Bind mounts and the mounts below them: sources, targets, the flags that stay, mapped ids.

use crate::mounts::{Entry, entry, table};
use runtime_tests::{Bundle, Output, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

runtime_tests::tests![
    a_mount_on_the_root_becomes_the_root,
    recursive_options_reach_mounts_beneath_a_bind,
    a_read_only_bind_leaves_mounts_beneath_it_writable,
    propagation_options_are_applied,
    a_bind_of_the_hosts_root_shows_the_host,
    a_bind_of_a_directory_makes_its_target,
    a_bind_of_a_file_makes_its_target,
    a_bind_follows_a_relative_source_from_the_bundle,
    a_bind_of_a_missing_source_is_an_error_that_names_it,
    a_bind_ignores_the_mode_and_owner_of_a_new_root,
    what_the_hosts_mount_forbids_is_locked_in_a_user_namespace,
    a_bind_keeps_the_flags_of_its_source,
    a_bind_with_ro_keeps_nosuid_nodev_noexec_of_its_source,
    fifos_and_sockets_can_be_bound_over,
    an_idmapped_bind_shows_shifted_owners
];

/// Runs the bundle with `source`, which holds a tmpfs at `source/inner`, bound at `/to` with the given options.
#[track_caller]
fn with_nested_source(options: &[&str], script: &str) -> Output {
    let mut b = Bundle::new();
    fs::create_dir_all(b.file("source/inner")).unwrap();
    b.bind(&b.file("source"), "/to", options).sh(script);
    // The inner mount lives in a mount namespace of the caller's own, gone with it.
    let inner = b.text("source/inner");
    let script = format!("mount -t tmpfs tmpfs {inner} && exec \"$@\"");
    b.launch("run", &[])
        .through(["unshare", "--mount", "sh", "-c", &script, "sh"])
        .ok()
}

const TRY: &str = "cat /proc/self/mountinfo; touch /to/x 2>/dev/null && echo outer; touch /to/inner/x 2>/dev/null && echo inner; true";

fn recursive_options_reach_mounts_beneath_a_bind() {
    let run = with_nested_source(
        &["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"],
        TRY,
    );
    for point in ["/to", "/to/inner"] {
        let options = entry(&run, point).options;
        for flag in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
            assert!(
                options.iter().any(|o| o == flag),
                "{flag} on {point}\n{run}"
            );
        }
    }
    assert!(
        !run.lines().contains(&"outer") && !run.lines().contains(&"inner"),
        "{run}"
    );
    // And a recursive option alone, without rbind's plain ones.
    let run = with_nested_source(&["rbind", "ro", "rrw"], TRY);
    assert_eq!(entry(&run, "/to/inner").options[0], "rw");
}

fn a_read_only_bind_leaves_mounts_beneath_it_writable() {
    let run = with_nested_source(&["rbind", "ro"], TRY);
    assert_eq!(
        (
            entry(&run, "/to").options[0].as_str(),
            entry(&run, "/to/inner").options[0].as_str()
        ),
        ("ro", "rw")
    );
    assert!(
        run.lines().contains(&"inner") && !run.lines().contains(&"outer"),
        "{run}"
    );
    let run = with_nested_source(&[], TRY);
    assert!(!run.out.contains(" /to/inner "), "bind is not rbind\n{run}");
}

fn propagation_options_are_applied() {
    let mut b = Bundle::new();
    for option in [
        "private",
        "shared",
        "unbindable",
        "slave",
        "rprivate",
        "rshared",
        "runbindable",
        "rslave",
    ] {
        b.mount(&format!("/{option}"), "tmpfs", "tmpfs", &[option]);
    }
    let table = table(&mut b);
    for (option, expected) in [
        ("private", ""),
        ("shared", "shared:"),
        ("unbindable", "unbindable"),
        ("slave", ""),
    ] {
        for name in [option.to_owned(), format!("r{option}")] {
            let got = entry(&table, &format!("/{name}")).propagation;
            assert!(
                if expected.is_empty() {
                    got.is_empty()
                } else {
                    got.starts_with(expected)
                },
                "{name}: {got:?}"
            );
        }
    }
}

fn a_bind_of_the_hosts_root_shows_the_host() {
    let mut b = Bundle::new();
    fs::write(b.file("mark"), "of the host\n").unwrap();
    fs::write(b.rootfs().join("mark"), "of the root\n").unwrap();
    let script = format!(
        "cat /host{} /host{}/mark; ls -d /host/no-such-{2} /no-such-{2} 2>&1 | wc -l; ls /host/proc/self > /dev/null",
        b.text("mark"),
        b.rootfs().display(),
        b.id
    );
    for namespace in ["", "user"] {
        if namespace == "user" {
            b.user_namespace();
        }
        b.remove("/mounts").set("/mounts", json!([]));
        b.bind(Path::new("/"), "/host", &["rbind", "ro"])
            .sh(&script)
            .run_ok()
            .prints("of the host\nof the root\n2\n");
    }
}

fn a_bind_of_a_directory_makes_its_target() {
    let mut b = Bundle::new();
    fs::create_dir(b.file("source")).unwrap();
    b.bind(&b.file("source"), "/deep/down/here", &[])
        .sh("echo x > /deep/down/here/made")
        .run_ok();
    assert_eq!(b.read("source/made"), "x\n");
    let target = fs::metadata(b.rootfs().join("deep/down/here")).unwrap();
    assert!(target.is_dir());
    assert_eq!(target.mode() & 0o7777, 0o755);
}

fn a_bind_of_a_file_makes_its_target() {
    let mut b = Bundle::new();
    fs::write(b.file("source"), "text\n").unwrap();
    b.bind(&b.file("source"), "/deep/down/file", &["ro"])
        .args(&["cat", "/deep/down/file"])
        .run_ok()
        .prints("text\n");
    let target = fs::metadata(b.rootfs().join("deep/down/file")).unwrap();
    assert!(target.is_file() && target.len() == 0);
}

fn a_bind_follows_a_relative_source_from_the_bundle() {
    let mut b = Bundle::new();
    fs::write(b.path().join("beside"), "text\n").unwrap();
    b.mount("/file", "bind", "beside", &["rbind"])
        .args(&["cat", "/file"])
        .write();
    // Whatever the caller's directory is.
    b.launch("run", &[]).dir("/").ok().prints("text\n");
}

fn a_bind_of_a_missing_source_is_an_error_that_names_it() {
    let mut b = Bundle::new();
    let path = b.text("nothing");
    b.bind(&b.file("nothing"), "/to", &[])
        .run()
        .fails(&[&path, "no such file or directory"]);
    b.left_nothing();
}

fn a_bind_ignores_the_mode_and_owner_of_a_new_root() {
    let mut b = Bundle::new();
    fs::create_dir(b.file("source")).unwrap();
    b.bind(&b.file("source"), "/to", &["mode=700", "uid=5", "noexec"]);
    assert!(
        entry(&table(&mut b), "/to")
            .options
            .contains(&"noexec".to_owned())
    );
}

fn what_the_hosts_mount_forbids_is_locked_in_a_user_namespace() {
    let prepare = |b: &Bundle, options: &str| {
        let m = b.text("source");
        let script = format!(
            "mount -t tmpfs t {m} && mkdir {m}/cover && echo hidden > {m}/cover/file && mount -t tmpfs t {m}/cover && chmod 777 {m} && mount -o remount,bind,{options} {m} && exec \"$@\""
        );
        b.launch("run", &[])
            .through(["unshare", "--mount", "sh", "-c", &script, "sh"])
            .output()
    };
    let mut b = Bundle::new();
    b.user_namespace().capabilities(&["CAP_SYS_ADMIN"]);
    let n = b.config["mounts"].as_array().unwrap().len();
    fs::create_dir(b.file("source")).unwrap();
    let source = b.text("source");
    b.mount("/to", "bind", &source, &["rbind"]).sh(
        "mount -o remount,bind,rw,exec /to; echo $?; echo x > /to/x; echo $?; umount /to/cover; echo $?; cat /to/cover/file; echo $?",
    );
    let run = prepare(&b, "ro,noexec");
    assert_eq!(run.out.lines().filter(|l| *l == "0").count(), 0, "{run}");
    assert_eq!(run.out.lines().count(), 4, "{run}");
    b.set(&format!("/mounts/{n}/options"), json!(["rbind", "rw"]));
    prepare(&b, "ro").fails(&[
        &format!("config.json: mounts[{n}].options"),
        "Operation not permitted",
    ]);
    b.left_nothing();
}

/// Runs with `/to` bound from a mount of the caller that has `flags`.
#[track_caller]
fn bound_from(flags: &str, options: &[&str], user_namespace: bool) -> Entry {
    let mut b = Bundle::new();
    if user_namespace {
        b.user_namespace();
    }
    fs::create_dir(b.file("source")).unwrap();
    b.bind(&b.file("source"), "/to", options)
        .args(&["cat", "/proc/self/mountinfo"]);
    let script = format!(
        "mount -t tmpfs -o {flags} tmpfs {} && exec \"$@\"",
        b.text("source")
    );
    let run = b
        .launch("run", &[])
        .through(["unshare", "--mount", "sh", "-c", &script, "sh"])
        .ok();
    entry(&run, "/to")
}

fn a_bind_keeps_the_flags_of_its_source() {
    for user_namespace in [false, true] {
        let to = bound_from("nosuid,nodev,noexec,noatime", &[], user_namespace);
        assert_eq!(
            to.options,
            ["rw", "nosuid", "nodev", "noexec", "noatime"],
            "user namespace: {user_namespace}"
        );
    }
}

fn a_bind_with_ro_keeps_nosuid_nodev_noexec_of_its_source() {
    for user_namespace in [false, true] {
        let to = bound_from("nosuid,nodev,noexec,noatime", &["ro"], user_namespace);
        assert_eq!(
            to.options,
            ["ro", "nosuid", "nodev", "noexec", "noatime"],
            "user namespace: {user_namespace}"
        );
    }
}

fn fifos_and_sockets_can_be_bound_over() {
    let mut b = Bundle::new();
    for place in [b.dir.clone(), b.rootfs()] {
        runtime_tests::Cmd::new(&b.dir, "mkfifo")
            .arg(place.join("fifo"))
            .ok();
    }
    let _socket = std::os::unix::net::UnixListener::bind(b.file("socket")).unwrap();
    let _target = std::os::unix::net::UnixListener::bind(b.rootfs().join("socket")).unwrap();
    let (fifo, socket) = (b.file("fifo"), b.file("socket"));
    b.bind(&fifo, "/fifo", &[])
        .bind(&socket, "/socket", &[])
        .bind(&fifo, "/new", &[]);
    b.args(&["stat", "-c", "%F", "/fifo", "/socket", "/new"])
        .run_ok()
        .prints("fifo\nsocket\nfifo\n");
}

fn an_idmapped_bind_shows_shifted_owners() {
    let mut b = Bundle::new();
    fs::create_dir(b.file("source")).unwrap();
    fs::write(b.file("source/file"), "").unwrap();
    b.bind(&b.file("source"), "/to", &[]);
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
    let last = b.config["mounts"].as_array().unwrap().len() - 1;
    b.set(&format!("/mounts/{last}/uidMappings"), map.clone())
        .set(&format!("/mounts/{last}/gidMappings"), map);
    b.args(&["stat", "-c", "%u %g", "/to/file"])
        .run_ok()
        .prints("5000 5000\n");
}

/// However the root is spelled. The mounts that follow are made in the new root, which root.readonly holds for.
fn a_mount_on_the_root_becomes_the_root() {
    for destination in ["/", "/.", "/tmp/.."] {
        for readonly in [false, true] {
            for tmpfs in [false, true] {
                let mut b = Bundle::new();
                let other = Bundle::new();
                fs::write(other.rootfs().join("other"), "").unwrap();
                let root = match tmpfs {
                    true => {
                        json!({"destination": destination, "type": "tmpfs", "source": "t", "options": ["mode=755"]})
                    }
                    false => {
                        json!({"destination": destination, "source": other.rootfs(), "options": ["bind"]})
                    }
                };
                b.set("/mounts", json!([
                    root,
                    {"destination": "/bin", "source": other.rootfs().join("bin"), "options": ["bind", "ro"]},
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/made", "type": "tmpfs", "source": "t"},
                ]));
                b.set("/root/readonly", readonly.into());
                b.set("/linux/maskedPaths", json!([]));
                b.set("/linux/readonlyPaths", json!([]));
                let script =
                    "ls -d /other /made /etc 2> /dev/null; touch /new 2> /dev/null && echo written";
                let seen = b.sh(script).run().out;
                let mut expected = String::new();
                for (line, there) in [
                    ("/etc", !tmpfs),
                    ("/made", true),
                    ("/other", !tmpfs),
                    ("written", !readonly),
                ] {
                    if there {
                        expected += &format!("{line}\n");
                    }
                }
                assert_eq!(seen, expected, "{destination} {readonly} {tmpfs}");
                assert!(!b.rootfs().join("new").exists());
            }
        }
    }
}
