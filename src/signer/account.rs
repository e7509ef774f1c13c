//! [`Account`], an extended private key (BIP-32) with its origin, and the keys below it.

use secp256k1::{Keypair, Scalar};
use zeroize::Zeroizing;

use super::key_pair::{add, load};
use crate::error::SignerError;
use crate::platform::Locked;
use crate::protocol::crypto::bip32;
use crate::protocol::limits;
use crate::protocol::proposal::KeyOrigin;
use crate::types::SignerKey;

/// Versions of extended private keys (BIP-32): of the main network, and of those for tests.
const VERSIONS: [[u8; 4]; 2] = [[0x04, 0x88, 0xad, 0xe4], [0x04, 0x35, 0x83, 0x94]];

/// Extended private key that a signer was given. The keys below it are found by their origins.
///
/// Invariant: the identity key is neither this key nor one of the relatives that [`bip32::is_relative`] compares.
pub(super) struct Account {
    origin: KeyOrigin,
    key: SignerKey,
    chain_code: [u8; 32],
    /// `None`: wiped.
    secret: Option<Locked<Keypair>>,
}

impl Account {
    /// Reads an extended private key in base58.
    pub fn new(xprv: &str, origin: KeyOrigin, identity: &SignerKey) -> Result<Self, SignerError> {
        limits::check("child numbers of an origin", origin.path.len(), 0, limits::ORIGIN)
            .map_err(|_| SignerError::InvalidXprv("its origin has more than 16 child numbers"))?;
        let bytes = bip32::decode_base58check(xprv).ok_or(SignerError::InvalidXprv(
            "its 78 bytes in base58 with their checksum cannot be read; copy all of it",
        ))?;
        let part = |from: usize| &bytes[from..];
        if VERSIONS.iter().all(|version| !part(0).starts_with(version)) {
            return Err(SignerError::InvalidXprv("it begins with neither xprv nor tprv"));
        }
        let (depth, parent) = (usize::from(bytes[4]), part(5).first_chunk::<4>());
        if depth != origin.path.len() {
            return Err(SignerError::InvalidXprv("its depth is not the number of steps of its origin"));
        }
        let number = part(9).first_chunk().map(|number| u32::from_be_bytes(*number));
        if number != Some(origin.path.last().copied().unwrap_or(0)) {
            return Err(SignerError::InvalidXprv("its child number is not the last one of its origin"));
        }
        if depth == 1 && parent != Some(&origin.fingerprint) {
            return Err(SignerError::InvalidXprv("its parent has another fingerprint than its origin"));
        }
        let chain_code = *part(13).first_chunk().expect("78 bytes");
        let secret = Zeroizing::new(*part(46).first_chunk().expect("78 bytes"));
        if bytes[45] != 0 {
            return Err(SignerError::InvalidXprv("it has no secret key; give the xprv, not the xpub"));
        }
        let (secret, key) =
            load(&secret).map_err(|_| SignerError::InvalidXprv("its secret key is out of range"))?;
        if bip32::is_relative(&key, &chain_code, identity) {
            return Err(SignerError::Mismatch(
                "the identity key is this key or an unhardened child of it, so that who learns one learns both; \
                 derive the identity key along hardened steps of its own",
            ));
        }
        Ok(Self { origin, key, chain_code, secret: Some(secret) })
    }

    /// Whether it is the same key in the same place.
    pub fn is(&self, other: &Self) -> bool {
        (self.key, self.chain_code, &self.origin) == (other.key, other.chain_code, &other.origin)
    }

    /// Wipes its secret. It is still known which keys are below it.
    pub fn lock(&mut self) {
        self.secret = None;
    }

    /// Whether a key is below this one, at the place that its origin names: it is derived and compared.
    pub fn holds(&self, key: &SignerKey, origin: &KeyOrigin, identity: &SignerKey) -> bool {
        self.scalars(key, origin, identity).is_some()
    }

    /// The key pair of a key that it holds; `None` if it does not.
    pub fn derive(
        &self,
        key: &SignerKey,
        origin: &KeyOrigin,
        identity: &SignerKey,
    ) -> Option<Result<Locked<Keypair>, SignerError>> {
        let scalars = self.scalars(key, origin, identity)?;
        let Some(secret) = &self.secret else { return Some(Err(SignerError::Locked)) };
        let fits = |(pair, public_key): (_, SignerKey)| {
            if public_key == *key { Ok(pair) } else { Err(SignerError::Mismatch("the derived key differs")) }
        };
        Some(add(secret, &scalars).and_then(fits))
    }

    /// What is added to this key, step by step, until it is that one.
    ///
    /// The origin is others' word. It chooses the way and nothing else: what is at its end has to be the key. No way
    /// leads through the identity key.
    fn scalars(&self, key: &SignerKey, origin: &KeyOrigin, identity: &SignerKey) -> Option<Vec<Scalar>> {
        let steps = origin.steps_below(&self.origin)?;
        let (mut at, mut chain_code) = (self.key, self.chain_code);
        let mut scalars = Vec::with_capacity(steps.len());
        for number in steps {
            let scalar;
            (scalar, at, chain_code) = bip32::child(&at, &chain_code, *number)?;
            if at.x_only() == identity.x_only() {
                return None;
            }
            scalars.push(scalar);
        }
        (at == *key).then_some(scalars)
    }
}
