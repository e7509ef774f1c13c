//! Figures that tests measure under attack, for the table in docs/security.md (`make security-report`).

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
