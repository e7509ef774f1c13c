//! The token of this process: a random number in memory that the kernel wipes in a child of `fork()`. The process number
//! does not do: a child in a new PID namespace may have its parent's, and numbers are used again.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::mutation::{self, Mutation};

/// Where the token is where no memory is wiped: there a handler of `fork()` clears it.
static CLEARED: AtomicU64 = AtomicU64::new(0);
/// No lock: a child of `fork()` may be made while another thread is here.
static CELL: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

/// The token, never zero. Asking costs no system call where memory is wiped.
pub(super) fn token() -> u64 {
    if mutation::on(Mutation::TokenIsNumber) {
        return std::process::id().into();
    }
    let mut cell = CELL.load(Ordering::Acquire);
    if cell.is_null() {
        cell = publish(system::make().unwrap_or_else(cleared));
    }
    // SAFETY: `make` mapped it for an AtomicU64, zeroed, and it is never unmapped once it is published; or it is the
    // static one.
    token_in(unsafe { &*cell })
}

/// Another thread may make the token at the same time: the first one stays.
fn token_in(cell: &AtomicU64) -> u64 {
    match cell.load(Ordering::Acquire) {
        0 => {
            let new = random();
            cell.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire)
                .map_or_else(|first| first, |_| new)
        }
        token => token,
    }
}

/// A random number that is not zero.
fn random() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        // No nonce is made without random bytes. To tell a parent and its child apart the clock and the number suffice.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (now.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_right(16)).to_ne_bytes();
    }
    u64::from_ne_bytes(bytes).max(1)
}

fn publish(new: *mut AtomicU64) -> *mut AtomicU64 {
    match CELL.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new,
        // Another thread was first. The page that is not used stays; it happens once at most for each thread.
        Err(first) => first,
    }
}

fn cleared() -> *mut AtomicU64 {
    #[cfg(all(unix, not(miri)))]
    {
        extern "C" fn clear() {
            CLEARED.store(0, Ordering::Release);
        }
        // SAFETY: the handler is a function of this library and does nothing but store a number. That the system has no
        // memory to remember it is no error here: then only what asks for the process number is left.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(clear)) };
    }
    (&raw const CLEARED).cast_mut()
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod system {
    use super::{AtomicU64, null_mut};

    /// A zeroed page that is zero again in every child (Linux 4.14 and newer).
    pub fn make() -> Option<*mut AtomicU64> {
        // SAFETY: a new mapping, of one page or less, which the kernel rounds up; nothing else refers to it.
        let page = unsafe {
            let (access, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(null_mut(), size_of::<AtomicU64>(), access, kind, -1, 0)
        };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping from above.
        if unsafe { libc::madvise(page, size_of::<AtomicU64>(), libc::MADV_WIPEONFORK) } != 0 {
            // SAFETY: the same, and nobody else knows it.
            unsafe { libc::munmap(page, size_of::<AtomicU64>()) };
            return None;
        }
        Some(page.cast())
    }
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
mod system {
    use super::AtomicU64;

    /// No such memory is known here.
    pub fn make() -> Option<*mut AtomicU64> {
        None
    }
}

/// A value that each process makes for itself. What a parent made stays in memory, untouched: its threads are not in the
/// child, and its locks may be held by them.
#[cfg_attr(not(feature = "node"), allow(dead_code))]
pub struct PerProcess<T: 'static>(AtomicPtr<Made<T>>);

struct Made<T> {
    token: u64,
    value: T,
}

#[cfg_attr(not(feature = "node"), allow(dead_code))]
impl<T: Default + Send + Sync + 'static> PerProcess<T> {
    /// One that nobody asked for yet.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// This process's value: the default one when it is first asked for.
    pub fn get(&self) -> &'static T {
        let token = token();
        loop {
            let current = self.0.load(Ordering::Acquire);
            // SAFETY: null, or made by `Box::into_raw` below and never freed once it was published.
            match unsafe { current.as_ref() } {
                Some(made) if made.token == token || mutation::on(Mutation::ParentsValues) => {
                    return &made.value;
                }
                _ => {}
            }
            let new = Box::into_raw(Box::new(Made { token, value: T::default() }));
            if self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: from `Box::into_raw` above, and not published: another thread was first.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}

#[cfg(all(test, unix, not(miri)))]
mod tests {
    use super::*;

    /// What a child answers, as its exit code.
    fn in_child(work: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child does what this module's functions do, and leaves by _exit.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(if work() { 42 } else { 1 });
            }
            let mut status = 0;
            libc::waitpid(child, &mut status, 0) == child
                && libc::WIFEXITED(status)
                && libc::WEXITSTATUS(status) == 42
        }
    }

    #[test]
    fn fork_token_is_another_in_each_child() {
        let own = token();
        assert_eq!(token(), own);
        assert!(in_child(|| {
            let child = token();
            child != own && child == token() && in_child(|| ![own, child].contains(&token()))
        }));
        assert_eq!(token(), own);
    }

    #[test]
    fn fork_token_without_wiped_memory() {
        let cell = cleared();
        // SAFETY: the static one.
        let of = || token_in(unsafe { &*cell });
        let own = of();
        assert_eq!(of(), own);
        assert!(in_child(|| of() != own));
        assert_eq!(of(), own);
    }

    #[test]
    fn each_process_makes_its_own_value() {
        static VALUE: PerProcess<AtomicU64> = PerProcess::new();
        VALUE.get().store(7, Ordering::Relaxed);
        assert_eq!(VALUE.get().load(Ordering::Relaxed), 7);
        assert!(in_child(|| VALUE.get().load(Ordering::Relaxed) == 0));
        assert_eq!(VALUE.get().load(Ordering::Relaxed), 7);
    }
}
