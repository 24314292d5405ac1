//! Limits that are reached: few descriptors, few processes, little memory, a full disk, a read-only /run. Each command
//! succeeds, or fails with one line that names the limit or the place. Nothing is left, and nothing untrue is said.

use runtime_tests::faults::{Answer, World};
use runtime_tests::{Bundle, Cmd, host, json, wait_for};
use std::fs;
use std::path::PathBuf;

runtime_tests::tests![
    few_descriptors_are_named,
    few_processes_of_the_caller_are_named,
    few_processes_of_the_container_are_named,
    little_memory_of_the_container_is_named,
    little_memory_of_the_caller_leaves_nothing,
    a_full_disk_for_the_state_is_named,
    a_full_disk_for_the_image_is_named,
    a_read_only_run_is_named,
];

/// An error of ours in one line, with all of `words`.
#[track_caller]
fn names(what: &str, answer: &Answer, words: &[&str]) {
    let line = answer.err.trim_end();
    assert!(
        line.starts_with("runtime: ") && !line.contains('\n'),
        "{what}: {}",
        answer.say()
    );
    for word in words {
        assert!(line.contains(word), "{what}: no {word:?}: {}", answer.say());
    }
}

#[track_caller]
fn nothing_left(w: &mut World, what: &str) {
    let _ = fs::remove_file(w.b.file("pid"));
    let left = w.left();
    assert!(left.is_empty(), "{what}: left behind: {left:?}");
}

fn few_descriptors_are_named() {
    let mut w = World::new(false);
    let (id, bundle) = (w.id(), w.b.path().display().to_string());
    let (id, bundle) = (&id[..], &bundle[..]);
    // A hard limit below it could not be raised.
    w.b.remove("/process/rlimits").write();
    w.ok(&["create", "--bundle", bundle, id]);
    w.ok(&["start", id]);
    let other = format!("{id}x");
    w.b.set("/linux/cgroupsPath", json!(format!("/{other}")));
    w.b.write();
    let (mut failed, mut worked) = (0, 0);
    for n in 3..=32 {
        let limit = format!("--nofile={n}:{n}");
        let mut try_one = |w: &mut World, words: &[&str]| {
            let answer = w.through(&["/usr/bin/prlimit", &limit], words);
            let what = format!("{} with {n} descriptors", words[0]);
            match answer.status {
                0 => worked += 1,
                _ => {
                    failed += 1;
                    let number = format!("RLIMIT_NOFILE is {n}");
                    names(&what, &answer, &["too many open files", &number]);
                }
            }
            answer
        };
        for verb in ["state", "ps"] {
            let answer = try_one(&mut w, &[verb, id]);
            let right = ["\"running\"", "PID"]
                .iter()
                .any(|word| answer.out.contains(word));
            assert!(right || answer.status != 0, "{}", answer.say());
        }
        try_one(&mut w, &["events", "--stats", id]);
        let answer = try_one(&mut w, &["exec", id, "true"]);
        assert!(matches!(answer.status, 0 | 255), "{}", answer.say());
        for (verb, status) in [("pause", "paused"), ("resume", "running")] {
            let answer = try_one(&mut w, &[verb, id]);
            if answer.status == 0 {
                assert_eq!(w.status(), status);
            } else if verb == "resume" && w.status() == "paused" {
                w.ok(&["resume", id]);
            }
            let _ = answer;
        }
        let answer = try_one(&mut w, &["create", "--bundle", bundle, &other]);
        if answer.status == 0 {
            if try_one(&mut w, &["start", &other]).status == 0 {
                try_one(&mut w, &["kill", "--all", &other, "KILL"]);
            }
            // With so few descriptors it must say so, and keep the container.
            if try_one(&mut w, &["delete", "--force", &other]).status != 0 {
                w.ok(&["state", &other]);
            }
        }
        w.ok(&["delete", "--force", &other]);
        assert_eq!(w.status(), "running", "after {n} descriptors");
        let cgroups = host::hierarchies().into_iter().map(|h| h.join(&other));
        let left: Vec<_> = cgroups.filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{n} descriptors: {left:?}");
    }
    assert!(
        failed > 30 && worked > 100,
        "{failed} failed, {worked} worked"
    );
    w.ok(&["delete", "--force", id]);
    nothing_left(&mut w, "at the end");
}

/// A cgroup of the caller's, in one v1 hierarchy. Dropping it removes it.
struct Caller(PathBuf);

impl Caller {
    fn new(w: &World, controller: &str, file: &str, value: &str) -> Caller {
        let path = host::controller(controller).join(format!("{}-caller", w.b.id));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(file), value).unwrap();
        Caller(path)
    }

    /// Runs the runtime in it.
    fn run(&self, w: &mut World, words: &[&str]) -> Answer {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        w.through(&["/bin/sh", "-c", &script, "sh"], words)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        host::remove_cgroup(&self.0);
    }
}

fn few_processes_of_the_caller_are_named() {
    let mut w = World::new(false);
    let (id, bundle) = (w.id(), w.b.path().display().to_string());
    for max in 1..=4 {
        let caller = Caller::new(&w, "pids", "pids.max", &max.to_string());
        for verb in ["create", "run"] {
            let words = match verb {
                "run" => vec!["run", "--detach", "--bundle", &bundle, &id],
                _ => vec!["create", "--bundle", &bundle, &id],
            };
            let answer = caller.run(&mut w, &words);
            let what = format!("{verb} with {max} processes");
            match answer.status {
                0 => {
                    let answer = caller.run(&mut w, &["exec", &id, "true"]);
                    if answer.status != 0 && verb == "run" {
                        names(&what, &answer, &["clone3", "RLIMIT_NPROC", "pids.max"]);
                    }
                    w.ok(&["delete", "--force", &id]);
                }
                _ => names(&what, &answer, &["clone3", "RLIMIT_NPROC", "pids.max"]),
            }
            assert!(answer.status == 0 || max == 1, "{what}: {}", answer.say());
            nothing_left(&mut w, &what);
        }
    }
    // RLIMIT_NPROC does not bind root. It counts all processes of the user, also those of other tests.
    let mut b = Bundle::new();
    b.ordinary_as(600_000 + std::process::id() % 50_000);
    for max in 1..=4 {
        let output = b
            .launch("run", &[])
            .through(["prlimit", &format!("--nproc={max}:{max}")]);
        let output = output.output();
        if output.status != 0 {
            output.fails(&["clone3", &format!("RLIMIT_NPROC is {max}")]);
        }
        b.left_nothing();
    }
}

fn few_processes_of_the_container_are_named() {
    let mut w = World::new(false);
    let (id, bundle) = (w.id(), w.b.path().display().to_string());
    for max in 1..=4 {
        w.b.set("/linux/resources/pids", json!({"limit": max}));
        w.b.write();
        w.ok(&["create", "--bundle", &bundle, &id]);
        w.ok(&["start", &id]);
        let what = format!("exec with {max} processes");
        let answer = w.command(&["exec", &id, "true"]);
        if answer.status != 0 {
            names(&what, &answer, &["clone3", "pids.max"]);
        }
        w.ok(&["delete", "--force", &id]);
        nothing_left(&mut w, &what);
    }
}

/// Sizes of memory that no start can do with, and some that it perhaps can.
const SIZES: [u64; 9] = [4, 8, 16, 32, 64, 128, 256, 512, 1024];

fn little_memory_of_the_container_is_named() {
    host::controller("memory");
    let mut w = World::new(false);
    let (id, bundle) = (w.id(), w.b.path().display().to_string());
    let mut failed = 0;
    for size in SIZES {
        w.b.set("/linux/resources/memory", json!({"limit": size << 10}));
        w.b.write();
        let what = format!("{size} KiB");
        let answer = w.command(&["create", "--bundle", &bundle, &id]);
        if answer.status == 0 {
            let answer = w.command(&["start", &id]);
            if answer.status != 0 {
                names(&what, &answer, &["linux.resources.memory"]);
            }
            w.ok(&["delete", "--force", &id]);
        } else {
            failed += 1;
            names(
                &what,
                &answer,
                &["linux.resources.memory", &(size << 10).to_string()],
            );
        }
        nothing_left(&mut w, &what);
        // The program may be killed after its start, which is not our error.
        let answer = w.command(&["run", "--bundle", &bundle, "--detach", &id]);
        if answer.status != 0 {
            names(&what, &answer, &["linux.resources.memory"]);
        } else {
            w.ok(&["delete", "--force", &id]);
        }
        nothing_left(&mut w, &what);
    }
    assert!(failed > 0, "no limit was too small");
}

fn little_memory_of_the_caller_leaves_nothing() {
    host::controller("memory");
    let mut w = World::new(false);
    let (id, bundle) = (w.id(), w.b.path().display().to_string());
    for size in SIZES {
        let bytes = (size << 10).to_string();
        let caller = Caller::new(&w, "memory", "memory.limit_in_bytes", &bytes);
        let what = format!("a caller with {size} KiB");
        let answer = caller.run(&mut w, &["create", "--bundle", &bundle, &id]);
        match answer.status {
            0 => assert_eq!(w.status(), "created", "{what}"),
            // The kernel kills the shell or us, and nobody can say anything.
            137 => {}
            _ if answer.err.starts_with("runtime: ") => names(&what, &answer, &["memory"]),
            _ => assert_ne!(answer.status, -1, "{what}: {}", answer.say()),
        }
        w.ok(&["delete", "--force", &id]);
        nothing_left(&mut w, &what);
    }
}

/// Runs a script in a mount namespace of its own, with the runtime as $0. Returns what it prints.
fn in_own_mounts(b: &Bundle, script: &str) -> String {
    let words = ["--mount", "sh", "-c", script];
    let output = Cmd::new(&b.dir, "unshare").args(words).arg(&b.runtime).ok();
    format!("{}{}", output.out, output.err)
}

fn a_full_disk_for_the_state_is_named() {
    let mut b = Bundle::new();
    b.args(&["true"]).write();
    let (bundle, state, id) = (b.path(), b.state_dir(), b.id.clone());
    fs::create_dir_all(&state).unwrap();
    let mut failed = 0;
    // Inodes first, then blocks.
    let sizes = (1..=9).map(|n| format!("nr_inodes={n}"));
    for size in sizes.chain((1..=6).map(|n| format!("size={}", n * 4096))) {
        let script = format!(
            "mount -t tmpfs -o {size} none {state} && $0 --root {state} run --bundle {bundle} {id}; echo status $?
             $0 --root {state} delete --force {id}; echo deleted $?; ls -A {state}",
            state = state.display(),
            bundle = bundle.display()
        );
        let said = in_own_mounts(&b, &script);
        if said.starts_with("status 0\ndeleted 0\n") {
            assert_eq!(said, "status 0\ndeleted 0\n", "{size}");
            continue;
        }
        failed += 1;
        let error = said
            .strip_prefix("status 1\ndeleted 0\n")
            .unwrap_or_else(|| panic!("{size}: {said}"));
        assert_eq!(error.lines().count(), 1, "{size}: {said}");
        assert!(error.contains("no space left on device"), "{size}: {said}");
        assert!(
            error.contains(&state.display().to_string()),
            "{size}: {said}"
        );
        b.left_nothing();
    }
    assert!(failed > 3, "{failed} sizes were too small");
}

fn a_full_disk_for_the_image_is_named() {
    let mut b = Bundle::new();
    b.args(&["/true"]);
    let image = b.file("image");
    fs::create_dir(&image).unwrap();
    b.set("/root/path", json!(image));
    b.mount("/data/one/two", "tmpfs", "tmpfs", &[]).write();
    let mut failed = 0;
    for inodes in 2..=12 {
        let script = format!(
            "mount -t tmpfs -o nr_inodes={inodes} none {image} && cp {busybox} {image}/true || exit 0
             $0 --root {state} run --bundle {bundle} {id}; echo status $?",
            busybox = host::busybox().display(),
            image = image.display(),
            state = b.state_dir().display(),
            bundle = b.path().display(),
            id = b.id
        );
        let said = in_own_mounts(&b, &script);
        if said.contains("status 0") || !said.contains("status") {
            continue;
        }
        failed += 1;
        let error = said
            .strip_prefix("status 1\n")
            .unwrap_or_else(|| panic!("{inodes}: {said}"));
        assert_eq!(error.lines().count(), 1, "{inodes}: {said}");
        assert!(
            error.contains("no space left on device") && error.contains(" /"),
            "{inodes}: {said}"
        );
        b.left_nothing();
    }
    assert!(failed > 2, "{failed} sizes were too small");
}

fn a_read_only_run_is_named() {
    let b = Bundle::new();
    b.write();
    let script = format!(
        "mount -t tmpfs -o ro none /run && $0 run --bundle {} {}; echo status $?",
        b.path().display(),
        b.id
    );
    let said = in_own_mounts(&b, &script);
    let error = "runtime: cannot make the directory /run/runtime: read-only file system (--root names another one)\n";
    assert_eq!(said, format!("status 1\n{error}"));
    b.left_nothing();
    wait_for("no process is left", || {
        host::processes_of(&b.dir).is_empty()
    });
}
