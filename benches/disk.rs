//! What this process writes to its disk, counted where it enters the system: the program's own functions stand before the
//! C library's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::clock;

static SYNCS: AtomicU64 = AtomicU64::new(0);
static SYNC_NANOS: AtomicU64 = AtomicU64::new(0);
static SYNCED_AT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static PAGES: AtomicU64 = AtomicU64::new(0);

const PAGE: u64 = 4096;

/// So far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub syncs: u64,
    pub sync_nanos: u64,
    pub bytes: u64,
    /// Pages of 4096 bytes that the writes touched, each as often as it was written.
    pub pages: u64,
}

pub fn written() -> Written {
    let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    Written { syncs: read(&SYNCS), sync_nanos: read(&SYNC_NANOS), bytes: read(&BYTES), pages: read(&PAGES) }
}

/// When the last sync ended, in nanoseconds of [`clock`].
pub fn synced_at() -> u64 {
    SYNCED_AT.load(Ordering::SeqCst)
}

/// The call by which the store makes sure that a commit is on the disk.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(descriptor: i32) -> i32 {
    let start = clock();
    // SAFETY: takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) };
    let end = clock();
    SYNCS.fetch_add(1, Ordering::SeqCst);
    SYNC_NANOS.fetch_add((end - start).as_nanos() as u64, Ordering::SeqCst);
    SYNCED_AT.store(end.as_nanos() as u64, Ordering::SeqCst);
    result as i32
}

/// # Safety
///
/// As of the C library's.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    descriptor: i32,
    bytes: *const libc::c_void,
    length: usize,
    offset: i64,
) -> isize {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_pwrite64, descriptor, bytes, length, offset) };
    if result > 0 {
        let (first, last) = (offset as u64 / PAGE, (offset as u64 + result as u64 - 1) / PAGE);
        BYTES.fetch_add(result as u64, Ordering::SeqCst);
        PAGES.fetch_add(last - first + 1, Ordering::SeqCst);
    }
    result as isize
}
