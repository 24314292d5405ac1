//! The commands, each thin: read, plan, launch, or ask the kernel and print.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod pause;
mod ps;
mod restore;
mod seccomp;
mod spec;
mod start;
mod state;
mod update;

use crate::Context;
use crate::files;
use crate::host;
use alloc::format;
use runtime::cli::{Command, Flag};
use runtime::error::{During, Result, fail};
use runtime::facts::{Cgroups, join};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// Runs one command; the result is the exit status.
pub fn run(command: Command, context: &Context<'_>) -> Result<i32> {
    match command {
        Command::Spec => write_spec(context),
        Command::Create => create::create(context),
        Command::Run => create::run(context),
        Command::Start => start::run(context),
        Command::State => state::state(context),
        Command::List => state::list(context),
        Command::Kill => kill::run(context),
        Command::Delete => delete::run(context),
        Command::Exec => exec::run(context),
        Command::Seccomp => seccomp::run(context),
        Command::Features => features::run(context),
        Command::Pause => pause::pause(context),
        Command::Resume => pause::resume(context),
        Command::Ps => ps::run(context),
        Command::Update => update::run(context),
        Command::Events => events::run(context),
        Command::Checkpoint => checkpoint::run(context),
        Command::Restore => restore::run(context),
    }
}

/// `spec`: writes the default config.json, and never over one that is there.
fn write_spec(context: &Context<'_>) -> Result<i32> {
    let euid = context.start.euid();
    let rootless = context
        .flags
        .has(Flag::RootlessSpec)
        .then(|| (euid, context.start.egid()));
    let text = spec::default_spec(host::cgroups()? == Cgroups::V2, rootless);
    let path = join(
        context.flags.text(Flag::Bundle).unwrap_or("."),
        "config.json",
    );
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path.as_str(), flags, Mode::from_raw_mode(0o666)) {
        Err(Errno::EXIST) => fail!("{}", spec::EXISTS),
        file => {
            let written = file.and_then(|file| files::write_all(&file, text.as_bytes()));
            written.during(|| format!("cannot write {path}"))?;
            Ok(0)
        }
    }
}

/// Prints to stdout, all of it.
pub fn print(text: &str) -> Result<i32> {
    files::write_all(syscalls::calls::stdout(), text.as_bytes())
        .during(|| "cannot write to stdout".into())?;
    Ok(0)
}

/// What engines parse: the line `NAME version X`, then `commit:` and `spec:`. Put together by the compiler, since
/// engines ask for nothing more often.
pub const VERSION: &str = concat!(
    "runtime version ",
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("RUNTIME_COMMIT"),
    "\nspec: ",
    runtime::state::oci_version!(),
    "\n",
);
