//! PSBTs and descriptors.

use std::sync::Arc;

use super::error::MusigError;
use super::keys::{Derivation, KeySet, Network};
use super::values::{array, number};
use crate::chain::descriptor::{self, DescriptorError};
use crate::chain::psbt::{self as core, InputPlan, PsbtError};
use crate::types::{OutPoint, Signature, SignedTransaction, SignerKey, Txid};

/// PSBT: a partially signed transaction of version 0 (BIP-174) or 2 (BIP-370), with the fields of BIP-373. It never
/// changes: what adds to it answers with another one, of the same version.
#[derive(Debug, uniffi::Object)]
pub struct Psbt {
    pub(super) psbt: core::Psbt,
}

/// Input of a PSBT.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PsbtInput {
    /// The coin that it spends.
    pub coin: OutPoint,
    /// The coin's value in satoshis. None if the PSBT does not say it.
    pub value: Option<u64>,
    /// The coin's address. None if its script has none, or the PSBT does not say it.
    pub address: Option<String>,
    /// The participant keys of each of its aggregate keys, in the order of their aggregation.
    pub participants: Vec<Vec<SignerKey>>,
    /// Number of public nonces in it.
    pub nonces: u32,
    /// Number of partial signatures in it.
    pub partials: u32,
    /// Whether a session would sign it: it has MuSig2 participants, and is not final.
    pub to_sign: bool,
    /// Whether it is final: its witness is there.
    pub is_final: bool,
}

/// Output of a PSBT's transaction.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PsbtOutput {
    /// The value in satoshis.
    pub value: u64,
    /// The script (`scriptPubKey`).
    pub script: Vec<u8>,
    /// The script's address. None if it has none.
    pub address: Option<String>,
}

fn address_of(script: &bitcoin::Script, network: Network) -> Option<String> {
    bitcoin::Address::from_script(script, bitcoin::Network::from(network))
        .ok()
        .map(|address| address.to_string())
}

impl Psbt {
    pub(super) fn wrap(psbt: core::Psbt) -> Arc<Self> {
        Arc::new(Self { psbt })
    }

    /// Another one, changed.
    fn changed(
        &self,
        change: impl FnOnce(&mut core::Psbt) -> Result<(), PsbtError>,
    ) -> Result<Arc<Self>, MusigError> {
        let mut changed = self.psbt.clone();
        change(&mut changed)?;
        Ok(Self::wrap(changed))
    }
}

#[uniffi::export]
impl Psbt {
    /// Reads the bytes of a PSBT. It fails for whatever is malformed, and names the field.
    #[uniffi::constructor]
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Arc<Self>, MusigError> {
        Ok(Self::wrap(core::Psbt::from_bytes(&bytes)?))
    }

    /// Reads base64 text; white space around it is ignored.
    #[uniffi::constructor]
    pub fn from_base64(text: String) -> Result<Arc<Self>, MusigError> {
        Ok(Self::wrap(core::Psbt::from_base64(&text)?))
    }

    /// The bytes, in the version that was read.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.psbt.to_bytes()
    }

    /// The bytes as base64 text.
    pub fn to_base64(&self) -> String {
        self.psbt.to_base64()
    }

    /// Version of the format: 0 or 2.
    pub fn version(&self) -> u32 {
        self.psbt.version()
    }

    /// Id of the transaction. It stays the same when the inputs are signed, if all of them are segwit.
    pub fn txid(&self) -> Txid {
        Txid(*AsRef::<[u8; 32]>::as_ref(&self.psbt.unsigned_transaction().compute_txid()))
    }

    /// The inputs. It fails for whatever no session signs, and names it.
    pub fn inputs(&self, network: Network) -> Result<Vec<PsbtInput>, MusigError> {
        let to_sign: Vec<bool> = match self.psbt.spend_plan() {
            Ok(plan) => plan.inputs.iter().map(|input| matches!(input, InputPlan::Musig2(_))).collect(),
            Err(PsbtError::NothingToSign | PsbtError::NoSpentOutput { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let spends = &self.psbt.unsigned_transaction().input;
        let input = |(index, input): (usize, &bitcoin::TxIn)| {
            let spent = self.psbt.spent_output(index).ok();
            let txid = Txid(*AsRef::<[u8; 32]>::as_ref(&input.previous_output.txid));
            PsbtInput {
                coin: OutPoint { txid, vout: input.previous_output.vout },
                value: spent.as_ref().map(|output| output.value.to_sat()),
                address: spent.and_then(|output| address_of(&output.script_pubkey, network)),
                participants: self.psbt.participants(index).into_iter().map(|keys| keys.keys).collect(),
                nonces: number(self.psbt.nonces(index).len()),
                partials: number(self.psbt.partials(index).len()),
                to_sign: to_sign.get(index).copied().unwrap_or(false),
                is_final: self.psbt.is_final(index),
            }
        };
        Ok(spends.iter().enumerate().map(input).collect())
    }

    /// The outputs.
    pub fn outputs(&self, network: Network) -> Vec<PsbtOutput> {
        let output = |output: &bitcoin::TxOut| PsbtOutput {
            value: output.value.to_sat(),
            script: output.script_pubkey.to_bytes(),
            address: address_of(&output.script_pubkey, network),
        };
        self.psbt.unsigned_transaction().output.iter().map(output).collect()
    }

    /// The PSBT with the signatures of a session over it, 64 bytes each, as SessionComplete and `final_signatures` have
    /// them. Each is verified.
    pub fn with_signatures(&self, signatures: Vec<Vec<u8>>) -> Result<Arc<Self>, MusigError> {
        let signature = |bytes| array("a signature", bytes).map(Signature);
        let signatures: Vec<Signature> = signatures.into_iter().map(signature).collect::<Result<_, _>>()?;
        self.changed(|psbt| psbt.add_signatures(&signatures))
    }

    /// The PSBT with what a descriptor knows of its own inputs and outputs, so that it can be signed: participants (BIP-373),
    /// internal keys, derivations. They are found by their scripts, among the first `indices` of each branch. The PSBT has to
    /// say what its inputs spend, and may be of a wallet without MuSig2.
    #[uniffi::method(default(indices = 1000))]
    pub fn updated(&self, descriptor: Arc<Descriptor>, indices: u32) -> Result<Arc<Self>, MusigError> {
        self.changed(|psbt| psbt.update(&descriptor.descriptor, indices).map(drop))
    }

    /// The PSBT with the fields of another PSBT of the same transaction. It fails where both have a field with different
    /// values.
    pub fn combined(&self, other: Arc<Psbt>) -> Result<Arc<Self>, MusigError> {
        self.changed(|psbt| psbt.combine(&other.psbt))
    }

    /// The PSBT with a final witness for every input that MuSig2 signs: of its signature, or of the partial signatures of all
    /// participants. Each is verified.
    pub fn finalized(&self) -> Result<Arc<Self>, MusigError> {
        self.changed(core::Psbt::finalize)
    }

    /// The signed transaction, once every input is final.
    pub fn extract(&self) -> Result<SignedTransaction, MusigError> {
        Ok(self.psbt.extract()?)
    }
}

/// Keys that sign for an output of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct DescriptorKeys {
    /// The participants in the order of the descriptor; they are sorted for aggregation (BIP-390).
    pub key_set: KeySet,
    /// What makes the final key of their aggregate.
    pub derivation: Derivation,
    /// The key that finally signs: its x-only form is the output key.
    pub key: SignerKey,
}

/// Descriptor of a MuSig2 wallet: `tr(musig(…))` or `rawtr(musig(…))` (BIP-390), derived before or after the aggregation
/// (BIP-328), with branches `<a;b>`. It holds no private keys: where the text has some, they are made public at once.
#[derive(Debug, uniffi::Object)]
pub struct Descriptor {
    descriptor: descriptor::Descriptor,
}

impl Descriptor {
    pub(super) fn wrap(descriptor: descriptor::Descriptor) -> Arc<Self> {
        Arc::new(Self { descriptor })
    }

    pub(super) fn core(&self) -> descriptor::Descriptor {
        self.descriptor.clone()
    }
}

impl From<descriptor::DescriptorKeys> for DescriptorKeys {
    fn from(keys: descriptor::DescriptorKeys) -> Self {
        Self { key_set: keys.key_set.into(), derivation: keys.derivation.into(), key: keys.key }
    }
}

#[uniffi::export]
impl Descriptor {
    /// Reads a descriptor, with or without checksum. It fails for whatever is not supported, and names it.
    #[uniffi::constructor]
    pub fn new(text: String) -> Result<Arc<Self>, MusigError> {
        Ok(Self::wrap(text.parse()?))
    }

    /// The text with its checksum, and with public keys alone.
    pub fn text(&self) -> String {
        self.descriptor.to_string()
    }

    /// Number of branches: the length of its `<…;…>`, else 1. By custom branch 0 receives and branch 1 takes change.
    pub fn branches(&self) -> u32 {
        number(self.descriptor.branches())
    }

    /// Whether there is an address for each index, by a wildcard.
    pub fn is_ranged(&self) -> bool {
        self.descriptor.is_ranged()
    }

    /// The address of an index. It fails for keys that no session signs with, and for keys of another network.
    #[uniffi::method(default(branch = 0))]
    pub fn address(&self, network: Network, index: u32, branch: u32) -> Result<String, MusigError> {
        Ok(self.descriptor.address(network.into(), branch as usize, index)?)
    }

    /// The keys that sign for an index.
    #[uniffi::method(default(branch = 0))]
    pub fn keys(&self, index: u32, branch: u32) -> Result<DescriptorKeys, MusigError> {
        Ok(self.descriptor.keys(branch as usize, index)?.into())
    }

    /// The output script of an index, to recognize outputs by.
    #[uniffi::method(default(branch = 0))]
    pub fn output_script(&self, index: u32, branch: u32) -> Result<Vec<u8>, MusigError> {
        Ok(self.descriptor.output_script(branch as usize, index)?)
    }

    /// The key sets that sign the inputs of a PSBT, for a request of a session over it. They have the keys in the order of
    /// the descriptor, which is to be that of the signers.
    pub fn key_sets(&self, psbt: Arc<Psbt>) -> Result<Vec<KeySet>, MusigError> {
        Ok(self.descriptor.key_sets(&psbt.psbt)?.into_iter().map(KeySet::from).collect())
    }
}

impl From<PsbtError> for MusigError {
    fn from(error: PsbtError) -> Self {
        match error {
            PsbtError::Signers(error) => error.into(),
            error => Self::InputRefused { reason: error.to_string() },
        }
    }
}

impl From<DescriptorError> for MusigError {
    fn from(error: DescriptorError) -> Self {
        match error {
            DescriptorError::Keys(error) => error.into(),
            error => Self::InputRefused { reason: error.to_string() },
        }
    }
}
