//! Groups: how a wallet of several people comes to be. Each makes a [`SignerCard`]; the cards of all make the same
//! [`Group`] everywhere, in whatever order they come.

mod card;

use std::fmt;
use std::str::FromStr;

use bitcoin::{Network, NetworkKind};
use serde_json::{Value, json};

pub use card::{CARD_ADDRESS, CARD_ADDRESSES, CARD_LENGTH, CARD_NAME, SignerCard};

use super::descriptor::{Descriptor, DescriptorError, DescriptorKeys, origin_text};
use crate::error::SignerError;
use crate::protocol::crypto::key_set::{KeyOrder, KeySet, Participant};
use crate::protocol::limits;
use crate::types::{SignerKey, tagged_hash};

/// Branch of the addresses that others pay to.
const RECEIVE: usize = 0;
/// Branch of those that take change.
const CHANGE: usize = 1;
/// Words of a check phrase, each of 16 bits: whoever chooses cards and wants two groups with one phrase has to try 2⁶⁴
/// times.
const WORDS: usize = 8;
/// Bytes of a group's text: the cards of 128 signers, and room.
const LENGTH: usize = limits::SIGNERS * (CARD_LENGTH + 8) + (64 << 10);

/// Why there is no such card or group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A card is refused.
    #[error("{}: {reason}", match .position { None => "the card is refused".into(), Some(at) => format!("card {at} is refused") })]
    Card {
        /// Which of several, 0-based.
        position: Option<usize>,
        /// What is wrong, and what would be right.
        reason: &'static str,
    },
    /// The identity key did not sign the card.
    #[error("the card was not signed: {0}")]
    Signer(SignerError),
    /// Too many cards, or none.
    #[error("the group has {cards} cards; the limits are 1 to {}", limits::SIGNERS)]
    Size {
        /// How many.
        cards: usize,
    },
    /// Two cards have a key in common.
    #[error("cards {first} and {second} have a key in common; ask for one card of each signer")]
    SameSigner {
        /// 0-based.
        first: usize,
        /// 0-based.
        second: usize,
    },
    /// Keys of the main network and of a test network stand side by side.
    #[error("card {position} is of another network than card 0; make all for one network")]
    MixedNetworks {
        /// 0-based.
        position: usize,
    },
    /// The text is no group.
    #[error("the text is no group: {reason}")]
    Text {
        /// What is wrong, and what would be right.
        reason: &'static str,
    },
    /// There is no such address, or no session signs for it.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
}

/// A wallet of several signers, made of their cards: `tr(musig(…)/<0;1>/*)` of their extended keys, aggregated and then
/// derived (BIP-328).
///
/// The same cards make the same group in any order: signer indices are the positions in [`cards`](Self::cards), by
/// identity key. Before it is paid, all signers compare [`check_phrase`](Self::check_phrase) aloud: whoever could change
/// cards on their way would have a key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// By identity key, ascending.
    cards: Vec<SignerCard>,
    descriptor: Descriptor,
}

impl Group {
    /// Makes a group of the cards of all its signers.
    ///
    /// Errors: [`GroupError::Size`], [`GroupError::SameSigner`], [`GroupError::MixedNetworks`]; positions are those in
    /// `cards`.
    pub fn new(cards: impl IntoIterator<Item = SignerCard>) -> Result<Self, GroupError> {
        let mut cards: Vec<SignerCard> = cards.into_iter().take(limits::SIGNERS + 1).collect();
        if !(1..=limits::SIGNERS).contains(&cards.len()) {
            return Err(GroupError::Size { cards: cards.len() });
        }
        let mut owners = std::collections::HashMap::new();
        for (second, card) in cards.iter().enumerate() {
            if card.network() != cards[0].network() {
                return Err(GroupError::MixedNetworks { position: second });
            }
            for key in [*card.identity().x_only(), *card.participant_key().x_only()] {
                let first = *owners.entry(key).or_insert(second);
                if first != second {
                    return Err(GroupError::SameSigner { first, second });
                }
            }
        }
        cards.sort_by_key(|card| *card.identity());
        let keys: Vec<String> = cards.iter().map(participant).collect();
        let descriptor = Descriptor::from_str(&format!("tr(musig({})/<0;1>/*)", keys.join(",")))?;
        let group = Self { cards, descriptor };
        // No group is given out that no session signs for.
        group.keys(false, 0)?;
        Ok(group)
    }

    /// The cards, by signer index.
    pub fn cards(&self) -> &[SignerCard] {
        &self.cards
    }

    /// The identity keys, by signer index: the signers of a session.
    pub fn signers(&self) -> Vec<SignerKey> {
        self.cards.iter().map(|card| *card.identity()).collect()
    }

    /// The descriptor, for other wallets.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Whether its keys are of the main network or of a test network.
    pub fn network(&self) -> NetworkKind {
        self.cards[0].network()
    }

    /// The participant keys, by signer index, with their origins: those of every address.
    pub fn key_set(&self) -> KeySet {
        let participant = |card: &SignerCard| Participant {
            key: card.participant_key(),
            origin: Some(card.origin().clone()),
        };
        KeySet { participants: self.cards.iter().map(participant).collect(), order: KeyOrder::Sorted }
    }

    /// What signs for an output: of those that others pay to, or of those that take change.
    ///
    /// Errors: [`GroupError::Descriptor`] for an index of 2³¹ and above.
    pub fn keys(&self, change: bool, index: u32) -> Result<DescriptorKeys, GroupError> {
        Ok(self.descriptor.keys(branch(change), index)?)
    }

    /// The address of such an output.
    ///
    /// Errors: those of [`keys`](Self::keys), and a network that the keys do not belong to.
    pub fn address(&self, network: Network, change: bool, index: u32) -> Result<String, GroupError> {
        Ok(self.descriptor.address(network, branch(change), index)?)
    }

    /// Eight words that all signers compare aloud: they stand for 128 bits of a hash of all identity keys and the
    /// descriptor. Names and addresses are not in it.
    pub fn check_phrase(&self) -> String {
        let identities: Vec<u8> = self.cards.iter().flat_map(|card| *card.identity().as_bytes()).collect();
        let descriptor = self.descriptor.to_string();
        let hash = tagged_hash("musig/group", &[&identities, descriptor.as_bytes()]);
        let (numbers, _) = hash.as_chunks::<2>();
        let words: Vec<String> =
            numbers[..WORDS].iter().map(|number| word(u16::from_be_bytes(*number))).collect();
        words.join(" ")
    }

    /// The group as JSON: its cards, and for people the descriptor and the check phrase.
    pub fn to_json(&self) -> String {
        let cards: Vec<String> = self.cards.iter().map(ToString::to_string).collect();
        let group = json!({
            "musig_group": 1,
            "check": self.check_phrase(),
            "descriptor": self.descriptor.to_string(),
            "cards": cards,
        });
        format!("{group:#}\n")
    }

    /// Reads [`to_json`](Self::to_json). Everything is made of the cards again; a descriptor or a check phrase that stands
    /// there has to be theirs.
    ///
    /// Errors: [`GroupError::Text`], and those of [`new`](Self::new) and of reading a card.
    pub fn from_json(text: &str) -> Result<Self, GroupError> {
        let refused = |reason| GroupError::Text { reason };
        if text.len() > LENGTH {
            return Err(refused("it is longer than the cards of 128 signers"));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|_| refused("it is not JSON; copy all of it"))?;
        if value.get("musig_group") != Some(&json!(1)) {
            return Err(refused("it has no \"musig_group\": 1"));
        }
        let cards =
            value.get("cards").and_then(Value::as_array).ok_or(refused("it has no list \"cards\""))?;
        if !(1..=limits::SIGNERS).contains(&cards.len()) {
            return Err(GroupError::Size { cards: cards.len() });
        }
        let card = |(position, text): (usize, &Value)| {
            let text = text.as_str().ok_or(refused("a card is no text"))?;
            text.parse().map_err(|error| match error {
                GroupError::Card { reason, .. } => GroupError::Card { position: Some(position), reason },
                other => other,
            })
        };
        let cards: Result<Vec<SignerCard>, GroupError> = cards.iter().enumerate().map(card).collect();
        let group = Self::new(cards?)?;
        for (name, expected) in
            [("descriptor", group.descriptor.to_string()), ("check", group.check_phrase())]
        {
            if value.get(name).is_some_and(|found| found.as_str() != Some(&expected)) {
                return Err(refused(
                    "its descriptor or its check phrase is not the one of its cards: it was changed; ask for the cards again",
                ));
            }
        }
        Ok(group)
    }
}

fn branch(change: bool) -> usize {
    if change { CHANGE } else { RECEIVE }
}

/// As a descriptor has it.
fn participant(card: &SignerCard) -> String {
    format!("{}{}", origin_text(card.origin()), card.xpub())
}

/// 16 bits as a word that can be said in many languages: consonant, vowel, consonant, vowel, consonant.
fn word(number: u16) -> String {
    const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
    const VOWELS: &[u8; 4] = b"aiou";
    let consonant = |shift: u32| CONSONANTS[usize::from(number >> shift & 15)] as char;
    let vowel = |shift: u32| VOWELS[usize::from(number >> shift & 3)] as char;
    [consonant(12), vowel(10), consonant(6), vowel(4), consonant(0)].iter().collect()
}

/// Signers and check phrase.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group of {}: {}", self.cards.len(), self.check_phrase())
    }
}
