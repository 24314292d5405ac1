//! The allocator: a pointer that moves up and never back, over a static arena and then over mappings.
//! The program lives for milliseconds and a copying clone costs by the page touched, so nothing is
//! freed; only the newest block can grow in place, which is what a growing Vec wants.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::null_mut;
use rustix::mm::{MapFlags, ProtFlags};

/// Enough for every ordinary container; pages that are not touched cost nothing.
const ARENA: usize = 512 * 1024;
/// What is mapped when the arena is full, at least.
const CHUNK: usize = 4 * 1024 * 1024;

#[repr(align(4096))]
struct Arena(core::cell::UnsafeCell<[u8; ARENA]>);

// SAFETY: the process has one thread, and the allocator alone hands out parts of the arena, once each.
unsafe impl Sync for Arena {}

static FIRST: Arena = Arena(core::cell::UnsafeCell::new([0; ARENA]));

struct Bump {
    next: Cell<*mut u8>,
    left: Cell<usize>,
    started: Cell<bool>,
    frozen: Cell<bool>,
}

// SAFETY: the process has one thread (the entry point starts none and there is no libc that could).
unsafe impl Sync for Bump {}

#[cfg_attr(not(test), global_allocator)]
static HEAP: Bump = Bump {
    next: Cell::new(null_mut()),
    left: Cell::new(0),
    started: Cell::new(false),
    frozen: Cell::new(false),
};

/// From here on an allocation ends the process: called in the child, which must not allocate
/// between the clone and execve.
pub(crate) fn freeze() {
    HEAP.frozen.set(true);
}

impl Bump {
    fn refill(&self, size: usize) -> bool {
        if !self.started.replace(true) && size <= ARENA {
            self.next.set(FIRST.0.get().cast());
            self.left.set(ARENA);
            return true;
        }
        let size = size.max(CHUNK);
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let chunk = unsafe {
            rustix::mm::mmap_anonymous(
                null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let Ok(chunk) = chunk else {
            #[cfg(all(feature = "program", not(test)))]
            crate::calls::abort(c"runtime: cannot allocate memory (see RLIMIT_AS, and the memory limit of the cgroup)\n");
            #[cfg(not(all(feature = "program", not(test))))]
            return false;
        };
        self.next.set(chunk.cast());
        self.left.set(size);
        true
    }
}

// SAFETY: every block is cut from memory this allocator owns, aligned as asked, and handed out once;
// blocks are never reused.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.frozen.get() {
            crate::calls::abort(c"runtime: internal error: the child allocated memory\n");
        }
        loop {
            let pad = self.next.get().align_offset(layout.align());
            let need = pad.saturating_add(layout.size());
            if need <= self.left.get() && !self.next.get().is_null() {
                // SAFETY: pad + size bytes are left in the current chunk.
                let block = unsafe { self.next.get().add(pad) };
                // SAFETY: as above.
                self.next.set(unsafe { block.add(layout.size()) });
                self.left.set(self.left.get() - need);
                return block;
            }
            if !self.refill(layout.size().saturating_add(layout.align())) {
                return null_mut();
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size <= layout.size() {
            return block;
        }
        // SAFETY: block + size is the end of a block we handed out.
        let newest = unsafe { block.add(layout.size()) } == self.next.get();
        let more = size - layout.size();
        if newest && more <= self.left.get() && !self.frozen.get() {
            // SAFETY: `more` bytes are left behind the newest block.
            self.next.set(unsafe { self.next.get().add(more) });
            self.left.set(self.left.get() - more);
            return block;
        }
        // SAFETY: the layout is valid since the caller's was and `size` respects GlobalAlloc's contract.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks are valid for the smaller size and apart.
            unsafe { core::ptr::copy_nonoverlapping(block, new, layout.size()) };
        }
        new
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Never-used memory of the arena and of anonymous mappings is zero already.
        // SAFETY: the same contract as alloc.
        unsafe { self.alloc(layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A heap over this memory, which lives longer.
    fn over(memory: &mut [u64]) -> Bump {
        Bump {
            next: Cell::new(memory.as_mut_ptr().cast()),
            left: Cell::new(size_of_val(memory)),
            started: Cell::new(true),
            frozen: Cell::new(false),
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn blocks_are_aligned_and_apart() {
        let mut memory = Vec::from([0u64; 64]);
        let heap = over(&mut memory);
        let mut end = 0;
        for (size, align) in [(1, 1), (8, 8), (3, 1), (16, 16), (2, 2)] {
            // SAFETY: a layout that is not empty.
            let block = unsafe { heap.alloc(layout(size, align)) };
            assert_eq!(block as usize % align, 0);
            assert!(block as usize >= end);
            end = block as usize + size;
            // SAFETY: the block is ours.
            unsafe { block.write_bytes(0xff, size) };
        }
    }

    #[test]
    fn the_newest_block_grows_where_it_is_and_an_older_one_moves_with_what_it_holds() {
        let mut memory = Vec::from([0u64; 64]);
        let heap = over(&mut memory);
        // SAFETY: the layouts are those of the blocks.
        unsafe {
            let old = heap.alloc(layout(8, 8));
            old.write_bytes(7, 8);
            let new = heap.alloc(layout(8, 8));
            assert_eq!(heap.realloc(new, layout(8, 8), 24), new);
            new.write_bytes(9, 24);
            // A smaller one stays, and so does what it held.
            assert_eq!(heap.realloc(old, layout(8, 8), 4), old);
            let moved = heap.realloc(old, layout(8, 8), 16);
            assert!(moved >= new.add(24));
            assert_eq!(core::slice::from_raw_parts(moved, 8), [7; 8]);
            assert_eq!(core::slice::from_raw_parts(new, 24), [9; 24]);
        }
    }

    #[test]
    fn the_first_blocks_come_from_the_arena_and_are_zero() {
        let heap = Bump {
            next: Cell::new(null_mut()),
            left: Cell::new(0),
            started: Cell::new(false),
            frozen: Cell::new(false),
        };
        // SAFETY: the layout is not empty, and no other test takes blocks of the arena.
        let block = unsafe { heap.alloc_zeroed(layout(4096, 4096)) };
        assert_eq!(block, FIRST.0.get().cast());
        // SAFETY: the block is ours.
        let bytes = unsafe { core::slice::from_raw_parts(block, 4096) };
        assert_eq!(bytes, [0; 4096]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn what_the_arena_cannot_hold_is_mapped() {
        let heap = over(&mut []);
        // SAFETY: the layouts are not empty.
        let (block, huge) = unsafe {
            (
                heap.alloc(layout(CHUNK + 1, 16)),
                heap.alloc(layout(isize::MAX as usize - 15, 16)),
            )
        };
        assert!(!block.is_null());
        assert!(huge.is_null());
    }
}
