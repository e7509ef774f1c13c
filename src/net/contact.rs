//! First contact: what a side says before anything else on its stream, and whether the other one shows itself for it.
//!
//! It is the version of the wire, and hashes of the keys of the signers that the side looks for. So whoever knows a
//! signer's key finds its node, and whoever does not learns nothing, not even that a signer is there.

use libp2p::PeerId;

use crate::types::{SignerKey, tagged_hash};

/// The version of the protocol `/musig/1` beyond its name.
pub(super) const VERSION: u32 = 1;
/// Signers that are looked for on one connection.
pub(super) const SEEKS: usize = 100;

/// The hash of a signer's key between two peers.
pub(super) type Seek = [u8; 32];

/// What is said first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) version: u32,
    /// At most [`SEEKS`].
    pub(super) seeks: Vec<Seek>,
}

impl Contact {
    /// What a peer says to another one that looks for these signers there.
    pub(super) fn new(from: &PeerId, to: &PeerId, keys: impl Iterator<Item = SignerKey>) -> Self {
        let seeks = keys.take(SEEKS).map(|key| seek(from, to, &key)).collect();
        Self { version: VERSION, seeks }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.version.to_be_bytes()[..], self.seeks.as_flattened()].concat()
    }

    /// Reads one. Of another version only that is known.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, seeks) = bytes.split_first_chunk()?;
        let version = u32::from_be_bytes(*version);
        if version != VERSION {
            return Some(Self { version, seeks: Vec::new() });
        }
        let (seeks, rest) = seeks.as_chunks();
        (rest.is_empty() && seeks.len() <= SEEKS).then(|| Self { version, seeks: seeks.to_vec() })
    }
}

/// The tagged hash `musig/seek` of sender, receiver and key: nobody who hears it can say it to another one, or as another.
pub(super) fn seek(from: &PeerId, to: &PeerId, key: &SignerKey) -> Seek {
    tagged_hash("musig/seek", &[&from.to_bytes(), &to.to_bytes(), key.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::signer;

    #[test]
    fn first_contact_is_read_as_it_was_written() {
        let (from, to) = (PeerId::random(), PeerId::random());
        for keys in [0, 1, 3, 200] {
            let contact = Contact::new(&from, &to, (0..keys).map(|number| signer(number.max(1))));
            assert_eq!(contact.seeks.len(), usize::from(keys).min(SEEKS));
            assert_eq!(Contact::decode(&contact.encode()), Some(contact));
        }
        let other = Contact { version: 2, seeks: Vec::new() };
        assert_eq!(Contact::decode(&[0, 0, 0, 2, 9, 9]), Some(other), "whatever follows");
        for bytes in [&[][..], &[0, 0, 0], &[0, 0, 0, 1, 5], &[&[0, 0, 0, 1][..], &[7; 32 * 101]].concat()] {
            assert_eq!(Contact::decode(bytes), None);
        }
    }

    #[test]
    fn first_contact_names_a_key_between_two_peers_only() {
        let (one, two) = (PeerId::random(), PeerId::random());
        let said = seek(&one, &two, &signer(1));
        assert_eq!(said, seek(&one, &two, &signer(1)));
        for other in
            [seek(&two, &one, &signer(1)), seek(&one, &one, &signer(1)), seek(&one, &two, &signer(2))]
        {
            assert_ne!(said, other);
        }
    }
}
