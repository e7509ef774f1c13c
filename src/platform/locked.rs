//! Memory for secrets: pages of their own that are not swapped and not part of a core dump.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

use crate::mutation::{self, Mutation};

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

/// Pages for many secrets of `SIZE` bytes each, as [`Locked`] is one for one. Besides, a child of `fork()` finds them
/// zeroed, where the system can do that. A page is given back when nothing is in it any more.
///
/// So thousands of secrets lock no more memory than they take: systems limit that.
#[derive(Default)]
pub struct Vault<const SIZE: usize> {
    pages: Mutex<Vec<Page>>,
}

/// A page, and which of its places are taken, as bits.
struct Page {
    memory: NonNull<u8>,
    taken: u64,
}

// SAFETY: a `Page` owns its memory as `Box` does; it is reached through the vault's mutex and the `Place`s only, each of
// which is alone in its bytes.
unsafe impl Send for Page {}

/// A secret in a [`Vault`], wiped when it is dropped.
pub struct Place<const SIZE: usize> {
    vault: Arc<Vault<SIZE>>,
    bytes: NonNull<[u8; SIZE]>,
}

// SAFETY: a `Place` owns its bytes as `Box` does, and hands out shared references only.
unsafe impl<const SIZE: usize> Send for Place<SIZE> {}
// SAFETY: as above; all access through `&Place` is reading.
unsafe impl<const SIZE: usize> Sync for Place<SIZE> {}

impl<const SIZE: usize> Vault<SIZE> {
    /// Bytes of a page. Where the system's are larger, the rest is not used.
    const PAGE: usize = 4096;
    /// How many secrets are in a page.
    const PLACES: usize = {
        assert!(SIZE > 0 && SIZE <= Self::PAGE);
        if Self::PAGE / SIZE < 64 { Self::PAGE / SIZE } else { 64 }
    };

    /// Puts a secret into a page; the caller wipes its own copy. `None` if the system gives no memory.
    pub fn keep(self: &Arc<Self>, secret: &[u8; SIZE]) -> Option<Place<SIZE>> {
        let mut pages = self.pages();
        let free = |page: &Page| (page.taken.trailing_ones() as usize) < Self::PLACES;
        let index = match pages.iter().position(free) {
            Some(index) => index,
            None => {
                let memory = system::allocate(Self::PAGE, 1)?;
                if !mutation::on(Mutation::ForkKeepsNonces) {
                    system::wipe_on_fork(memory, Self::PAGE);
                }
                pages.push(Page { memory, taken: 0 });
                pages.len() - 1
            }
        };
        let page = &mut pages[index];
        let place = page.taken.trailing_ones() as usize;
        page.taken |= 1 << place;
        // SAFETY: `place` is below `PLACES`, so these bytes are within the page, and nobody else's as long as the bit is
        // set. Bytes need no alignment.
        let bytes = unsafe {
            let bytes = page.memory.add(place * SIZE).cast::<[u8; SIZE]>();
            bytes.write(*secret);
            bytes
        };
        Some(Place { vault: Arc::clone(self), bytes })
    }

    /// A panic under the lock leaves nothing half done.
    fn pages(&self) -> MutexGuard<'_, Vec<Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const SIZE: usize> Deref for Place<SIZE> {
    type Target = [u8; SIZE];
    fn deref(&self) -> &[u8; SIZE] {
        // SAFETY: `keep` wrote them, and nothing writes again before `drop`.
        unsafe { self.bytes.as_ref() }
    }
}

impl<const SIZE: usize> Drop for Place<SIZE> {
    fn drop(&mut self) {
        // SAFETY: nobody borrows them any more.
        unsafe { self.bytes.as_mut() }.zeroize();
        let address = self.bytes.as_ptr().addr();
        let mut pages = self.vault.pages();
        let holds = |page: &Page| {
            let start = page.memory.as_ptr().addr();
            (start..start + Vault::<SIZE>::PAGE).contains(&address)
        };
        let Some(index) = pages.iter().position(holds) else { return };
        let page = &mut pages[index];
        page.taken &= !(1 << ((address - page.memory.as_ptr().addr()) / SIZE));
        if page.taken == 0 {
            let page = pages.swap_remove(index);
            // SAFETY: it is given back once, as it was allocated, and nothing is in it.
            unsafe { system::release(page.memory, Vault::<SIZE>::PAGE, 1) };
        }
    }
}

impl<const SIZE: usize> fmt::Debug for Place<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(..)")
    }
}

impl<const SIZE: usize> fmt::Debug for Vault<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("pages", &self.pages().len()).finish()
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

    /// A child of `fork()` finds these pages zeroed, where the system has that.
    pub fn wipe_on_fork(page: NonNull<u8>, size: usize) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: the advice changes what a child sees of these pages, and nothing in this process.
        unsafe {
            libc::madvise(page.as_ptr().cast(), size, libc::MADV_WIPEONFORK);
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = (page, size);
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

    /// There is no `fork()`, or nothing to be done about it.
    pub fn wipe_on_fork(_page: NonNull<u8>, _size: usize) {}

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
    use std::sync::Arc;

    use super::{Locked, Vault};

    #[test]
    fn a_vault_keeps_many_secrets_in_few_pages_and_wipes_each() {
        let vault = Arc::<Vault<132>>::default();
        let keep = |byte: u8| vault.keep(&[byte; 132]).expect("memory");
        let mut places: Vec<_> = (0..100).map(keep).collect();
        assert_eq!(format!("{vault:?} {:?}", places[0]), "Vault { pages: 4 } Place(..)");
        assert!(places.iter().zip(0..).all(|(place, byte)| **place == [byte; 132]));

        // A place that is given up is wiped, and taken by the next.
        let address = places[7].as_ptr();
        drop(places.remove(7));
        // SAFETY: the page is there as long as its other places are taken.
        assert_eq!(unsafe { std::ptr::read_volatile(address.cast::<[u8; 132]>()) }, [0; 132]);
        let again = keep(200);
        assert_eq!((again.as_ptr(), again[131]), (address, 200));
        assert!(places.iter().all(|place| place[0] == place[131] && place[0] < 100));

        drop((places, again));
        assert_eq!(format!("{vault:?}"), "Vault { pages: 0 }");
    }

    #[test]
    fn places_of_a_vault_are_given_up_on_any_thread() {
        let vault = Arc::<Vault<32>>::default();
        std::thread::scope(|scope| {
            for byte in 0..4 {
                let vault = &vault;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let places: Vec<_> =
                            (0..80).map(|_| vault.keep(&[byte; 32]).expect("memory")).collect();
                        assert!(places.iter().all(|place| **place == [byte; 32]));
                    }
                });
            }
        });
        assert_eq!(format!("{vault:?}"), "Vault { pages: 0 }");
    }

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
