//! The lock of a container: flock(2) on its directory, so that nothing is left of it when a command is killed.

use super::{Directory, PATIENCE};
use crate::cgroup;
use alloc::format;
use runtime::error::{During, Error, Result, fail};
use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;

/// Who else may use the container while this command does. Whoever creates, pauses or removes it is alone; signals go by pidfd
/// and need no lock.
#[derive(Clone, Copy)]
pub enum Lock {
    Shared,
    Exclusive,
}

impl Directory {
    /// Locks the container against other commands, until `unlock` or the end of this process. Returns false if it has been
    /// removed: its id, and the path of its cgroup, may belong to a new container by now.
    pub fn lock(&self, how: Lock) -> Result<bool> {
        let what = || format!("cannot lock container {:?}", self.id);
        let how = match how {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        let mut left = 1000 * PATIENCE.tv_sec;
        while let Err(errno) = rustix::fs::flock(&self.fd, how) {
            match errno {
                Errno::WOULDBLOCK if left > 0 => left -= 1,
                Errno::WOULDBLOCK => fail!(
                    "{}: for {} s another command has been creating it, executing a process in it, or removing it",
                    what(),
                    PATIENCE.tv_sec
                ),
                Errno::INTR => {}
                _ => return Err(Error::from_errno(what(), errno)),
            }
            cgroup::sleep(1_000_000);
        }
        let ours = rustix::fs::fstat(&self.fd).during(what)?;
        match rustix::fs::statat(&self.parent, self.id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(false),
            now => now
                .during(what)
                .map(|now| (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)),
        }
    }

    /// A child that has inherited the descriptor keeps no lock.
    pub fn unlock(&self) {
        let _ = rustix::fs::flock(&self.fd, FlockOperation::NonBlockingUnlock);
    }
}
