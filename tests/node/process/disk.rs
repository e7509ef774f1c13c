//! A signer's disk: a small file system of its own, or a limit for its files, that can be filled and emptied.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Bytes of the file system.
const SIZE: &str = "size=4m";

pub enum Disk {
    /// Whatever there is.
    Any,
    /// No file of this process can be written beyond its first byte, once it is full.
    Limit,
    /// A file system in memory, that only this process sees; its ballast.
    Own(PathBuf),
}

impl Disk {
    /// To be called by the thread that starts the node.
    pub fn new(settings: &Value, store: &Path) -> Self {
        match settings.as_str() {
            None => Self::Any,
            Some("limit") => Self::Limit,
            Some("own") => {
                let directory = store.parent().expect("has one");
                mount(directory, libc::MS_NOSUID);
                Self::Own(directory.join("ballast"))
            }
            Some("read-only") => {
                // With the store that was there before, if there was one.
                let before = fs::read(store).ok();
                let directory = store.parent().expect("has one");
                mount(directory, libc::MS_NOSUID);
                if let Some(bytes) = before {
                    fs::write(store, bytes).expect("writes");
                }
                mount(directory, libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID);
                Self::Any
            }
            Some(other) => panic!("no disk {other}"),
        }
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        match self {
            Self::Any => {}
            Self::Limit => limit_file_size(1),
            Self::Own(ballast) => {
                let mut file = OpenOptions::new().create(true).append(true).open(ballast).expect("opens");
                for chunk in [1 << 16, 1 << 12, 1] {
                    while file.write_all(&vec![0; chunk]).is_ok() {}
                }
            }
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        match self {
            Self::Any => {}
            Self::Limit => limit_file_size(libc::RLIM_INFINITY),
            Self::Own(ballast) => fs::remove_file(ballast).expect("removes"),
        }
    }
}

/// Whether this process may mount.
pub fn available() -> Result<(), String> {
    let try_it = || {
        // SAFETY: gives this thread, which ends with this closure, its own view of the mounts.
        match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
            0 => Ok(()),
            _ => Err(format!("no mounts of its own: {}", std::io::Error::last_os_error())),
        }
    };
    std::thread::spawn(try_it).join().expect("no panic")
}

/// Mounts a file system in memory, or changes it, for this thread and those that it starts.
fn mount(directory: &Path, flags: libc::c_ulong) {
    let path = CString::new(directory.to_str().expect("is text")).expect("no zeros");
    let root = c"/".as_ptr();
    let (kind, none) = (c"tmpfs".as_ptr(), std::ptr::null());
    let options = CString::new(SIZE).expect("no zeros");
    let ok = |status: i32| assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: strings that end with a zero, and outlive the calls.
    unsafe {
        if flags & libc::MS_REMOUNT == 0 {
            ok(libc::unshare(libc::CLONE_NEWNS));
            ok(libc::mount(none, root, none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()));
        }
        ok(libc::mount(kind, path.as_ptr(), kind, flags, options.as_ptr().cast()));
    }
}

fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid rlimit, which setrlimit only reads; SIG_IGN is a valid disposition.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}
