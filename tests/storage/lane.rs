//! Lanes: order, independence, and one answer for each call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libmusig::event::lane::{Lane, LaneOutcome, WouldDeadlock};
use tokio::runtime::Runtime;

use crate::{DEADLINE, eventually};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime")
}

fn answer<T>(answers: &Receiver<T>) -> T {
    answers.recv_timeout(DEADLINE).expect("every call is answered")
}

/// Sends the outcome.
fn to<T: Send>(sender: &Sender<T>) -> impl FnOnce(T) + Send + use<T> {
    let sender = sender.clone();
    move |outcome| {
        let _ = sender.send(outcome);
    }
}

/// Lets a call hang until the sender is dropped.
fn hang(lane: &Lane) -> (Sender<()>, Receiver<LaneOutcome<()>>) {
    let (release, blocked) = channel::<()>();
    let (begin, begun) = channel();
    let (sender, answers) = channel();
    let work = move || {
        begin.send(()).expect("the test waits");
        let _ = blocked.recv();
    };
    lane.call(None, work, to(&sender));
    answer(&begun);
    (release, answers)
}

#[test]
fn calls_are_serial_and_in_order() {
    let runtime = runtime();
    let lane = Lane::spawn("test", 10_000, runtime.handle().clone()).expect("a thread");
    let (running, sender) = (Arc::new(AtomicUsize::new(0)), channel());
    let seen = Arc::new(Mutex::new(Vec::new()));
    for number in 0..1000 {
        let (running, seen, sender) = (running.clone(), seen.clone(), sender.0.clone());
        let work = move || {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two calls at once");
            seen.lock().expect("no panic").push(number);
            running.fetch_sub(1, Ordering::SeqCst);
            number
        };
        lane.call(Some(DEADLINE), work, move |outcome| sender.send(outcome).expect("the test waits"));
    }
    for number in 0..1000 {
        assert_eq!(answer(&sender.1), LaneOutcome::Done(number));
    }
    assert_eq!(*seen.lock().expect("no panic"), (0..1000).collect::<Vec<_>>());
}

#[test]
fn blocked_lane_delays_no_other() {
    let runtime = runtime();
    let blocked = Lane::spawn("blocked", 8, runtime.handle().clone()).expect("a thread");
    let free = Lane::spawn("free", 8, runtime.handle().clone()).expect("a thread");
    let (release, outcome) = hang(&blocked);
    for number in 0..100 {
        let (sender, answers) = channel();
        free.call(None, move || number, to(&sender));
        assert_eq!(answer(&answers), LaneOutcome::Done(number));
    }
    assert!(outcome.try_recv().is_err());
    drop(release);
    assert_eq!(answer(&outcome), LaneOutcome::Done(()));
}

#[test]
fn time_out_comes_once_and_late_answers_are_discarded() {
    let runtime = runtime();
    let lane = Lane::spawn("test", 8, runtime.handle().clone()).expect("a thread");
    let (release, blocked) = channel::<()>();
    let (sender, answers) = channel();
    let limit = Some(Duration::from_millis(20));
    let hanging = move || {
        let _ = blocked.recv();
        "late"
    };
    lane.call(limit, hanging, to(&sender));
    let entered = Arc::new(AtomicUsize::new(0));
    let entries = entered.clone();
    let work = move || {
        entries.fetch_add(1, Ordering::SeqCst);
        "never"
    };
    lane.call(limit, work, to(&sender));
    assert_eq!(answer(&answers), LaneOutcome::TimedOut);
    assert_eq!(answer(&answers), LaneOutcome::TimedOut);
    lane.call(Some(DEADLINE), || "next", to(&sender));
    drop(sender);
    drop(release);
    assert_eq!(answer(&answers), LaneOutcome::Done("next"));
    assert_eq!(answers.recv_timeout(DEADLINE).ok(), None, "nobody can answer any more");
    assert_eq!(entered.load(Ordering::SeqCst), 0, "a call that timed out in the queue is not made");
}

#[test]
fn panics_are_outcomes() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("in a foreign destructor");
        }
    }
    let runtime = runtime();
    let lane = Lane::spawn("test", 8, runtime.handle().clone()).expect("a thread");
    let (sender, answers) = channel();
    let calls: [fn(); 3] = [|| panic!("text"), || std::panic::panic_any(Grenade), || ()];
    for call in calls {
        let sender = sender.clone();
        lane.call(None, call, move |outcome| {
            sender.send(outcome).expect("the test waits");
            panic!("in on_result");
        });
    }
    assert_eq!(answer(&answers), LaneOutcome::Panicked);
    assert_eq!(answer(&answers), LaneOutcome::Panicked);
    assert_eq!(answer(&answers), LaneOutcome::Done(()));
    // A value that nobody waits for any more, and work that is never run, are dropped with their panics.
    let (release, _outcome) = hang(&lane);
    let grenade = Grenade;
    let work = move || std::mem::forget(grenade);
    lane.call(None, work, to(&sender));
    lane.stop();
    assert_eq!(answer(&answers), LaneOutcome::Stopped);
    drop(release);
    lane.stop_and_join().expect("another thread");
}

#[test]
fn full_lane_refuses_but_not_for_calls_that_timed_out() {
    let runtime = runtime();
    let lane = Lane::spawn("test", 2, runtime.handle().clone()).expect("a thread");
    let (release, _outcome) = hang(&lane);
    let (sender, answers) = channel();
    let call = |limit, number| {
        lane.call(limit, move || number, {
            let sender = sender.clone();
            move |outcome| sender.send((number, outcome)).expect("the test waits")
        });
    };
    call(Some(Duration::from_millis(1)), 0);
    assert_eq!(answer(&answers), (0, LaneOutcome::TimedOut));
    call(None, 1);
    call(None, 2);
    assert_eq!(lane.waiting(), 2);
    call(None, 3);
    assert_eq!(answer(&answers), (3, LaneOutcome::Full));
    drop(release);
    assert_eq!(answer(&answers), (1, LaneOutcome::Done(1)));
    assert_eq!(answer(&answers), (2, LaneOutcome::Done(2)));
    eventually("there is room again", || lane.waiting() == 0);
    call(None, 4);
    assert_eq!(answer(&answers), (4, LaneOutcome::Done(4)));
}

#[test]
fn stop_from_inside_is_no_deadlock() {
    let runtime = runtime();
    let lane = Arc::new(Lane::spawn("test", 8, runtime.handle().clone()).expect("a thread"));
    assert!(!lane.is_current_thread());
    let (sender, answers) = channel();
    let inside = Arc::downgrade(&lane);
    let (go, begin) = channel();
    let work = move || {
        begin.recv().expect("the test sends");
        let lane = inside.upgrade().expect("the test holds it");
        assert!(lane.is_current_thread());
        assert_eq!(lane.stop_and_join(), Err(WouldDeadlock));
        lane.stop();
        // The last handle may go here too.
        drop(lane);
        1
    };
    lane.call(None, work, to(&sender));
    lane.call(None, || 2, to(&sender));
    go.send(()).expect("waits");
    assert_eq!(answer(&answers), LaneOutcome::Stopped, "the one that waits, during the running one");
    assert_eq!(answer(&answers), LaneOutcome::Done(1), "the running one finishes");
    lane.call(None, || 3, to(&sender));
    assert_eq!(answer(&answers), LaneOutcome::Stopped);
    lane.stop_and_join().expect("another thread");
    lane.stop_and_join().expect("twice is once");
}

#[test]
fn dropping_never_waits() {
    let runtime = runtime();
    let lane = Lane::spawn("test", 8, runtime.handle().clone()).expect("a thread");
    let (release, outcome) = hang(&lane);
    let (sender, answers) = channel();
    lane.call(None, || (), to(&sender));
    drop(lane);
    assert_eq!(answer(&answers), LaneOutcome::Stopped);
    assert!(outcome.try_recv().is_err(), "the call still runs");
    drop(release);
    assert_eq!(answer(&outcome), LaneOutcome::Done(()));
}

#[test]
fn join_waits_for_the_running_call() {
    let runtime = runtime();
    let lane = Arc::new(Lane::spawn("test", 8, runtime.handle().clone()).expect("a thread"));
    let (release, outcome) = hang(&lane);
    let stopper = lane.clone();
    let joined = std::thread::spawn(move || stopper.stop_and_join());
    let (sender, answers) = channel();
    eventually("the lane refuses calls", || {
        lane.call(None, || (), to(&sender));
        answer(&answers) == LaneOutcome::Stopped
    });
    assert!(!joined.is_finished());
    drop(release);
    assert_eq!(joined.join().expect("no panic"), Ok(()));
    assert_eq!(outcome.try_recv(), Ok(LaneOutcome::Done(())), "it was answered before");
}

#[test]
fn runtime_that_is_gone_leaves_no_call_unanswered() {
    let runtime = runtime();
    let lane = Lane::spawn("test", 8, runtime.handle().clone()).expect("a thread");
    let (release, _outcome) = hang(&lane);
    let (sender, answers) = channel();
    lane.call(Some(Duration::from_secs(3600)), || 1, to(&sender));
    runtime.shutdown_background();
    lane.call(Some(Duration::from_secs(3600)), || 2, to(&sender));
    drop(release);
    assert_eq!(answer(&answers), LaneOutcome::Done(1));
    assert_eq!(answer(&answers), LaneOutcome::Done(2));
}

#[test]
fn every_call_is_answered_exactly_once() {
    let runtime = runtime();
    let lane = Arc::new(Lane::spawn("test", 64, runtime.handle().clone()).expect("a thread"));
    const THREADS: usize = 8;
    const CALLS: usize = 2000;
    let answers: Arc<Vec<AtomicUsize>> =
        Arc::new((0..THREADS * CALLS).map(|_| AtomicUsize::new(0)).collect());
    let kinds: Arc<[AtomicUsize; 5]> = Arc::default();
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (lane, answers, kinds, asked) = (lane.clone(), answers.clone(), kinds.clone(), &asked);
            scope.spawn(move || {
                for call in 0..CALLS {
                    let number = thread * CALLS + call;
                    let (answers, kinds) = (answers.clone(), kinds.clone());
                    let limit = [None, Some(Duration::ZERO), Some(Duration::from_micros(50))][number % 3];
                    let work = move || assert!(!number.is_multiple_of(97), "some calls panic");
                    lane.call(limit, work, move |outcome| {
                        answers[number].fetch_add(1, Ordering::SeqCst);
                        let kind = match outcome {
                            LaneOutcome::Done(()) => 0,
                            LaneOutcome::TimedOut => 1,
                            LaneOutcome::Panicked => 2,
                            LaneOutcome::Full => 3,
                            LaneOutcome::Stopped => 4,
                        };
                        kinds[kind].fetch_add(1, Ordering::SeqCst);
                    });
                    if asked.fetch_add(1, Ordering::SeqCst) == THREADS * CALLS * 3 / 4 {
                        lane.stop();
                    }
                }
            });
        }
    });
    lane.stop_and_join().expect("another thread");
    eventually("all are answered", || answers.iter().all(|count| count.load(Ordering::SeqCst) > 0));
    drop(runtime);
    assert!(answers.iter().all(|count| count.load(Ordering::SeqCst) == 1));
    let kinds: Vec<usize> = kinds.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    println!("done, timed out, panicked, full, stopped: {kinds:?}");
    assert_eq!(kinds.iter().sum::<usize>(), THREADS * CALLS);
    assert!(kinds[0] > 0 && kinds[4] > 0);
}
