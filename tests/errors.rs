//! Bad input: each case gives one clear error with its JSON path or file path, and leaves nothing behind.
//! The full wording stands in golden/errors.txt; what Go's reader accepts is accepted here too.

use crate::bad_specs::{cases, combinations};
use runtime_tests::{Bundle, Cmd, Value, json};
use std::fs;

runtime_tests::tests![
    each_wrong_value_is_named_by_its_json_path,
    the_wording_of_every_error_is_the_golden_one,
    a_missing_config_is_an_error_that_names_it,
    a_config_that_is_not_json_is_an_error_with_its_place,
    a_truncated_config_is_an_error,
    a_missing_bundle_is_an_error_that_names_it,
    a_missing_root_is_an_error_that_names_it,
    a_root_that_is_a_file_is_an_error_that_names_it,
    a_failing_mount_names_itself_and_its_reason,
    a_duplicate_id_is_refused_and_harms_nothing,
    bad_container_ids_are_refused,
    good_container_ids_are_accepted,
    an_unknown_command_is_an_error_that_names_it,
    an_unknown_flag_is_an_error_that_names_it,
    a_flag_without_its_value_is_an_error_that_names_it,
    too_few_and_too_many_arguments_are_errors,
    an_unwritable_state_directory_is_an_error_that_names_it,
    an_unwritable_pid_file_is_an_error_that_leaves_nothing,
    what_gos_reader_accepts_is_accepted,
    unknown_fields_are_ignored,
    a_byte_order_of_keys_and_blanks_does_not_matter,
];

/// The bundle of a case.
fn with(pointer: &str, value: &Value) -> Bundle {
    let mut b = Bundle::empty();
    if value.is_null() {
        b.remove(pointer);
    } else {
        b.set(pointer, value.clone());
    }
    b
}

fn each_wrong_value_is_named_by_its_json_path() {
    let mut wrong = Vec::new();
    let all = cases()
        .into_iter()
        .map(|(p, v, w)| (format!("{p} = {v}"), with(p, &v), w));
    let all = all.chain(
        combinations()
            .into_iter()
            .map(|(n, b, w)| (n.to_owned(), b, w)),
    );
    for (name, b, words) in all {
        let run = b.create();
        let lines = run.err.lines().count();
        let said = words.iter().all(|w| run.err.contains(w));
        if run.status != 1 || lines != 1 || !said {
            wrong.push(format!(
                "{name}: status {}, expected {words:?} in: {}",
                run.status,
                run.err.trim()
            ));
        }
        if run.status == 0 {
            b.delete(&["--force"]).ok();
        }
        b.left_nothing();
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases().len() + combinations().len(),
        wrong.join("\n")
    );
}

fn the_wording_of_every_error_is_the_golden_one() {
    let all = cases()
        .into_iter()
        .map(|(p, v, _)| (format!("{p} = {v}"), with(p, &v)));
    let all = all.chain(
        combinations()
            .into_iter()
            .map(|(n, b, _)| (n.to_owned(), b)),
    );
    let mut text = String::new();
    for (name, b) in all {
        let run = b.create();
        text.push_str(&format!(
            "{name}\n    {}\n",
            b.without_own_names(run.err.trim_end())
        ));
    }
    runtime_tests::golden::compare(
        concat!(env!("CARGO_MANIFEST_DIR"), "/golden/errors.txt"),
        &text,
    );
}

fn a_missing_config_is_an_error_that_names_it() {
    let b = Bundle::empty();
    let path = b.path();
    b.call(&["create", "--bundle"])
        .arg(&path)
        .arg(&b.id)
        .output()
        .fails(&["config.json", "no such file or directory"]);
    b.left_nothing();
}

#[track_caller]
fn with_config(text: &[u8]) -> (Bundle, runtime_tests::Output) {
    let b = Bundle::empty();
    fs::write(b.path().join("config.json"), text).unwrap();
    let output = b
        .call(&["create", "--bundle"])
        .arg(b.path())
        .arg(&b.id)
        .output();
    output.fails(&["config.json"]);
    b.left_nothing();
    (b, output)
}

fn a_config_that_is_not_json_is_an_error_with_its_place() {
    with_config(b"{\n  \"ociVersion\": \"1.0.2\",\n  nonsense\n}")
        .1
        .says(&["line 3"]);
    for text in [
        &b""[..],
        b"[]",
        b"null",
        b"7",
        b"\xff\xfe",
        b"{\"ociVersion\":\"\xff\"}",
        b"{}{}",
    ] {
        with_config(text);
    }
    // A nesting bomb must not exhaust the stack.
    with_config("[".repeat(200_000).as_bytes());
    with_config(format!("{{\"x\":{}", "{\"x\":".repeat(100_000)).as_bytes());
}

fn a_truncated_config_is_an_error() {
    let text = Bundle::new().config.to_string();
    for cut in [1, text.len() / 3, text.len() / 2, text.len() - 1] {
        with_config(&text.as_bytes()[..cut]);
    }
}

fn a_missing_bundle_is_an_error_that_names_it() {
    let b = Bundle::empty();
    let path = b.text("nowhere");
    b.call(&["create", "--bundle", &path, &b.id])
        .output()
        .fails(&[&path, "no such file or directory"]);
    b.left_nothing();
}

fn a_missing_root_is_an_error_that_names_it() {
    let mut b = Bundle::new();
    b.set("/root/path", json!("gone"))
        .create()
        .fails(&["gone", "no such file or directory"]);
    b.left_nothing();
}

fn a_root_that_is_a_file_is_an_error_that_names_it() {
    let mut b = Bundle::new();
    fs::write(b.path().join("file"), "").unwrap();
    b.set("/root/path", json!("file"))
        .create()
        .fails(&["file", "not a directory"]);
    b.left_nothing();
}

fn a_failing_mount_names_itself_and_its_reason() {
    let mut b = Bundle::new();
    fs::write(b.rootfs().join("file"), "").unwrap();
    b.mount("/file/below", "tmpfs", "tmpfs", &[])
        .create()
        .fails(&["/file/below", "not a directory"]);
    b.left_nothing();
    let mut b = Bundle::new();
    fs::create_dir(b.rootfs().join("dir")).unwrap();
    fs::write(b.file("file"), "").unwrap();
    let file = b.file("file");
    b.bind(&file, "/dir", &[])
        .create()
        .fails(&["/dir", file.to_str().unwrap()]);
    b.left_nothing();
}

fn a_duplicate_id_is_refused_and_harms_nothing() {
    let mut b = Bundle::new();
    b.waits().create().ok();
    let state = b.state();
    let again = b.create();
    again.fails(&[&b.id, "exist"]);
    b.launch("run", &[]).output().fails(&[&b.id, "exist"]);
    assert_eq!(b.state(), state);
    assert!(!b.cgroups().is_empty());
    b.start().ok();
    b.wait_for_status("running");
}

fn bad_container_ids_are_refused() {
    let b = Bundle::new();
    let long = "x".repeat(1500);
    for id in [
        "", ".", "..", "a/b", "/abs", "../up", "a\nb", "a b", "ünï", "a\u{1}b", &long,
    ] {
        for verb in ["create", "run"] {
            let output = b.launch_as(id, verb, &[]).output();
            let why = if id.is_empty() { "is empty" } else { "invalid" };
            output.fails(&["container id", why]);
        }
        for verb in [
            &["start"][..],
            &["state"],
            &["kill"],
            &["delete"],
            &["delete", "--force"],
        ] {
            let why = if id.is_empty() { "is empty" } else { "invalid" };
            b.call(verb).arg(id).output().fails(&["container id", why]);
        }
        b.left_nothing();
        assert!(b.path().join("config.json").exists());
    }
    let entries: Vec<_> = fs::read_dir(&b.dir)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .filter(|n| n == "up" || n == "escape")
        .collect();
    assert!(entries.is_empty(), "{entries:?}");
}

fn good_container_ids_are_accepted() {
    let b = Bundle::new();
    let long = format!("{}{}", b.id, "x".repeat(64));
    for id in [&format!("{}.a_b+C-9", b.id), &format!("{}..x", b.id), &long] {
        b.launch_as(id, "run", &[]).ok();
    }
    b.left_nothing();
}

fn an_unknown_command_is_an_error_that_names_it() {
    let b = Bundle::empty();
    b.call(&["nonsense"]).output().fails(&["nonsense"]);
}

fn an_unknown_flag_is_an_error_that_names_it() {
    let b = Bundle::empty();
    b.call(&["create", "--nonsense", "x"])
        .output()
        .ends(1)
        .says(&["nonsense"]);
    Cmd::new(&b.dir, &b.runtime)
        .args(["--nonsense", "list"])
        .output()
        .ends(1)
        .says(&["nonsense"]);
    b.left_nothing();
}

fn a_flag_without_its_value_is_an_error_that_names_it() {
    let b = Bundle::empty();
    b.call(&["create", "--bundle"])
        .output()
        .ends(1)
        .says(&["bundle", "requires an argument"]);
    b.call(&["create", "--preserve-fds", "many", "x"])
        .output()
        .ends(1)
        .says(&["preserve-fds", "many"]);
}

fn too_few_and_too_many_arguments_are_errors() {
    let b = Bundle::new();
    for verb in ["create", "start", "run", "state", "kill", "delete"] {
        b.call(&[verb]).output().ends(1).says(&[verb]);
        b.launch_as("a", verb, &[])
            .args(["b", "c", "d"])
            .output()
            .ends(1);
    }
    b.left_nothing();
}

fn an_unwritable_state_directory_is_an_error_that_names_it() {
    let b = Bundle::new();
    fs::write(b.state_dir(), "a file where the directory would be").unwrap();
    let output = b.create();
    output.fails(&[b.state_dir().to_str().unwrap(), "not a directory"]);
    fs::remove_file(b.state_dir()).unwrap();
    b.left_nothing();
}

fn an_unwritable_pid_file_is_an_error_that_leaves_nothing() {
    let b = Bundle::new();
    let path = b.text("no/such/dir/pid");
    b.launch("create", &["--pid-file", &path])
        .output()
        .fails(&[&path, "no such file or directory"]);
    b.left_nothing();
    b.launch("run", &["--pid-file", &path])
        .output()
        .fails(&[&path, "no such file or directory"]);
    b.left_nothing();
}

fn what_gos_reader_accepts_is_accepted() {
    let mut b = Bundle::new();
    b.namespace("ipc", Some(""))
        .set("/process/apparmorProfile", json!(""))
        .set("/process/selinuxLabel", json!(""));
    b.set("/linux/rootfsPropagation", json!(""))
        .set("/linux/mountLabel", json!(""));
    for pointer in [
        "/process/rlimits",
        "/process/user/additionalGids",
        "/process/capabilities/ambient",
        "/process/consoleSize",
        "/process/oomScoreAdj",
        "/process/scheduler",
        "/hooks",
        "/annotations",
        "/linux/devices",
        "/linux/seccomp",
        "/linux/sysctl",
        "/linux/resources",
        "/linux/maskedPaths",
        "/linux/readonlyPaths",
        "/linux/uidMappings",
        "/linux/gidMappings",
        "/linux/timeOffsets",
        "/linux/intelRdt",
        "/linux/personality",
        "/mounts/0/options",
        "/mounts/0/uidMappings",
    ] {
        b.set(pointer, Value::Null);
    }
    b.set("/hostname", json!(""))
        .set("/domainname", Value::Null);
    b.args(&["echo", "fine"]).run_ok().prints("fine\n");
    b.set("/hooks", json!({"prestart": null, "poststop": []}))
        .set(
            "/linux/resources",
            json!({"memory": null, "cpu": {"shares": null}, "pids": null, "devices": null}),
        );
    b.run_ok().prints("fine\n");
}

fn unknown_fields_are_ignored() {
    let mut b = Bundle::new();
    for pointer in [
        "/x-new",
        "/process/x-new",
        "/linux/x-new",
        "/root/x-new",
        "/mounts/0/x-new",
        "/linux/namespaces/0/x-new",
    ] {
        b.set(pointer, json!({"any": [1, "thing", null]}));
    }
    b.set("/solaris", json!({"milestone": 1}))
        .set("/windows", json!({}))
        .set("/vm", json!(null))
        .set("/zos", json!({}));
    b.args(&["echo", "fine"])
        .run_ok()
        .prints("fine\n")
        .says(&[]);
}

fn a_byte_order_of_keys_and_blanks_does_not_matter() {
    let mut b = Bundle::new();
    b.args(&["echo", "tab\tquote\"back\\slash/ünï\u{1F600}"])
        .write();
    let text = b
        .config
        .to_string()
        .replace('ü', "\\u00fc")
        .replace('\u{1F600}', "\\ud83d\\ude00")
        .replace('/', "\\/");
    fs::write(b.path().join("config.json"), format!("\n\t {text}\r\n ")).unwrap();
    b.call(&["run", "--bundle"])
        .arg(b.path())
        .arg(&b.id)
        .ok()
        .prints("tab\tquote\"back\\slash/ünï\u{1F600}\n");
}
