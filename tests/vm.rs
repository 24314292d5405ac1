//! Runs tests again in a guest with another kernel and cgroup v2 with every controller, which few test hosts have.
//! The guest runs this same binary, so the names of the tests are the same. Emulation is slow, so by default it runs the
//! tests that depend on the kernel's mounts and devices, on the cgroup version or on systemd; all others run on the host.
//! With `RUNTIME_GUEST_ALL` (`./test --guest-all`) it runs all tests.

use runtime_tests::{Cmd, Output, host, machine};
use std::fs;
use std::path::{Path, PathBuf};

runtime_tests::tests![
    the_tests_of_systemd_and_docker_pass_under_systemd,
    the_tests_of_systemd_pass_for_an_ordinary_user,
    the_tests_pass_on_cgroup_v2_with_every_controller,
];

/// The areas and tests that depend on the kernel or the cgroup version.
const OF_THE_KERNEL: &[&str] = &[
    "binds::",
    "cgroup::",
    "device_rules::",
    "devices::",
    "exec_places::",
    "interrupts::",
    "manage::",
    "mounts::",
    "namespaces::",
    "process::hard_limits",
    "resources::",
    "rootless_cgroup::",
    "seccomp_agent::",
];

/// The areas that need systemd and root. Podman's run for the ordinary user.
const OF_ROOT: &[&str] = &[
    "apparmor_systemd::",
    "checkpoint_systemd::",
    "limits_systemd::",
    "systemd::",
];

/// The areas and tests that differ for the user's own systemd.
const OF_A_USER: &[&str] = &[
    "limits_systemd::an_update",
    "limits_systemd::limits_are",
    "podman_systemd::",
    "systemd::",
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

/// How much longer tests wait in a guest: emulation makes it slower, the most where three guests share two cores.
const SLOWNESS: u32 = 5;

/// The command that runs the tests with `name` in their names, and unless the guests run every test, only those that
/// begin with one of the words in `only`.
fn run_of(name: &str, only: &[&str]) -> String {
    let choice = match all() {
        true => "RUNTIME_PEERS=1".into(),
        false if only.is_empty() => String::new(),
        false => format!("RUNTIME_ONLY='{}'", only.join(" ")),
    };
    let environment =
        format!("RUNTIME=/usr/bin/runtime RUNTIME_COMPILED=/compiled RUNTIME_SLOWNESS={SLOWNESS}");
    format!("env {environment} {choice} runtime-tests {name} --test-threads 2 --color never")
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
    // Two hundred containers take a minute of emulation, and depend on neither kernel nor cgroups.
    let (skip, floor) = if all() {
        // Ten megabytes through an emulated terminal take minutes.
        ("exec_terminal::a_tty_brings_ten_megabytes_whole", 545)
    } else {
        ("manage::two_hundred_containers_leave_nothing", 145)
    };
    let line = format!("{} --skip {skip}", run_of("", OF_THE_KERNEL));
    let output = in_guest("small", &[], &files, &line);
    passed(&output, &[floor]);
}

/// The Docker tests come last because Docker's daemons keep running.
fn the_tests_of_systemd_and_docker_pass_under_systemd() {
    on_a_host();
    let systemd = run_of("systemd:: --skip docker_systemd::", OF_ROOT);
    let docker = run_of("docker_systemd::", &[]);
    let line = format!("{systemd}; systemd=$?; {docker}; exit $((systemd + $?))");
    let output = in_system("root", &line);
    passed(&output, &[if all() { 47 } else { 39 }, 9]);
}

/// The user's own systemd starts the tests, which find the user's bus through its directory alone.
fn the_tests_of_systemd_pass_for_an_ordinary_user() {
    on_a_host();
    let skip = if all() { "" } else { "--skip twenty_scopes" };
    let of_user = run_of(
        &format!("systemd:: --skip docker_systemd:: {skip}"),
        OF_A_USER,
    );
    let as_user = "systemd-run --user --pipe --wait --quiet --collect --property Delegate=yes --setenv XDG_RUNTIME_DIR";
    let line = format!(
        "runuser -u user -- env XDG_RUNTIME_DIR=/run/user/1000 {as_user} --setenv PATH {of_user}"
    );
    let output = in_system("user", &line);
    passed(&output, &[if all() { 28 } else { 25 }]);
}

/// Runs a shell command in a guest with systemd.
#[track_caller]
fn in_system(name: &str, line: &str) -> Output {
    let image = format!("{}:compiled/image.tar", machine::image().display());
    in_guest(name, &["-s", &image], &[], line)
}
