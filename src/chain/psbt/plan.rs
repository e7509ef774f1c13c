//! What signs each input: aggregate key, derivation, final key, signature hash.

use std::collections::HashMap;

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::{Script, Transaction, TxOut};

use super::error::{Field, MapName, PsbtError};
use super::rules::{self, input};
use super::{Psbt, limits};
use crate::chain::keys::fingerprint;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::aggregate::{AggregateKey, AggregateRound};
use crate::protocol::crypto::key_set::{Derivation, KeyOrder, KeyOrigin, KeySet, Participant, Taproot};
use crate::protocol::proposal::{SighashType, SpentOutput};
use crate::types::{Signature, SignerKey};

/// One MuSig2 signature that an input can be spent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Musig2Spend {
    /// The input, 0-based.
    pub input: usize,
    /// The participants, in the order of `PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS`.
    pub key_set: KeySet,
    /// Their plain aggregate key.
    pub aggregate: SignerKey,
    /// What makes the final key of it.
    pub derivation: Derivation,
    /// The key that finally signs, with its parity: key data of nonces and partial signatures.
    pub key: SignerKey,
    /// The leaf in which it stands, `None` for the key path.
    pub leaf: Option<[u8; 32]>,
    /// DEFAULT or ALL.
    pub sighash_type: SighashType,
    /// What is signed (BIP-341).
    pub sighash: [u8; 32],
}

/// An input of a [`SpendPlan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputPlan {
    /// To be signed with MuSig2, by the key path.
    Musig2(Box<Musig2Spend>),
    /// Somebody else's, or signed already.
    Other {
        /// Whether its final witness or script signature is there. Whether it is valid is not checked here.
        complete: bool,
    },
}

/// What a session over a PSBT would sign: plain data, without a byte of the PSBT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendPlan {
    /// The transaction in consensus encoding, with the final witnesses of the inputs that are complete.
    pub transaction: Vec<u8>,
    /// The spent outputs, one for each input.
    pub spent: Vec<SpentOutput>,
    /// The inputs, in their order.
    pub inputs: Vec<InputPlan>,
}

/// What an input says of its Taproot output, besides the participants.
struct Facts {
    output_key: [u8; 32],
    internal: Option<[u8; 32]>,
    merkle_root: Option<[u8; 32]>,
    origins: HashMap<[u8; 32], KeyOrigin>,
    /// The x-only keys that leaves push, with the hashes of those leaves.
    leaves: HashMap<[u8; 32], Vec<[u8; 32]>>,
}

impl Facts {
    /// Whether something signs with this key, or with one made of it.
    fn matters(&self, key: &[u8; 32]) -> bool {
        *key == self.output_key || Some(*key) == self.internal || self.leaves.contains_key(key)
    }
}

/// Signature hashes of the PSBT's transaction. What they share is computed once.
pub(super) struct Hashes<'a> {
    cache: SighashCache<&'a Transaction>,
    spent: Vec<TxOut>,
    /// See [`limits::SPENDS`].
    work: u64,
}

impl Psbt {
    /// Every MuSig2 signature that an input can be spent with, in the order of the inputs: by the key path, where the
    /// output key, the internal key or a BIP-328 child of either is the aggregate of its participants, or in a leaf that
    /// has such a key.
    ///
    /// Errors: [`PsbtError::NoSpentOutput`] if that of *any* input is unknown (each signature commits to all),
    /// [`PsbtError::SighashType`], [`PsbtError::OutputKey`], [`PsbtError::TooLarge`].
    pub fn musig2_spends(&self) -> Result<Vec<Musig2Spend>, PsbtError> {
        let mut hashes = self.hashes()?;
        let mut spends = Vec::new();
        for index in 0..self.inputs() {
            spends.extend(self.spends(index, &mut hashes)?);
        }
        Ok(spends)
    }

    /// What a session would sign: every input with MuSig2 participants that is not complete yet.
    ///
    /// Errors: those of [`musig2_spends`](Self::musig2_spends); [`PsbtError::KeyInLeaf`], [`PsbtError::ScriptTree`],
    /// [`PsbtError::Unrelated`] and [`PsbtError::RepeatedParticipant`] for what no session signs;
    /// [`PsbtError::NothingToSign`].
    pub fn spend_plan(&self) -> Result<SpendPlan, PsbtError> {
        let mut hashes = self.hashes()?;
        let mut inputs = Vec::with_capacity(self.inputs());
        for index in 0..self.inputs() {
            let complete = self.is_final(index);
            let plan = match complete {
                true => None,
                false => self.plan_input(index, &mut hashes)?,
            };
            inputs
                .push(plan.map_or(InputPlan::Other { complete }, |spend| InputPlan::Musig2(Box::new(spend))));
        }
        if !inputs.iter().any(|plan| matches!(plan, InputPlan::Musig2(_))) {
            return Err(PsbtError::NothingToSign);
        }
        let output = |output: &TxOut| SpentOutput {
            value: output.value.to_sat(),
            script: output.script_pubkey.to_bytes(),
        };
        Ok(SpendPlan {
            transaction: encode::serialize(&self.with_final_fields()?),
            spent: hashes.spent.iter().map(output).collect(),
            inputs,
        })
    }

    fn plan_input(&self, index: usize, hashes: &mut Hashes<'_>) -> Result<Option<Musig2Spend>, PsbtError> {
        let Some(spend) = self.key_path_spend(index, hashes)? else { return Ok(None) };
        if matches!(spend.derivation.taproot, Taproot::MerkleRoot(_)) {
            return Err(PsbtError::ScriptTree { input: index });
        }
        match spend.key_set.check() {
            Err(_) => Err(PsbtError::RepeatedParticipant { input: index }),
            Ok(()) => Ok(Some(spend)),
        }
    }

    /// The spend of an input by the key path; `None` if it has no participants.
    pub(super) fn key_path_spend(
        &self,
        index: usize,
        hashes: &mut Hashes<'_>,
    ) -> Result<Option<Musig2Spend>, PsbtError> {
        if self.maps.of_type(MapName::Input(index), input::MUSIG2_PARTICIPANT_PUBKEYS).next().is_none() {
            return Ok(None);
        }
        let mut spends = self.spends(index, hashes)?;
        match spends.iter().position(|spend| spend.leaf.is_none()) {
            Some(position) => Ok(Some(spends.swap_remove(position))),
            None if spends.is_empty() => Err(PsbtError::Unrelated { input: index }),
            None => Err(PsbtError::KeyInLeaf { input: index }),
        }
    }

    pub(super) fn hashes(&self) -> Result<Hashes<'_>, PsbtError> {
        let spent: Result<Vec<_>, _> = (0..self.inputs()).map(|index| self.spent_output(index)).collect();
        Ok(Hashes { cache: SighashCache::new(self.unsigned_transaction()), spent: spent?, work: 0 })
    }

    /// DEFAULT or ALL.
    ///
    /// Errors: [`PsbtError::SighashType`] for any other.
    pub fn sighash_type(&self, index: usize) -> Result<SighashType, PsbtError> {
        let map = MapName::Input(index);
        let Some(value) = self.maps.value(map, input::SIGHASH_TYPE) else { return Ok(SighashType::Default) };
        let field = Field { map, key_type: Some(input::SIGHASH_TYPE) };
        match u32::from_le_bytes(rules::array(field, value)?) {
            0 => Ok(SighashType::Default),
            1 => Ok(SighashType::All),
            value => Err(PsbtError::SighashType { input: index, value }),
        }
    }

    fn spends(&self, index: usize, hashes: &mut Hashes<'_>) -> Result<Vec<Musig2Spend>, PsbtError> {
        let participants = self.participants(index);
        let script = hashes.spent[index].script_pubkey.as_bytes();
        let output_key = script.strip_prefix(&[0x51, 0x20]).and_then(|key| key.try_into().ok());
        let (Some(output_key), false) = (output_key, participants.is_empty()) else { return Ok(Vec::new()) };
        let facts = self.facts(index, output_key);
        let sighash_type = self.sighash_type(index)?;
        let mut spends = Vec::new();
        for keys in participants {
            let plain = AggregateKey::new(&keys.keys).map_err(|_| PsbtError::Unrelated { input: index })?;
            let key_set = key_set(&keys.keys, &facts);
            for (path, derived) in candidates(&keys.aggregate, plain, &facts, hashes)? {
                let x_only = *derived.key().x_only();
                let mut found = Vec::new();
                if x_only == facts.output_key {
                    found.push((Taproot::None, derived.key(), None));
                } else if Some(x_only) == facts.internal {
                    let wrong = PsbtError::OutputKey { input: index };
                    let tweaked = derived.taproot(facts.merkle_root).map_err(|_| wrong.clone())?;
                    if *tweaked.key().x_only() != facts.output_key {
                        return Err(wrong);
                    }
                    let tweak = facts.merkle_root.map_or(Taproot::KeyPath, Taproot::MerkleRoot);
                    found.push((tweak, tweaked.key(), None));
                }
                let leaves = facts.leaves.get(&x_only).into_iter().flatten();
                found.extend(leaves.map(|leaf| (Taproot::None, derived.key(), Some(*leaf))));
                for (taproot, key, leaf) in found {
                    hashes.count()?;
                    spends.push(Musig2Spend {
                        input: index,
                        key_set: key_set.clone(),
                        aggregate: keys.aggregate,
                        derivation: Derivation { path: path.clone(), taproot },
                        key,
                        leaf,
                        sighash_type,
                        sighash: hashes.of(index, leaf, sighash_type),
                    });
                }
            }
        }
        Ok(spends)
    }

    fn facts(&self, index: usize, output_key: [u8; 32]) -> Facts {
        let map = MapName::Input(index);
        let fixed = |key_type| -> Option<[u8; 32]> { self.maps.value(map, key_type)?.try_into().ok() };
        let field = Field { map, key_type: Some(input::TAP_BIP32_DERIVATION) };
        let origins = self.maps.of_type(map, input::TAP_BIP32_DERIVATION).filter_map(|entry| {
            Some((entry.key_data.try_into().ok()?, rules::tap_origin(field, entry.value).ok()?))
        });
        let mut leaves: HashMap<_, Vec<_>> = HashMap::new();
        for entry in self.maps.of_type(map, input::TAP_LEAF_SCRIPT) {
            let Some((version, script)) = entry.value.split_last() else { continue };
            let Ok(version) = LeafVersion::from_consensus(*version) else { continue };
            let script = Script::from_bytes(script);
            let hash = TapLeafHash::from_script(script, version).to_byte_array();
            for instruction in script.instructions().map_while(Result::ok) {
                let Some(key) = instruction.push_bytes().and_then(|push| push.as_bytes().try_into().ok())
                else {
                    continue;
                };
                let of_key = leaves.entry(key).or_default();
                if of_key.last() != Some(&hash) {
                    of_key.push(hash);
                }
            }
        }
        Facts {
            output_key,
            internal: fixed(input::TAP_INTERNAL_KEY),
            merkle_root: fixed(input::TAP_MERKLE_ROOT),
            origins: origins.collect(),
            leaves,
        }
    }

    /// The second round of a spend, once the public nonces of all its participants are there.
    ///
    /// Errors: [`PsbtError::MissingNonce`], [`PsbtError::RepeatedParticipant`].
    pub fn round(&self, spend: &Musig2Spend) -> Result<AggregateRound, PsbtError> {
        let input = spend.input;
        if spend.key_set.check().is_err() {
            return Err(PsbtError::RepeatedParticipant { input });
        }
        let known = self.nonces(input);
        let mut nonces = Vec::with_capacity(spend.key_set.participants.len());
        for Participant { key, .. } in &spend.key_set.participants {
            let slot = spend.slot(*key);
            let nonce = known.iter().find(|nonce| nonce.slot == slot);
            nonces.push(nonce.ok_or(PsbtError::MissingNonce { input, participant: *key })?.nonce);
        }
        let missing = |index: usize| PsbtError::MissingNonce {
            input,
            participant: spend.key_set.participants[index].key,
        };
        spend.aggregate_key()?.begin_round(&spend.sighash, &nonces).map_err(missing)
    }

    /// Verifies the partial signatures of a spend that are there (BIP-327 `PartialSigVerify`); gives one place for each
    /// participant, empty where none is there yet.
    ///
    /// Errors: [`PsbtError::WrongPartial`] for the first that does not verify, and those of [`round`](Self::round).
    pub fn verify_partials(&self, spend: &Musig2Spend) -> Result<Vec<Option<[u8; 32]>>, PsbtError> {
        self.partials_of_round(spend, &self.round(spend)?)
    }

    fn partials_of_round(
        &self,
        spend: &Musig2Spend,
        round: &AggregateRound,
    ) -> Result<Vec<Option<[u8; 32]>>, PsbtError> {
        let known = self.partials(spend.input);
        let mut partials = Vec::with_capacity(spend.key_set.participants.len());
        for (index, Participant { key, .. }) in spend.key_set.participants.iter().enumerate() {
            let slot = spend.slot(*key);
            let partial = known.iter().find(|partial| partial.slot == slot).map(|found| found.partial);
            let wrong = partial.is_some_and(|partial| !round.verify_partial(index, &partial));
            if wrong && !mutation::on(Mutation::PsbtPartialsBelieved) {
                return Err(PsbtError::WrongPartial { input: spend.input, participant: *key });
            }
            partials.push(partial);
        }
        Ok(partials)
    }

    /// The signature that the partial signatures of all participants make.
    ///
    /// Errors: [`PsbtError::MissingPartial`], and those of [`verify_partials`](Self::verify_partials).
    pub fn aggregate_signature(&self, spend: &Musig2Spend) -> Result<Signature, PsbtError> {
        let (input, round) = (spend.input, self.round(spend)?);
        let mut partials = Vec::with_capacity(spend.key_set.participants.len());
        for (partial, one) in
            self.partials_of_round(spend, &round)?.into_iter().zip(&spend.key_set.participants)
        {
            partials.push(partial.ok_or(PsbtError::MissingPartial { input, participant: one.key })?);
        }
        round.aggregate(&partials).ok_or(PsbtError::WrongSignature { input })
    }
}

/// The aggregate key itself, and those of its BIP-328 children that matter and that `PSBT_IN_TAP_BIP32_DERIVATION`
/// names by the aggregate's fingerprint, each with its path.
fn candidates(
    aggregate: &SignerKey,
    plain: AggregateKey,
    facts: &Facts,
    hashes: &mut Hashes<'_>,
) -> Result<Vec<(Vec<u32>, AggregateKey)>, PsbtError> {
    let fingerprint = fingerprint(aggregate);
    let mut candidates = Vec::new();
    for (key, origin) in &facts.origins {
        let wanted = origin.fingerprint == fingerprint && key != aggregate.x_only() && facts.matters(key);
        if !wanted || origin.path.iter().any(|number| *number >= 1 << 31) {
            continue;
        }
        hashes.count()?;
        let Ok(child) = plain.derive(&origin.path) else { continue };
        if child.key().x_only() == key {
            candidates.push((origin.path.clone(), child));
        }
    }
    candidates.push((Vec::new(), plain));
    candidates.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(candidates)
}

fn key_set(keys: &[SignerKey], facts: &Facts) -> KeySet {
    let participant =
        |key: &SignerKey| Participant { key: *key, origin: facts.origins.get(key.x_only()).cloned() };
    let order = if keys.is_sorted() { KeyOrder::Sorted } else { KeyOrder::AsGiven };
    KeySet { participants: keys.iter().map(participant).collect(), order }
}

impl Musig2Spend {
    /// The key data of a participant's nonce and partial signature.
    pub fn slot(&self, participant: SignerKey) -> super::Musig2Slot {
        super::Musig2Slot { participant, key: self.key, leaf: self.leaf }
    }

    fn aggregate_key(&self) -> Result<AggregateKey, PsbtError> {
        let key_set = KeySet { order: KeyOrder::AsGiven, ..self.key_set.clone() };
        key_set.derive(&self.derivation).map_err(|_| PsbtError::Unrelated { input: self.input })
    }
}

impl Hashes<'_> {
    fn count(&mut self) -> Result<(), PsbtError> {
        self.work += 1;
        limits::check("signatures to make and keys to derive for them", self.work, limits::SPENDS as u64)
    }

    fn of(&mut self, index: usize, leaf: Option<[u8; 32]>, sighash_type: SighashType) -> [u8; 32] {
        let sighash_type = match sighash_type {
            SighashType::Default => TapSighashType::Default,
            SighashType::All => TapSighashType::All,
        };
        let spent = Prevouts::All(&self.spent);
        let hash = match leaf {
            None => self.cache.taproot_key_spend_signature_hash(index, &spent, sighash_type),
            Some(leaf) => {
                let leaf = TapLeafHash::from_byte_array(leaf);
                self.cache.taproot_script_spend_signature_hash(index, &spent, leaf, sighash_type)
            }
        };
        hash.expect("the input is there, and each has its spent output").to_byte_array()
    }
}
