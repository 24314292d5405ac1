//! process.oomScoreAdj: how readily the kernel kills the process when memory runs out (proc(5)). Root writes the
//! child's file. An ordinary user cannot, because procfs denies access to the files of a non-dumpable process, so the
//! runtime sets its own value for the child to inherit.

use crate::files;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use runtime::error::{During, Result};
use runtime::facts::Facts;
use rustix::fs::CWD;
use rustix::process::DumpableBehavior;

const OWN: &str = "/proc/self/oom_score_adj";

/// Our previous value, restored on drop.
pub struct Lent(Option<Vec<u8>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = write_own(before);
        }
    }
}

/// Called before the clone. Sets our own value if we cannot write the child's. `place` is the field in errors.
pub fn lend(value: Option<i32>, host: &Facts, place: &str) -> Result<Lent> {
    let Some(value) = value.filter(|_| !host.privileged) else {
        return Ok(Lent(None));
    };
    let before = files::read(CWD, OWN)?;
    write_own(value.to_string().as_bytes())
        .during(|| format!("{place}: cannot write {value} to {OWN}"))?;
    Ok(Lent(Some(before)))
}

/// While we are dumpable, only the caller's own processes could inspect us, and they gain nothing by it.
fn write_own(value: &[u8]) -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let written = files::write(CWD, OWN, value);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    written
}

/// Called after the clone. Writes the value of the child.
pub fn give(value: Option<i32>, host: &Facts, pid: i32, place: &str) -> Result<()> {
    let Some(value) = value.filter(|_| host.privileged) else {
        return Ok(());
    };
    let path = format!("/proc/{pid}/oom_score_adj");
    files::write(CWD, path.as_str(), value.to_string().as_bytes())
        .during(|| format!("{place}: cannot write {value} to {path}"))
}
