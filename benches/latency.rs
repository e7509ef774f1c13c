//! How long one session takes among signers that are processes of their own.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use crate::harness::{Size, Table, Target, median, millis, percentile, time};
use crate::signers::{Signers, used};
use crate::{floor, musig2, signers};

/// How much later a byte arrives, each way, in what stands for the Internet.
const DELAY: Duration = Duration::from_millis(25);

pub fn run(table: &mut Table) {
    let fsync = millis(one_sync());
    let crypto = musig2::bare_micros(5, 1, table.size.pick(1, 100, 500)) / 1e3;
    table.row(
        "fdatasync_ms",
        "one fdatasync of a page in the folder of the stores, median of 50",
        fsync,
        "ms",
        Target::None,
    );
    loopback(table, fsync, crypto);
    far(table, fsync, crypto);
    growth(table);
    inputs(table);
}

fn one_sync() -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let mut file = File::create(directory.path().join("page")).expect("a new file");
    let mut samples: Vec<Duration> = (0..50)
        .map(|_| {
            file.write_all(&[7; 4096]).expect("there is room");
            time(|| file.sync_data().expect("syncs"))
        })
        .collect();
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// Times of sessions, one after the other, from the proposal and from the last consent, in ms.
fn sessions(signers: &mut Signers, count: usize, messages: usize) -> [Vec<f64>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..count + 1 {
        let [all, consented] = signers.session(number, messages);
        // The first one is not like the others.
        if number > 0 {
            times[0].push(millis(all));
            times[1].push(millis(consented));
        }
    }
    times
}

fn loopback(table: &mut Table, fsync: f64, crypto: f64) {
    let count = table.size.pick(1, 60, 200);
    let mut signers = Signers::start(signers::FLAG, 5, None);
    signers.session(1_000_000, 1);
    let before = signers.usage();
    let [mut all, _] = sessions(&mut signers, count, 1);
    let each = used(&before, &signers.usage(), count + 1);
    drop(signers);
    // What one sends to one other in a session, in two frames.
    let bytes = (each.sent / 4.0 / 2.0) as usize;
    let mut floors = Signers::start(floor::FLAG, 5, None);
    let trips = (0..count + 1).map(|number| millis(floors.trips(number, bytes)));
    let trips = median(&mut trips.skip(1).collect::<Vec<_>>());
    let reference = trips + fsync + crypto;
    let (middle, late) = (median(&mut all), percentile(&mut all, 99));
    let what = format!(
        "5 of 5 in 5 processes, from the proposal until the last one has the signature, median of {count}"
    );
    table.row("five_processes_ms", &what, middle, "ms", Target::AtMost(6.0));
    table.row("five_processes_p99_ms", "the same, 99th percentile", late, "ms", Target::None);
    let what =
        format!("the same; two one-way trips of the same bytes ({trips:.2} ms) + fdatasync + bare MuSig2");
    table.against("five_processes_ratio", &what, (middle, reference), "ms", Target::RatioAtMost(1.5));
    table.row(
        "session_bytes",
        "bytes that one node sends in a session alone, 5 of 5",
        each.sent,
        "bytes",
        Target::None,
    );
    table.row("session_frames", "frames that it sends", each.frames, "frames", Target::None);
    table.row(
        "store_bytes_alone",
        "bytes that one node writes to its disk in a session alone",
        each.bytes,
        "bytes",
        Target::None,
    );
    table.row("store_pages_alone", "pages that it writes", each.pages, "pages", Target::None);
    table.row(
        "syncs_alone",
        "syncs of one node in a session alone",
        each.syncs,
        "syncs",
        Target::AtMost(2.0),
    );
    table.row(
        "commits_alone",
        "commits of its store in a session alone",
        each.commits,
        "commits",
        Target::None,
    );
    table.row("cpu_alone", "CPU time of one node in a session alone", each.cpu_micros, "µs", Target::None);
}

fn far(table: &mut Table, fsync: f64, crypto: f64) {
    let count = table.size.pick(1, 20, 60);
    let mut signers = Signers::start(signers::FLAG, 5, Some(DELAY));
    let [mut all, mut consented] = sessions(&mut signers, count, 1);
    let reference = |trips: f64| trips * millis(DELAY) + fsync + crypto;
    let (all, consented) = (median(&mut all), median(&mut consented));
    let what = "5 of 5, 25 ms each way, from the last consent; 2 × 25 ms + fdatasync + bare MuSig2";
    table.against("wan_ratio", what, (consented, reference(2.0)), "ms", Target::RatioAtMost(1.10));
    let what = "the same from the proposal, which takes a trip itself; 3 × 25 ms + …";
    table.against("wan_proposal_ratio", what, (all, reference(3.0)), "ms", Target::RatioAtMost(1.10));
}

fn growth(table: &mut Table) {
    let sizes: &[(usize, usize)] = match table.size {
        Size::Once => &[(3, 1)],
        Size::Quick => &[(20, 5)],
        Size::Full => &[(10, 20), (20, 10), (50, 5), (100, 3)],
    };
    for (n, count) in sizes.iter().copied() {
        let mut signers = Signers::start(signers::FLAG, n, None);
        let mut all = sessions(&mut signers, count, 1)[0].clone();
        let what = format!("{n} of {n}, all on this machine, median of {count}");
        table.row(&format!("n{n}_ms"), &what, median(&mut all), "ms", Target::None);
    }
}

fn inputs(table: &mut Table) {
    let mut signers = Signers::start(signers::FLAG, 5, None);
    let sizes: &[usize] = table.size.pick(&[2][..], &[1, 12, 256], &[1, 12, 256]);
    for inputs in sizes {
        let count = table.size.pick(1, 10, 40);
        let mut all = sessions(&mut signers, count, *inputs)[0].clone();
        let crypto = musig2::bare_micros(5, *inputs, table.size.pick(1, 3, 10)) / 1e3;
        let what = format!("5 of 5, {inputs} inputs, median of {count}; bare MuSig2 of one signer");
        table.against(&format!("inputs{inputs}_ms"), &what, (median(&mut all), crypto), "ms", Target::None);
    }
}
