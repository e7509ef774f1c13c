//! BIP-327 key aggregation: sorted or given order, tweaks per message, BIP-341 and BIP-328 helpers.

use std::collections::HashMap;

use secp256k1::musig::KeyAggCache;
use secp256k1::{PublicKey, Scalar};
use sha2::{Digest, Sha256, Sha512};

use crate::error::ProposalError;
use crate::protocol::limits;
use crate::protocol::proposal::{KeyOrder, Proposal, Tweak};
use crate::types::{SessionId, SignerKey, tagged_hash};

/// The keys of a session, aggregated and tweaked, each step once.
#[derive(Debug)]
pub(crate) struct KeySet {
    session: SessionId,
    signers: Vec<PublicKey>,
    caches: Vec<KeyAggCache>,
    digests: Vec<[u8; 32]>,
}

impl KeySet {
    /// Every tweak must be a number below the order; only those that some message needs are applied.
    pub(crate) fn new(proposal: &Proposal) -> Result<Self, ProposalError> {
        let signers: Vec<PublicKey> = proposal.signers.iter().map(SignerKey::to_public_key).collect();
        let root = aggregate(&proposal.signers, proposal.key_order);
        let mut needed = vec![false; proposal.tweaks.len()];
        for message in &proposal.messages {
            let mut next = message.tweak;
            while let Some(index) = next.filter(|index| !needed[*index]) {
                needed[index] = true;
                next = proposal.tweaks[index].follows;
            }
        }
        let mut nodes: Vec<KeyAggCache> = Vec::with_capacity(needed.len());
        for (index, (tweak, needed)) in proposal.tweaks.iter().zip(needed).enumerate() {
            let invalid = ProposalError::Tweak { index };
            let scalar = Scalar::from_be_bytes(tweak.scalar).map_err(|_| invalid.clone())?;
            let mut cache = tweak.follows.map_or(root, |earlier| nodes[earlier]);
            if needed {
                apply(&mut cache, tweak.x_only, &scalar).ok_or(invalid)?;
            }
            nodes.push(cache);
        }
        let caches = proposal.messages.iter().map(|message| message.tweak.map_or(root, |index| nodes[index]));
        let caches: Vec<KeyAggCache> = caches.collect();
        refuse_aimed(&proposal.signers, std::iter::once(&root).chain(&caches))?;
        Ok(Self {
            session: proposal.id(),
            signers,
            caches,
            digests: proposal.messages.iter().map(|message| message.digest).collect(),
        })
    }

    /// Looks at the keys once more, before they sign.
    pub(crate) fn refuse_aimed(&self) -> Result<(), ProposalError> {
        let signers: Vec<SignerKey> = self.signers.iter().map(|key| SignerKey::from(*key)).collect();
        refuse_aimed(&signers, &self.caches)
    }

    /// The session that these are the keys of.
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// The keys by signer index.
    pub(crate) fn signers(&self) -> &[PublicKey] {
        &self.signers
    }

    /// The tweaked aggregate key of each message.
    pub(crate) fn caches(&self) -> &[KeyAggCache] {
        &self.caches
    }

    /// What is signed.
    pub(crate) fn digests(&self) -> &[[u8; 32]] {
        &self.digests
    }
}

/// Refuses to sign with a key that is a signer's own. Who holds all other keys of a session could choose what makes the
/// final key of the aggregate so that it is the last signer's: its signature would then be that signer's in anything.
fn refuse_aimed<'a>(
    signers: &[SignerKey],
    keys: impl IntoIterator<Item = &'a KeyAggCache>,
) -> Result<(), ProposalError> {
    let own: HashMap<&[u8; 32], usize> =
        signers.iter().enumerate().map(|(index, key)| (key.x_only(), index)).collect();
    match keys.into_iter().find_map(|key| own.get(&key.agg_pk().to_byte_array())) {
        Some(signer) => Err(ProposalError::AimedKey { signer: *signer }),
        None => Ok(()),
    }
}

/// `signers` must not be empty.
fn aggregate(signers: &[SignerKey], order: KeyOrder) -> KeyAggCache {
    let keys: Vec<PublicKey> = match order {
        KeyOrder::Sorted => sort_keys(signers).iter().map(SignerKey::to_public_key).collect(),
        KeyOrder::AsGiven => signers.iter().map(SignerKey::to_public_key).collect(),
    };
    KeyAggCache::new(&keys.iter().collect::<Vec<_>>())
}

fn apply(cache: &mut KeyAggCache, x_only: bool, scalar: &Scalar) -> Option<()> {
    let tweaked =
        if x_only { cache.pubkey_xonly_tweak_add(scalar) } else { cache.pubkey_ec_tweak_add(scalar) };
    tweaked.ok().map(drop)
}

/// BIP-327 `KeySort`: by compressed form, ascending.
pub fn sort_keys(signers: &[SignerKey]) -> Vec<SignerKey> {
    let mut keys = signers.to_vec();
    keys.sort();
    keys
}

/// BIP-327 `KeyAgg` without tweaks, with the parity of the point (`GetPlainPubkey`).
///
/// Errors: no signers, or more than a session may have.
pub fn aggregate_key(signers: &[SignerKey], order: KeyOrder) -> Result<SignerKey, ProposalError> {
    if !(1..=limits::SIGNERS).contains(&signers.len()) {
        let (actual, most) = (signers.len() as u64, limits::SIGNERS as u64);
        return Err(ProposalError::Limit { what: "signers", actual, least: 1, most });
    }
    Ok(aggregate(signers, order).agg_pk_full().into())
}

/// The BIP-341 tweak of an internal key: x-only, by the tagged hash `TapTweak`. Follows nothing; set `follows` if
/// the internal key is itself tweaked, or let [`TweakForest`] do it.
pub fn taproot_tweak(internal_key: &[u8; 32], merkle_root: Option<[u8; 32]>) -> Tweak {
    let scalar = match &merkle_root {
        Some(root) => tagged_hash("TapTweak", &[internal_key, root]),
        None => tagged_hash("TapTweak", &[internal_key]),
    };
    Tweak { follows: None, x_only: true, scalar }
}

/// The chain code of BIP-328: SHA-256 of the text `MuSig2MuSig2MuSig2`.
pub const BIP328_CHAIN_CODE: [u8; 32] = [
    0x86, 0x80, 0x87, 0xca, 0x02, 0xa6, 0xf9, 0x74, 0xc4, 0x59, 0x89, 0x24, 0xc3, 0x6b, 0x57, 0x76, 0x2d,
    0x32, 0xcb, 0x45, 0x71, 0x71, 0x67, 0xe3, 0x00, 0x62, 0x2c, 0x71, 0x67, 0xe3, 0x89, 0x65,
];

/// BIP-328's synthetic extended public key of an aggregate key: BIP-32's 78 bytes, with the version of the main
/// network, in base58 with a checksum (`xpub…`).
pub fn synthetic_xpub(aggregate_key: &SignerKey) -> String {
    let mut bytes = [0; 78];
    bytes[..4].copy_from_slice(&[0x04, 0x88, 0xb2, 0x1e]);
    bytes[13..45].copy_from_slice(&BIP328_CHAIN_CODE);
    bytes[45..].copy_from_slice(aggregate_key.as_bytes());
    base58check(&bytes)
}

/// BIP-32 `CKDpub`: what makes the child's key a plain tweak of its parent's, and the child's chain code.
pub(crate) fn child(
    parent: &SignerKey,
    chain_code: &[u8; 32],
    number: u32,
) -> Result<([u8; 32], [u8; 32]), ProposalError> {
    if number >= 1 << 31 {
        return Err(ProposalError::Index { what: "unhardened child", index: number.into() });
    }
    Ok(hmac_sha512(chain_code, parent.as_bytes(), &number.to_be_bytes()))
}

/// HMAC-SHA512 (RFC 2104) of two parts, split in halves. The key is shorter than a block.
fn hmac_sha512(key: &[u8; 32], first: &[u8], second: &[u8]) -> ([u8; 32], [u8; 32]) {
    let pad = |byte: u8| {
        let mut block = [byte; 128];
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = Sha512::new_with_prefix(pad(0x36)).chain_update(first).chain_update(second).finalize();
    let outer = Sha512::new_with_prefix(pad(0x5c)).chain_update(inner).finalize();
    let mut halves = ([0; 32], [0; 32]);
    halves.0.copy_from_slice(&outer[..32]);
    halves.1.copy_from_slice(&outer[32..]);
    halves
}

fn base58check(payload: &[u8]) -> String {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let checksum = Sha256::digest(Sha256::digest(payload));
    let bytes = [payload, &checksum[..4]].concat();
    let mut digits: Vec<u8> = Vec::with_capacity(bytes.len() * 138 / 100 + 1);
    for byte in &bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| '1');
    zeros.chain(digits.iter().rev().map(|digit| DIGITS[usize::from(*digit)] as char)).collect()
}

/// Collects the tweaks of a proposal, a shared prefix once. What its methods return names a tweaked key: put it
/// into [`Message::tweak`](crate::protocol::proposal::Message::tweak).
#[derive(Clone, Debug)]
pub struct TweakForest {
    aggregate_key: SignerKey,
    tweaks: Vec<Tweak>,
    keys: Vec<SignerKey>,
}

impl TweakForest {
    /// Begins with the key that [`aggregate_key`] gives.
    pub fn new(aggregate_key: SignerKey) -> Self {
        Self { aggregate_key, tweaks: Vec::new(), keys: Vec::new() }
    }

    /// The key after a tweak; `None` is the aggregate key.
    ///
    /// Errors: there is no such tweak.
    pub fn key(&self, after: Option<usize>) -> Result<SignerKey, ProposalError> {
        let Some(index) = after else { return Ok(self.aggregate_key) };
        self.keys.get(index).copied().ok_or(ProposalError::Index { what: "tweak", index: index as u64 })
    }

    /// Derives along unhardened steps (BIP-32) from the synthetic extended key (BIP-328). The empty path is `None`:
    /// the aggregate key.
    ///
    /// Errors: a hardened step (2³¹ and above).
    pub fn derive(&mut self, path: &[u32]) -> Result<Option<usize>, ProposalError> {
        let mut chain_code = BIP328_CHAIN_CODE;
        let mut last = None;
        for number in path {
            let (scalar, next) = child(&self.key(last)?, &chain_code, *number)?;
            last = Some(self.push(Tweak { follows: last, x_only: false, scalar })?);
            chain_code = next;
        }
        Ok(last)
    }

    /// Makes a Taproot output key (BIP-341) of the key after a tweak. `merkle_root` is that of its scripts, if any.
    pub fn taproot(
        &mut self,
        after: Option<usize>,
        merkle_root: Option<[u8; 32]>,
    ) -> Result<usize, ProposalError> {
        let tweak = taproot_tweak(self.key(after)?.x_only(), merkle_root);
        self.push(Tweak { follows: after, ..tweak })
    }

    /// Adds any tweak, unless it is there already.
    ///
    /// Errors: it follows one that does not exist, is no number below the order, or leads to infinity.
    pub fn push(&mut self, tweak: Tweak) -> Result<usize, ProposalError> {
        if let Some(index) = self.tweaks.iter().position(|known| *known == tweak) {
            return Ok(index);
        }
        let index = self.tweaks.len();
        let scalar = Scalar::from_be_bytes(tweak.scalar).map_err(|_| ProposalError::Tweak { index })?;
        let mut key = self.key(tweak.follows)?.to_public_key();
        if tweak.x_only {
            key = key.x_only_public_key().0.public_key(secp256k1::Parity::Even);
        }
        let key = key.add_exp_tweak(&scalar).map_err(|_| ProposalError::Tweak { index })?;
        self.tweaks.push(tweak);
        self.keys.push(key.into());
        Ok(index)
    }

    /// What goes into [`Terms::tweaks`](crate::protocol::proposal::Terms::tweaks).
    pub fn into_tweaks(self) -> Vec<Tweak> {
        self.tweaks
    }
}
