//! The commands. Each is thin: it reads, plans and launches, or asks the kernel and prints.

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
mod start;
mod state;
mod update;

use crate::context::Context;
use crate::files;
use crate::host;
use alloc::format;
use runtime::cli::{self, Command};
use runtime::error::{During, Result, fail};
use runtime::facts::{Cgroups, join};
use runtime::spec::template;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// Runs one command and returns the exit status.
pub fn run(command: &Command<'_>, context: &Context<'_>) -> Result<i32> {
    match command {
        Command::Spec(args) => write_spec(context, args),
        Command::Create(args) => create::create(context, args),
        Command::Run(args) => create::run(context, args),
        Command::Start(args) => start::run(context, args.id),
        Command::State(args) => state::state(context, args.id),
        Command::List(args) => state::list(context, args),
        Command::Kill(args) => kill::run(context, args),
        Command::Delete(args) => delete::run(context, args),
        Command::Exec(args) => exec::run(context, args),
        Command::Seccomp(args) => seccomp::run(args),
        Command::Features(_) => features::run(),
        Command::Pause(args) => pause::pause(context, args.id),
        Command::Resume(args) => pause::resume(context, args.id),
        Command::Ps(args) => ps::run(context, args),
        Command::Update(args) => update::run(context, args),
        Command::Events(args) => events::run(context, args),
        Command::Checkpoint(args) => checkpoint::run(context, args),
        Command::Restore(args) => restore::run(context, args),
    }
}

/// `spec`: writes the default config.json, and refuses to overwrite an existing one.
fn write_spec(context: &Context<'_>, args: &cli::Spec<'_>) -> Result<i32> {
    let euid = context.start.euid();
    let rootless = args.rootless.then(|| (euid, context.start.egid()));
    let text = template::default_spec(host::cgroups()? == Cgroups::V2, rootless);
    let path = join(args.bundle.unwrap_or("."), "config.json");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path.as_str(), flags, Mode::from_raw_mode(0o666)) {
        Err(Errno::EXIST) => fail!("{}", template::EXISTS),
        file => {
            let written = file.and_then(|file| files::write_all(&file, text.as_bytes()));
            written.during(|| format!("cannot write {path}"))?;
            Ok(0)
        }
    }
}

/// Prints the whole text to stdout.
pub fn print(text: &str) -> Result<i32> {
    files::write_all(syscalls::calls::stdout(), text.as_bytes())
        .during(|| "cannot write to stdout".into())?;
    Ok(0)
}

/// The version, in the format that engines parse: `NAME version X`, then `commit:` and `spec:`. Built at compile
/// time, because engines ask for it most often.
pub const VERSION: &str = concat!(
    "runtime version ",
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("RUNTIME_COMMIT"),
    "\nspec: ",
    runtime::state::oci_version!(),
    "\n",
);
