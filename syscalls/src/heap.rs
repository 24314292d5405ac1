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

#[global_allocator]
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
        let Ok(chunk) = chunk else { return false };
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
