//! First contact: what a side says before anything else on its stream, and whether the other one shows itself for it.
//!
//! It is the version of the wire, and hashes of the keys of the signers that the side looks for. So whoever knows a
//! signer's key finds its node, and whoever does not learns nothing, not even that a signer is there.

use libp2p::PeerId;

use crate::types::{SignerKey, tagged_hash};

/// The version of the protocol `/musig/1` beyond its name.
pub(super) const VERSION: u32 = 1;
/// Signers that are named in one first contact.
const SEEKS: usize = 100;
/// Signers that are looked for on one connection.
const SEEKS_IN_ALL: usize = 1000;

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
    /// What a peer says to another one that looks for these signers there: one, and more if that does not hold them.
    pub(super) fn all(from: &PeerId, to: &PeerId, keys: impl Iterator<Item = SignerKey>) -> Vec<Self> {
        let seeks: Vec<_> = keys.take(SEEKS_IN_ALL).map(|key| seek(from, to, &key)).collect();
        let rest = seeks.chunks(SEEKS).skip(1).map(<[Seek]>::to_vec);
        let first = seeks[..seeks.len().min(SEEKS)].to_vec();
        std::iter::once(first).chain(rest).map(|seeks| Self { version: VERSION, seeks }).collect()
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

/// What a peer said of whom it looks for.
#[derive(Debug, Default)]
pub(super) struct Sought {
    /// This node's own signer.
    own: bool,
    /// What cannot be compared yet, for this node has no signer; the last [`SEEKS_IN_ALL`].
    open: Vec<Seek>,
}

impl Sought {
    /// The peer looks for these, too. `own` is what it says if it looks for this node.
    pub(super) fn add(&mut self, seeks: Vec<Seek>, own: Option<Seek>) {
        match own {
            Some(own) => self.own |= seeks.contains(&own),
            None => {
                self.open.extend(seeks);
                self.open.drain(..self.open.len().saturating_sub(SEEKS_IN_ALL));
            }
        }
    }

    /// Whether it looks for this node, which is to be named so.
    pub(super) fn has(&mut self, own: &Seek) -> bool {
        self.own |= std::mem::take(&mut self.open).contains(own);
        self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::signer;

    #[test]
    fn first_contact_is_read_as_it_was_written() {
        let (from, to) = (PeerId::random(), PeerId::random());
        for keys in [0_usize, 1, 3, SEEKS, SEEKS + 1, 5 * SEEKS_IN_ALL] {
            let contacts = Contact::all(&from, &to, (0..keys).map(|number| signer((number % 200) as u8 + 1)));
            let named: usize = contacts.iter().map(|contact| contact.seeks.len()).sum();
            assert_eq!(named, keys.min(SEEKS_IN_ALL));
            assert_eq!(contacts.len(), named.div_ceil(SEEKS).max(1));
            for contact in contacts {
                assert!(contact.encode().len() <= crate::protocol::limits::PRESENCE);
                assert_eq!(Contact::decode(&contact.encode()), Some(contact));
            }
        }
        let other = Contact { version: 2, seeks: Vec::new() };
        assert_eq!(Contact::decode(&[0, 0, 0, 2, 9, 9]), Some(other), "whatever follows");
        for bytes in [&[][..], &[0, 0, 0], &[0, 0, 0, 1, 5], &[&[0, 0, 0, 1][..], &[7; 32 * 101]].concat()] {
            assert_eq!(Contact::decode(bytes), None);
        }
    }

    #[test]
    fn first_contact_is_kept_until_there_is_a_signer_to_compare_it_with() {
        let own = [1; 32];
        let mut sought = Sought::default();
        sought.add(vec![[2; 32]], Some(own));
        assert!(!sought.has(&own));
        sought.add(vec![own], None);
        for _ in 0..SEEKS_IN_ALL - 1 {
            sought.add(vec![[2; 32]], None);
        }
        assert_eq!(sought.open.len(), SEEKS_IN_ALL);
        assert!(sought.has(&own) && sought.open.is_empty());
        // Once is enough, whatever else it looks for then.
        sought.add(vec![[2; 32]], Some(own));
        assert!(sought.has(&own));
        let mut sought = Sought::default();
        sought.add(vec![own], Some(own));
        assert!(sought.has(&own));
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
