//! One-shot secret nonces.

use std::fmt;

use secp256k1::musig::{self, KeyAggCache, PartialSignature, PublicNonce, SessionSecretRand};
use secp256k1::{Keypair, PublicKey, SecretKey, ffi};
use zeroize::{Zeroize, Zeroizing, zeroize_stack};

use crate::error::SignerError;
use crate::types::{SessionId, tagged_hash};

/// Stack that libsecp256k1 and its wrapper may have left secrets on. They take no reference but a copy.
pub(crate) const SCRUBBED_STACK: usize = 8192;

/// What a nonce was made for, and the only thing it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purpose {
    /// The session.
    pub(crate) session: SessionId,
    /// The attempt.
    pub(crate) attempt: u32,
    /// The message's index.
    pub(crate) message: usize,
    /// Token of the process: a child of `fork()` has another, also where it has its parent's number.
    pub(crate) process: u64,
}

/// Bytes of a nonce's secret, as libsecp256k1 has it.
pub(crate) const SECRET: usize = ffi::MUSIG_SECNONCE_SIZE;

/// Memory that holds the secret of one nonce, given by who makes it: there is no system in here that could lock a page.
/// Wiped when it is dropped.
pub(crate) trait SecretMemory: Send + Sync {
    /// The secret.
    fn secret(&self) -> &[u8; SECRET];
}

/// A secret nonce. It cannot be cloned or written anywhere, signs once at most, only what it was made for, only with
/// its key and only in the process that made it, and is wiped when dropped.
pub struct SecretNonce(Box<Inner>);

struct Inner {
    secret: Box<dyn SecretMemory>,
    public: PublicNonce,
    key: PublicKey,
    purpose: Purpose,
}

impl fmt::Debug for SecretNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretNonce").field("purpose", &self.0.purpose).finish_non_exhaustive()
    }
}

impl SecretNonce {
    /// BIP-327 `NonceGen` with 32 fresh bytes of the operating system, the secret key, the public key, the aggregate
    /// key, the message, and the purpose as `extra_in`. `keep` puts the secret into memory; `None` if there is none.
    pub(crate) fn generate(
        key: &Keypair,
        cache: &KeyAggCache,
        digest: &[u8; 32],
        purpose: Purpose,
        keep: impl FnOnce(&[u8; SECRET]) -> Option<Box<dyn SecretMemory>>,
    ) -> Result<Self, SignerError> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random).map_err(|_| SignerError::NoRandomness)?;
        // The wrapper panics on zero.
        if *random == [0; 32] {
            return Err(SignerError::NoRandomness);
        }
        let nonce = nonce_gen(key, cache, digest, purpose, &random, keep);
        zeroize_stack::<SCRUBBED_STACK>();
        nonce.map(Self).ok_or_else(|| SignerError::Other("the system has no memory for the nonces".into()))
    }

    /// The public nonce.
    pub(crate) fn public(&self) -> &PublicNonce {
        &self.0.public
    }

    /// BIP-327 `Sign`. The nonce is gone afterwards, also if this fails.
    ///
    /// Errors: [`SignerError::NonceGone`] in a forked process, [`SignerError::Mismatch`] for another key or purpose.
    /// libsecp256k1 would abort the process on another key, and not notice another purpose.
    pub(crate) fn sign(
        self,
        key: &Keypair,
        purpose: Purpose,
        cache: &KeyAggCache,
        session: &musig::Session,
    ) -> Result<PartialSignature, SignerError> {
        if self.0.purpose.process != purpose.process {
            return Err(SignerError::NonceGone);
        }
        if self.0.key != key.public_key() {
            return Err(SignerError::Mismatch("the nonce was made for another key"));
        }
        if self.0.purpose != purpose {
            return Err(SignerError::Mismatch("the nonce was made for something else"));
        }
        let partial = partial_sign(self.0.secret.secret(), key, cache, session);
        drop(self);
        zeroize_stack::<SCRUBBED_STACK>();
        Ok(partial)
    }
}

/// Not inlined, so that its stack can be scrubbed.
#[inline(never)]
fn nonce_gen(
    key: &Keypair,
    cache: &KeyAggCache,
    digest: &[u8; 32],
    purpose: Purpose,
    random: &[u8; 32],
    keep: impl FnOnce(&[u8; SECRET]) -> Option<Box<dyn SecretMemory>>,
) -> Option<Box<Inner>> {
    let Purpose { session, attempt, message, process: _ } = purpose;
    let extra = [&session.0[..], &attempt.to_be_bytes(), &(message as u32).to_be_bytes()];
    let (secret, public) = musig::new_nonce_pair(
        SessionSecretRand::assume_uniformly_random(*random),
        Some(cache),
        Some(SecretKey::from_keypair(key)),
        key.public_key(),
        Some(digest),
        Some(tagged_hash("musig/nonce", &extra)),
    );
    let mut secret = secret.dangerous_into_bytes();
    let kept = keep(&secret);
    secret.zeroize();
    Some(Box::new(Inner { secret: kept?, public, key: key.public_key(), purpose }))
}

/// Not inlined, so that its stack can be scrubbed. The caller has checked that the nonce is unused and fits the key.
#[inline(never)]
fn partial_sign(
    secret: &[u8; SECRET],
    key: &Keypair,
    cache: &KeyAggCache,
    session: &musig::Session,
) -> PartialSignature {
    session.partial_sign(musig::SecretNonce::dangerous_from_bytes(*secret), key, cache)
}

#[cfg(test)]
mod tests {
    use secp256k1::musig::{AggregatedNonce, Session};

    use super::*;

    const DIGEST: [u8; 32] = [3; 32];
    const PURPOSE: Purpose = Purpose { session: SessionId([1; 32]), attempt: 2, message: 3, process: 4 };

    /// Ordinary memory.
    struct Plain(Zeroizing<[u8; SECRET]>);

    impl SecretMemory for Plain {
        fn secret(&self) -> &[u8; SECRET] {
            &self.0
        }
    }

    fn plain(secret: &[u8; SECRET]) -> Option<Box<dyn SecretMemory>> {
        Some(Box::new(Plain(Zeroizing::new(*secret))))
    }

    #[test]
    fn without_memory_there_is_no_nonce() {
        let key = key(1);
        let cache = KeyAggCache::new(&[&key.public_key()]);
        let nonce = SecretNonce::generate(&key, &cache, &DIGEST, PURPOSE, |_| None);
        assert!(matches!(nonce, Err(SignerError::Other(_))));
    }

    fn key(byte: u8) -> Keypair {
        Keypair::from_secret_bytes([byte; 32]).expect("below the order")
    }

    fn nonce_and_session(key: &Keypair) -> (SecretNonce, KeyAggCache, Session) {
        let cache = KeyAggCache::new(&[&key.public_key()]);
        let nonce = SecretNonce::generate(key, &cache, &DIGEST, PURPOSE, plain).expect("random bytes");
        let session = Session::new(&cache, AggregatedNonce::new(&[nonce.public()]), &DIGEST);
        (nonce, cache, session)
    }

    #[test]
    fn signs_what_it_was_made_for() {
        let key = key(1);
        let (nonce, cache, session) = nonce_and_session(&key);
        let public = *nonce.public();
        let partial = nonce.sign(&key, PURPOSE, &cache, &session).expect("everything fits");
        assert!(session.partial_verify(&cache, &partial, &public, key.public_key()));
    }

    #[test]
    fn another_key_is_refused_and_does_not_abort() {
        let (nonce, cache, session) = nonce_and_session(&key(1));
        let refused = nonce.sign(&key(2), PURPOSE, &cache, &session).expect_err("another key");
        assert_eq!(refused, SignerError::Mismatch("the nonce was made for another key"));
    }

    #[test]
    fn another_purpose_is_refused() {
        let others = [
            Purpose { session: SessionId([2; 32]), ..PURPOSE },
            Purpose { attempt: 3, ..PURPOSE },
            Purpose { message: 4, ..PURPOSE },
        ];
        for other in others {
            let (nonce, cache, session) = nonce_and_session(&key(1));
            let refused = nonce.sign(&key(1), other, &cache, &session).expect_err("another purpose");
            assert_eq!(refused, SignerError::Mismatch("the nonce was made for something else"));
        }
    }

    #[test]
    fn another_process_is_refused() {
        let (nonce, cache, session) = nonce_and_session(&key(1));
        let child = Purpose { process: 5, ..PURPOSE };
        assert_eq!(nonce.sign(&key(1), child, &cache, &session).err(), Some(SignerError::NonceGone));
    }

    #[test]
    fn two_nonces_for_one_purpose_differ() {
        let key = key(1);
        let ((one, ..), (other, ..)) = (nonce_and_session(&key), nonce_and_session(&key));
        assert_ne!(one.public(), other.public());
        assert_ne!(one.0.secret.secret(), other.0.secret.secret());
    }

    #[test]
    fn shows_no_secret() {
        let (nonce, ..) = nonce_and_session(&key(1));
        let shown = format!("{nonce:?}");
        assert_eq!(shown, format!("SecretNonce {{ purpose: {PURPOSE:?}, .. }}"));
    }
}
