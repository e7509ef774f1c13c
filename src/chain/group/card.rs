//! [`SignerCard`], what a signer gives to the others so that they make a wallet together.

use std::fmt;
use std::str::FromStr;

use bitcoin::NetworkKind;
use bitcoin::bech32::primitives::decode::CheckedHrpstring;
use bitcoin::bech32::{self, Bech32m, Hrp};
use bitcoin::bip32::{ChildNumber, Xpub};
use prost::Message as _;

use super::GroupError;
use crate::chain::descriptor::convert;
use crate::chain::keys::fingerprint;
use crate::error::SignerError;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::aggregate::verify_signature;
use crate::protocol::crypto::bip32;
use crate::protocol::crypto::key_set::KeyOrigin;
use crate::protocol::limits;
use crate::protocol::signer::Identity;
use crate::types::{Signature, SignerKey, tagged_hash};

/// The human-readable part of a card's text: it begins with `musig1`.
const HRP: Hrp = Hrp::parse_unchecked("musig");
/// Characters of a card's text: as many as bech32m is defined for. A QR code (alphanumeric) of version 20 takes them.
pub const CARD_LENGTH: usize = 1023;
/// Bytes of a name.
pub const CARD_NAME: usize = 64;
/// Addresses of a card.
pub const CARD_ADDRESSES: usize = 4;
/// Characters of an address.
pub const CARD_ADDRESS: usize = 128;

/// What is signed.
#[derive(Clone, PartialEq, prost::Message)]
struct Body {
    #[prost(bytes = "vec", tag = "1")]
    identity: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    xpub: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    fingerprint: Vec<u8>,
    #[prost(uint32, repeated, tag = "4")]
    path: Vec<u32>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(string, repeated, tag = "6")]
    addresses: Vec<String>,
}

/// A signer's identity key and extended public key, with its origin, perhaps a name and addresses; signed by the identity
/// key. It is no secret, but shows all addresses of the wallet to whoever has the cards of all.
///
/// Its text begins with `musig1` (bech32m) and fits into a QR code, for which upper case is shorter. Whatever one is read
/// from was checked: limits, points of the curve, that the extended key is at the place of its origin, that no key of the
/// first addresses is the identity key, the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerCard {
    identity: SignerKey,
    xpub: Xpub,
    origin: KeyOrigin,
    name: Option<String>,
    addresses: Vec<String>,
    signature: Signature,
}

impl SignerCard {
    /// Makes and signs a card. `xpub` is the extended public key in base58 that the signer's participant keys are below, and
    /// `origin` is where it is; `name` is for people, `addresses` (multiaddresses) are where the signer's node is reached.
    ///
    /// Errors: [`GroupError::Card`], and [`GroupError::Signer`] if the identity key is locked.
    pub fn new(
        identity: &dyn Identity,
        xpub: &str,
        origin: KeyOrigin,
        name: Option<&str>,
        addresses: &[&str],
    ) -> Result<Self, GroupError> {
        let xpub = Xpub::from_str(xpub).map_err(|_| {
            wrong("the extended public key cannot be read; copy all of it, from xpub or tpub on")
        })?;
        let mut card = Self {
            identity: identity.public_key(),
            xpub,
            origin,
            name: name.map(str::to_owned),
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            signature: Signature([0; 64]),
        };
        card.check()?;
        card.signature = identity.sign(&digest(&card.body())).map_err(GroupError::Signer)?;
        card.check_length()?;
        Ok(card)
    }

    /// The identity key, by which the signer is found and elected.
    pub fn identity(&self) -> &SignerKey {
        &self.identity
    }

    /// The extended public key in base58.
    pub fn xpub(&self) -> String {
        self.xpub.to_string()
    }

    /// The extended public key's own key: the signer's participant key.
    pub fn participant_key(&self) -> SignerKey {
        convert(&self.xpub.public_key)
    }

    /// Where the extended public key is.
    pub fn origin(&self) -> &KeyOrigin {
        &self.origin
    }

    /// What its owner calls itself. Nobody checked that; escape it before it is shown.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where its node is reached, as its owner says.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Whether its keys are of the main network or of a test network.
    pub fn network(&self) -> NetworkKind {
        self.xpub.network
    }

    /// The text in upper case, for a QR code.
    pub fn to_qr_text(&self) -> String {
        self.to_string().to_ascii_uppercase()
    }

    fn body(&self) -> Vec<u8> {
        let body = Body {
            identity: self.identity.as_bytes().to_vec(),
            xpub: self.xpub.encode().to_vec(),
            fingerprint: self.origin.fingerprint.to_vec(),
            path: self.origin.path.clone(),
            name: self.name.clone().unwrap_or_default(),
            addresses: self.addresses.clone(),
        };
        body.encode_to_vec()
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.body()[..], &self.signature.0].concat()
    }

    fn check_length(&self) -> Result<(), GroupError> {
        // Five bits a character, after `musig1`, before six of the checksum.
        match HRP.len() + 1 + (self.bytes().len() * 8).div_ceil(5) + 6 <= CARD_LENGTH {
            true => Ok(()),
            false => Err(wrong("it is too long for its text; give fewer addresses, or shorter ones")),
        }
    }

    /// Everything but the signature.
    fn check(&self) -> Result<(), GroupError> {
        if self.origin.path.len() > limits::ORIGIN {
            return Err(wrong("its origin has more than 16 child numbers"));
        }
        let number = |number: &u32| ChildNumber::from(*number);
        let last = self.origin.path.last().map_or(ChildNumber::from(0), number);
        if usize::from(self.xpub.depth) != self.origin.path.len() || self.xpub.child_number != last {
            return Err(wrong("its extended public key is at another place than its origin says"));
        }
        let own = fingerprint(&convert(&self.xpub.public_key));
        let parent = match self.origin.path.len() {
            0 => Some(own),
            1 => Some(self.xpub.parent_fingerprint.to_bytes()),
            _ => None,
        };
        if parent.is_some_and(|parent| parent != self.origin.fingerprint) {
            return Err(wrong("its extended public key has another master fingerprint than its origin says"));
        }
        if let Some(name) = &self.name {
            let visible = !name.chars().any(char::is_control) && name.trim() == name;
            if !(1..=CARD_NAME).contains(&name.len()) || !visible {
                return Err(wrong(
                    "its name is not 1 to 64 bytes without line breaks, and with no space around it",
                ));
            }
        }
        if self.addresses.len() > CARD_ADDRESSES {
            return Err(wrong("it has more than 4 addresses"));
        }
        for address in &self.addresses {
            let plain = address.starts_with('/') && address.bytes().all(|byte| byte.is_ascii_graphic());
            if address.len() > CARD_ADDRESS || !plain {
                return Err(wrong(
                    "an address of it is no multiaddress of at most 128 characters, like /dns4/…/tcp/…",
                ));
            }
        }
        self.check_identity()
    }

    /// One key, one purpose: who learns the private key of an address and the extended public key has its relatives.
    fn check_identity(&self) -> Result<(), GroupError> {
        let key = convert(&self.xpub.public_key);
        match bip32::is_relative(&key, &self.xpub.chain_code.to_bytes(), &self.identity) {
            true => Err(wrong(
                "its identity key is the extended key or a child of it; make the identity key apart, along hardened steps",
            )),
            false => Ok(()),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, GroupError> {
        let (body, signature) = bytes.split_last_chunk::<64>().ok_or(wrong("it is cut; copy all of it"))?;
        let read = Body::decode(body).map_err(|_| wrong("its content cannot be read"))?;
        if read.encode_to_vec() != body {
            return Err(wrong("its content is not written the one way that it can be; make it anew"));
        }
        let xpub = Xpub::decode(&read.xpub).map_err(|_| wrong("its extended public key is none"))?;
        // The reader passes over what it does not need: two texts would be the same card.
        if xpub.encode()[..] != read.xpub[..] {
            return Err(wrong("its extended public key is none"));
        }
        let card = Self {
            identity: SignerKey::from_bytes(&read.identity)
                .map_err(|_| wrong("its identity key is no point of the curve"))?,
            xpub,
            origin: KeyOrigin {
                fingerprint: read
                    .fingerprint
                    .try_into()
                    .map_err(|_| wrong("its fingerprint is not 4 bytes"))?,
                path: read.path,
            },
            name: Some(read.name).filter(|name| !name.is_empty()),
            addresses: read.addresses,
            signature: Signature(*signature),
        };
        card.check()?;
        let verifies = verify_signature(card.identity.x_only(), &digest(body), &card.signature);
        match verifies || mutation::on(Mutation::CardUnverified) {
            true => Ok(card),
            false => Err(wrong("its signature does not verify under its identity key; ask for it again")),
        }
    }
}

fn digest(body: &[u8]) -> [u8; 32] {
    tagged_hash("musig/card", &[body])
}

fn wrong(reason: &'static str) -> GroupError {
    GroupError::Card { position: None, reason }
}

/// In either case; white space around it is ignored.
impl FromStr for SignerCard {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, GroupError> {
        let text = text.trim_ascii();
        if text.len() > CARD_LENGTH {
            return Err(wrong("it has more than 1023 characters"));
        }
        let read = CheckedHrpstring::new::<Bech32m>(text)
            .ok()
            .filter(|read| read.hrp().to_lowercase() == HRP.as_str())
            .ok_or(wrong(
                "it is no text that begins with musig1, or its checksum is wrong; copy all of it",
            ))?;
        let card = Self::from_bytes(&read.byte_iter().collect::<Vec<u8>>())?;
        // Padding bits are the text's alone.
        match card.to_string() == text.to_ascii_lowercase() {
            true => Ok(card),
            false => Err(wrong("its content is not written the one way that it can be; make it anew")),
        }
    }
}

/// `musig1…`, in lower case.
impl fmt::Display for SignerCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32m>(HRP, &self.bytes()).map_err(|_| fmt::Error)?)
    }
}

impl From<SignerError> for GroupError {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}
