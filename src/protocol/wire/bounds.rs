//! How often the fields of a message may come. What has more is refused before memory is taken for it: an entry of two
//! bytes would cost fifty.

use std::ops::RangeInclusive;

use crate::error::WireError;
use crate::protocol::limits;
use crate::protocol::wire::pb;

/// Fields that may come more than once. Every other one may come once.
#[derive(Debug)]
pub struct List {
    /// For people.
    what: &'static str,
    /// Their numbers.
    fields: RangeInclusive<u32>,
    /// How often they may come, all together.
    most: usize,
}

/// A message that can be decoded: its lists are bounded.
pub trait Bounded: prost::Message + Default {
    /// Its own lists.
    const LISTS: &'static [List] = &[];
    /// Fields that carry a message with lists of its own.
    const INNER: &'static [(u32, &'static [List])] = &[];
}

const FRAME: &[List] = &[List { what: "the frame", fields: 1..=4, most: limits::FRAME_ENTRIES }];
const PROPOSAL: &[List] = &[
    List { what: "signers", fields: 4..=4, most: limits::SIGNERS },
    List { what: "key sets", fields: 5..=5, most: limits::KEY_SETS },
    List { what: "messages", fields: 6..=6, most: limits::MESSAGES },
];
const KEY_SET: &[List] = &[List { what: "keys of a key set", fields: 2..=2, most: limits::SIGNERS }];
const TRANSACTION: &[List] = &[List { what: "spent outputs", fields: 2..=2, most: limits::INPUTS }];
const ADDRESSES: &[List] = &[List { what: "addresses", fields: 3..=3, most: limits::ADDRESSES }];
const NONCES: &[List] = &[List { what: "nonces of the proof", fields: 2..=2, most: limits::SIGNERS }];

impl Bounded for pb::Frame {
    const LISTS: &'static [List] = FRAME;
}
impl Bounded for pb::Proposal {
    const LISTS: &'static [List] = PROPOSAL;
    const INNER: &'static [(u32, &'static [List])] = &[(5, KEY_SET), (7, TRANSACTION)];
}
impl Bounded for pb::PresenceRecord {
    const LISTS: &'static [List] = ADDRESSES;
}
impl Bounded for pb::Proof {
    const INNER: &'static [(u32, &'static [List])] = &[(2, NONCES)];
}
impl Bounded for pb::Body {}
impl Bounded for pb::Certificate {}
impl Bounded for pb::Envelope {}
impl Bounded for pb::Presence {}
impl Bounded for pb::AnsweredRecord {}
/// Its list is of numbers, which come packed in one field.
impl Bounded for pb::SessionRecord {}
/// Its lists too.
impl Bounded for pb::PaceRecord {}

/// Counts the fields of an encoded message.
pub(super) fn check<M: Bounded>(bytes: &[u8], what: &'static str) -> Result<(), WireError> {
    count(bytes, M::LISTS, what)?;
    if M::INNER.is_empty() {
        return Ok(());
    }
    let mut rest = bytes;
    while let Some((number, content)) = field(&mut rest) {
        if let Some((_, lists)) = M::INNER.iter().find(|(inner, _)| *inner == number) {
            count(content, lists, what)?;
        }
    }
    Ok(())
}

/// No message has a field with a higher number.
const HIGHEST: usize = 15;

fn count(bytes: &[u8], lists: &[List], what: &'static str) -> Result<(), WireError> {
    let mut counts = [0; HIGHEST + 1];
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, _) = field(&mut rest).ok_or(WireError::Malformed(what))?;
        *counts.get_mut(number as usize).ok_or(WireError::Malformed(what))? += 1;
    }
    for list in lists {
        let range = *list.fields.start() as usize..=*list.fields.end() as usize;
        let actual = counts[range].iter_mut().map(std::mem::take).sum();
        if actual > list.most {
            return Err(WireError::TooMany { what: list.what, actual, most: list.most });
        }
    }
    if counts.iter().any(|count| *count > 1) { Err(WireError::Malformed(what)) } else { Ok(()) }
}

/// Takes the next field: its number, and its bytes if it has a length.
pub(in crate::protocol) fn field<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let key = varint(rest)?;
    let length = match key & 7 {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => varint(rest)?,
        5 => 4,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some((u32::try_from(key >> 3).ok()?, content))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
