//! Numbered places for file descriptors: launch fills some before the clone, steps fill others on
//! their way. The child has its own copy of the table, as of the descriptors.

use alloc::boxed::Box;
use core::cell::OnceCell;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};

/// The number of a slot.
pub type Slot = u16;

/// The table. It owns its descriptors and closes them when it goes.
pub struct Slots(Box<[OnceCell<OwnedFd>]>);

impl Slots {
    /// A table of empty slots, numbered from 0.
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| OnceCell::new()).collect())
    }

    /// What the slot holds; EBADF when it holds nothing.
    pub fn get(&self, slot: Slot) -> Result<BorrowedFd<'_>> {
        let cell = self.0.get(usize::from(slot)).and_then(OnceCell::get);
        cell.map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// What the slots hold for which `wanted` is true.
    pub(crate) fn held(
        &self,
        wanted: impl Fn(Slot) -> bool + Clone,
    ) -> impl Iterator<Item = RawFd> + Clone {
        let slots = (0..).zip(&self.0);
        slots
            .filter(move |(slot, _)| wanted(*slot))
            .filter_map(|(_, cell)| cell.get().map(AsRawFd::as_raw_fd))
    }

    /// Puts a descriptor into the slot.
    ///
    /// # Panics
    /// When the table has no such slot, or it is filled already: a plan gives every number out once.
    pub fn fill(&self, slot: Slot, fd: OwnedFd) {
        assert!(self.0[usize::from(slot)].set(fd).is_ok());
    }

    /// Takes out what the slot holds. Nobody can have borrowed it.
    pub fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        self.0.get_mut(usize::from(slot))?.take()
    }
}
