//! Groups of signers, by their cards.

use std::sync::Arc;

use super::error::MusigError;
use super::keys::{KeyOrigin, KeySet, Network};
use super::psbt::{Descriptor, DescriptorKeys, Psbt};
use super::request::{SessionContent, SessionRequest};
use super::signer::LocalSigner;
use crate::chain::group::{self as core, GroupError};
use crate::protocol::crypto::key_set as core_keys;
use crate::types::SignerKey;

/// Card of a signer, which it gives to the others so that they make a wallet together: its identity key and extended public
/// key, with its origin, perhaps a name and addresses; signed by the identity key. It is no secret, but shows all addresses
/// of the wallet to whoever has the cards of all.
#[derive(Debug, uniffi::Object)]
pub struct SignerCard {
    card: core::SignerCard,
}

#[uniffi::export]
impl SignerCard {
    /// Makes and signs a card. The extended public key (`xpub…` or `tpub…`) is what the signer's participant keys are below,
    /// and `origin` is where it is; `name` is for people, `addresses` (multiaddresses, at most 4) are where the signer's node
    /// is reached. It fails for an identity key that is the extended key or an unhardened child of it.
    #[uniffi::constructor(default(name = None, addresses = []))]
    pub fn new(
        signer: Arc<LocalSigner>,
        xpub: String,
        origin: KeyOrigin,
        name: Option<String>,
        addresses: Vec<String>,
    ) -> Result<Arc<Self>, MusigError> {
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let card = core::SignerCard::new(
            signer.signer.as_ref(),
            &xpub,
            origin.try_into()?,
            name.as_deref(),
            &addresses,
        )?;
        Ok(Arc::new(Self { card }))
    }

    /// Reads the text of a card, in either case. It fails for whatever was changed.
    #[uniffi::constructor]
    pub fn parse(text: String) -> Result<Arc<Self>, MusigError> {
        Ok(Arc::new(Self { card: text.parse()? }))
    }

    /// The text, `musig1…`.
    pub fn text(&self) -> String {
        self.card.to_string()
    }

    /// The text in upper case, for a QR code.
    pub fn qr_text(&self) -> String {
        self.card.to_qr_text()
    }

    /// The identity key, by which the signer is found and elected.
    pub fn identity(&self) -> SignerKey {
        *self.card.identity()
    }

    /// The extended public key in base58.
    pub fn xpub(&self) -> String {
        self.card.xpub()
    }

    /// The extended public key's own key: the signer's participant key.
    pub fn participant_key(&self) -> SignerKey {
        self.card.participant_key()
    }

    /// Where the extended public key is.
    pub fn origin(&self) -> KeyOrigin {
        self.card.origin().clone().into()
    }

    /// What its owner calls itself. Nobody checked that; escape it before it is shown.
    pub fn name(&self) -> Option<String> {
        self.card.name().map(str::to_owned)
    }

    /// Where its node is reached, as its owner says.
    pub fn addresses(&self) -> Vec<String> {
        self.card.addresses().to_vec()
    }

    /// Whether its keys are of the main network, not of a test network.
    pub fn is_mainnet(&self) -> bool {
        self.card.network() == bitcoin::NetworkKind::Main
    }
}

/// Wallet of several signers, made of their cards: `tr(musig(…))` of their extended keys (BIP-390), with a branch of
/// addresses that others pay to and one that takes change. The same cards make the same group in any order: signer indices
/// are by identity key. Before it is paid, all signers compare the check phrase aloud.
#[derive(Debug, uniffi::Object)]
pub struct Group {
    group: core::Group,
}

#[uniffi::export]
impl Group {
    /// Makes a group of the cards of all its signers: 1 to 128. It fails for two cards with a key in common, and for keys
    /// of different networks.
    #[uniffi::constructor]
    pub fn new(cards: Vec<Arc<SignerCard>>) -> Result<Arc<Self>, MusigError> {
        let group = core::Group::new(cards.iter().map(|card| card.card.clone()))?;
        Ok(Arc::new(Self { group }))
    }

    /// Reads what `to_json` wrote. Everything is made of the cards again; a descriptor or a check phrase that stands there
    /// has to be theirs.
    #[uniffi::constructor]
    pub fn from_json(text: String) -> Result<Arc<Self>, MusigError> {
        Ok(Arc::new(Self { group: core::Group::from_json(&text)? }))
    }

    /// The group as JSON: its cards, and for people the descriptor and the check phrase.
    pub fn to_json(&self) -> String {
        self.group.to_json()
    }

    /// The cards, by signer index.
    pub fn cards(&self) -> Vec<Arc<SignerCard>> {
        self.group.cards().iter().map(|card| Arc::new(SignerCard { card: card.clone() })).collect()
    }

    /// The identity keys, by signer index: the signers of a session.
    pub fn signers(&self) -> Vec<SignerKey> {
        self.group.signers()
    }

    /// The descriptor, for other wallets.
    pub fn descriptor(&self) -> Arc<Descriptor> {
        Descriptor::wrap(self.group.descriptor().clone())
    }

    /// The participant keys, by signer index, with their origins: those of every address.
    pub fn key_set(&self) -> KeySet {
        self.group.key_set().into()
    }

    /// The keys that sign for an index: of the addresses that others pay to, or of those that take change.
    #[uniffi::method(default(change = false))]
    pub fn keys(&self, index: u32, change: bool) -> Result<DescriptorKeys, MusigError> {
        Ok(self.group.keys(change, index)?.into())
    }

    /// The address of an index. It fails for a network that the keys do not belong to.
    #[uniffi::method(default(change = false))]
    pub fn address(&self, network: Network, index: u32, change: bool) -> Result<String, MusigError> {
        Ok(self.group.address(network.into(), change, index)?)
    }

    /// Eight words that all signers compare aloud: they stand for a hash of all identity keys and the descriptor. Names and
    /// addresses are not in it.
    pub fn check_phrase(&self) -> String {
        self.group.check_phrase()
    }

    /// Whether its keys are of the main network, not of a test network.
    pub fn is_mainnet(&self) -> bool {
        self.group.network() == bitcoin::NetworkKind::Main
    }

    /// The request for a session that signs this group's inputs of a PSBT; its other terms have the library's defaults. A PSBT
    /// with nothing to sign for this group is refused when the session is created.
    pub fn request(&self, psbt: Arc<Psbt>) -> SessionRequest {
        let known: core_keys::KeySet = self.group.key_set();
        SessionRequest {
            signers: self.group.signers(),
            content: SessionContent::Psbt { psbt: psbt.to_bytes() },
            key_order: None,
            key_sets: Some(vec![known.into()]),
            derivations: None,
            election_method: None,
            broadcast: None,
            expires_in: None,
            metadata: None,
            replaces: None,
            consent: None,
        }
    }
}

impl From<GroupError> for MusigError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Signer(error) => error.into(),
            GroupError::Descriptor(error) => error.into(),
            error => Self::InputRefused { reason: error.to_string() },
        }
    }
}
