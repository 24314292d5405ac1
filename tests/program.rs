//! Programs that cannot be executed: which command reports the error, in the wording that engines match on, and with
//! the cause.
//! Errors visible in the file's name, mode or interpreter are reported by `create`, as in runc. Errors that only
//! execve can detect are reported by `start`.

use runtime_tests::{Bundle, host};
use std::fs;
use std::os::unix::fs::PermissionsExt;

runtime_tests::tests![
    create_reports_a_missing_program,
    create_reports_a_name_that_is_not_in_the_path,
    create_reports_a_path_through_a_file,
    create_reports_a_directory,
    create_reports_a_file_that_nobody_may_execute,
    create_finds_a_relative_name_in_the_working_directory,
    create_skips_path_entries_that_cannot_be_executed,
    start_reports_a_program_that_went_missing,
    a_missing_interpreter_of_a_script_is_named,
    a_script_with_carriage_returns_is_reported,
    a_missing_interpreter_of_an_elf_file_is_named,
    an_interpreter_by_a_relative_name_is_left_to_the_exec,
    an_elf_file_of_another_machine_is_reported,
    an_elf_file_of_another_machine_may_lack_its_interpreter_at_create,
    a_file_of_unknown_format_is_reported,
    a_program_on_a_noexec_mount_is_reported,
    a_filter_that_forbids_reading_hides_the_cause_and_not_the_failure,
];

/// Expects that `create`, `run` and `exec` fail with these words and leave nothing behind.
#[track_caller]
fn nobody_runs(b: &mut Bundle, words: &[&str]) {
    b.create().fails(words);
    b.left_nothing();
    run_and_exec_fail(b, words);
}

/// Expects that `create` succeeds, and that `start`, `run` and `exec` fail with these words.
#[track_caller]
fn only_the_exec_fails(b: &mut Bundle, words: &[&str]) {
    start_fails(b, words);
    run_and_exec_fail(b, words);
}

#[track_caller]
fn start_fails(b: &Bundle, words: &[&str]) {
    // Engines delete the container as soon as start has failed, so that must work.
    for _ in 0..20 {
        b.create().ok();
        b.start().fails(words);
        b.delete(&[]).ok();
    }
    b.left_nothing();
}

#[track_caller]
fn run_and_exec_fail(b: &mut Bundle, words: &[&str]) {
    b.run().fails(words);
    b.left_nothing();
    let args: Vec<String> = args(b);
    b.waits();
    let _running = b.up();
    let exec = b.call(&["exec", &b.id]).args(args).output();
    exec.ends(255).says(words);
}

fn args(b: &Bundle) -> Vec<String> {
    let args = b.config["process"]["args"].as_array().unwrap();
    args.iter().map(|a| a.as_str().unwrap().into()).collect()
}

/// A bundle whose program is this file.
fn with_file(content: impl AsRef<[u8]>, mode: u32) -> Bundle {
    let mut b = Bundle::new();
    let path = b.rootfs().join("bin/file");
    fs::write(&path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    b.args(&["/bin/file"]);
    b
}

fn create_reports_a_missing_program() {
    let mut b = Bundle::new();
    nobody_runs(
        b.args(&["/bin/nothing"]),
        &["exec /bin/nothing", ": no such file or directory"],
    );
}

fn create_reports_a_name_that_is_not_in_the_path() {
    let words = "executable file not found in $PATH: no such file or directory";
    nobody_runs(Bundle::new().args(&["nothing"]), &["exec nothing", words]);
}

fn create_reports_a_path_through_a_file() {
    let mut b = Bundle::new();
    nobody_runs(
        b.args(&["/etc/passwd/x"]),
        &["/etc/passwd/x", ": not a directory"],
    );
}

fn create_reports_a_directory() {
    let mut b = Bundle::new();
    nobody_runs(
        b.args(&["/etc"]),
        &["/etc", ": is a directory: permission denied"],
    );
}

fn create_reports_a_file_that_nobody_may_execute() {
    nobody_runs(
        &mut with_file("#!/bin/sh\n", 0o644),
        &[
            "/bin/file",
            ": permission denied: no mode bit lets anybody execute it",
        ],
    );
}

fn create_finds_a_relative_name_in_the_working_directory() {
    let mut b = with_file("#!/bin/sh\necho found\n", 0o755);
    b.set("/process/cwd", "/bin".into()).args(&["./file"]);
    b.create().ok();
    b.delete(&["--force"]).ok();
    b.run_ok().prints("found\n");
    nobody_runs(
        b.set("/process/cwd", "/etc".into()),
        &["./file", ": no such file or directory"],
    );
}

fn create_skips_path_entries_that_cannot_be_executed() {
    let mut b = with_file("#!/bin/sh\necho found\n", 0o755);
    // Before it in the PATH come a directory, a file without the execute bit, and a missing entry.
    for place in ["a/file", "b"] {
        fs::create_dir_all(b.rootfs().join(place)).unwrap();
    }
    fs::write(b.rootfs().join("b/file"), "").unwrap();
    b.set("/process/env", serde_json::json!(["PATH=/a:/b:/c:/bin"]));
    b.args(&["file"]).create().ok();
    b.delete(&["--force"]).ok();
    b.run_ok().prints("found\n");
}

fn start_reports_a_program_that_went_missing() {
    let b = with_file("#!/bin/sh\n", 0o755);
    b.create().ok();
    fs::remove_file(b.rootfs().join("bin/file")).unwrap();
    b.start()
        .fails(&["/bin/file", ": no such file or directory"]);
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.left_nothing();
}

fn a_missing_interpreter_of_a_script_is_named() {
    nobody_runs(
        &mut with_file("#! /bin/nothing -x\n", 0o755),
        &[
            "/bin/file",
            ": no such file or directory: its interpreter /bin/nothing is missing",
        ],
    );
}

fn a_script_with_carriage_returns_is_reported() {
    nobody_runs(
        &mut with_file("#!/bin/sh\r\necho never\r\n", 0o755),
        &[
            "/bin/file",
            ": no such file or directory",
            "its interpreter /bin/sh",
            "CR LF",
        ],
    );
}

fn a_missing_interpreter_of_an_elf_file_is_named() {
    let dynamic = fs::read(host::program("env")).unwrap();
    let name = b"/lib64/ld-linux-x86-64.so.2\0";
    assert!(
        dynamic.windows(name.len()).any(|part| part == name),
        "env is not dynamic"
    );
    nobody_runs(
        &mut with_file(dynamic, 0o755),
        &[
            "/bin/file",
            ": no such file or directory: its interpreter /lib64/ld-linux-x86-64.so.2 is missing",
        ],
    );
}

/// The interpreter's name is relative to the working directory, so only execve can look it up.
fn an_interpreter_by_a_relative_name_is_left_to_the_exec() {
    let b = with_file("#!bin/sh\nexit 7\n", 0o755);
    b.create().ok();
    b.start().ok();
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.run().ends(7);
}

fn an_elf_file_of_another_machine_is_reported() {
    let mut program = fs::read(host::busybox()).unwrap();
    program[18..20].copy_from_slice(&183u16.to_le_bytes());
    only_the_exec_fails(
        &mut with_file(program, 0o755),
        &["/bin/file", ": exec format error: it is made for aarch64"],
    );
}

/// The emulator registered with binfmt_misc may provide the interpreter.
fn an_elf_file_of_another_machine_may_lack_its_interpreter_at_create() {
    let mut program = fs::read(host::program("env")).unwrap();
    program[18..20].copy_from_slice(&183u16.to_le_bytes());
    only_the_exec_fails(
        &mut with_file(program, 0o755),
        &["/bin/file", ": exec format error: it is made for aarch64"],
    );
}

fn a_file_of_unknown_format_is_reported() {
    only_the_exec_fails(
        &mut with_file("echo never\n", 0o755),
        &[
            "/bin/file",
            ": exec format error: it is no ELF file, and does not begin with #!",
        ],
    );
}

fn a_program_on_a_noexec_mount_is_reported() {
    let mut b = Bundle::new();
    let dir = b.file("programs");
    fs::create_dir(&dir).unwrap();
    host::copy(host::busybox(), dir.join("true"));
    b.bind(&dir, "/programs", &["bind", "noexec"]);
    only_the_exec_fails(
        b.args(&["/programs/true"]),
        &[
            "/programs/true",
            ": permission denied: it lies on a mount with the option noexec",
        ],
    );
}

/// The cause is read from the file after the failure has been reported, so a profile may kill on the calls for it.
fn a_filter_that_forbids_reading_hides_the_cause_and_not_the_failure() {
    let mut b = with_file("#!/bin/interpreter\n", 0o755);
    let interpreter = b.rootfs().join("bin/interpreter");
    fs::write(&interpreter, "").unwrap();
    b.set("/process/noNewPrivileges", true.into());
    b.set(
        "/linux/seccomp",
        serde_json::json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{
            "names": ["execve", "sendto", "exit_group", "rt_sigprocmask", "close_range", "openat2"],
            "action": "SCMP_ACT_ALLOW"}]}),
    );
    b.create().ok();
    fs::remove_file(interpreter).unwrap();
    b.start().fails(&[
        "/bin/file",
        "no such file or directory: the interpreter that it names is missing",
    ]);
    b.delete(&[]).ok();
    b.left_nothing();
}
