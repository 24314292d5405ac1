//! What engines read of the runtime: the log as JSON, errors in it, and what `features` says.

use runtime_tests::{Bundle, Cmd, Running, Value, host, json};
use std::fs;

runtime_tests::tests![
    every_failure_is_one_object_in_the_json_log,
    several_processes_share_one_log,
    a_warning_is_in_the_log_alone_and_only_of_what_succeeded,
    a_log_that_cannot_be_written_is_told_on_stderr,
    features_do_not_depend_on_the_host,
    features_have_what_the_specification_names,
    features_are_refused_where_they_are_said_not_to_be_there,
    features_have_every_word_of_the_runc_on_this_machine,
    labels_of_modules_that_are_not_there_are_refused,
    kill_sends_the_stop_signal_of_the_image_by_default,
];

/// The one object in a log that Podman unmarshals as a whole.
#[track_caller]
pub fn only_object(text: &str) -> Value {
    let object: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text:?}"));
    assert!(
        ["level", "msg", "time"]
            .iter()
            .all(|key| object[key].is_string()),
        "{text}"
    );
    assert_eq!(object.as_object().unwrap().len(), 3, "{text}");
    object
}

/// The last error in a log, as containerd looks for it.
#[track_caller]
pub fn last_error(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut errors = lines.rev().filter(|line| line["level"] == "error");
    errors.next().expect("an error")["msg"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn every_failure_is_one_object_in_the_json_log() {
    let mut b = Bundle::new();
    // Each with warnings, which must not be a second object.
    b.capabilities(&["CAP_NONSENSE"]);
    b.args(&["/bin/nothing"]).write();
    let (path, log) = (b.path(), b.text("log"));
    let path = path.to_str().unwrap();
    for (words, status) in [
        (&["nonsense"][..], 1),
        (&["create"], 1),
        (&["create", "--nonsense", "x"], 1),
        (&["create", "--bundle"], 1),
        (&["create", "--bundle", "/nowhere", "x"], 1),
        (&["create", "--preserve-fds", "x", "y"], 1),
        (&["start", "x", "y"], 1),
        (&["exec", "--nonsense", "x"], 255),
        (&["exec", "x"], 255),
        (&["exec", "x", "y"], 255),
        (&["state", "x"], 1),
        (&["kill", "x"], 1),
        (&["delete", "x"], 1),
        (&["update", "x"], 1),
        (&["ps", "x"], 1),
        (&["run", "--bundle", path, "x"], 1),
        (&["--nonsense"], 1),
        (&["--root"], 1),
        (&["spec", "--bundle", path], 1),
    ] {
        for globals in [
            vec!["--log", &log, "--log-format", "json"],
            vec!["--log-format=json", &format!("--log={log}")],
            vec!["--debug", "-log-format=json", "-log", &log],
        ] {
            let _ = fs::remove_file(&log);
            let run = b.call(&globals).args(words).output();
            run.ends(status);
            let message = only_object(&b.read("log"));
            assert_eq!(message["level"], "error");
            // The same stands on stderr, on one line.
            let text = message["msg"].as_str().unwrap();
            assert_eq!(run.err, format!("runtime: {text}\n"), "{run}");
        }
    }
    b.left_nothing();
}

fn several_processes_share_one_log() {
    let b = Bundle::new();
    let log = b.text("log");
    // Long ones: half of one between the halves of another would show.
    let id = "x".repeat(200);
    let all: Vec<Running> = (0..30)
        .map(|n| {
            b.call(&[
                "--log",
                &log,
                "--log-format",
                "json",
                "state",
                &format!("{id}{n}"),
            ])
            .spawn()
        })
        .collect();
    for run in all {
        run.wait().ends(1);
    }
    let text = b.read("log");
    let mut seen: Vec<String> = Vec::new();
    for line in text.lines() {
        seen.push(only_object(line)["msg"].as_str().unwrap().to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 30);
}

fn a_warning_is_in_the_log_alone_and_only_of_what_succeeded() {
    let mut b = Bundle::new();
    b.capabilities(&["CAP_NONSENSE", "CAP_KILL"]);
    let log = b.text("log");
    let globals = ["--log", log.as_str(), "--log-format", "json"];
    // stderr is the container's: what a log takes is not told there.
    let launch = |b: &Bundle, verb: &str| {
        b.write();
        let call = b.call(&globals).args([verb, "--bundle"]).arg(b.path());
        call.arg(&b.id).output()
    };
    for verb in ["run", "create"] {
        let run = launch(&b, verb);
        assert_eq!(run.ok().err, "", "{run}");
        let warning = only_object(&b.read("log"));
        assert_eq!(warning["level"], "warning");
        assert!(warning["msg"].as_str().unwrap().contains("CAP_NONSENSE"));
        fs::remove_file(&log).unwrap();
    }
    let exec = b
        .call(&globals)
        .args(["exec", "--cap", "CAP_ABSURD", &b.id, "true"]);
    assert_eq!(exec.ok().err, "");
    assert!(
        only_object(&b.read("log"))["msg"]
            .as_str()
            .unwrap()
            .contains("CAP_ABSURD")
    );
    b.delete(&["--force"]).ok();
    // Without a log a person reads it.
    let run = b.run_ok();
    assert!(
        run.err.contains("warning") && run.err.contains("CAP_NONSENSE"),
        "{run}"
    );
    fs::remove_file(&log).unwrap();
    b.args(&["/bin/nothing"]);
    launch(&b, "run").ends(1);
    assert_eq!(only_object(&b.read("log"))["level"], "error");
}

fn a_log_that_cannot_be_written_is_told_on_stderr() {
    let b = Bundle::new();
    for log in ["/nowhere/log", "/dev/full", "/"] {
        let run = b.call(&["--log", log, "state", "x"]).output();
        run.ends(1).says(&[log, "does not exist"]);
        assert_eq!(run.err.lines().count(), 2, "{run}");
    }
}

fn features_do_not_depend_on_the_host() {
    let mut b = Bundle::empty();
    let here = b.call(&["features"]).ok();
    let elsewhere = b.in_pure_v2().call(&["features"]).ok();
    assert_eq!(here.out, elsewhere.out);
    assert_eq!((here.err.as_str(), elsewhere.err.as_str()), ("", ""));
}

fn features() -> Value {
    let output = Bundle::empty().call(&["features"]).ok();
    serde_json::from_str(&output.out).unwrap()
}

#[track_caller]
fn has(features: &Value, pointer: &str, list: &[&str]) {
    let ours = features.pointer(pointer).unwrap().as_array().unwrap();
    for word in list {
        assert!(ours.contains(&json!(word)), "no {word} in {pointer}");
    }
}

fn features_have_what_the_specification_names() {
    let features = features();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let sorted = |mut list: Vec<&str>| {
        list.sort_unstable();
        list.into_iter().map(String::from).collect::<Vec<_>>()
    };
    let mut top = keys(&features);
    top.sort();
    let expected = [
        "ociVersionMin",
        "ociVersionMax",
        "hooks",
        "mountOptions",
        "linux",
        "annotations",
        "potentiallyUnsafeConfigAnnotations",
    ];
    assert_eq!(top, sorted(expected.to_vec()));
    let linux = &features["linux"];
    assert_eq!(
        linux["cgroup"],
        json!({"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true})
    );
    assert_eq!(
        features["potentiallyUnsafeConfigAnnotations"],
        json!([
            "org.systemd.property.",
            "org.criu.config",
            "run.oci.keep_original_groups"
        ])
    );
    assert_eq!(linux["apparmor"], json!({"enabled": true}));
    let has = |pointer: &str, list: &[&str]| has(&features, pointer, list);
    has(
        "/hooks",
        &[
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
    );
    has(
        "/linux/namespaces",
        &[
            "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
        ],
    );
    has(
        "/linux/seccomp/knownFlags",
        &[
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_LOG",
        ],
    );
    has(
        "/linux/memoryPolicy/modes",
        &["MPOL_BIND", "MPOL_WEIGHTED_INTERLEAVE"],
    );
    has("/linux/memoryPolicy/flags", &["MPOL_F_STATIC_NODES"]);
    let capabilities = linux["capabilities"].as_array().unwrap();
    assert_eq!(capabilities.len(), 41);
}

fn features_are_refused_where_they_are_said_not_to_be_there() {
    let features = features();
    let linux = &features["linux"];
    for (name, field, value) in [
        ("intelRdt", "intelRdt", json!({"closID": "x"})),
        ("netDevices", "netDevices", json!({"eth0": {}})),
        (
            "selinux",
            "mountLabel",
            json!("system_u:object_r:container_file_t:s0"),
        ),
    ] {
        let mut b = Bundle::new();
        b.set(&format!("/linux/{field}"), value);
        let run = b.launch("run", &["--dry-run"]).output();
        assert!(linux[name]["enabled"].is_boolean(), "{name}");
        let refused = run.err.contains("not supported yet");
        assert_eq!(refused, linux[name]["enabled"] == false, "{run}");
    }
}

fn features_have_every_word_of_the_runc_on_this_machine() {
    let b = Bundle::empty();
    let runc = Cmd::new(&b.dir, host::program("runc"))
        .arg("features")
        .output();
    if let Ok(theirs) = serde_json::from_str::<Value>(&runc.out) {
        for pointer in [
            "/hooks",
            "/mountOptions",
            "/linux/namespaces",
            "/linux/capabilities",
            "/linux/seccomp/actions",
            "/linux/seccomp/operators",
            "/linux/seccomp/archs",
        ] {
            let list = theirs.pointer(pointer).unwrap().as_array().unwrap();
            has(
                &features(),
                pointer,
                &list.iter().map(|w| w.as_str().unwrap()).collect::<Vec<_>>(),
            );
        }
    }
}

fn labels_of_modules_that_are_not_there_are_refused() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let exec = |flags: &[&str]| b.call(&["exec"]).args(flags).args([&b.id, "true"]).output();
    exec(&["--apparmor", "unconfined"]).ok();
    if !modules.contains("apparmor") {
        exec(&["--apparmor", "some-profile"])
            .ends(255)
            .says(&["AppArmor", "some-profile"]);
    }
    if !modules.contains("selinux") {
        exec(&["--process-label", "a:b:c:d"])
            .ends(255)
            .says(&["SELinux", "a:b:c:d"]);
    }
    assert_eq!(b.status(), "running");
}

fn kill_sends_the_stop_signal_of_the_image_by_default() {
    let name = "org.opencontainers.image.stopSignal";
    let mut b = Bundle::new();
    b.args(&["helper", "signals"]);
    for (text, number) in [("SIGUSR1", 10), ("2", 2), ("", 15)] {
        let running = b.set("/annotations", json!({ name: text })).up();
        b.call(&["kill", &b.id]).ok();
        running.wait().ends(40 + number);
    }
    let running = b.set("/annotations", json!({ name: "NOPE" })).up();
    let words = [name, "unknown signal \"NOPE\""];
    b.call(&["kill", &b.id]).output().fails(&words);
    b.kill("HUP").ok();
    running.wait().ends(40 + 1);
}
