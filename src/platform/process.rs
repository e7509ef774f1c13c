//! The number of this process, remembered in memory that the kernel wipes in a child of `fork()`: asking costs no system
//! call. Systems without such memory are asked each time.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod remembered {
    #![allow(unsafe_code)]

    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

    /// Stands for memory that could not be had: nothing is remembered.
    static NONE: AtomicU32 = AtomicU32::new(0);
    /// No lock: a child of `fork()` may be made while another thread is here.
    static CELL: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());

    /// See the module.
    pub fn id() -> u32 {
        let mut cell = CELL.load(Ordering::Acquire);
        if cell.is_null() {
            cell = publish(make());
        }
        if std::ptr::eq(cell, &NONE) {
            return std::process::id();
        }
        // SAFETY: `make` mapped it for an AtomicU32, zeroed, and it is never unmapped once it is published.
        let cell = unsafe { &*cell };
        match cell.load(Ordering::Relaxed) {
            0 => {
                let id = std::process::id();
                cell.store(id, Ordering::Relaxed);
                id
            }
            id => id,
        }
    }

    fn publish(new: *mut AtomicU32) -> *mut AtomicU32 {
        match CELL.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            // Another thread was first. The page that is not used stays; it happens once at most for each thread.
            Err(first) => first,
        }
    }

    /// A zeroed page that is zero again in every child (Linux 4.14 and newer).
    fn make() -> *mut AtomicU32 {
        // SAFETY: a new mapping, of one page or less, which the kernel rounds up; nothing else refers to it.
        let page = unsafe {
            let (access, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(null_mut(), size_of::<AtomicU32>(), access, kind, -1, 0)
        };
        if page == libc::MAP_FAILED {
            return (&raw const NONE).cast_mut();
        }
        // SAFETY: the mapping from above.
        if unsafe { libc::madvise(page, size_of::<AtomicU32>(), libc::MADV_WIPEONFORK) } != 0 {
            // SAFETY: the same, and nobody else knows it.
            unsafe { libc::munmap(page, size_of::<AtomicU32>()) };
            return (&raw const NONE).cast_mut();
        }
        page.cast()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use remembered::id;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn id() -> u32 {
    std::process::id()
}
