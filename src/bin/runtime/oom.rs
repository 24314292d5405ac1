//! process.oomScoreAdj: how readily the kernel kills the process when memory runs out (proc(5)). We write it for
//! the child; an ordinary user, to whom procfs shows no file of a process that is not dumpable, lends it his own.

use crate::files;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use runtime::error::{During, Result};
use runtime::facts::Facts;
use rustix::fs::CWD;
use rustix::process::DumpableBehavior;

const OWN: &str = "/proc/self/oom_score_adj";

/// What we had before; ours again when this drops.
pub struct Lent(Option<Vec<u8>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = write_own(before);
        }
    }
}

/// Before the clone: takes the value on ourselves where we cannot give it to the child. `place` is the field.
pub fn lend(value: Option<i32>, host: &Facts, place: &str) -> Result<Lent> {
    let Some(value) = value.filter(|_| !host.privileged) else {
        return Ok(Lent(None));
    };
    let before = files::read(CWD, OWN)?;
    write_own(value.to_string().as_bytes())
        .during(|| format!("{place}: cannot write {value} to {OWN}"))?;
    Ok(Lent(Some(before)))
}

/// Of the caller's own processes, which are all that could look at us now, none gets anything it has not.
fn write_own(value: &[u8]) -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let written = files::write(CWD, OWN, value);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    written
}

/// After the clone: gives the value to the child.
pub fn give(value: Option<i32>, host: &Facts, pid: i32, place: &str) -> Result<()> {
    let Some(value) = value.filter(|_| host.privileged) else {
        return Ok(());
    };
    let path = format!("/proc/{pid}/oom_score_adj");
    files::write(CWD, path.as_str(), value.to_string().as_bytes())
        .during(|| format!("{place}: cannot write {value} to {path}"))
}
