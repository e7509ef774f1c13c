//! The bytes of a PSBT as maps: read within limits, changed field by field, written back as they came.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bitcoin::Transaction;

use super::PsbtError;
use super::error::{Field, MapName};
use super::rules::{self, Budget, global};
use crate::chain::psbt::limits;
use crate::mutation::{self, Mutation};

const MAGIC: &[u8; 5] = b"psbt\xff";

/// A pair of one map. Positions in [`Maps::bytes`]; the key holds type and key data.
#[derive(Clone, Copy, Debug)]
struct Pair {
    key: (u32, u32),
    value: (u32, u32),
}

/// All maps of a PSBT. Every field that this library knows was checked on its way in.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    /// What was read, and after it what was added. At most [`limits::BYTES`].
    bytes: Vec<u8>,
    /// The global map, then those of the inputs, then those of the outputs.
    maps: Vec<Vec<Pair>>,
    inputs: usize,
    version: u32,
}

/// A field as it stands in a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key_type: u64,
    pub(super) key_data: &'a [u8],
    /// Type and key data.
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl Maps {
    /// Reads versions 0 and 2. No count or length is believed before the bytes behind it are there: beyond a copy of
    /// `bytes` this takes 16 bytes for each pair, 24 for each map, and what the crate `bitcoin` takes for one
    /// transaction at a time.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PsbtError> {
        limits::check("bytes", bytes.len() as u64, limits::BYTES as u64)?;
        let rest = bytes.strip_prefix(MAGIC).ok_or(PsbtError::NotPsbt)?;
        let mut reader = Reader { bytes, position: bytes.len() - rest.len(), pairs: 0, unknown: 0 };
        let mut maps = Self { bytes: Vec::new(), maps: Vec::new(), inputs: 0, version: 0 };
        let global_pairs = reader.map(MapName::Global)?;
        maps.maps.push(global_pairs);
        maps.bytes = bytes.to_vec();
        let (inputs, outputs) = maps.counts()?;
        // Each map takes a byte at least.
        let left = bytes.len() - reader.position;
        if inputs.saturating_add(outputs) > left {
            let missing = if inputs > left { MapName::Input(left) } else { MapName::Output(left - inputs) };
            return Err(PsbtError::Truncated { field: Field { map: missing, key_type: None } });
        }
        maps.inputs = inputs;
        maps.maps.reserve_exact(inputs + outputs);
        for index in 1..=inputs + outputs {
            let pairs = reader.map(maps.name(index))?;
            maps.maps.push(pairs);
        }
        match bytes.len() - reader.position {
            0 => maps.check().map(|()| maps),
            bytes => Err(PsbtError::Trailing { bytes }),
        }
    }

    /// The version and the numbers of inputs and outputs, as the global map says.
    fn counts(&mut self) -> Result<(usize, usize), PsbtError> {
        let field = |key_type| Field { map: MapName::Global, key_type: Some(key_type) };
        for entry in self.entries(MapName::Global) {
            rules::check_shape(field(entry.key_type), &entry)?;
        }
        let version = match self.value(MapName::Global, global::VERSION) {
            Some(value) => u32::from_le_bytes(rules::array(field(global::VERSION), value)?),
            None => 0,
        };
        if !matches!(version, 0 | 2) {
            return Err(PsbtError::Version { version });
        }
        self.version = version;
        let counts = match version {
            0 => {
                let transaction = self.global_transaction()?;
                [transaction.input.len() as u64, transaction.output.len() as u64]
            }
            _ => {
                let mut counts = [0; 2];
                for (count, key_type) in counts.iter_mut().zip([global::INPUT_COUNT, global::OUTPUT_COUNT]) {
                    let missing = PsbtError::Missing { field: field(key_type), version };
                    *count =
                        rules::count(field(key_type), self.value(MapName::Global, key_type).ok_or(missing)?)?;
                }
                counts
            }
        };
        limits::check("inputs", counts[0], limits::INPUTS as u64)?;
        limits::check("outputs", counts[1], limits::OUTPUTS as u64)?;
        if counts.contains(&0) {
            return Err(PsbtError::Transaction(
                "it has no inputs or no outputs; give it at least one of each",
            ));
        }
        Ok((counts[0] as usize, counts[1] as usize))
    }

    /// `PSBT_GLOBAL_UNSIGNED_TX` of version 0.
    pub(super) fn global_transaction(&self) -> Result<Transaction, PsbtError> {
        let field = Field { map: MapName::Global, key_type: Some(global::UNSIGNED_TX) };
        let value = self
            .value(MapName::Global, global::UNSIGNED_TX)
            .ok_or(PsbtError::Missing { field, version: self.version })?;
        rules::unsigned_transaction(field, value)
    }

    fn check(&self) -> Result<(), PsbtError> {
        let mut budget = Budget::default();
        for index in 0..self.maps.len() {
            let map = self.name(index);
            for entry in self.entries(map) {
                let field = Field { map, key_type: Some(entry.key_type) };
                if !mutation::on(Mutation::PsbtVersionsMixed) {
                    rules::check_version(field, self.version)?;
                }
                rules::check_shape(field, &entry)?;
                rules::check_content(field, &entry, &mut budget)?;
            }
            rules::check_aggregates(map, self.entries(map))?;
            if let Some(key_type) = rules::required(map, self.version)
                .iter()
                .find(|key_type| self.value(map, **key_type).is_none())
            {
                let field = Field { map, key_type: Some(*key_type) };
                return Err(PsbtError::Missing { field, version: self.version });
            }
        }
        Ok(())
    }

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.maps.len() - 1 - self.inputs
    }

    fn name(&self, index: usize) -> MapName {
        match index {
            0 => MapName::Global,
            index if index <= self.inputs => MapName::Input(index - 1),
            index => MapName::Output(index - 1 - self.inputs),
        }
    }

    fn index(&self, map: MapName) -> Option<usize> {
        let index = match map {
            MapName::Global => 0,
            MapName::Input(input) if input < self.inputs => 1 + input,
            MapName::Input(_) => return None,
            MapName::Output(output) => (1 + self.inputs).checked_add(output)?,
        };
        (index < self.maps.len()).then_some(index)
    }

    /// The names of all maps, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = MapName> {
        (0..self.maps.len()).map(|index| self.name(index))
    }

    fn slice(&self, (start, length): (u32, u32)) -> &[u8] {
        &self.bytes[start as usize..][..length as usize]
    }

    fn entry(&self, pair: &Pair) -> Entry<'_> {
        let key = self.slice(pair.key);
        let (key_type, length) = compact_size(key).expect("the type was read before");
        Entry { key_type, key_data: &key[length..], key, value: self.slice(pair.value) }
    }

    /// The fields of a map, in their order. A map that does not exist has none.
    pub(super) fn entries(&self, map: MapName) -> impl Iterator<Item = Entry<'_>> {
        let pairs = self.index(map).map_or(&[][..], |index| &self.maps[index]);
        pairs.iter().map(|pair| self.entry(pair))
    }

    /// The fields of one type.
    pub(super) fn of_type(&self, map: MapName, key_type: u64) -> impl Iterator<Item = Entry<'_>> {
        self.entries(map).filter(move |entry| entry.key_type == key_type)
    }

    /// The value of a field without key data.
    pub(super) fn value(&self, map: MapName, key_type: u64) -> Option<&[u8]> {
        self.of_type(map, key_type).find(|entry| entry.key_data.is_empty()).map(|entry| entry.value)
    }

    /// Adds fields, each after the one with the greatest key below its own: sorted maps stay sorted, and among fields of
    /// a type the new one stands where a sorted map has it. A field that is there already changes nothing; another value
    /// under its key is refused, and nothing is added then.
    pub(super) fn add(&mut self, map: MapName, fields: Vec<(&[u8], &[u8])>) -> Result<(), PsbtError> {
        let index = self.index(map).ok_or(PsbtError::NoSuchMap { map })?;
        let known: BTreeMap<&[u8], usize> =
            self.maps[index].iter().enumerate().map(|(place, pair)| (self.slice(pair.key), place)).collect();
        let mut added = BTreeMap::new();
        for (key, value) in fields {
            let there = known.get(key).map(|place| self.slice(self.maps[index][*place].value));
            match there.or_else(|| added.insert(key, value)) {
                Some(other) if other != value => {
                    let key_type = compact_size(key).ok().map(|(key_type, _)| key_type);
                    return Err(PsbtError::Conflict { field: Field { map, key_type } });
                }
                _ => (),
            }
        }
        let more: usize = added.iter().map(|(key, value)| key.len() + value.len()).sum();
        limits::check("bytes", (self.bytes.len() + more) as u64, limits::BYTES as u64)?;
        // Before which pair each goes.
        let mut places = Vec::with_capacity(added.len());
        for new in added {
            let below = known.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(new.0))).next_back();
            places.push((below.map_or(0, |(_, place)| place + 1), new));
        }
        places.sort_by_key(|(place, _)| *place);
        let mut places = places.into_iter().peekable();
        let mut pairs = Vec::with_capacity(self.maps[index].len() + places.len());
        let append = |bytes: &mut Vec<u8>, (key, value): (&[u8], &[u8])| {
            let mut position = |part: &[u8]| {
                let start = bytes.len() as u32;
                bytes.extend_from_slice(part);
                (start, part.len() as u32)
            };
            Pair { key: position(key), value: position(value) }
        };
        for (place, pair) in std::mem::take(&mut self.maps[index]).into_iter().enumerate() {
            while let Some((_, new)) = places.next_if(|(before, _)| *before <= place) {
                pairs.push(append(&mut self.bytes, new));
            }
            pairs.push(pair);
        }
        pairs.extend(places.map(|(_, new)| append(&mut self.bytes, new)));
        self.maps[index] = pairs;
        Ok(())
    }

    /// Keeps the fields that fit.
    pub(super) fn retain(&mut self, map: MapName, mut fits: impl FnMut(&Entry<'_>) -> bool) {
        let Some(index) = self.index(map) else { return };
        let mut pairs = std::mem::take(&mut self.maps[index]);
        pairs.retain(|pair| fits(&self.entry(pair)));
        self.maps[index] = pairs;
    }

    /// All maps in their order.
    pub(super) fn write(&self) -> Vec<u8> {
        self.write_with(|_, _| true)
    }

    /// The maps with the fields that fit.
    pub(super) fn write_with(&self, mut fits: impl FnMut(MapName, &Entry<'_>) -> bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        bytes.extend_from_slice(MAGIC);
        for (index, pairs) in self.maps.iter().enumerate() {
            let map = self.name(index);
            for entry in pairs.iter().map(|pair| self.entry(pair)).filter(|entry| fits(map, entry)) {
                if mutation::on(Mutation::PsbtFieldsDropped)
                    && entry.key_type >= rules::input::MUSIG2_PARTICIPANT_PUBKEYS
                {
                    continue;
                }
                write_pair(&mut bytes, entry.key, entry.value);
            }
            bytes.push(0);
        }
        bytes
    }
}

/// Appends a pair as BIP-174 writes it.
pub(super) fn write_pair(bytes: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        write_compact_size(bytes, part.len() as u64);
        bytes.extend_from_slice(part);
    }
}

pub(super) fn write_compact_size(bytes: &mut Vec<u8>, number: u64) {
    match number {
        0..0xfd => bytes.push(number as u8),
        0xfd..=0xffff => {
            bytes.push(0xfd);
            bytes.extend_from_slice(&(number as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&(number as u32).to_le_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// Why there is no compact size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSize {
    Cut,
    /// It would not be written back as it came.
    LongerThanNeeded,
}

/// A compact size at the beginning, and its own length.
pub(super) fn compact_size(bytes: &[u8]) -> Result<(u64, usize), NoSize> {
    let (first, rest) = bytes.split_first().ok_or(NoSize::Cut)?;
    let (number, length, least) = match first {
        0xfd => (u16::from_le_bytes(*rest.first_chunk().ok_or(NoSize::Cut)?).into(), 3, 0xfd),
        0xfe => (u32::from_le_bytes(*rest.first_chunk().ok_or(NoSize::Cut)?).into(), 5, 0x1_0000),
        0xff => (u64::from_le_bytes(*rest.first_chunk().ok_or(NoSize::Cut)?), 9, 0x1_0000_0000),
        _ => (u64::from(*first), 1, 0),
    };
    if number < least { Err(NoSize::LongerThanNeeded) } else { Ok((number, length)) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    pairs: usize,
    unknown: usize,
}

impl Reader<'_> {
    /// A length and the position of as many bytes.
    fn sized(&mut self, field: Field) -> Result<Range<usize>, PsbtError> {
        let truncated = PsbtError::Truncated { field };
        let rest = &self.bytes[self.position..];
        let (length, size) = compact_size(rest).map_err(|error| match error {
            NoSize::Cut => truncated.clone(),
            NoSize::LongerThanNeeded => {
                PsbtError::Malformed { field, reason: "its length is written longer than needed" }
            }
        })?;
        if length > (rest.len() - size) as u64 {
            return Err(truncated);
        }
        let start = self.position + size;
        self.position = start + length as usize;
        Ok(start..self.position)
    }

    /// One map with its end.
    fn map(&mut self, map: MapName) -> Result<Vec<Pair>, PsbtError> {
        let mut pairs = Vec::new();
        loop {
            let key = self.sized(Field { map, key_type: None })?;
            if key.is_empty() {
                break;
            }
            let (key_type, _) = compact_size(&self.bytes[key.clone()]).map_err(|_| PsbtError::Malformed {
                field: Field { map, key_type: None },
                reason: "its type is cut, or written longer than needed",
            })?;
            let field = Field { map, key_type: Some(key_type) };
            let value = self.sized(field)?;
            self.pairs += 1;
            limits::check("fields", self.pairs as u64, limits::FIELDS as u64)?;
            if field.name().is_none_or(|name| name.ends_with("PROPRIETARY")) {
                self.unknown += key.len() + value.len();
                if self.unknown > limits::UNKNOWN {
                    return Err(PsbtError::UnknownFields { field, most: limits::UNKNOWN });
                }
            }
            let position = |range: Range<usize>| (range.start as u32, range.len() as u32);
            pairs.push(Pair { key: position(key), value: position(value) });
        }
        pairs.shrink_to_fit();
        self.refuse_duplicates(map, &pairs)?;
        Ok(pairs)
    }

    fn refuse_duplicates(&self, map: MapName, pairs: &[Pair]) -> Result<(), PsbtError> {
        let key = |pair: &Pair| &self.bytes[pair.key.0 as usize..][..pair.key.1 as usize];
        if pairs.is_sorted_by(|one, other| key(one) < key(other))
            || mutation::on(Mutation::PsbtDuplicatesTaken)
        {
            return Ok(());
        }
        let mut keys: Vec<&[u8]> = pairs.iter().map(key).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => {
                let key_type = compact_size(two[0]).ok().map(|(key_type, _)| key_type);
                Err(PsbtError::Duplicate { field: Field { map, key_type } })
            }
            None => Ok(()),
        }
    }
}
