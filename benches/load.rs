//! Many sessions at once, among five processes.

use crate::harness::{Table, Target};
use crate::musig2;
use crate::signers::{self, Signers, used};

const N: usize = 5;
const IN_FLIGHT: usize = 64;

pub fn run(table: &mut Table) {
    let sessions = table.size.pick(5, 1000, 5000);
    let mut signers = Signers::start(signers::FLAG, N, None);
    signers.load(0, table.size.pick(5, 100, 200), IN_FLIGHT);
    let bare = musig2::bare_micros(N, 1, table.size.pick(1, 200, 1000));
    let before = signers.usage();
    let seconds = signers.load(1_000_000, sessions, IN_FLIGHT).as_secs_f64();
    let each = used(&before, &signers.usage(), sessions);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let limit = cores / (N as f64 * bare / 1e6);
    let what = format!(
        "CPU time of one node and session, everything included, 5 of 5, {IN_FLIGHT} in flight; bare MuSig2"
    );
    table.against("cpu_per_session_ratio", &what, (each.cpu_micros, bare), "µs", Target::RatioAtMost(2.5));
    let what = format!(
        "sessions a second, 5 processes, {IN_FLIGHT} in flight, all of {sessions}; cores / (5 × bare MuSig2)"
    );
    let rate = sessions as f64 / seconds;
    table.against("sessions_limit_share", &what, (rate, limit), "/s", Target::RatioAtLeast(0.4));
    table.row(
        "syncs_under_load",
        "syncs of one node for each session, under load",
        each.syncs,
        "syncs",
        Target::AtMost(0.3),
    );
    table.row("commits_under_load", "commits of its store for each", each.commits, "commits", Target::None);
    let what = "bytes that one node writes to its disk for each session, under load";
    table.row("store_bytes", what, each.bytes, "bytes", Target::AtMost(8192.0));
    table.row("store_pages", "pages that it writes for each", each.pages, "pages", Target::None);
    table.row("load_bytes", "bytes that it sends for each", each.sent, "bytes", Target::None);
    table.row("load_frames", "frames that it sends for each", each.frames, "frames", Target::None);
    let what = "growth of its memory for each, all in watch";
    table.row("load_resident", what, each.resident, "KiB", Target::None);
}
