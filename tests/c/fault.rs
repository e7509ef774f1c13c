//! Faults that a sanitizer must catch, to show that it is on.
#![allow(unused_unsafe)]

use std::hint::black_box;

/// Commits the fault that this was compiled with.
#[unsafe(no_mangle)]
pub extern "C" fn commit_fault() -> u8 {
    let memory = Box::leak(vec![7u8; 16].into_boxed_slice());
    let pointer = black_box(memory.as_mut_ptr());
    if cfg!(fault = "overflow") {
        // SAFETY: there is none: this is one byte behind the end.
        return unsafe { *pointer.add(black_box(16)) };
    }
    if cfg!(fault = "use-after-free") {
        // SAFETY: the slice came from a box of this length.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(pointer, 16)) });
        // SAFETY: there is none: it was just freed.
        return unsafe { *black_box(pointer) };
    }
    // The leak is that nobody frees it. Many, for a word that is left somewhere may look like a pointer to one.
    for _ in 0..64 {
        black_box(Box::leak(vec![7u8; 16].into_boxed_slice()));
    }
    0
}
