//! All black-box tests, as one binary. Each module covers one area of the runtime's behaviour.
//! Run as root with `cargo test -p runtime-tests`. `RUNTIME=/path` tests another binary than the release build.
//! `RUNTIME_ONLY` is a list of prefixes, separated by spaces: only tests whose names start with one of them run.

mod answers;
mod apparmor_systemd;
mod attacks;
mod attacks_paths;
mod attacks_userns;
mod binds;
mod caller_cgroup;
mod callers;
mod cgroup;
mod checkpoint;
mod checkpoint_systemd;
mod containerd;
mod contract;
mod device_rules;
mod devices;
mod docker;
mod docker_systemd;
mod engines;
mod errors;
mod exec;
mod exec_attacks;
mod exec_identity;
mod exec_joins;
mod exec_places;
mod exec_terminal;
mod faults;
mod faults_commands;
mod faults_limits;
mod golden;
mod habits;
mod hooks;
mod interrupts;
mod lifecycle;
mod limits_systemd;
mod load;
mod manage;
mod mounts;
mod namespaces;
mod net_devices;
mod notify;
mod peers;
mod podman;
mod podman_systemd;
mod process;
mod program;
mod races;
mod relay;
mod resources;
mod rootless;
mod rootless_cgroup;
mod rootless_ids;
mod roots;
mod seccomp;
mod seccomp_agent;
mod seccomp_command;
mod spec_command;
mod strangers;
mod swarm;
mod systemd;
mod terminal;
mod trust;
mod vm;

use runtime_tests::{Trial, harness, host, machine};

/// The tests of each area.
const AREAS: &[fn() -> Vec<Trial>] = &[
    vm::tests,
    lifecycle::tests,
    process::tests,
    program::tests,
    notify::tests,
    namespaces::tests,
    net_devices::tests,
    mounts::tests,
    binds::tests,
    devices::tests,
    caller_cgroup::tests,
    cgroup::tests,
    apparmor_systemd::tests,
    checkpoint::tests,
    checkpoint_systemd::tests,
    resources::tests,
    device_rules::tests,
    manage::tests,
    hooks::tests,
    interrupts::tests,
    seccomp::tests,
    seccomp_agent::tests,
    seccomp_command::tests,
    terminal::tests,
    trust::tests,
    peers::tests,
    relay::tests,
    exec::tests,
    exec_identity::tests,
    exec_joins::tests,
    exec_terminal::tests,
    exec_attacks::tests,
    exec_places::tests,
    errors::tests,
    contract::tests,
    spec_command::tests,
    strangers::tests,
    callers::tests,
    answers::tests,
    attacks::tests,
    attacks_paths::tests,
    attacks_userns::tests,
    faults::tests,
    faults_commands::tests,
    faults_limits::tests,
    load::tests,
    races::tests,
    engines::tests,
    containerd::tests,
    docker::tests,
    docker_systemd::tests,
    podman::tests,
    podman_systemd::tests,
    swarm::tests,
    golden::tests,
    habits::tests,
    roots::tests,
    rootless::tests,
    rootless_cgroup::tests,
    rootless_ids::tests,
    systemd::tests,
    limits_systemd::tests,
];

/// All tests: the first one of each area, then the second ones, and so on. An engine runs one case at a time, so
/// consecutive cases of an engine would keep threads waiting.
fn tests() -> Vec<Trial> {
    let mut areas: Vec<_> = AREAS.iter().map(|tests| tests().into_iter()).collect();
    let mut tests: Vec<_> = areas[0].by_ref().collect();
    let mut before = 0;
    while before < tests.len() {
        before = tests.len();
        tests.extend(areas.iter_mut().filter_map(Iterator::next));
    }
    tests
}

/// Keeps the tests whose names begin with one of the words in `only`. A word that matches no test is an error.
fn choose(tests: &mut Vec<Trial>, only: &str) {
    let means = |word: &str, test: &Trial| test.name().starts_with(word);
    for word in only.split(' ') {
        let any = tests.iter().any(|test| means(word, test));
        assert!(any, "no test name begins with {word}");
    }
    tests.retain(|test| only.split(' ').any(|word| means(word, test)));
}

fn main() {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Most tests wait most of the time, but some engine tests have deadlines, so the number of threads is limited.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores + 1);
    let mut tests = tests();
    if let Ok(only) = std::env::var("RUNTIME_ONLY") {
        choose(&mut tests, &only);
    }
    if let Some(name) = &arguments.filter
        && !tests.iter().any(|test| test.name().contains(name))
    {
        eprintln!("no test has {name} in its name");
        std::process::exit(1);
    }
    harness::keep_panics();
    if !arguments.list {
        let as_user = arguments.filter.as_deref() == Some("systemd::");
        assert!(
            rustix::process::geteuid().is_root() || as_user,
            "these tests create namespaces and cgroups: run them as root (systemd:: also as another user)"
        );
        host::sweep(false);
    }
    let conclusion = libtest_mimic::run(&arguments, tests);
    let stopped = machine::stop();
    host::sweep(true);
    harness::print_slowest();
    conclusion.exit_if_failed();
    assert!(stopped, "an engine's processes outlived their containers");
}
