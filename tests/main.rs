//! All black-box tests as one binary: each module covers one area of the runtime's behaviour.
//! Run as root by `cargo test -p runtime-tests`; `RUNTIME=/path` drives another binary than the release build.

mod apparmor_systemd;
mod attacks;
mod bad_specs;
mod callers;
mod cgroup;
mod checkpoint;
mod checkpoint_systemd;
mod containerd;
mod contract;
mod devices;
mod docker;
mod docker_systemd;
mod engines;
mod errors;
mod exec;
mod exec_attacks;
mod exec_places;
mod faults;
mod golden;
mod habits;
mod hooks;
mod interrupts;
mod lifecycle;
mod mounts;
mod namespaces;
mod notify;
mod podman;
mod podman_systemd;
mod process;
mod program;
mod relay;
mod resources;
mod rootless;
mod rootless_ids;
mod roots;
mod seccomp;
mod seccomp_command;
mod swarm;
mod systemd;
mod terminal;
mod trust;
mod vm;

use runtime_tests::{harness, host, machine};

fn main() {
    let areas = [
        lifecycle::tests(),
        process::tests(),
        program::tests(),
        notify::tests(),
        namespaces::tests(),
        mounts::tests(),
        devices::tests(),
        cgroup::tests(),
        apparmor_systemd::tests(),
        checkpoint::tests(),
        checkpoint_systemd::tests(),
        resources::tests(),
        hooks::tests(),
        interrupts::tests(),
        seccomp::tests(),
        seccomp_command::tests(),
        terminal::tests(),
        trust::tests(),
        relay::tests(),
        exec::tests(),
        exec_attacks::tests(),
        exec_places::tests(),
        errors::tests(),
        contract::tests(),
        callers::tests(),
        attacks::tests(),
        faults::tests(),
        engines::tests(),
        containerd::tests(),
        docker::tests(),
        docker_systemd::tests(),
        podman::tests(),
        podman_systemd::tests(),
        swarm::tests(),
        golden::tests(),
        habits::tests(),
        roots::tests(),
        rootless::tests(),
        rootless_ids::tests(),
        systemd::tests(),
        vm::tests(),
    ];
    let arguments = libtest_mimic::Arguments::from_args();
    harness::keep_panics();
    if !arguments.list {
        let as_user = arguments.filter.as_deref() == Some("systemd::");
        assert!(
            rustix::process::geteuid().is_root() || as_user,
            "these tests make namespaces and cgroups: run them as root (systemd:: also as another user)"
        );
        host::sweep(false);
    }
    let conclusion = libtest_mimic::run(&arguments, areas.into_iter().flatten().collect());
    let stopped = machine::stop();
    host::sweep(true);
    conclusion.exit_if_failed();
    assert!(stopped, "an engine's processes outlived their containers");
}
