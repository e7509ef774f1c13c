//! Rows, how they are measured, printed and written.

use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_support::figures::memory_of;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// Everything once, with the smallest input: only whether it runs. `cargo test --bench table`.
    Once,
    /// Three minutes.
    Quick,
    /// A quarter of an hour.
    Full,
}

impl Size {
    pub fn pick<T>(self, once: T, quick: T, full: T) -> T {
        match self {
            Self::Once => once,
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// What a row is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// The value is at most this.
    AtMost(f64),
    /// The value is at least this.
    AtLeast(f64),
    /// The value divided by its reference is at most this.
    RatioAtMost(f64),
    /// The value divided by its reference is at least this.
    RatioAtLeast(f64),
    /// It is printed only.
    None,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    id: String,
    what: String,
    value: Option<f64>,
    unit: &'static str,
    reference: Option<f64>,
    target: Target,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.value? / self.reference?)
    }

    fn pass(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(most) => Some(self.value? <= most),
            Target::AtLeast(least) => Some(self.value? >= least),
            Target::RatioAtMost(most) => Some(self.ratio()? <= most),
            Target::RatioAtLeast(least) => Some(self.ratio()? >= least),
            Target::None => None,
        }
    }

    fn target(&self) -> Option<String> {
        match self.target {
            Target::AtMost(most) => Some(format!("≤ {most} {}", self.unit)),
            Target::AtLeast(least) => Some(format!("≥ {least} {}", self.unit)),
            Target::RatioAtMost(most) => Some(format!("≤ {most} ×")),
            Target::RatioAtLeast(least) => Some(format!("≥ {least} ×")),
            Target::None => None,
        }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "what": self.what, "value": self.value, "unit": self.unit, "reference": self.reference,
            "ratio": self.ratio(), "target": self.target(), "pass": self.pass(),
        })
    }

    fn line(&self) -> String {
        let number = |number: Option<f64>| number.map_or_else(|| "-".into(), short);
        let mut line = format!("{:<26} {:>10} {:<6}", self.id, number(self.value), self.unit);
        let _ = write!(line, " {:>10} {:>8}", number(self.reference), number(self.ratio()));
        let _ = write!(line, " {:>12}", self.target().unwrap_or_default());
        let verdict = match self.pass() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        format!("{line} {verdict:<4} {}", self.what)
    }
}

/// Three digits that count.
pub fn short(number: f64) -> String {
    let digits = if number == 0.0 { 0 } else { (2 - number.abs().log10().floor() as i32).clamp(0, 3) };
    format!("{number:.*}", digits as usize)
}

/// All rows, and what each topic took.
#[derive(Debug)]
pub struct Table {
    pub size: Size,
    /// How busy the machine was before: the mean number of threads that ran or waited for a core.
    load: f64,
    rows: Vec<Row>,
    topics: Vec<Value>,
}

impl Table {
    pub fn new(size: Size) -> Self {
        println!(
            "{:<26} {:>10} {:<6} {:>10} {:>8} {:>12} {:<4}",
            "", "value", "", "reference", "ratio", "target", "pass"
        );
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
        Self { size, load, rows: Vec::new(), topics: Vec::new() }
    }

    /// Measures a topic, and notes what that took: on the clock, and of the cores, children that ended included.
    pub fn topic(&mut self, name: &str, measure: impl FnOnce(&mut Self)) {
        let (start, cpu) = (Instant::now(), cpu_of_all());
        measure(self);
        let (wall, cpu) = (start.elapsed().as_secs_f64(), (cpu_of_all() - cpu).as_secs_f64());
        println!("{:<26} {wall:>10.1} s      {cpu:>10.1} s of CPU time", format!("({name})"));
        self.topics.push(json!({ "topic": name, "wall_seconds": wall, "cpu_seconds": cpu }));
    }

    pub fn row(&mut self, id: &str, what: &str, value: f64, unit: &'static str, target: Target) {
        self.push(id, what, Some(value), unit, None, target);
    }

    /// A value beside that of something else, measured in this run, in the same unit.
    pub fn against(
        &mut self,
        id: &str,
        what: &str,
        (value, reference): (f64, f64),
        unit: &'static str,
        target: Target,
    ) {
        self.push(id, what, Some(value), unit, Some(reference), target);
    }

    /// What cannot be measured here, and why.
    pub fn missing(&mut self, id: &str, why: &str) {
        self.push(id, why, None, "", None, Target::None);
    }

    fn push(
        &mut self,
        id: &str,
        what: &str,
        value: Option<f64>,
        unit: &'static str,
        reference: Option<f64>,
        target: Target,
    ) {
        assert!(self.rows.iter().all(|row| row.id != id), "{id} is there twice");
        assert!(value.is_none_or(f64::is_finite), "{id} is {value:?}");
        let row = Row { id: id.into(), what: what.into(), value, unit, reference, target };
        println!("{}", row.line());
        self.rows.push(row);
    }

    pub fn has(&self, id: &str) -> bool {
        self.rows.iter().any(|row| row.id == id)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.pass() == Some(false)).count()
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        json!({ "size": format!("{:?}", self.size), "cores": cores, "load_before": self.load, "topics": self.topics, "rows": rows })
    }
}

/// The middle one, or the higher of the two in the middle.
pub fn median(samples: &mut [f64]) -> f64 {
    percentile(samples, 50)
}

pub fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub fn time(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn usage(who: i32) -> Duration {
    // SAFETY: all zeros is a valid value, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(who, &mut usage), 0);
        usage
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// CPU time of this process so far.
pub fn cpu() -> Duration {
    usage(libc::RUSAGE_SELF)
}

/// CPU time of its children that ended so far.
pub fn cpu_of_children() -> Duration {
    usage(libc::RUSAGE_CHILDREN)
}

fn cpu_of_all() -> Duration {
    cpu() + cpu_of_children()
}

fn read(clock: libc::clockid_t) -> Duration {
    // SAFETY: the call fills what it is given.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(clock, &mut now), 0);
        now
    };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Time that all processes of this machine agree on.
pub fn clock() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of this thread so far.
pub fn thread_cpu() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Resident KiB of this process.
pub fn resident() -> f64 {
    memory_of(std::process::id(), "VmRSS").map_or(0.0, |bytes| bytes as f64 / 1024.0)
}

/// A digest to sign, for each number another one.
pub fn digest(number: u64) -> [u8; 32] {
    let mut digest = [9; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

/// Cargo, in this folder.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}
