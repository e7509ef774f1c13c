//! Output descriptors (BIP-380) of MuSig2 wallets: `tr(musig(…))` and `rawtr(musig(…))` (BIP-386, BIP-390), with
//! derivation before or after the aggregation (BIP-328) and two or more branches (BIP-389).
//!
//! A [`Descriptor`] gives for each branch and index the key set, the derivation, the output script and the address.
//! What it does not support it refuses by name.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::{Network, NetworkKind, PrivateKey};

use crate::chain::keys::{self, fingerprint, output_script};
use crate::error::ProposalError;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::key_set::{Derivation, KeyOrder, KeyOrigin, KeySet, Participant, Taproot};
use crate::protocol::limits;
use crate::types::{SignerKey, from_hex, to_hex};

/// Characters of a descriptor: more than 128 participants with origins have.
pub const LENGTH: usize = 64 << 10;
/// Branches of a descriptor.
pub const BRANCHES: usize = 256;
/// Child numbers of all paths together: each is a multiplication on the curve for every address.
pub const STEPS: usize = 1024;
/// Child numbers of a participant, origin and path each (BIP-32).
const PATH: usize = 255;
/// Child numbers from 2³¹ on are hardened.
const HARDENED: u32 = 1 << 31;
/// Characters of the longest key: an extended one.
const KEY: usize = 120;

/// Why a text is no descriptor that this library can use, or has no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// Longer than any descriptor needs to be.
    #[error("the descriptor has {length} characters; the limit is {LENGTH}")]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// A character that no descriptor has.
    #[error(
        "the character at position {position} belongs into no descriptor; check that it was copied whole"
    )]
    Character {
        /// Where, in bytes from the beginning.
        position: usize,
    },
    /// The text after `#` is not the checksum of what stands before.
    #[error("the checksum does not fit: the descriptor's is {expected}; check that it was copied whole")]
    Checksum {
        /// The right one.
        expected: String,
    },
    /// Something else was expected.
    #[error("at position {position} of the descriptor: expected {expected}")]
    Syntax {
        /// Where, in bytes from the beginning.
        position: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// Another kind of output.
    #[error("{function} is not supported; descriptors are tr(musig(…)) or rawtr(musig(…))")]
    Function {
        /// Its name.
        function: &'static str,
    },
    /// The key is not an aggregate.
    #[error("the key is no musig(…); for a single signer libmusig is not needed")]
    NotMusig,
    /// There are scripts besides the key.
    #[error("script trees are not supported: give tr() the key alone")]
    ScriptTree,
    /// An aggregate key is a participant of another.
    #[error("participant {participant} is itself a musig(…); nested aggregates are not supported")]
    NestedMusig {
        /// 0-based.
        participant: usize,
    },
    /// Too many or too few participants.
    #[error("musig(…) has {participants} participants; the limits are 1 to {}", limits::SIGNERS)]
    Participants {
        /// How many there are.
        participants: usize,
    },
    /// A participant's key is refused.
    #[error("participant {participant}: {reason}")]
    Key {
        /// 0-based.
        participant: usize,
        /// What is wrong, and what would be right.
        reason: &'static str,
    },
    /// The derivation after `musig(…)` is refused.
    #[error("the derivation after musig(…): {reason}")]
    Derivation {
        /// What is wrong, and what would be right.
        reason: &'static str,
    },
    /// Keys of the main and of a test network stand side by side.
    #[error("participant {participant} is of another network than an earlier one")]
    MixedNetworks {
        /// 0-based.
        participant: usize,
    },
    /// The `<…;…>` of two keys have different numbers of branches.
    #[error("the <…;…> of the keys have different lengths; give each the same number of branches")]
    MixedBranches,
    /// There is no such branch.
    #[error("there is no branch {branch}: the descriptor has {branches}")]
    Branch {
        /// What was asked for.
        branch: usize,
        /// How many there are.
        branches: usize,
    },
    /// There is no such index.
    #[error("there is no index {index}: {reason}")]
    Index {
        /// What was asked for.
        index: u32,
        /// Which there are.
        reason: &'static str,
    },
    /// The address is asked for a network that the keys do not belong to.
    #[error("the keys are not those of network {network}")]
    Network {
        /// What was asked for.
        network: Network,
    },
    /// No session signs with these keys: two participants have the same key, or the derivation is too long, …
    #[error(transparent)]
    Keys(#[from] ProposalError),
}

/// What signs for an output of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorKeys {
    /// The participants in the order of the descriptor; they are sorted for aggregation (BIP-390).
    pub key_set: KeySet,
    /// What makes the final key of their aggregate.
    pub derivation: Derivation,
    /// The key that finally signs: its x-only form is the output key.
    pub key: SignerKey,
}

/// A descriptor of a MuSig2 wallet. It holds no private keys: where the text has some, they are made public at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    raw: bool,
    participants: Vec<ParticipantKey>,
    /// After the aggregation.
    path: Path,
    network: Option<NetworkKind>,
    branches: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ParticipantKey {
    origin: Option<KeyOrigin>,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Single(SignerKey),
    Extended(Box<Xpub>, Path),
}

/// Unhardened steps, and whether the index comes last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Path {
    steps: Vec<Step>,
    wildcard: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Number(u32),
    Branches(Vec<u32>),
}

impl Path {
    fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.wildcard
    }

    fn branches(&self) -> Option<usize> {
        self.steps.iter().find_map(|step| match step {
            Step::Branches(numbers) => Some(numbers.len()),
            Step::Number(_) => None,
        })
    }

    /// The child numbers of a branch that exists.
    fn at(&self, branch: usize, index: u32) -> Vec<u32> {
        let number = |step: &Step| match step {
            Step::Number(number) => *number,
            Step::Branches(numbers) => numbers[branch],
        };
        self.steps.iter().map(number).chain(self.wildcard.then_some(index)).collect()
    }
}

/// For `bitcoin::bip32`, whose keys are those of another libsecp256k1 than this library's.
static BIP32: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// A key of the crate `bitcoin`'s libsecp256k1 as one of ours.
pub(super) fn convert(key: &bitcoin::secp256k1::PublicKey) -> SignerKey {
    SignerKey::from_bytes(&key.serialize()).expect("both libraries have the same points")
}

impl Descriptor {
    /// How many branches it has: the length of its `<…;…>`, else 1. By custom branch 0 receives and branch 1 takes change.
    pub fn branches(&self) -> usize {
        self.branches
    }

    /// Whether it has an address for each index, by a `/*`.
    pub fn is_ranged(&self) -> bool {
        let of_key = |key: &Key| matches!(key, Key::Extended(_, path) if path.wildcard);
        self.path.wildcard || self.participants.iter().any(|participant| of_key(&participant.key))
    }

    /// Whether the keys belong to the main network or to a test network; `None` if they do not tell.
    pub fn network(&self) -> Option<NetworkKind> {
        self.network
    }

    /// What signs for an output. `index` is 0 for a descriptor without `/*`.
    ///
    /// Errors: [`DescriptorError::Branch`], [`DescriptorError::Index`], [`DescriptorError::Keys`] for keys that no session
    /// signs with.
    pub fn keys(&self, branch: usize, index: u32) -> Result<DescriptorKeys, DescriptorError> {
        let (key_set, derivation) = self.key_set(branch, index)?;
        let key = key_set.final_key(&derivation)?;
        Ok(DescriptorKeys { key_set, derivation, key })
    }

    /// The address of an output that a session can sign for.
    ///
    /// Errors: those of [`keys`](Self::keys), and [`DescriptorError::Network`].
    pub fn address(&self, network: Network, branch: usize, index: u32) -> Result<String, DescriptorError> {
        if self.network.is_some_and(|kind| kind != network.into()) {
            return Err(DescriptorError::Network { network });
        }
        Ok(keys::address(&self.keys(branch, index)?.key, network))
    }

    /// The output script (`OP_1 <32 bytes>`), to recognize outputs by. Unlike [`address`](Self::address) it is there for
    /// repeated participants too, which BIP-390 allows.
    ///
    /// Errors: [`DescriptorError::Branch`], [`DescriptorError::Index`].
    pub fn output_script(&self, branch: usize, index: u32) -> Result<Vec<u8>, DescriptorError> {
        let (key_set, derivation) = self.key_set(branch, index)?;
        Ok(output_script(&key_set.derive(&derivation)?.key()))
    }

    /// Number of participants.
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn participants(&self) -> usize {
        self.participants.len()
    }

    pub(crate) fn key_set(&self, branch: usize, index: u32) -> Result<(KeySet, Derivation), DescriptorError> {
        if branch >= self.branches {
            return Err(DescriptorError::Branch { branch, branches: self.branches });
        }
        if index >= HARDENED {
            return Err(DescriptorError::Index { index, reason: "the last one is 2147483647" });
        }
        if index > 0 && !self.is_ranged() {
            return Err(DescriptorError::Index { index, reason: "without /* there is only index 0" });
        }
        let mut participants = Vec::with_capacity(self.participants.len());
        for (position, participant) in self.participants.iter().enumerate() {
            participants.push(participant.at(branch, index).ok_or(DescriptorError::Key {
                participant: position,
                reason: "it cannot be derived any deeper (BIP-32)",
            })?);
        }
        let key_set = KeySet { participants, order: KeyOrder::Sorted };
        let taproot = if self.raw { Taproot::None } else { Taproot::KeyPath };
        Ok((key_set, Derivation { path: self.path.at(branch, index), taproot }))
    }
}

impl ParticipantKey {
    /// `None` below depth 255.
    fn at(&self, branch: usize, index: u32) -> Option<Participant> {
        match &self.key {
            Key::Single(key) => Some(Participant { key: *key, origin: self.origin.clone() }),
            Key::Extended(xpub, path) => {
                let path = path.at(branch, index);
                let children: Vec<ChildNumber> = path.iter().map(|number| (*number).into()).collect();
                let key = convert(&xpub.derive_pub(&*BIP32, &children).ok()?.public_key);
                let own =
                    || KeyOrigin { fingerprint: fingerprint(&convert(&xpub.public_key)), path: Vec::new() };
                let mut origin = self.origin.clone().unwrap_or_else(own);
                origin.path.extend(path);
                Some(Participant { key, origin: Some(origin) })
            }
        }
    }
}

/// With checksum, public keys alone, and `h` for hardened steps.
impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let participants: Vec<String> = self.participants.iter().map(ToString::to_string).collect();
        let name = if self.raw { "rawtr" } else { "tr" };
        let text = format!("{name}(musig({}){})", participants.join(","), self.path);
        let checksum = checksum(&text).expect("it has the characters of a descriptor only");
        write!(f, "{text}#{checksum}")
    }
}

/// An origin as it stands before a key: fingerprint and path in brackets.
pub(super) fn origin_text(origin: &KeyOrigin) -> String {
    let step = |number: &u32| match number.checked_sub(HARDENED) {
        Some(number) => format!("/{number}h"),
        None => format!("/{number}"),
    };
    let path: String = origin.path.iter().map(step).collect();
    format!("[{}{path}]", to_hex(&origin.fingerprint))
}

impl fmt::Display for ParticipantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            f.write_str(&origin_text(origin))?;
        }
        match &self.key {
            Key::Single(key) => write!(f, "{key}"),
            Key::Extended(xpub, path) => write!(f, "{xpub}{path}"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Number(number) => write!(f, "/{number}")?,
                Step::Branches(numbers) => {
                    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                    write!(f, "/<{}>", numbers.join(";"))?;
                }
            }
        }
        f.write_str(if self.wildcard { "/*" } else { "" })
    }
}

/// The characters that descriptors are made of, in the order of their checksum (BIP-380).
const CHARACTERS: &[u8] = b"0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~\
    ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ";
const CHECKSUM_CHARACTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The checksum of a descriptor's text without `#` (BIP-380).
///
/// Errors: [`DescriptorError::Character`].
pub fn checksum(text: &str) -> Result<String, DescriptorError> {
    const GENERATOR: [u64; 5] =
        [0xf5_dee5_1989, 0xa9_fdca_3312, 0x1b_ab10_e32d, 0x37_06b1_677a, 0x64_4d62_6ffd];
    let mut sum = 1u64;
    let mut feed = |symbol: u64| {
        let top = sum >> 35;
        sum = (sum & 0x7_ffff_ffff) << 5 ^ symbol;
        for (bit, generator) in GENERATOR.iter().enumerate() {
            if top >> bit & 1 == 1 {
                sum ^= generator;
            }
        }
    };
    let (mut group, mut members) = (0, 0);
    for (position, byte) in text.bytes().enumerate() {
        let symbol = CHARACTERS.iter().position(|known| *known == byte);
        let symbol = symbol.ok_or(DescriptorError::Character { position })? as u64;
        feed(symbol & 31);
        (group, members) = (group * 3 + (symbol >> 5), members + 1);
        if members == 3 {
            feed(group);
            (group, members) = (0, 0);
        }
    }
    if members > 0 {
        feed(group);
    }
    (0..8).for_each(|_| feed(0));
    sum ^= 1;
    let character = |index: u32| char::from(CHECKSUM_CHARACTERS[(sum >> (5 * (7 - index)) & 31) as usize]);
    Ok((0..8).map(character).collect())
}

impl FromStr for Descriptor {
    type Err = DescriptorError;

    /// Reads a descriptor, with or without its checksum; hardened steps may be written `h`, `H` or `'`.
    ///
    /// Private keys (WIF, xprv) are taken and made public at once; the memory that they pass through is not wiped.
    fn from_str(text: &str) -> Result<Self, DescriptorError> {
        let text = text.trim_ascii();
        if text.len() > LENGTH {
            return Err(DescriptorError::TooLong { length: text.len() });
        }
        let (body, given) = match text.split_once('#') {
            Some((body, given)) => (body, Some(given)),
            None => (text, None),
        };
        let expected = checksum(body)?;
        if given.is_some_and(|given| given != expected) && !mutation::on(Mutation::ChecksumIgnored) {
            return Err(DescriptorError::Checksum { expected });
        }
        Parser { text: body, position: 0 }.descriptor()
    }
}

/// Functions of BIP-380 to BIP-387 and of Bitcoin Core that are known, to be refused by name.
const OTHER_FUNCTIONS: [&str; 13] = [
    "addr",
    "combo",
    "multi",
    "multi_a",
    "pk",
    "pkh",
    "raw",
    "sh",
    "sortedmulti",
    "sortedmulti_a",
    "sp",
    "wpkh",
    "wsh",
];

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.rest().starts_with(token);
        if there {
            self.position += token.len();
        }
        there
    }

    /// What stands before the first of these characters, or before the end.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.position += taken.len();
        taken
    }

    fn expected(&self, expected: &'static str) -> DescriptorError {
        DescriptorError::Syntax { position: self.position, expected }
    }

    fn descriptor(mut self) -> Result<Descriptor, DescriptorError> {
        let function = self.until(&['(']);
        let raw = match function {
            "tr" => false,
            "rawtr" => true,
            other => {
                let known = OTHER_FUNCTIONS.iter().find(|known| **known == other);
                return Err(DescriptorError::Function {
                    function: known.unwrap_or(&"this kind of descriptor"),
                });
            }
        };
        self.position += 1.min(self.rest().len());
        if !self.take("musig(") {
            self.until(&[',', ')']);
            return Err(if self.rest().starts_with(',') {
                DescriptorError::ScriptTree
            } else {
                DescriptorError::NotMusig
            });
        }
        let mut participants = Vec::new();
        let mut network = None;
        loop {
            let position = participants.len();
            if position == limits::SIGNERS {
                let more = self.rest().split(')').next().unwrap_or_default().split(',').count();
                return Err(DescriptorError::Participants { participants: position + more });
            }
            let (participant, of_network) = self.participant(position)?;
            if let Some(of_network) = of_network
                && *network.get_or_insert(of_network) != of_network
            {
                return Err(DescriptorError::MixedNetworks { participant: position });
            }
            participants.push(participant);
            if self.take(")") {
                break;
            }
            if !self.take(",") {
                return Err(self.expected("`,` or `)` after a participant"));
            }
        }
        let path = self.path(true).map_err(|error| error.of_derivation())?.0;
        if self.rest().starts_with(',') && !raw {
            return Err(DescriptorError::ScriptTree);
        }
        if !self.take(")") {
            return Err(self.expected("`)` after the key"));
        }
        if !self.rest().is_empty() {
            return Err(self.expected("the end"));
        }
        let branches = check_paths(&participants, &path)?;
        Ok(Descriptor { raw, participants, path, network, branches })
    }

    fn participant(
        &mut self,
        position: usize,
    ) -> Result<(ParticipantKey, Option<NetworkKind>), DescriptorError> {
        let refused = |reason| DescriptorError::Key { participant: position, reason };
        if self.rest().starts_with("musig(") {
            return Err(DescriptorError::NestedMusig { participant: position });
        }
        let mut origin = match self.take("[") {
            true => Some(self.origin().map_err(|error| error.of_participant(position))?),
            false => None,
        };
        let text = self.until(&['/', ',', ')', '(']);
        if text.len() > 130 {
            return Err(refused("its key is longer than any key"));
        }
        let start = self.position;
        let (path, hardened) = self.path(false).map_err(|error| error.of_participant(position))?;
        let single = |key, network| -> Result<_, DescriptorError> {
            if start == self.position {
                Ok((ParticipantKey { origin: origin.clone(), key: Key::Single(key) }, network))
            } else {
                Err(refused("only extended keys (xpub, xprv) have children; remove the path"))
            }
        };
        if text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.len() >= 64 {
            let bytes = from_hex::<33>(text).map_err(|_| match text.len() {
                64 => refused("x-only keys do not aggregate; give the 33 bytes that start with 02 or 03"),
                130 => {
                    refused("uncompressed keys do not aggregate; give the 33 bytes that start with 02 or 03")
                }
                _ => refused("its key has another length than 66 digits"),
            })?;
            let key =
                SignerKey::from_bytes(&bytes).map_err(|_| refused("its key is no point of the curve"))?;
            return single(key, None);
        }
        if text.len() > KEY {
            return Err(refused("its key is longer than any key"));
        }
        if let Ok(mut key) = PrivateKey::from_wif(text) {
            let (public, network) = (key.inner.public_key(&BIP32), key.network);
            key.inner.non_secure_erase();
            if !key.compressed {
                return Err(refused("its private key is for an uncompressed key, which does not aggregate"));
            }
            return single(convert(&public), Some(network));
        }
        if let Ok(xpub) = text.parse::<Xpub>() {
            if !hardened.is_empty() {
                return Err(refused(
                    "an xpub has no hardened children; give the xpub below the last hardened step",
                ));
            }
            let key = Key::Extended(Box::new(xpub), path);
            return Ok((ParticipantKey { origin, key }, Some(xpub.network)));
        }
        let mut xprv: Xpriv = text.parse().map_err(|_| {
            refused("its key is none of: 66 hexadecimal digits, WIF, xpub, xprv (their checksums included)")
        })?;
        let depth = usize::from(xprv.depth);
        if !hardened.is_empty() {
            let children: Vec<ChildNumber> = hardened.iter().map(|number| (*number).into()).collect();
            let own = *xprv.fingerprint(&BIP32).as_bytes();
            let origin = origin.get_or_insert(KeyOrigin { fingerprint: own, path: Vec::new() });
            origin.path.extend(&hardened);
            if depth + children.len() > PATH || origin.path.len() > PATH {
                return Err(refused("its path is deeper than 255 steps"));
            }
            let derived = xprv.derive_priv(&BIP32, &children);
            xprv.private_key.non_secure_erase();
            xprv = derived.map_err(|_| refused("its path is deeper than 255 steps"))?;
        }
        let xpub = Xpub::from_priv(&BIP32, &xprv);
        xprv.private_key.non_secure_erase();
        let network = Some(xpub.network);
        Ok((ParticipantKey { origin, key: Key::Extended(Box::new(xpub), path) }, network))
    }

    /// `[` was taken.
    fn origin(&mut self) -> Result<KeyOrigin, PathError> {
        let text = self.until(&['/', ']']);
        let fingerprint = from_hex(text).map_err(|_| PathError("a fingerprint has 8 hexadecimal digits"))?;
        let mut path = Vec::new();
        while self.take("/") {
            path.push(number(self.until(&['/', ']', ',', ')']))?);
            if path.len() > PATH {
                return Err(PathError("its origin is deeper than 255 steps"));
            }
        }
        if !self.take("]") {
            return Err(PathError("its origin has no end: expected `]`"));
        }
        Ok(KeyOrigin { fingerprint, path })
    }

    /// A path that begins with `/` or is empty: what comes after its last hardened step, and the steps to there.
    fn path(&mut self, of_aggregate: bool) -> Result<(Path, Vec<u32>), PathError> {
        let (mut path, mut hardened) = (Path::default(), Vec::new());
        while self.take("/") {
            if path.wildcard {
                return Err(PathError("`*` is the last step"));
            }
            if path.steps.len() + hardened.len() >= PATH {
                return Err(PathError("its path is deeper than 255 steps"));
            }
            let step = self.until(&['/', ',', ')']);
            if let Some(numbers) = step.strip_prefix('<').and_then(|step| step.strip_suffix('>')) {
                path.steps.push(Step::Branches(branches(numbers, &path)?));
            } else if let Some(mark) = step.strip_prefix('*') {
                if matches!(mark, "h" | "H" | "'") {
                    return Err(PathError(match of_aggregate {
                        true => "an aggregate key has no hardened children",
                        false => {
                            "hardened `*` is not supported: the private key would be needed for each index"
                        }
                    }));
                }
                if !mark.is_empty() {
                    return Err(PathError("expected nothing after `*`"));
                }
                path.wildcard = true;
            } else {
                let number = number(step)?;
                if number < HARDENED {
                    path.steps.push(Step::Number(number));
                    continue;
                }
                if of_aggregate {
                    return Err(PathError("an aggregate key has no hardened children"));
                }
                for step in path.steps.drain(..) {
                    match step {
                        Step::Number(number) => hardened.push(number),
                        Step::Branches(_) => {
                            return Err(PathError("hardened steps after or in `<…;…>` are not supported"));
                        }
                    }
                }
                hardened.push(number);
            }
        }
        Ok((path, hardened))
    }
}

/// What is wrong with a path; whose it is, is added.
struct PathError(&'static str);

impl PathError {
    fn of_derivation(self) -> DescriptorError {
        DescriptorError::Derivation { reason: self.0 }
    }

    fn of_participant(self, participant: usize) -> DescriptorError {
        DescriptorError::Key { participant, reason: self.0 }
    }
}

/// A child number, with or without a mark for hardened.
fn number(text: &str) -> Result<u32, PathError> {
    let (digits, hardened) = match text.strip_suffix(['h', 'H', '\'']) {
        Some(digits) => (digits, HARDENED),
        None => (text, 0),
    };
    let number =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok()).flatten();
    match number {
        Some(number) if number < HARDENED => Ok(number + hardened),
        _ => Err(PathError("a step is a number from 0 to 2147483647")),
    }
}

/// What stands between `<` and `>` (BIP-389).
fn branches(text: &str, path: &Path) -> Result<Vec<u32>, PathError> {
    if path.branches().is_some() {
        return Err(PathError("only one `<…;…>` is allowed in a path"));
    }
    let mut numbers = Vec::new();
    for part in text.split(';') {
        let number = number(part)?;
        if number >= HARDENED {
            return Err(PathError("hardened steps after or in `<…;…>` are not supported"));
        }
        if numbers.len() == BRANCHES {
            return Err(PathError("`<…;…>` has more than 256 branches"));
        }
        numbers.push(number);
    }
    let different: HashSet<u32> = numbers.iter().copied().collect();
    if numbers.len() < 2 || different.len() < numbers.len() {
        return Err(PathError("`<…;…>` has at least two numbers, each once"));
    }
    Ok(numbers)
}

/// BIP-390's rules of derivation before and after the aggregation. The number of branches.
fn check_paths(participants: &[ParticipantKey], path: &Path) -> Result<usize, DescriptorError> {
    let wrong = |reason| Err(DescriptorError::Derivation { reason });
    let own = |participant: &ParticipantKey| match &participant.key {
        Key::Single(_) => Path::default(),
        Key::Extended(_, path) => path.clone(),
    };
    let paths: Vec<Path> = participants.iter().map(own).collect();
    if !path.is_empty() {
        if participants.iter().any(|participant| matches!(participant.key, Key::Single(_))) {
            return wrong("every participant must be an extended key (xpub, xprv)");
        }
        if paths.iter().any(|path| path.wildcard) {
            return wrong(
                "the participants have `*` already; derive before or after the aggregation, not both",
            );
        }
    }
    if path.branches().is_some() && paths.iter().any(|path| path.branches().is_some()) {
        return wrong(
            "the participants have `<…;…>` already; give it before or after the aggregation, not both",
        );
    }
    let steps = path.steps.len() + usize::from(path.wildcard);
    Derivation { path: vec![0; steps], taproot: Taproot::None }.check()?;
    if paths.iter().map(|path| path.steps.len()).sum::<usize>() > STEPS {
        return wrong("the paths of the participants together are longer than 1024 steps");
    }
    let mut lengths = paths.iter().chain([path]).filter_map(Path::branches);
    let branches = lengths.next();
    if lengths.any(|length| Some(length) != branches) {
        return Err(DescriptorError::MixedBranches);
    }
    Ok(branches.unwrap_or(1))
}
