//! The four fields of BIP-373, typed.

use super::error::{Field, MapName, PsbtError};
use super::maps::Entry;
use super::rules::{self, Budget, input, output};
use super::{Psbt, limits};
use crate::types::SignerKey;

/// `PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS` or `PSBT_OUT_MUSIG2_PARTICIPANT_PUBKEYS`: an aggregate key and its
/// participants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantKeys {
    /// The plain aggregate key (BIP-327), before any derivation.
    pub aggregate: SignerKey,
    /// The participant keys in the order in which they were aggregated.
    pub keys: Vec<SignerKey>,
}

/// Whose nonce or partial signature it is, and for which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Musig2Slot {
    /// The participant key.
    pub participant: SignerKey,
    /// The key that finally signs, after BIP-328 and BIP-341, with its parity.
    pub key: SignerKey,
    /// The leaf in which that key stands, `None` for the key path.
    pub leaf: Option<[u8; 32]>,
}

impl Musig2Slot {
    fn key_data(&self) -> Vec<u8> {
        let leaf = self.leaf.as_ref().map_or(&[][..], |leaf| leaf);
        [self.participant.as_bytes(), self.key.as_bytes(), leaf].concat()
    }

    fn read(entry: &Entry<'_>) -> Option<Self> {
        let (participant, rest) = entry.key_data.split_first_chunk::<33>()?;
        let (key, leaf) = rest.split_first_chunk::<33>()?;
        Some(Self {
            participant: checked(participant)?,
            key: checked(key)?,
            leaf: leaf.first_chunk().copied(),
        })
    }
}

/// `PSBT_IN_MUSIG2_PUB_NONCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Musig2Nonce {
    /// Whose, and for which key.
    pub slot: Musig2Slot,
    /// The public nonce (BIP-327).
    pub nonce: [u8; 66],
}

/// `PSBT_IN_MUSIG2_PARTIAL_SIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Musig2Partial {
    /// Whose, and for which key.
    pub slot: Musig2Slot,
    /// The partial signature (BIP-327).
    pub partial: [u8; 32],
}

/// A key that was found to be a point when its field was checked.
fn checked(bytes: &[u8]) -> Option<SignerKey> {
    SignerKey::from_bytes_knowing(bytes, &|_| true).ok()
}

fn participant_keys(entry: &Entry<'_>) -> Option<ParticipantKeys> {
    let (keys, _) = entry.value.as_chunks::<33>();
    let keys: Option<Vec<_>> = keys.iter().map(|key| checked(key)).collect();
    Some(ParticipantKeys { aggregate: checked(entry.key_data)?, keys: keys? })
}

impl Psbt {
    /// The aggregate keys of an input with their participants. None for an input that does not exist.
    pub fn participants(&self, index: usize) -> Vec<ParticipantKeys> {
        let fields = self.maps.of_type(MapName::Input(index), input::MUSIG2_PARTICIPANT_PUBKEYS);
        fields.filter_map(|entry| participant_keys(&entry)).collect()
    }

    /// The aggregate keys of an output with their participants. None for an output that does not exist.
    pub fn output_participants(&self, index: usize) -> Vec<ParticipantKeys> {
        let fields = self.maps.of_type(MapName::Output(index), output::MUSIG2_PARTICIPANT_PUBKEYS);
        fields.filter_map(|entry| participant_keys(&entry)).collect()
    }

    /// The public nonces of an input. None for an input that does not exist.
    pub fn nonces(&self, index: usize) -> Vec<Musig2Nonce> {
        let fields = self.maps.of_type(MapName::Input(index), input::MUSIG2_PUB_NONCE);
        fields
            .filter_map(|entry| {
                Some(Musig2Nonce { slot: Musig2Slot::read(&entry)?, nonce: entry.value.try_into().ok()? })
            })
            .collect()
    }

    /// The partial signatures of an input. None for an input that does not exist.
    pub fn partials(&self, index: usize) -> Vec<Musig2Partial> {
        let fields = self.maps.of_type(MapName::Input(index), input::MUSIG2_PARTIAL_SIG);
        fields
            .filter_map(|entry| {
                Some(Musig2Partial { slot: Musig2Slot::read(&entry)?, partial: entry.value.try_into().ok()? })
            })
            .collect()
    }

    /// Adds the participants of an aggregate key to an input.
    ///
    /// Errors: [`PsbtError::Malformed`] if they do not aggregate to it in this order, [`PsbtError::Conflict`] if others
    /// are there, [`PsbtError::NoSuchMap`].
    pub fn add_participants(
        &mut self,
        index: usize,
        participants: &ParticipantKeys,
    ) -> Result<(), PsbtError> {
        self.add_keys(MapName::Input(index), input::MUSIG2_PARTICIPANT_PUBKEYS, participants)
    }

    /// Adds the participants of an aggregate key to an output.
    ///
    /// Errors: as for [`add_participants`](Self::add_participants).
    pub fn add_output_participants(
        &mut self,
        index: usize,
        participants: &ParticipantKeys,
    ) -> Result<(), PsbtError> {
        self.add_keys(MapName::Output(index), output::MUSIG2_PARTICIPANT_PUBKEYS, participants)
    }

    fn add_keys(&mut self, map: MapName, key_type: u64, keys: &ParticipantKeys) -> Result<(), PsbtError> {
        limits::check(
            "participants of one aggregate key",
            keys.keys.len() as u64,
            limits::PARTICIPANTS as u64,
        )?;
        let value: Vec<u8> = keys.keys.iter().flat_map(|key| *key.as_bytes()).collect();
        self.add_checked(map, key_type, keys.aggregate.as_bytes(), &value)
    }

    /// Adds a public nonce to an input.
    ///
    /// Errors: [`PsbtError::Malformed`] if it is no pair of points, [`PsbtError::Conflict`] if another one is there,
    /// [`PsbtError::NoSuchMap`].
    pub fn add_nonce(&mut self, index: usize, nonce: &Musig2Nonce) -> Result<(), PsbtError> {
        let key_data = nonce.slot.key_data();
        self.add_checked(MapName::Input(index), input::MUSIG2_PUB_NONCE, &key_data, &nonce.nonce)
    }

    /// Adds a partial signature to an input. It is not verified; [`verify_partials`](Self::verify_partials) does that.
    ///
    /// Errors: [`PsbtError::Malformed`] if it is no number below the order, [`PsbtError::Conflict`] if another one is
    /// there, [`PsbtError::NoSuchMap`].
    pub fn add_partial(&mut self, index: usize, partial: &Musig2Partial) -> Result<(), PsbtError> {
        let key_data = partial.slot.key_data();
        self.add_checked(MapName::Input(index), input::MUSIG2_PARTIAL_SIG, &key_data, &partial.partial)
    }

    /// Adds a field that passes the same checks as if it had been read.
    pub(super) fn add_checked(
        &mut self,
        map: MapName,
        key_type: u64,
        key_data: &[u8],
        value: &[u8],
    ) -> Result<(), PsbtError> {
        let field = Field { map, key_type: Some(key_type) };
        let key = [&[key_type as u8], key_data].concat();
        let entry = Entry { key_type, key_data, key: &key, value };
        rules::check_shape(field, &entry)?;
        rules::check_content(field, &entry, &mut Budget::default())?;
        self.maps.add(map, vec![(&key, value)])
    }
}
