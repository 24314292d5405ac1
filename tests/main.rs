//! All black-box tests as one binary: each module covers one area of the runtime's behaviour.
//! Run as root by `cargo test -p runtime-tests`; `RUNTIME=/path` drives another binary than the release build.

mod lifecycle;
mod namespaces;
mod process;

use runtime_tests::{Trial, harness, host};

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    harness::keep_panics();
    let trials: Vec<Trial> = [lifecycle::tests(), process::tests(), namespaces::tests()]
        .into_iter()
        .flatten()
        .collect();
    if !arguments.list {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make namespaces and cgroups: run them as root"
        );
        host::sweep();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    host::sweep();
    conclusion.exit();
}
