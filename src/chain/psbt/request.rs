//! What a session of given signers signs of a PSBT, as terms of a proposal; and its signatures put back.

use std::collections::{BTreeSet, HashMap};

use super::error::{Field, MapName, PsbtError};
use super::rules::{self, input};
use super::{InputPlan, Musig2Spend, Psbt, limits};
use crate::chain::descriptor::Descriptor;
use crate::error::ProposalError;
use crate::protocol::crypto::key_set::{KeyOrder, KeySet, Participant, sort_keys};
use crate::protocol::proposal::{Message, TransactionTerms};
use crate::types::{Signature, SignerKey};

/// What goes into a proposal. Key set 0 is the identity keys; message i names key set i + 1.
#[cfg_attr(not(feature = "node"), allow(dead_code))]
pub(crate) struct PsbtTerms {
    pub key_sets: Vec<KeySet>,
    pub messages: Vec<Message>,
    pub transaction: TransactionTerms,
}

/// The signer that each key belongs to, and how it is known there.
struct Owners(HashMap<SignerKey, (usize, Participant)>);

impl Owners {
    fn new(signers: &[SignerKey], key_sets: &[KeySet]) -> Result<Self, ProposalError> {
        let identities = KeySet::new(signers);
        let mut owners: HashMap<SignerKey, (usize, Participant)> = HashMap::new();
        for key_set in key_sets.iter().chain([&identities]) {
            if key_set.participants.len() != signers.len() {
                let (actual, count) = (key_set.participants.len() as u64, signers.len() as u64);
                let what = "keys of a key set";
                return Err(ProposalError::Limit { what, actual, least: count, most: count });
            }
            for (signer, participant) in key_set.participants.iter().enumerate() {
                let (other, _) = owners.entry(participant.key).or_insert((signer, participant.clone()));
                if *other != signer {
                    let (first, second) = (signer.min(*other), signer.max(*other));
                    return Err(ProposalError::DuplicateKey { first, second });
                }
            }
        }
        Ok(Self(owners))
    }

    /// The key set of a spend with its keys in the order of the signers.
    fn key_set(&self, spend: &Musig2Spend, signers: usize) -> Result<KeySet, PsbtError> {
        let input = spend.input;
        let mut places: Vec<Option<Participant>> = vec![None; signers];
        let mut foreign = None;
        for participant in &spend.key_set.participants {
            let Some((signer, known)) = self.0.get(&participant.key) else {
                foreign.get_or_insert(participant.key);
                continue;
            };
            let origin = known.origin.clone().or_else(|| participant.origin.clone());
            if places[*signer].replace(Participant { key: participant.key, origin }).is_some() {
                return Err(PsbtError::SignerTwice { input, signer: *signer });
            }
        }
        if places.iter().all(Option::is_none) {
            return Err(PsbtError::OtherSigners { input });
        }
        if let Some(participant) = foreign {
            return Err(PsbtError::ForeignParticipant { input, participant });
        }
        if let Some(signer) = places.iter().position(Option::is_none) {
            return Err(PsbtError::MissingSigner { input, signer });
        }
        let participants: Vec<Participant> = places.into_iter().flatten().collect();
        let (keys, aggregated) =
            (participants.iter().map(|one| one.key).collect::<Vec<_>>(), spend.key_set.keys());
        let order = match () {
            () if sort_keys(&keys) == aggregated => KeyOrder::Sorted,
            () if keys == aggregated => KeyOrder::AsGiven,
            () => return Err(PsbtError::ParticipantOrder { input }),
        };
        Ok(KeySet { participants, order })
    }
}

impl Psbt {
    /// See [`SessionRequest::from_psbt`](crate::node::SessionRequest::from_psbt).
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn terms(&self, signers: &[SignerKey], key_sets: &[KeySet]) -> Result<PsbtTerms, PsbtError> {
        let owners = Owners::new(signers, key_sets)?;
        let plan = self.spend_plan()?;
        let transaction = TransactionTerms { unsigned: plan.transaction, spent: plan.spent };
        let mut terms = PsbtTerms { key_sets: Vec::new(), messages: Vec::new(), transaction };
        for spend in spends(&plan.inputs) {
            self.check_signature(spend)?;
            terms.key_sets.push(owners.key_set(spend, signers.len())?);
            terms.messages.push(Message {
                digest: spend.sighash,
                key_set: terms.key_sets.len(),
                derivation: spend.derivation.clone(),
                input: u32::try_from(spend.input).expect("it was read within limits"),
                sighash_type: spend.sighash_type,
            });
        }
        Ok(terms)
    }

    /// Refuses a signature that is there and does not verify. One that does is signed once more, and stays.
    fn check_signature(&self, spend: &Musig2Spend) -> Result<bool, PsbtError> {
        match self.maps.value(MapName::Input(spend.input), input::TAP_KEY_SIG) {
            None => Ok(false),
            Some(value) if super::finalize::is_signature_of(spend, value) => Ok(true),
            Some(_) => Err(PsbtError::WrongSignature { input: spend.input }),
        }
    }

    /// Puts the signatures of a session into `PSBT_IN_TAP_KEY_SIG` of the inputs that it signed, each verified: one for
    /// each input that [`spend_plan`](Self::spend_plan) would sign, in their order, which is that of the session's
    /// messages. Then [`finalize`](Self::finalize) makes the witnesses.
    ///
    /// Errors: [`PsbtError::SignatureCount`], [`PsbtError::WrongSignature`], and those of
    /// [`spend_plan`](Self::spend_plan). Nothing changes then.
    pub fn add_signatures(&mut self, signatures: &[Signature]) -> Result<(), PsbtError> {
        let plan = self.spend_plan()?;
        let spends: Vec<&Musig2Spend> = spends(&plan.inputs).collect();
        if spends.len() != signatures.len() {
            let (expected, actual) = (spends.len(), signatures.len());
            return Err(PsbtError::SignatureCount { expected, actual });
        }
        let mut signed = self.clone();
        for (spend, signature) in spends.into_iter().zip(signatures) {
            if !self.check_signature(spend)? {
                signed.add_signature(spend, signature)?;
            }
        }
        *self = signed;
        Ok(())
    }
}

fn spends(inputs: &[InputPlan]) -> impl Iterator<Item = &Musig2Spend> {
    inputs.iter().filter_map(|plan| match plan {
        InputPlan::Musig2(spend) => Some(&**spend),
        InputPlan::Other { .. } => None,
    })
}

impl Descriptor {
    /// The key sets of this descriptor with which a PSBT's inputs are signed, each once, with the keys in the order of the
    /// descriptor. An input's index is found in its `PSBT_IN_TAP_BIP32_DERIVATION`, and the output compared.
    ///
    /// Errors: [`PsbtError::NoSpentOutput`]; [`PsbtError::TooLarge`] if there are too many indices to compare.
    pub fn key_sets(&self, psbt: &Psbt) -> Result<Vec<KeySet>, PsbtError> {
        let (mut found, mut known, mut work) = (Vec::new(), BTreeSet::new(), 0);
        for position in 0..psbt.inputs() {
            let script = psbt.spent_output(position)?.script_pubkey;
            for index in psbt.indices(position) {
                for branch in 0..self.branches() {
                    work += 1;
                    limits::check("indices of a descriptor", work, limits::SPENDS as u64)?;
                    let fits = self.output_script(branch, index).is_ok_and(|own| own == script.as_bytes());
                    let keys = fits.then(|| self.keys(branch, index).ok()).flatten();
                    found.extend(
                        keys.filter(|keys| known.insert(keys.key_set.keys())).map(|keys| keys.key_set),
                    );
                }
            }
        }
        Ok(found)
    }
}

impl Psbt {
    /// The last steps of an input's derivations, and 0.
    fn indices(&self, position: usize) -> BTreeSet<u32> {
        let map = MapName::Input(position);
        let field = Field { map, key_type: Some(input::TAP_BIP32_DERIVATION) };
        let origins = self.maps.of_type(map, input::TAP_BIP32_DERIVATION);
        let last = origins
            .filter_map(|entry| rules::tap_origin(field, entry.value).ok()?.path.last().copied())
            .filter(|number| *number < 1 << 31);
        last.chain([0]).collect()
    }
}
