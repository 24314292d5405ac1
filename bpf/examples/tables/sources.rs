//! Finds what the tables are made from: the sources of two crates, through cargo, and libseccomp, through the loader.
//! Nothing is linked, so the crate builds where libseccomp is missing.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;

/// The source directories of `linux-raw-sys` and `syscall-numbers` in the versions Cargo.lock names.
pub fn crates() -> (PathBuf, PathBuf) {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo metadata");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo's own JSON");
    let find = |name: &str| -> PathBuf {
        let packages = metadata["packages"].as_array().expect("packages");
        let package = packages
            .iter()
            .find(|package| package["name"] == name)
            .expect("a dev-dependency");
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        manifest.parent().expect("a directory").into()
    };
    (find("linux-raw-sys"), find("syscall-numbers"))
}

/// libseccomp's name resolution, loaded at run time.
pub struct Libseccomp {
    resolve: unsafe extern "C" fn(u32, *const c_char) -> c_int,
}

impl Libseccomp {
    pub fn load() -> Option<Libseccomp> {
        // SAFETY: libseccomp's constructor has no preconditions; the handle is never closed.
        let handle = unsafe { libc::dlopen(c"libseccomp.so.2".as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return None;
        }
        // SAFETY: the handle came from dlopen and stays open.
        let symbol = unsafe { libc::dlsym(handle, c"seccomp_syscall_resolve_name_arch".as_ptr()) };
        if symbol.is_null() {
            return None;
        }
        // SAFETY: the type is that of seccomp.h: int (uint32_t, const char *).
        let resolve = unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(u32, *const c_char) -> c_int>(
                symbol,
            )
        };
        Some(Libseccomp { resolve })
    }

    /// The number, or a negative pseudo-number when the architecture has no such call of its own.
    pub fn resolve(&self, token: u32, name: &str) -> i32 {
        let name = CString::new(name).expect("a name without NUL");
        // SAFETY: the function reads a NUL-terminated string and keeps nothing.
        unsafe { (self.resolve)(token, name.as_ptr()) }
    }
}
