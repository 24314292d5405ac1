//! Compiles the programs that the benches time against, without a libc: the floor, its payloads and the stopwatch.
//! They are C because the workspace forbids unsafe code here, and the linker for Rust is a C compiler anyway.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

const PROGRAMS: [&str; 6] = ["floor", "pause", "stopwatch", "true", "version", "weigh"];

/// One static file, no libc, and no calls inserted by the compiler (such as a loop turned into `memcpy`).
const FLAGS: [&str; 16] = [
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pie",
    "-no-pie",
    "-fno-asynchronous-unwind-tables",
    "-fno-tree-loop-distribute-patterns",
    "-Wl,--build-id=none",
    "-Wl,-z,noseparate-code",
    "-Wl,-z,noexecstack",
    "-s",
];

fn main() {
    println!("cargo:rerun-if-changed=programs");
    println!("cargo:rerun-if-env-changed=CC");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_string());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::create_dir_all(&out).expect("OUT_DIR can be created");
    for program in PROGRAMS {
        let status = Command::new(&compiler)
            .args(FLAGS)
            .arg(format!("programs/{program}.c"))
            .arg("-o")
            .arg(out.join(program))
            .status()
            .unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(
            status.success(),
            "{compiler} programs/{program}.c: {status}"
        );
    }
}
