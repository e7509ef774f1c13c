//! Memory for secrets: a page of its own that is not swapped and not part of a core dump.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use zeroize::Zeroize;

/// A secret in a page of its own. The page is locked into memory and left out of core dumps where the system lets
/// it (best effort: a limit on locked memory is no error), and it is wiped before it is given back.
///
/// `T` is `Copy`, so that dropping it does nothing; copies made on the way in are the caller's to wipe.
pub struct Locked<T: Copy> {
    page: NonNull<T>,
}

// SAFETY: `Locked` owns its page as `Box` owns its memory, and hands out shared references only.
unsafe impl<T: Copy + Send> Send for Locked<T> {}
// SAFETY: as above; all access through `&Locked` is reading.
unsafe impl<T: Copy + Sync> Sync for Locked<T> {}

impl<T: Copy> Locked<T> {
    /// Puts a value into a page. `None` if the system gives no memory.
    pub fn new(value: &T) -> Option<Self> {
        let page = system::allocate(size_of::<T>(), align_of::<T>())?.cast::<T>();
        // SAFETY: the page is writable, as large as a `T`, aligned for it, and nobody else's.
        unsafe { page.write(*value) };
        Some(Self { page })
    }
}

impl<T: Copy> Deref for Locked<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a `T` there, nothing writes again before `drop`.
        unsafe { self.page.as_ref() }
    }
}

impl<T: Copy> Drop for Locked<T> {
    fn drop(&mut self) {
        let bytes = self.page.cast::<u8>();
        // SAFETY: the page holds `size_of::<T>()` bytes that `new` wrote or that are padding in a page which the
        // system gave zeroed; nobody borrows them any more. It is given back once, as it was allocated.
        unsafe {
            std::slice::from_raw_parts_mut(bytes.as_ptr(), size_of::<T>()).zeroize();
            system::release(bytes, size_of::<T>(), align_of::<T>());
        }
    }
}

impl<T: Copy> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locked(..)")
    }
}

#[cfg(all(unix, not(miri)))]
mod system {
    use std::ptr::{self, NonNull};

    /// Whole zeroed pages: aligned for anything that is not larger than a page.
    pub fn allocate(size: usize, align: usize) -> Option<NonNull<u8>> {
        let size = size.max(1);
        // SAFETY: a new private anonymous mapping touches no memory of ours; its failure is checked. `mlock` and
        // `madvise` get exactly this mapping, and their failure is harmless.
        unsafe {
            let page = libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            );
            if page == libc::MAP_FAILED {
                return None;
            }
            libc::mlock(page, size);
            #[cfg(any(target_os = "linux", target_os = "android"))]
            libc::madvise(page, size, libc::MADV_DONTDUMP);
            let page = NonNull::new(page.cast::<u8>())?;
            if page.as_ptr().align_offset(align) != 0 {
                release(page, size, align);
                return None;
            }
            Some(page)
        }
    }

    /// # Safety
    /// `page` came from `allocate` with the same numbers, and is not used afterwards.
    pub unsafe fn release(page: NonNull<u8>, size: usize, _align: usize) {
        // SAFETY: by the contract of this function the mapping is ours and unused. Unmapping unlocks it.
        unsafe { libc::munmap(page.as_ptr().cast(), size.max(1)) };
    }
}

#[cfg(not(all(unix, not(miri))))]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    /// Ordinary zeroed memory.
    pub fn allocate(size: usize, align: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(size.max(1), align).ok()?;
        // SAFETY: the layout's size is not zero.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// # Safety
    /// `page` came from `allocate` with the same numbers, and is not used afterwards.
    pub unsafe fn release(page: NonNull<u8>, size: usize, align: usize) {
        let Ok(layout) = Layout::from_size_align(size.max(1), align) else { return };
        // SAFETY: by the contract of this function the memory was allocated with this layout.
        unsafe { dealloc(page.as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::Locked;

    #[test]
    fn holds_a_value_and_shows_nothing() {
        let secret = Locked::new(&[7_u8; 96]).expect("a page");
        assert_eq!(*secret, [7; 96]);
        assert_eq!(format!("{secret:?}"), "Locked(..)");
        let moved = std::thread::spawn(move || secret[95]).join();
        assert_eq!(moved.ok(), Some(7));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_page_is_locked_and_left_out_of_core_dumps() {
        let secret = Locked::new(&[7_u8; 96]).expect("a page");
        let address = std::ptr::from_ref(&*secret) as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
        let mut flags = None;
        let mut inside = false;
        for line in maps.lines() {
            if let Some((from, to)) = line.split_whitespace().next().and_then(|range| range.split_once('-'))
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&address);
            }
            if inside && let Some(found) = line.strip_prefix("VmFlags:") {
                flags = Some(found.to_owned());
            }
        }
        let flags = flags.expect("the page is mapped");
        assert!(flags.split_whitespace().any(|flag| flag == "dd"), "dumped: {flags}");
        // SAFETY: writes one structure of this function.
        let limit = unsafe {
            let mut limit = std::mem::zeroed::<libc::rlimit>();
            libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit);
            limit.rlim_cur
        };
        if limit >= 1 << 20 {
            assert!(flags.split_whitespace().any(|flag| flag == "lo"), "not locked: {flags}");
        }
    }
}
