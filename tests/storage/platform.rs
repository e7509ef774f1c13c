//! Clocks, fork detection, the event descriptor.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libmusig::platform::{ForkGuard, now};

#[test]
fn clocks_go_forward_together() {
    let (start, instant) = (now(), Instant::now());
    let mut last = start.monotonic;
    while instant.elapsed() < Duration::from_millis(20) {
        let monotonic = now().monotonic;
        assert!(monotonic >= last);
        last = monotonic;
    }
    let (elapsed, end) = (instant.elapsed(), now());
    let monotonic = end.monotonic - start.monotonic;
    assert!(
        monotonic >= elapsed && monotonic < elapsed + Duration::from_secs(5),
        "{monotonic:?} {elapsed:?}"
    );
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    assert!(wall.abs_diff(end.wall.0) < 5000);
}

#[test]
fn fork_guard_holds_in_this_process() {
    assert_eq!(ForkGuard::new().check(), Ok(()));
}

#[test]
#[cfg(unix)]
fn fork_guard_knows_a_child() {
    let guard = ForkGuard::new();
    // SAFETY: the child only asks for its process id and leaves by _exit: both may be done after a fork of a
    // program with threads.
    let (child, status) = unsafe {
        let child = libc::fork();
        if child == 0 {
            // What the child makes itself is good there, and not in its own child.
            let own = ForkGuard::new();
            let knows = guard.check().is_err() && own.check().is_ok();
            let grandchild = libc::fork();
            if grandchild == 0 {
                libc::_exit(if own.check().is_err() && guard.check().is_err() { 42 } else { 0 });
            }
            let mut status = 0;
            let answered = libc::waitpid(grandchild, &mut status, 0) == grandchild;
            let both = knows && answered && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42;
            libc::_exit(if both { 42 } else { 0 });
        }
        let mut status = 0;
        (libc::waitpid(child, &mut status, 0) == child, status)
    };
    assert!(child);
    assert!(libc::WIFEXITED(status));
    assert_eq!(libc::WEXITSTATUS(status), 42);
    assert_eq!(guard.check(), Ok(()), "the parent goes on");
}

#[cfg(unix)]
mod descriptor {
    use std::os::fd::AsRawFd;

    use libmusig::platform::EventDescriptor;

    use crate::DEADLINE;

    fn readable(event: &EventDescriptor, milliseconds: i32) -> bool {
        let mut poll = libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, of a descriptor that is open.
        unsafe { libc::poll(&mut poll, 1, milliseconds) == 1 }
    }

    #[test]
    fn descriptor_is_level_triggered() {
        let event = EventDescriptor::new().expect("a descriptor");
        event.clear().expect("nothing to clear");
        assert!(!readable(&event, 0));
        event.set().expect("sets");
        event.set().expect("twice is once");
        assert!(readable(&event, 0));
        assert!(readable(&event, 0), "polling does not clear it");
        event.clear().expect("clears");
        assert!(!readable(&event, 0));
    }

    #[test]
    fn descriptor_wakes_a_waiting_thread() {
        let event = EventDescriptor::new().expect("a descriptor");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| readable(&event, DEADLINE.as_millis() as i32));
            event.set().expect("sets");
            assert!(waiting.join().expect("no panic"));
        });
    }

    #[test]
    fn descriptor_is_not_inherited() {
        let event = EventDescriptor::new().expect("a descriptor");
        // SAFETY: an open descriptor, and a command without pointers.
        let flags = unsafe { libc::fcntl(event.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}

#[cfg(windows)]
mod handle {
    use std::os::windows::io::{AsRawHandle, RawHandle};

    use libmusig::platform::EventDescriptor;

    use crate::DEADLINE;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn WaitForSingleObject(handle: RawHandle, milliseconds: u32) -> u32;
    }

    fn set(event: &EventDescriptor, milliseconds: u32) -> bool {
        // SAFETY: the handle is open as long as `event` is borrowed.
        unsafe { WaitForSingleObject(event.as_raw_handle(), milliseconds) == 0 }
    }

    #[test]
    fn handle_stays_set_until_it_is_cleared() {
        let event = EventDescriptor::new().expect("a handle");
        event.clear().expect("nothing to clear");
        assert!(!set(&event, 0));
        event.set().expect("sets");
        event.set().expect("twice is once");
        assert!(set(&event, 0));
        assert!(set(&event, 0), "waiting does not clear it");
        event.clear().expect("clears");
        assert!(!set(&event, 0));
    }

    #[test]
    fn handle_wakes_a_waiting_thread() {
        let event = EventDescriptor::new().expect("a handle");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| set(&event, DEADLINE.as_millis() as u32));
            event.set().expect("sets");
            assert!(waiting.join().expect("no panic"));
        });
    }
}
