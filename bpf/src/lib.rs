//! OCI seccomp profiles compiled to classic BPF.
#![no_std]
extern crate alloc;
