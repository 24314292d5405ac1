//! Numbered places for file descriptors: launch fills some before the clone, steps fill others on
//! their way. The child has its own copy of the table, as of the descriptors.

use core::cell::Cell;
use rustix::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// The number of a slot.
pub type Slot = u16;

/// The table. It owns its descriptors and closes them when it goes.
pub struct Slots<'a>(&'a [Cell<RawFd>]);

impl<'a> Slots<'a> {
    /// A cell that holds nothing.
    pub fn empty() -> Cell<RawFd> {
        Cell::new(-1)
    }

    pub fn new(cells: &'a [Cell<RawFd>]) -> Self {
        Self(cells)
    }

    /// What the slot holds; EBADF when it holds nothing.
    pub fn get(&self, slot: Slot) -> rustix::io::Result<BorrowedFd<'_>> {
        match self.0.get(usize::from(slot)).map(Cell::get) {
            // SAFETY: only `fill` stores here, from owned descriptors, and nothing closes them while
            // the table is borrowed.
            Some(fd) if fd >= 0 => Ok(unsafe { BorrowedFd::borrow_raw(fd) }),
            _ => Err(rustix::io::Errno::BADF),
        }
    }

    /// What the slots hold for which `wanted` is true.
    pub(crate) fn held(
        &self,
        wanted: impl Fn(Slot) -> bool + Clone,
    ) -> impl Iterator<Item = RawFd> + Clone {
        let slots = (0..).zip(self.0);
        slots
            .filter(move |(slot, _)| wanted(*slot))
            .map(|(_, cell)| cell.get())
    }

    /// Puts a descriptor into the slot.
    pub fn fill(&self, slot: Slot, fd: OwnedFd) {
        if let Some(cell) = self.0.get(usize::from(slot)) {
            // What it held before stays open: somebody may have borrowed it.
            cell.set(fd.into_raw_fd());
        }
    }
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        for cell in self.0 {
            let fd = cell.replace(-1);
            if fd >= 0 {
                // SAFETY: the table owns it, and the cell is empty now.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
}
