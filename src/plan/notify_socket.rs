//! Where a container finds the socket on which it says that it is ready (sd_notify(3)).

use core::ffi::CStr;

/// The directory that the program makes for it in the container's state directory.
pub const DIRECTORY: &CStr = c"notify";
/// The directory that the program binds into the container.
pub const TARGET: &CStr = c"/run/notify";
/// What the process finds in its environment.
pub const VARIABLE: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";
