//! Bad input ends with status 1 and one line, which names the JSON path or the file, and leaves nothing behind. What each
//! error says is tested in the library: src/plan/tests/refusals.rs, src/spec/tests.rs, src/cli/tests.rs.

use runtime_tests::{Bundle, Cmd, Value, json};
use std::fs;

runtime_tests::tests![
    a_wrong_value_is_one_line_and_leaves_nothing,
    a_missing_config_is_an_error_that_names_it,
    a_config_that_is_not_json_is_an_error_with_its_place,
    a_missing_bundle_is_an_error_that_names_it,
    a_missing_root_is_an_error_that_names_it,
    a_root_that_is_a_file_is_an_error_that_names_it,
    a_failing_mount_names_itself_and_its_reason,
    a_duplicate_id_is_refused_and_harms_nothing,
    bad_container_ids_are_refused,
    good_container_ids_are_accepted,
    a_wrong_command_line_is_an_error_that_names_it,
    an_unwritable_state_directory_is_an_error_that_names_it,
    an_unwritable_pid_file_is_an_error_that_leaves_nothing,
];

/// One error of the reader, one of the plan, one that comes with a missing field.
fn a_wrong_value_is_one_line_and_leaves_nothing() {
    for (pointer, value, text) in [
        (
            "/process/user/uid",
            json!(-1),
            "process.user.uid: expected an integer from 0 to 4294967295, found -1",
        ),
        (
            "/process/user/uid",
            json!(4294967295u32),
            "process.user.uid: 4294967295 is not an id",
        ),
        ("/root", Value::Null, "root: required field is missing"),
    ] {
        let mut b = Bundle::empty();
        let run = b.set(pointer, value).create();
        run.fails(&[]);
        assert_eq!(run.err, format!("runtime: config.json: {text}\n"));
        b.left_nothing();
    }
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
    for id in ["", "..", "../up", "/abs", "a\nb"] {
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

fn a_wrong_command_line_is_an_error_that_names_it() {
    let b = Bundle::empty();
    b.call(&["nonsense"]).output().fails(&["nonsense"]);
    for (words, said) in [
        (&["create", "--nonsense", "x"][..], "nonsense"),
        (&["create", "--bundle"], "requires an argument"),
        (&["create", "--preserve-fds", "many", "x"], "many"),
        (&["start"], "start"),
        (&["state", "a", "b"], "state"),
    ] {
        b.call(words).output().ends(1).says(&[said]);
    }
    Cmd::new(&b.dir, &b.runtime)
        .args(["--nonsense", "list"])
        .output()
        .ends(1)
        .says(&["nonsense"]);
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
