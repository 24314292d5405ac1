//! `linux.seccomp` in config.json: the profile as written, before the bpf crate compiles it.
//! Source: <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#seccomp>

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::json::object;

object! {
    /// config-linux.md, "Seccomp"
    pub struct Seccomp<'a> {
        default_action: Cow<'a, str> = required "defaultAction",
        default_errno_ret: Option<u32> = "defaultErrnoRet",
        architectures: Vec<Cow<'a, str>> = "architectures",
        /// Unset and an empty list are different.
        flags: Option<Vec<Cow<'a, str>>> = "flags",
        listener_path: Option<Cow<'a, str>> = "listenerPath",
        listener_metadata: Option<Cow<'a, str>> = "listenerMetadata",
        syscalls: Vec<Syscall<'a>> = "syscalls",
    }
}

object! {
    /// A rule: the action for these calls if all arguments match.
    pub struct Syscall<'a> {
        names: Vec<Cow<'a, str>> = required "names",
        action: Cow<'a, str> = required "action",
        errno_ret: Option<u32> = "errnoRet",
        args: Vec<SyscallArg<'a>> = "args",
    }
}

object! {
    /// A condition on one argument.
    pub struct SyscallArg<'a> {
        /// From 0 to 5.
        index: u32 = required "index",
        value: u64 = required "value",
        /// For SCMP_CMP_MASKED_EQ: the expected value, while `value` is the mask.
        value_two: u64 = "valueTwo",
        op: Cow<'a, str> = required "op",
    }
}

object! {
    /// The fields that distinguish a profile from a whole config.json.
    pub struct ProfileHead<'a> {
        default_action: Option<Cow<'a, str>> = "defaultAction",
    }
}
