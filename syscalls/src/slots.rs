//! Numbered slots for file descriptors. Launch fills some before the clone; steps fill the others. The child
//! has its own copy of the table and of the descriptors.

use alloc::boxed::Box;
use core::cell::OnceCell;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};

/// The number of a slot.
pub type Slot = u16;

/// The table of slots. It owns its descriptors.
pub struct Slots(Box<[OnceCell<OwnedFd>]>);

impl Slots {
    /// A table of empty slots, numbered from 0.
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| OnceCell::new()).collect())
    }

    /// The descriptor in the slot. An empty slot is EBADF.
    pub fn get(&self, slot: Slot) -> Result<BorrowedFd<'_>> {
        let cell = self.0.get(usize::from(slot)).and_then(OnceCell::get);
        cell.map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// The descriptors in the slots for which `wanted` is true.
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
    /// If the slot does not exist or is full. A plan assigns each number once.
    pub fn fill(&self, slot: Slot, fd: OwnedFd) {
        assert!(self.0[usize::from(slot)].set(fd).is_ok());
    }

    /// Takes the descriptor out of the slot. `&mut self` excludes borrowers.
    pub fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        self.0.get_mut(usize::from(slot))?.take()
    }
}
