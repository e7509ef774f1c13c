//! Figures that tests and benchmarks measure; those under attack for the table in docs/security.md (`make
//! security-report`).

use std::fmt::Display;
use std::io::Write;

/// Prints a figure. With `MUSIG_FIGURES` in the environment it is also added to that file, as a row of the table.
pub fn figure(test: &str, attack: &str, what: &str, value: impl Display) {
    println!("{test}: {attack}: {what}: {value}");
    let Some(path) = std::env::var_os("MUSIG_FIGURES") else { return };
    let row = format!("| {attack} | {what} | {value} | `{test}` |\n");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(row.as_bytes())).expect("the file of figures can be written");
}

/// Bytes of a line of /proc/PID/status, `None` where there is none: the process is gone, or the system is not Linux.
pub fn memory_of(process: u32, line: &str) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|text| text.strip_prefix(line))?;
    let kib: usize = line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().ok()?;
    Some(1024 * kib)
}
