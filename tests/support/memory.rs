//! The simulator's allocator: it counts what is in use, and is quick, for a simulation spends a third of its time in the
//! usual one. Small blocks are never given back to the system; each thread has its own.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

/// Sizes are rounded up to this, and it is the alignment of small blocks.
const GRAIN: usize = 16;
/// The largest small block.
const SMALL: usize = 2048;
/// Small blocks are cut from pieces of this size: a large page, for a simulation that jumps about in a gigabyte of small ones
/// spends its time in finding their addresses.
const PIECE: usize = 2 << 20;

/// See the module.
pub struct Allocator;

struct Blocks {
    /// For each size the first free block; each holds the address of the next one.
    free: [Cell<*mut u8>; SMALL / GRAIN + 1],
    /// What is left of the current piece.
    next: Cell<*mut u8>,
    left: Cell<usize>,
    in_use: Cell<isize>,
}

thread_local! {
    static BLOCKS: Blocks = const {
        Blocks {
            free: [const { Cell::new(null_mut()) }; SMALL / GRAIN + 1],
            next: Cell::new(null_mut()),
            left: Cell::new(0),
            in_use: Cell::new(0),
        }
    };
}

/// Bytes that this thread asked for and did not free, less those that it freed for other threads.
pub fn in_use() -> isize {
    BLOCKS.with(|blocks| blocks.in_use.get())
}

/// The class of a small block; `None` for others.
fn class(layout: &Layout) -> Option<usize> {
    let small = layout.size() <= SMALL && layout.align() <= GRAIN;
    small.then(|| layout.size().div_ceil(GRAIN).max(1))
}

impl Blocks {
    fn take(&self, class: usize) -> *mut u8 {
        let first = self.free[class].get();
        if first.is_null() {
            return self.cut(class * GRAIN);
        }
        // SAFETY: a free block is at least one word, aligned, and holds what `give` wrote into it.
        self.free[class].set(unsafe { first.cast::<*mut u8>().read() });
        first
    }

    #[cold]
    fn cut(&self, size: usize) -> *mut u8 {
        if self.left.get() < size {
            // SAFETY: the layout is not empty, and its alignment a power of two.
            let piece = unsafe { System.alloc(Layout::from_size_align_unchecked(PIECE, PIECE)) };
            if piece.is_null() {
                return piece;
            }
            // SAFETY: the piece is ours; this is a hint, and nothing is wrong if it is refused.
            #[cfg(target_os = "linux")]
            unsafe {
                libc::madvise(piece.cast(), PIECE, libc::MADV_HUGEPAGE)
            };
            self.next.set(piece);
            self.left.set(PIECE);
        }
        let block = self.next.get();
        // SAFETY: `size` bytes are left of the piece.
        self.next.set(unsafe { block.add(size) });
        self.left.set(self.left.get() - size);
        block
    }

    fn give(&self, class: usize, block: *mut u8) {
        // SAFETY: the block came from `take`, so it is at least one word and aligned, and nobody uses it any more.
        unsafe { block.cast::<*mut u8>().write(self.free[class].get()) };
        self.free[class].set(block);
    }

    fn count(&self, more: isize) {
        self.in_use.set(self.in_use.get() + more);
    }
}

// SAFETY: blocks of one class are handed out once until they are given back, with the alignment asked for; all others
// are the system's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS.with(|blocks| {
            blocks.count(layout.size() as isize);
            match class(&layout) {
                Some(class) => blocks.take(class),
                // SAFETY: the caller's promise.
                None => unsafe { System.alloc(layout) },
            }
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS.with(|blocks| {
            blocks.count(-(layout.size() as isize));
            match class(&layout) {
                Some(class) => blocks.give(class, block),
                // SAFETY: the caller's promise; it came from the system.
                None => unsafe { System.dealloc(block, layout) },
            }
        });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class(&layout), class(&wanted)) {
            (None, None) => {
                BLOCKS.with(|blocks| blocks.count(size as isize - layout.size() as isize));
                // SAFETY: the caller's promise; it came from the system.
                unsafe { System.realloc(block, layout, size) }
            }
            (Some(before), Some(after)) if before == after => {
                BLOCKS.with(|blocks| blocks.count(size as isize - layout.size() as isize));
                block
            }
            _ => {
                // SAFETY: the caller's promise; both blocks are at least as long as what is copied.
                unsafe {
                    let new = self.alloc(wanted);
                    if !new.is_null() {
                        new.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}
