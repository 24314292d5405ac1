//! Runs tests again in a guest with another kernel and cgroup v2 with every controller, which few test hosts have.
//! The guest runs this same binary, so the names of the tests are the same. By default it runs the tests that depend on
//! the kernel or the cgroup version; with `RUNTIME_GUEST_ALL` (`./test --guest-all`) it runs all tests.

use runtime_tests::{Cmd, Output, host, machine};
use std::fs;
use std::path::{Path, PathBuf};

runtime_tests::tests![
    the_tests_pass_on_cgroup_v2_with_every_controller,
    the_tests_of_systemd_pass_under_systemd,
    the_tests_of_systemd_pass_for_an_ordinary_user_and_with_docker,
];

/// The areas and tests that depend on the kernel or the cgroup version.
const OF_THE_KERNEL: &[&str] = &[
    "binds::",
    "cgroup::",
    "device_rules::",
    "devices::",
    "exec::",
    "exec_identity::",
    "exec_joins::",
    "exec_places::",
    "exec_terminal::",
    "interrupts::",
    "lifecycle::",
    "manage::",
    "mounts::",
    "namespaces::",
    "process::",
    "resources::",
    "rootless::",
    "rootless_cgroup::",
    "rootless_ids::",
    "seccomp::",
    "seccomp_agent::",
];

/// Skips the test in a guest, which must not start guests of its own.
fn on_a_host() {
    if std::env::var_os("RUNTIME_GUEST").is_some() {
        runtime_tests::skip!("this is the guest");
    }
}

fn guest(name: &str) -> PathBuf {
    let scratch = host::scratch().join(name);
    fs::create_dir_all(&scratch).unwrap();
    scratch
}

/// Runs a shell command in a guest with the runtime, this binary, the compiled programs, and `files` of the host at the
/// same paths. If the guest's kernel panics, reports this and boots once more: qemu 7.2's emulation has bugs (one kernel
/// died with EFLAGS 053800a7, bits that no processor can have). A panic caused by a test happens again.
#[track_caller]
fn in_guest(name: &str, flags: &[&str], files: &[PathBuf], line: &str) -> Output {
    for program in ["qemu-system-x86_64", "cpio", "mmdebstrap"] {
        host::program(program);
    }
    let output = boot(name, flags, files, line);
    if !(output.status == 125 && output.err.contains("Kernel panic")) {
        return output;
    }
    println!("the guest's kernel panicked, booting it again:\n{output}");
    boot(name, flags, files, line)
}

fn boot(name: &str, flags: &[&str], files: &[PathBuf], line: &str) -> Output {
    let own = std::env::current_exe().unwrap();
    let mut command = Cmd::new(
        &guest(name),
        concat!(env!("CARGO_MANIFEST_DIR"), "/vm/guest"),
    )
    .args(["-t", "2400"])
    .args(flags)
    .arg(format!("{}:usr/bin/runtime", host::runtime().display()))
    .arg(format!("{}:usr/bin/runtime-tests", own.display()))
    .deadline(2700);
    for file in host::compiled() {
        let name = file.file_name().unwrap().to_string_lossy();
        command = command.arg(format!("{}:compiled/{name}", file.display()));
    }
    for file in files {
        command = command.arg(format!("{0}:{0}", file.display()));
    }
    for name in ["HOME", "VM_CACHE"] {
        if let Ok(value) = std::env::var(name) {
            command = command.env(name, &value);
        }
    }
    command.arg("--").arg(line).output()
}

/// Whether the guests run every test, with runc as well.
fn all() -> bool {
    std::env::var_os("RUNTIME_GUEST_ALL").is_some()
}

/// The command that runs the tests with this prefix. Emulation makes a guest slower, so tests wait longer there.
fn run_of(name: &str) -> String {
    let peers = if all() { "RUNTIME_PEERS=1" } else { "" };
    let environment =
        format!("RUNTIME=/usr/bin/runtime RUNTIME_COMPILED=/compiled RUNTIME_SLOWNESS=5 {peers}");
    format!("env {environment} runtime-tests {name} --test-threads 2 --color never")
}

/// Expects one result per run of this binary in the guest: at least `floor` tests passed, and none failed.
#[track_caller]
fn passed(output: &Output, floors: &[usize]) {
    let failed: Vec<_> = output
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("test ") && line.ends_with("FAILED"))
        .collect();
    assert!(failed.is_empty(), "in the guest: {failed:#?}\n{output}");
    let results: Vec<_> = output
        .lines()
        .into_iter()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .collect();
    assert_eq!(
        results.len(),
        floors.len(),
        "results of the guest\n{output}"
    );
    for (result, floor) in results.iter().zip(floors) {
        let count: usize = result.split(' ').next().unwrap().parse().unwrap();
        assert!(count >= *floor, "only {result}, expected {floor}\n{output}");
    }
    output.ok();
    // Prints the skipped tests and the results.
    let telling = |line: &&str| !line.is_empty() && !line.ends_with(" ok");
    let lines: Vec<_> = output.lines().into_iter().filter(telling).collect();
    println!("in the guest:\n{}", lines.join("\n"));
}

/// The files in a directory of the sources that the tests read.
fn sources(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(&path).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn the_tests_pass_on_cgroup_v2_with_every_controller() {
    on_a_host();
    // Tools that busybox lacks or whose options it lacks. `sh` is here because busybox's shell prefers its own applets.
    let tools = [
        "setsid", "setpriv", "strace", "ps", "unshare", "nsenter", "prlimit", "taskset", "sh",
        "env",
    ];
    let mut files: Vec<_> = tools.into_iter().map(host::program).collect();
    files.extend(sources("golden"));
    // Ten megabytes through an emulated terminal take minutes, and depend on neither kernel nor cgroups.
    let only = format!(
        "RUNTIME_ONLY='{}' {} --skip exec_terminal::a_tty_brings_ten_megabytes_whole",
        OF_THE_KERNEL.join(" "),
        run_of("")
    );
    let (line, floor) = if all() {
        (run_of(""), 545)
    } else {
        (only, 286)
    };
    let output = in_guest("small", &[], &files, &line);
    passed(&output, &[floor]);
}

fn the_tests_of_systemd_pass_under_systemd() {
    on_a_host();
    let output = in_system("root", &run_of("systemd:: --skip docker_systemd::"));
    passed(&output, &[47]);
}

/// The user's own systemd starts the tests, which find the user's bus through its directory alone. The Docker tests need
/// root. They run here because root's guest has the most to do, and last because Docker's daemons keep running.
fn the_tests_of_systemd_pass_for_an_ordinary_user_and_with_docker() {
    on_a_host();
    let of_user = run_of("systemd:: --skip docker_systemd::");
    let docker = run_of("docker_systemd::");
    let as_user = "systemd-run --user --pipe --wait --quiet --collect --property Delegate=yes --setenv XDG_RUNTIME_DIR";
    let line = format!(
        "runuser -u user -- env XDG_RUNTIME_DIR=/run/user/1000 {as_user} --setenv PATH {of_user}; user=$?
        {docker}; docker=$?
        exit $((user + docker))"
    );
    let output = in_system("user", &line);
    passed(&output, &[28, 9]);
}

/// Runs a shell command in a guest with systemd.
#[track_caller]
fn in_system(name: &str, line: &str) -> Output {
    let image = format!("{}:compiled/image.tar", machine::image().display());
    in_guest(name, &["-s", &image], &[], line)
}
