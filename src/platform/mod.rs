//! Services of the operating system: a clock that includes sleep, locked memory, fork detection, an event descriptor.
//!
//! `unsafe` is allowed here, for calls of the C library that Rust's has no equal of.

#[cfg_attr(not(feature = "node"), allow(dead_code))]
pub(crate) mod histogram;
mod locked;
mod process;

pub use locked::{Locked, Place, Vault};
#[cfg_attr(not(feature = "node"), allow(unused_imports))]
pub(crate) use process::PerProcess;

use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::{Time, UnixMillis};

/// Reading of both clocks.
///
/// The monotonic one starts at its first use in this process and never goes back. It counts the time that the
/// machine sleeps on Linux and Android (`CLOCK_BOOTTIME`) and on Apple's systems (`CLOCK_MONOTONIC_RAW`,
/// there the same as `mach_continuous_time`); elsewhere it is [`std::time::Instant`]. A calendar before 1970
/// reads as 1970.
pub fn now() -> Time {
    static START: OnceLock<Duration> = OnceLock::new();
    let boot = since_boot();
    let monotonic = boot.saturating_sub(*START.get_or_init(|| boot));
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { wall: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)), monotonic }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
#[allow(unsafe_code)]
fn since_boot() -> Duration {
    #[cfg(target_vendor = "apple")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_RAW;
    #[cfg(not(target_vendor = "apple"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the whole call, which keeps no pointer to it.
    let status = unsafe { libc::clock_gettime(CLOCK, &mut time) };
    assert_eq!(status, 0, "this clock exists on every supported version of the system");
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn since_boot() -> Duration {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// Guard against use in a fork: the child has none of the parent's threads, so an object that relies on them must
/// refuse to work there. It knows its process by a random token, not by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkGuard {
    token: u64,
}

/// Refusal in a child of the process that made the object: it has to make its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("made before fork(); make a new one in this process")]
pub struct Forked;

impl ForkGuard {
    /// For this process.
    pub fn new() -> Self {
        Self { token: process::token() }
    }

    /// Token of the process that it was made in, never zero.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// Whether this is still the same process. On Linux no system call.
    pub fn check(&self) -> Result<(), Forked> {
        if self.token == process::token() { Ok(()) } else { Err(Forked) }
    }
}

impl Default for ForkGuard {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the exclusive lock of an open file, unless somebody else has it (`false`). Closing the file releases
/// it.
#[cfg(not(target_os = "android"))]
#[cfg_attr(not(feature = "node"), allow(dead_code))]
pub(crate) fn try_lock_file(file: &File) -> io::Result<bool> {
    use std::fs::TryLockError;
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the exclusive lock of an open file, unless somebody else has it (`false`). Closing the file releases
/// it.
#[cfg(target_os = "android")]
#[cfg_attr(not(feature = "node"), allow(dead_code))]
#[allow(unsafe_code)]
pub(crate) fn try_lock_file(file: &File) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open as long as `file` is borrowed; flock takes no pointers.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        error => Err(error),
    }
}

#[cfg(unix)]
pub use descriptor::EventDescriptor;
#[cfg(windows)]
pub use handle::EventDescriptor;

#[cfg(unix)]
mod descriptor {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

    /// A file descriptor that is readable while it is set, for `poll`, `epoll` or `kqueue`. Level-triggered:
    /// setting twice is setting once. An eventfd on Linux and Android, else a pipe. Not inherited by a
    /// program that is executed.
    #[derive(Debug)]
    pub struct EventDescriptor {
        read: File,
        /// The other end of a pipe; an eventfd has one end.
        write: Option<File>,
    }

    impl EventDescriptor {
        /// Makes one that is not set. Errors: the process has no descriptor left.
        pub fn new() -> io::Result<Self> {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            return Self::eventfd();
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            return Self::pipe();
        }

        #[cfg(any(target_os = "linux", target_os = "android"))]
        #[allow(unsafe_code)]
        fn eventfd() -> io::Result<Self> {
            use std::os::fd::FromRawFd;
            // SAFETY: eventfd takes no pointers.
            let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the call above just opened it, and nothing else owns it.
            let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
            Ok(Self { read: descriptor.into(), write: None })
        }

        #[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
        #[allow(unsafe_code)]
        pub(super) fn pipe() -> io::Result<Self> {
            let (read, write) = io::pipe()?;
            let (read, write) = (OwnedFd::from(read), OwnedFd::from(write));
            for descriptor in [&read, &write] {
                // SAFETY: the descriptor is open, and fcntl takes no pointers with these commands.
                let status = unsafe {
                    let flags = libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL);
                    libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
                };
                if status < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(Self { read: read.into(), write: Some(write.into()) })
        }

        /// Makes it readable.
        pub fn set(&self) -> io::Result<()> {
            let end = self.write.as_ref().unwrap_or(&self.read);
            retry(|| (&*end).write(&1u64.to_ne_bytes()))
        }

        /// Makes it unreadable. What is set meanwhile by another thread may stay or be cleared.
        pub fn clear(&self) -> io::Result<()> {
            let mut bytes = [0; 512];
            retry(|| match (&self.read).read(&mut bytes) {
                // More may be in a pipe; an eventfd gives all at once.
                Ok(length) if length == bytes.len() => Err(io::ErrorKind::Interrupted.into()),
                result => result,
            })
        }
    }

    /// Calls again when a signal came between. That it would block means that there is nothing left to do.
    fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<()> {
        loop {
            match call() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    impl AsRawFd for EventDescriptor {
        fn as_raw_fd(&self) -> RawFd {
            self.read.as_raw_fd()
        }
    }

    impl AsFd for EventDescriptor {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.read.as_fd()
        }
    }
}

#[cfg(windows)]
#[allow(unsafe_code)]
mod handle {
    use std::ffi::c_void;
    use std::io;
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
    use std::ptr;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn CreateEventW(attributes: *const c_void, manual: i32, set: i32, name: *const u16) -> RawHandle;
        fn SetEvent(event: RawHandle) -> i32;
        fn ResetEvent(event: RawHandle) -> i32;
    }

    /// An event object, for `WaitForMultipleObjects`. It stays set until it is cleared. Not inherited by a program that is
    /// started.
    #[derive(Debug)]
    pub struct EventDescriptor(OwnedHandle);

    impl EventDescriptor {
        /// Makes one that is not set. Errors: the process has no handle left.
        pub fn new() -> io::Result<Self> {
            // SAFETY: both pointers may be null: no attributes, no name.
            let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
            if event.is_null() {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the call above just opened it, and nothing else owns it.
            Ok(Self(unsafe { OwnedHandle::from_raw_handle(event) }))
        }

        /// Sets it.
        pub fn set(&self) -> io::Result<()> {
            // SAFETY: the handle is open as long as `self`.
            check(unsafe { SetEvent(self.0.as_raw_handle()) })
        }

        /// Clears it. What is set meanwhile by another thread may stay or be cleared.
        pub fn clear(&self) -> io::Result<()> {
            // SAFETY: the handle is open as long as `self`.
            check(unsafe { ResetEvent(self.0.as_raw_handle()) })
        }
    }

    fn check(answer: i32) -> io::Result<()> {
        if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    impl AsRawHandle for EventDescriptor {
        fn as_raw_handle(&self) -> RawHandle {
            self.0.as_raw_handle()
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::fd::AsRawFd;

    use super::EventDescriptor;

    #[allow(unsafe_code)]
    fn readable(event: &EventDescriptor) -> bool {
        let mut poll = libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, of a descriptor that is open.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    /// The pipe of the other systems: it holds 64 KiB, so it fills up here.
    #[test]
    fn pipe_is_level_triggered_and_never_blocks() {
        let event = EventDescriptor::pipe().expect("two descriptors");
        assert!(!readable(&event));
        for _ in 0..20_000 {
            event.set().expect("a full pipe is set");
        }
        assert!(readable(&event));
        event.clear().expect("clears");
        assert!(!readable(&event));
        event.set().expect("sets again");
        assert!(readable(&event));
    }
}
