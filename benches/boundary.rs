//! What the C boundary costs: a getter against the Rust call behind it, and an event's way from its commit to the
//! handler of a C program.

use std::ffi::{CString, c_void};
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libmusig::ffi::c::config::{
    musig_config_free, musig_config_new, musig_config_set_event_handler, musig_config_set_offline,
    musig_config_set_signer, musig_config_set_store_memory, musig_config_set_store_path,
    musig_config_set_without_observer,
};
use libmusig::ffi::c::enums::musig_event_kind;
use libmusig::ffi::c::error::musig_error;
use libmusig::ffi::c::event::{musig_event, musig_event_kind_of};
use libmusig::ffi::c::node::{
    musig_node, musig_node_create_session, musig_node_free, musig_node_session, musig_node_signer_key,
    musig_node_stop,
};
use libmusig::ffi::c::proposal::{musig_proposal_free, musig_proposal_new_messages};
use libmusig::ffi::c::session::{musig_session_free, musig_session_id};
use libmusig::ffi::c::signer::{musig_signer_free, musig_signer_new};
use libmusig::ffi::c::start::musig_node_start;
use libmusig::types::SessionId;

use test_support::nodes::{builder, keys, secret};

use crate::disk;
use crate::harness::{Table, Target, clock, digest, median, micros};

pub fn run(table: &mut Table) {
    getters(table);
    events(table);
}

macro_rules! ok {
    ($call:expr) => {
        // SAFETY: the arguments are what the header asks for.
        assert_eq!(unsafe { $call }, 0)
    };
}

/// Starts a node of C alone in the world: one signer, no network.
fn start(store: Option<&std::path::Path>, events: bool) -> *mut musig_node {
    let (mut signer, mut config, mut node) = (null_mut(), null_mut(), null_mut());
    ok!(musig_signer_new(&mut signer, secret(0).as_ptr(), null_mut()));
    ok!(musig_config_new(&mut config, null_mut()));
    ok!(musig_config_set_signer(config, signer, null_mut()));
    match store {
        Some(path) => {
            let path = CString::new(path.to_string_lossy().as_bytes()).expect("no NUL");
            ok!(musig_config_set_store_path(config, path.as_ptr(), null_mut()));
        }
        None => ok!(musig_config_set_store_memory(config, null_mut())),
    }
    ok!(musig_config_set_offline(config, null_mut()));
    ok!(musig_config_set_without_observer(config, null_mut()));
    if events {
        ok!(musig_config_set_event_handler(config, Some(handle), null_mut(), None, null_mut()));
    }
    ok!(musig_node_start(&mut node, config, null_mut()));
    // SAFETY: each is given up once.
    unsafe {
        musig_config_free(config);
        musig_signer_free(signer);
    }
    node
}

const CALLS: u32 = 2000;

/// Adds the nanoseconds of a call.
fn nanos(runs: &mut Vec<f64>, mut call: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    runs.push(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
}

/// By the functions' addresses, as a C program calls them, against the methods, alternating in one run.
fn getters(table: &mut Table) {
    type Getter<T> = unsafe extern "C" fn(*const T, *mut u8, *mut *mut musig_error) -> i32;
    let node = start(None, false);
    let own = builder(secret(1)).offline().start().expect("starts");
    let session = own.session(SessionId([7; 32]));
    let mut handle = null_mut();
    ok!(musig_node_session(node, &mut handle, [7; 32].as_ptr(), null_mut()));
    let signer_key: Getter<_> = black_box(musig_node_signer_key);
    let session_id: Getter<_> = black_box(musig_session_id);
    let (mut c, mut rust) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut out = [0; 33];
    for _ in 0..table.size.pick(1, 100, 400) {
        nanos(&mut c[0], || ok!(signer_key(black_box(node), black_box(out.as_mut_ptr()), null_mut())));
        nanos(&mut rust[0], || out.copy_from_slice(black_box(black_box(&own).signer_key().as_bytes())));
        nanos(&mut c[1], || ok!(session_id(black_box(handle), black_box(out.as_mut_ptr()), null_mut())));
        nanos(&mut rust[1], || out[..32].copy_from_slice(black_box(&black_box(&session).id().0)));
    }
    for ((name, mut c), mut rust) in
        ["musig_node_signer_key", "musig_session_id"].into_iter().zip(c).zip(rust)
    {
        let (c, rust) = (median(&mut c), median(&mut rust));
        let what = format!("{name} beyond the call in Rust ({rust:.1} ns)");
        table.row(&format!("c_{name}"), &what, (c - rust).max(0.0), "ns", Target::AtMost(50.0));
    }
    // SAFETY: given up once, and not used any more.
    unsafe { musig_session_free(handle) };
    stop(node);
    own.stop().expect("stops");
}

fn stop(node: *mut musig_node) {
    ok!(musig_node_stop(node, null_mut()));
    // SAFETY: given up once, and not used any more.
    unsafe { musig_node_free(node) };
}

/// When the store called its last commit committed, in nanoseconds of [`clock`].
static COMMITTED: AtomicU64 = AtomicU64::new(0);
static ENTERED: OnceLock<Mutex<Sender<[Duration; 2]>>> = OnceLock::new();

fn nanoseconds() -> u64 {
    clock().as_nanos() as u64
}

/// Takes the time of what the store's thread says right after a commit, and nothing else.
struct Committed;

impl tracing::Subscriber for Committed {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "libmusig::store" && *metadata.level() == tracing::Level::TRACE
    }

    fn event(&self, _: &tracing::Event<'_>) {
        COMMITTED.store(nanoseconds(), Ordering::SeqCst);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

unsafe extern "C" fn handle(_: *mut c_void, _: *mut musig_node, event: *mut musig_event) -> i32 {
    let now = nanoseconds();
    // SAFETY: the event lives for the call.
    let kind = unsafe { musig_event_kind_of(event) };
    if kind == musig_event_kind::SESSION_CREATED as i32
        && let Some(sender) = ENTERED.get()
    {
        let since = |begin: u64| Duration::from_nanos(now.saturating_sub(begin));
        let elapsed = [since(COMMITTED.load(Ordering::SeqCst)), since(disk::synced_at())];
        let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(elapsed);
    }
    0
}

/// The first event of a session's commit, from the moment that the store calls it committed to the handler's first
/// instruction; the events behind it in the same commit wait for the handler.
fn events(table: &mut Table) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let (sender, entered): (_, Receiver<[Duration; 2]>) = channel();
    assert!(ENTERED.set(Mutex::new(sender)).is_ok(), "runs once");
    let directory = tempfile::tempdir().expect("a directory");
    let node =
        tracing::subscriber::with_default(Committed, || start(Some(&directory.path().join("store")), true));
    let key = keys(1)[0];
    let (mut from_commit, mut from_sync) = (Vec::new(), Vec::new());
    for number in 0..table.size.pick(2, 200, 500) {
        let digest = digest(number);
        let (mut proposal, mut session) = (null_mut(), null_mut());
        let key = key.as_bytes().as_ptr();
        ok!(musig_proposal_new_messages(&mut proposal, key, 1, digest.as_ptr(), 1, null_mut()));
        ok!(musig_node_create_session(node, &mut session, proposal, null_mut()));
        let [commit, sync] = entered.recv_timeout(Duration::from_secs(30)).expect("it is created");
        from_commit.push(micros(commit));
        from_sync.push(micros(sync));
        // SAFETY: each is given up once.
        unsafe {
            musig_session_free(session);
            musig_proposal_free(proposal);
        }
    }
    assert!(
        disk::synced_at() > 0 && COMMITTED.load(Ordering::SeqCst) > 0,
        "the store syncs by fdatasync, and says when it committed"
    );
    stop(node);
    let what = "commit of an event to the first instruction of a handler in C, median";
    table.row("commit_to_c_us", what, median(&mut from_commit), "µs", Target::AtMost(20.0));
    let what = "the same from the end of fdatasync";
    table.row("sync_to_c_us", what, median(&mut from_sync), "µs", Target::None);
}
