//! libseccomp, loaded at run time: names, numbers and compiled programs. The crate does not link it, so the other
//! tests build and run where it is missing.
#![allow(dead_code, reason = "every user needs a part of it")]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};

type Context = *mut c_void;

/// `struct scmp_arg_cmp`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    pub argument: c_uint,
    /// `enum scmp_compare`: NE 1, LT, LE, EQ, GE, GT, MASKED_EQ 7.
    pub operator: c_uint,
    pub a: u64,
    pub b: u64,
}

/// The functions in use, with the types of seccomp.h.
pub struct Libseccomp {
    resolve: unsafe extern "C" fn(u32, *const c_char) -> c_int,
    init: unsafe extern "C" fn(u32) -> Context,
    release: unsafe extern "C" fn(Context),
    arch_add: unsafe extern "C" fn(Context, u32) -> c_int,
    attr_set: unsafe extern "C" fn(Context, c_int, u32) -> c_int,
    rule_add: unsafe extern "C" fn(Context, u32, c_int, c_uint, *const Comparison) -> c_int,
    export_bpf: unsafe extern "C" fn(Context, c_int) -> c_int,
}

/// Looks up a function and returns its address as the given type.
///
/// # Safety
/// `F` must be the type of the function with this name.
unsafe fn symbol<F>(handle: *mut c_void, name: &str) -> Option<F> {
    let name = CString::new(name).expect("a name without NUL");
    // SAFETY: the handle came from dlopen and stays open.
    let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
    // SAFETY: the address is that of a function, and the caller guarantees its type.
    (!symbol.is_null()).then(|| unsafe { std::mem::transmute_copy(&symbol) })
}

impl Libseccomp {
    pub fn load() -> Option<Libseccomp> {
        // SAFETY: libseccomp's constructor has no preconditions; the handle is never closed.
        let handle = unsafe { libc::dlopen(c"libseccomp.so.2".as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return None;
        }
        // SAFETY: the types are those of seccomp.h.
        unsafe {
            Some(Libseccomp {
                resolve: symbol(handle, "seccomp_syscall_resolve_name_arch")?,
                init: symbol(handle, "seccomp_init")?,
                release: symbol(handle, "seccomp_release")?,
                arch_add: symbol(handle, "seccomp_arch_add")?,
                attr_set: symbol(handle, "seccomp_attr_set")?,
                rule_add: symbol(handle, "seccomp_rule_add_array")?,
                export_bpf: symbol(handle, "seccomp_export_bpf")?,
            })
        }
    }

    /// The number of a call on the architecture with this libseccomp token. Negative pseudo-number: no direct call.
    pub fn resolve(&self, token: u32, name: &str) -> i32 {
        let name = CString::new(name).expect("a name without NUL");
        // SAFETY: the function reads a NUL-terminated string and keeps nothing.
        unsafe { (self.resolve)(token, name.as_ptr()) }
    }

    pub fn filter(&self, default: u32) -> Filter<'_> {
        // SAFETY: no preconditions; the result is checked for null.
        let context = unsafe { (self.init)(default) };
        assert!(!context.is_null(), "seccomp_init({default:#x})");
        Filter {
            library: self,
            context,
        }
    }
}

/// A filter under construction. Errors are negative errnos.
pub struct Filter<'a> {
    library: &'a Libseccomp,
    context: Context,
}

impl Filter<'_> {
    pub fn add_arch(&mut self, token: u32) -> Result<(), i32> {
        // SAFETY: the context is alive until drop.
        result(unsafe { (self.library.arch_add)(self.context, token) })
    }

    /// SCMP_FLTATR_CTL_OPTIMIZE to 2: a binary tree.
    pub fn optimize(&mut self) -> Result<(), i32> {
        // SAFETY: the context is alive until drop.
        result(unsafe { (self.library.attr_set)(self.context, 8, 2) })
    }

    /// `number` as `resolve` gives it for the native architecture, pseudo-numbers included.
    pub fn add_rule(
        &mut self,
        action: u32,
        number: i32,
        comparisons: &[Comparison],
    ) -> Result<(), i32> {
        let length = comparisons.len() as c_uint;
        // SAFETY: the context is alive until drop, and the array has the given number of elements.
        result(unsafe {
            (self.library.rule_add)(self.context, action, number, length, comparisons.as_ptr())
        })
    }

    pub fn program(&self) -> Vec<bpf::Instruction> {
        use std::io::{Read, Seek};
        use std::os::fd::{AsRawFd, FromRawFd};
        // SAFETY: the name is NUL-terminated.
        let fd = unsafe { libc::memfd_create(c"filter".as_ptr(), 0) };
        assert!(fd >= 0);
        // SAFETY: the descriptor is new and has no other owner.
        let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
        // SAFETY: the context is alive until drop, the descriptor open.
        result(unsafe { (self.library.export_bpf)(self.context, file.as_raw_fd()) })
            .expect("seccomp_export_bpf");
        let mut bytes = Vec::new();
        file.rewind().expect("a memfd seeks");
        file.read_to_end(&mut bytes).expect("a memfd reads");
        let (instructions, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty());
        let instruction = |[c0, c1, jt, jf, k0, k1, k2, k3]: [u8; 8]| bpf::Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        instructions.iter().copied().map(instruction).collect()
    }
}

impl Drop for Filter<'_> {
    fn drop(&mut self) {
        // SAFETY: released once, here.
        unsafe { (self.library.release)(self.context) }
    }
}

fn result(code: c_int) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// libseccomp's token: the audit token, except that x32 has one of its own.
pub fn token(arch: bpf::Arch) -> u32 {
    if arch == bpf::Arch::X32 {
        0x4000_003e
    } else {
        arch.token()
    }
}
