//! PSBTs: reading and writing, the fields of BIP-373, sessions of Bitcoin Core and others, hostile ones.

mod bip_373;
mod core_sessions;
mod hostile;
mod maps;
mod requests;
mod steps;

use std::fs;

use libmusig::chain::psbt::Psbt;
use serde_json::Value;

use test_support::party::vectors_folder;

/// A file of the vectors folder; `None` if the folder is missing and need not be there.
pub fn vectors(test: &str, file: &str) -> Option<Value> {
    let text = fs::read_to_string(vectors_folder(test)?.join(file)).expect("the file is there");
    Some(serde_json::from_str(&text).expect("JSON"))
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

pub fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

pub fn psbt(value: &Value) -> Psbt {
    Psbt::from_base64(text(value)).expect("a good PSBT")
}

/// The maps of a PSBT as (key, value), and back: a reader of the tests' own, which checks nothing.
pub type Pairs = Vec<Vec<(Vec<u8>, Vec<u8>)>>;

pub fn pairs(bytes: &[u8]) -> Pairs {
    let (mut maps, mut map, mut rest) = (Vec::new(), Vec::new(), &bytes[5..]);
    let take = |rest: &mut &[u8]| {
        let (length, size) = match rest[0] {
            0xfd => (u16::from_le_bytes([rest[1], rest[2]]) as usize, 3),
            0xfe => (u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize, 5),
            length => (length as usize, 1),
        };
        let taken = rest[size..size + length].to_vec();
        *rest = &rest[size + length..];
        taken
    };
    while !rest.is_empty() {
        let key = take(&mut rest);
        if key.is_empty() {
            maps.push(std::mem::take(&mut map));
        } else {
            map.push((key, take(&mut rest)));
        }
    }
    maps
}

pub fn join(maps: &Pairs) -> Vec<u8> {
    let mut bytes = b"psbt\xff".to_vec();
    for map in maps {
        for part in map.iter().flat_map(|(key, value)| [key, value]) {
            bytes.extend(size(part.len() as u64));
            bytes.extend(part);
        }
        bytes.push(0);
    }
    bytes
}

/// A compact size.
pub fn size(number: u64) -> Vec<u8> {
    match number {
        0..0xfd => vec![number as u8],
        0xfd..=0xffff => [&[0xfd], (number as u16).to_le_bytes().as_slice()].concat(),
        0x1_0000..=0xffff_ffff => [&[0xfe], (number as u32).to_le_bytes().as_slice()].concat(),
        _ => [&[0xff], number.to_le_bytes().as_slice()].concat(),
    }
}
