//! Tests that run once more in a guest with another kernel: cgroup v2 with every controller, which few hosts of tests
//! have. The guest runs this same binary, so that the names of the tests are the same on both.

use runtime_tests::{Cmd, host};
use std::path::Path;

runtime_tests::tests![the_tests_of_resources_pass_on_cgroup_v2];

fn the_tests_of_resources_pass_on_cgroup_v2() {
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        runtime_tests::skip!("no qemu-system-x86_64 on this machine");
    }
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/vm/guest");
    let own = std::env::current_exe().unwrap();
    let scratch = host::scratch().join("guest");
    std::fs::create_dir_all(&scratch).unwrap();
    let file = |path: &Path, to: &str| format!("{}:{to}", path.display());
    let mut command = Cmd::new(&scratch, guest)
        .args(["-t", "600"])
        .arg(file(host::runtime(), "bin/runtime"))
        .arg(file(&own, "bin/runtime-tests"))
        .arg(file(host::helper(), "bin/helper"))
        .arg("--")
        .arg("RUNTIME=/bin/runtime RUNTIME_HELPER=/bin/helper runtime-tests resources:: --test-threads 2 --color never")
        .deadline(700);
    for name in ["HOME", "VM_CACHE"] {
        if let Ok(value) = std::env::var(name) {
            command = command.env(name, &value);
        }
    }
    let output = command.output();
    print!("{}", output.out);
    output.ok();
}
