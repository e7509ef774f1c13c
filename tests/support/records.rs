//! The committed records of a session in each phase: `tests/vectors/records.txt`. Made by tests/storage; nodes read them.

use std::collections::BTreeMap;

use libmusig::types::from_hex;

/// `[phase]`, then `key = value` for each entry of the store, in hexadecimal digits.
pub const COMMITTED: &str = include_str!("../vectors/records.txt");

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// The entries of each phase.
pub fn parse(text: &str) -> BTreeMap<String, Vec<Entry>> {
    let mut phases = BTreeMap::<_, Vec<Entry>>::new();
    let mut phase = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            phase = name.into();
            continue;
        }
        let (key, value) = line.split_once(" = ").expect("key = value");
        phases.entry(phase.clone()).or_default().push((bytes(key), bytes(value)));
    }
    phases
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| from_hex::<1>(pair).expect("hexadecimal digits")[0]).collect()
}
