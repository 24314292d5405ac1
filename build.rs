//! Links the program without libc: no start files, no dynamic section, no relocations, and no unwind tables, since
//! nothing unwinds. RUSTFLAGS are not needed.

/// The unwind tables come with the precompiled core library and would be a tenth of the file.
const WITHOUT_UNWIND_TABLES: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame.*) *(.gcc_except_table) *(.gcc_except_table.*) *(.comment) } } INSERT AFTER .rodata;";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rustc-env=RUNTIME_COMMIT={}", commit());
    let script = format!(
        "{}/sections.ld",
        std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")
    );
    std::fs::write(&script, WITHOUT_UNWIND_TABLES).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{script}");
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none,-z,norelro,--no-dynamic-linker,--no-eh-frame-hdr,--icf=all",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}

/// The commit for `--version`, or `unknown` if the sources come without their history.
fn commit() -> String {
    let git = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
