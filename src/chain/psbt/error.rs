//! Why a PSBT is refused, by the name of the field.

use std::fmt;

use crate::error::ProposalError;
use crate::types::SignerKey;

/// One of the maps of a PSBT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapName {
    /// The global map.
    Global,
    /// The map of an input, 0-based.
    Input(usize),
    /// The map of an output, 0-based.
    Output(usize),
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("the global map"),
            Self::Input(index) => write!(f, "input {index}"),
            Self::Output(index) => write!(f, "output {index}"),
        }
    }
}

/// A field of a PSBT: its map and its key type (BIP-174, BIP-370, BIP-371, BIP-373).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The map it stands in.
    pub map: MapName,
    /// Its key type; `None` where the key itself cannot be read.
    pub key_type: Option<u64>,
}

impl Field {
    /// The name that its BIP gives it, `None` for a field that this library does not know.
    pub fn name(&self) -> Option<&'static str> {
        let names: &[(u8, &str)] = match self.map {
            MapName::Global => GLOBAL,
            MapName::Input(_) => INPUT,
            MapName::Output(_) => OUTPUT,
        };
        let wanted = self.key_type?;
        names.iter().find(|(key_type, _)| u64::from(*key_type) == wanted).map(|(_, name)| *name)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.key_type) {
            (Some(name), _) => write!(f, "{name} of {}", self.map),
            (None, Some(key_type)) => write!(f, "the unknown field 0x{key_type:02x} of {}", self.map),
            (None, None) => write!(f, "a key of {}", self.map),
        }
    }
}

const GLOBAL: &[(u8, &str)] = &[
    (0x00, "PSBT_GLOBAL_UNSIGNED_TX"),
    (0x01, "PSBT_GLOBAL_XPUB"),
    (0x02, "PSBT_GLOBAL_TX_VERSION"),
    (0x03, "PSBT_GLOBAL_FALLBACK_LOCKTIME"),
    (0x04, "PSBT_GLOBAL_INPUT_COUNT"),
    (0x05, "PSBT_GLOBAL_OUTPUT_COUNT"),
    (0x06, "PSBT_GLOBAL_TX_MODIFIABLE"),
    (0xfb, "PSBT_GLOBAL_VERSION"),
    (0xfc, "PSBT_GLOBAL_PROPRIETARY"),
];

const INPUT: &[(u8, &str)] = &[
    (0x00, "PSBT_IN_NON_WITNESS_UTXO"),
    (0x01, "PSBT_IN_WITNESS_UTXO"),
    (0x02, "PSBT_IN_PARTIAL_SIG"),
    (0x03, "PSBT_IN_SIGHASH_TYPE"),
    (0x04, "PSBT_IN_REDEEM_SCRIPT"),
    (0x05, "PSBT_IN_WITNESS_SCRIPT"),
    (0x06, "PSBT_IN_BIP32_DERIVATION"),
    (0x07, "PSBT_IN_FINAL_SCRIPTSIG"),
    (0x08, "PSBT_IN_FINAL_SCRIPTWITNESS"),
    (0x09, "PSBT_IN_POR_COMMITMENT"),
    (0x0a, "PSBT_IN_RIPEMD160"),
    (0x0b, "PSBT_IN_SHA256"),
    (0x0c, "PSBT_IN_HASH160"),
    (0x0d, "PSBT_IN_HASH256"),
    (0x0e, "PSBT_IN_PREVIOUS_TXID"),
    (0x0f, "PSBT_IN_OUTPUT_INDEX"),
    (0x10, "PSBT_IN_SEQUENCE"),
    (0x11, "PSBT_IN_REQUIRED_TIME_LOCKTIME"),
    (0x12, "PSBT_IN_REQUIRED_HEIGHT_LOCKTIME"),
    (0x13, "PSBT_IN_TAP_KEY_SIG"),
    (0x14, "PSBT_IN_TAP_SCRIPT_SIG"),
    (0x15, "PSBT_IN_TAP_LEAF_SCRIPT"),
    (0x16, "PSBT_IN_TAP_BIP32_DERIVATION"),
    (0x17, "PSBT_IN_TAP_INTERNAL_KEY"),
    (0x18, "PSBT_IN_TAP_MERKLE_ROOT"),
    (0x1a, "PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS"),
    (0x1b, "PSBT_IN_MUSIG2_PUB_NONCE"),
    (0x1c, "PSBT_IN_MUSIG2_PARTIAL_SIG"),
    (0xfc, "PSBT_IN_PROPRIETARY"),
];

const OUTPUT: &[(u8, &str)] = &[
    (0x00, "PSBT_OUT_REDEEM_SCRIPT"),
    (0x01, "PSBT_OUT_WITNESS_SCRIPT"),
    (0x02, "PSBT_OUT_BIP32_DERIVATION"),
    (0x03, "PSBT_OUT_AMOUNT"),
    (0x04, "PSBT_OUT_SCRIPT"),
    (0x05, "PSBT_OUT_TAP_INTERNAL_KEY"),
    (0x06, "PSBT_OUT_TAP_TREE"),
    (0x07, "PSBT_OUT_TAP_BIP32_DERIVATION"),
    (0x08, "PSBT_OUT_MUSIG2_PARTICIPANT_PUBKEYS"),
    (0xfc, "PSBT_OUT_PROPRIETARY"),
];

/// Why a PSBT is refused, or a step of it not taken. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PsbtError {
    /// The first bytes are not those of a PSBT.
    #[error("this is not a PSBT: it does not begin with `psbt` and 0xff; pass the bytes, or its base64 text")]
    NotPsbt,
    /// The text is not base64.
    #[error("the text is not base64 (RFC 4648, with padding); check that it was copied whole")]
    Base64,
    /// More of something than a limit allows.
    #[error("the PSBT has {actual} {what}; the limit is {most}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many there are, or are announced.
        actual: u64,
        /// The limit.
        most: u64,
    },
    /// Fields that this library does not know, and proprietary ones, take too much.
    #[error("up to {field} the unknown and proprietary fields take more than {most} bytes; remove them")]
    UnknownFields {
        /// The field at which the limit was reached.
        field: Field,
        /// The limit.
        most: usize,
    },
    /// The bytes end within a field, or its length says more than there is.
    #[error("the PSBT ends within {field}: it was cut, or a length in it is wrong")]
    Truncated {
        /// The field.
        field: Field,
    },
    /// There are bytes after the last map.
    #[error("{bytes} bytes follow the last map of the PSBT; pass one PSBT with nothing after it")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The same key stands twice in a map.
    #[error("{field} stands there twice with the same key")]
    Duplicate {
        /// The field.
        field: Field,
    },
    /// A field that this version of PSBT requires is missing.
    #[error("{field} is missing; PSBT version {version} requires it")]
    Missing {
        /// The field.
        field: Field,
        /// The PSBT's version.
        version: u32,
    },
    /// A field that this version of PSBT excludes is there.
    #[error("{field} does not belong into PSBT version {version}")]
    Excluded {
        /// The field.
        field: Field,
        /// The PSBT's version.
        version: u32,
    },
    /// Neither version 0 nor version 2.
    #[error("PSBT version {version} is unknown; versions 0 (BIP-174) and 2 (BIP-370) are read")]
    Version {
        /// The version.
        version: u32,
    },
    /// The content of a field breaks its definition.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field.
        field: Field,
        /// What is wrong, and what would be right.
        reason: &'static str,
    },
    /// The transaction is impossible.
    #[error("the transaction of the PSBT is refused: {0}")]
    Transaction(&'static str),
    /// The lock times that the inputs require exclude each other (BIP-370).
    #[error("the inputs require lock times of both kinds, heights and times; no transaction can meet both")]
    LockTimeConflict,
    /// There is no such input or output.
    #[error("{map} does not exist")]
    NoSuchMap {
        /// The map.
        map: MapName,
    },
    /// An input names no output that it spends.
    #[error(
        "input {input} has no spent output: add PSBT_IN_WITNESS_UTXO to every input, as signing commits to all"
    )]
    NoSpentOutput {
        /// The input.
        input: usize,
    },
    /// A signature hash type that leaves the transaction open.
    #[error("input {input} asks for signature hash type {value}; only DEFAULT (0) and ALL (1) are signed")]
    SighashType {
        /// The input.
        input: usize,
        /// The value of `PSBT_IN_SIGHASH_TYPE`.
        value: u32,
    },
    /// The aggregate key stands in a script leaf.
    #[error(
        "input {input}: the aggregate key stands in a script leaf; only the key path of Taproot is spent. A session \
         over the raw signature hash can sign it"
    )]
    KeyInLeaf {
        /// The input.
        input: usize,
    },
    /// The internal key is an aggregate, and the output has scripts besides.
    #[error(
        "input {input}: the output has a script tree; only outputs without scripts are spent. A session over the raw \
         signature hash can sign it"
    )]
    ScriptTree {
        /// The input.
        input: usize,
    },
    /// The internal key and the merkle root do not make the output key.
    #[error(
        "input {input}: PSBT_IN_TAP_INTERNAL_KEY and PSBT_IN_TAP_MERKLE_ROOT do not make the key of the spent output"
    )]
    OutputKey {
        /// The input.
        input: usize,
    },
    /// The participants of an input lead to no key that could sign it.
    #[error(
        "input {input}: none of its MuSig2 aggregate keys leads to the output key, the internal key or a leaf; add the \
         derivation of the aggregate key (PSBT_IN_TAP_BIP32_DERIVATION)"
    )]
    Unrelated {
        /// The input.
        input: usize,
    },
    /// No input is to be signed with MuSig2.
    #[error(
        "no input is to be signed with MuSig2: each is complete, or has no PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS"
    )]
    NothingToSign,
    /// One key stands twice among the participants (or with the other parity).
    #[error("input {input}: a participant key stands there twice; give each signer its own")]
    RepeatedParticipant {
        /// The input.
        input: usize,
    },
    /// None of an input's participants is a key of the signers.
    #[error(
        "input {input} is to be signed by other people: none of its participants is a key of the signers. Have it signed \
         and finalized first, or give the key set in which the signers' keys are those of this input"
    )]
    OtherSigners {
        /// The input.
        input: usize,
    },
    /// A participant is no signer's key, while others are.
    #[error(
        "input {input}: the participant {participant} is no key of the signers; add the signer to whom it belongs, or the \
         key set that says whose it is"
    )]
    ForeignParticipant {
        /// The input.
        input: usize,
        /// The key.
        participant: SignerKey,
    },
    /// A signer has no key among the participants.
    #[error(
        "input {input}: signer {signer} has no key among its participants; all signers of a session sign each input. \
         Propose a session of those who own the input"
    )]
    MissingSigner {
        /// The input.
        input: usize,
        /// The signer's index.
        signer: usize,
    },
    /// Two of the participants are keys of one signer.
    #[error("input {input}: two of its participants are keys of signer {signer}; each signer has one")]
    SignerTwice {
        /// The input.
        input: usize,
        /// The signer's index.
        signer: usize,
    },
    /// The participants are aggregated in an order that a session cannot have.
    #[error(
        "input {input}: its participants are neither sorted nor in the order of the signers; give the signers in the order \
         of the participants"
    )]
    ParticipantOrder {
        /// The input.
        input: usize,
    },
    /// The signers or the key sets cannot be those of a session.
    #[error(transparent)]
    Signers(#[from] ProposalError),
    /// More or fewer signatures than there are inputs to sign.
    #[error("{actual} signatures were given for {expected} inputs that are to be signed; give one for each")]
    SignatureCount {
        /// How many inputs are to be signed.
        expected: usize,
        /// How many signatures were given.
        actual: usize,
    },
    /// A participant's public nonce is not there.
    #[error(
        "input {input}: the public nonce of {participant} is missing; combine with that signer's PSBT first"
    )]
    MissingNonce {
        /// The input.
        input: usize,
        /// Of whom.
        participant: SignerKey,
    },
    /// A participant's partial signature is not there.
    #[error(
        "input {input}: the partial signature of {participant} is missing; combine with that signer's PSBT first"
    )]
    MissingPartial {
        /// The input.
        input: usize,
        /// Of whom.
        participant: SignerKey,
    },
    /// A participant's partial signature does not verify.
    #[error("input {input}: the partial signature of {participant} does not verify; ask that signer again")]
    WrongPartial {
        /// The input.
        input: usize,
        /// Of whom.
        participant: SignerKey,
    },
    /// The signature of an input does not verify.
    #[error("input {input}: PSBT_IN_TAP_KEY_SIG does not verify under the key of the spent output")]
    WrongSignature {
        /// The input.
        input: usize,
    },
    /// An input has no final witness and nothing here can make one.
    #[error("input {input} is not complete; sign and finalize it first")]
    NotFinal {
        /// The input.
        input: usize,
    },
    /// Two PSBTs are of different transactions.
    #[error("the PSBTs are of different transactions; combine those of one transaction only")]
    OtherTransaction,
    /// Two PSBTs disagree about a field.
    #[error("the PSBTs have different values of {field}")]
    Conflict {
        /// The field.
        field: Field,
    },
    /// The session signs raw messages, of which there is no PSBT.
    #[error(
        "the session signs raw messages, and a PSBT is of a transaction; propose the transaction, or sign with keys that \
         are not in a device"
    )]
    RawMessages,
    /// A message of a session is not what a signature of its input signs.
    #[error("input {input}: the session's message is not the signature hash of this input; do not sign it")]
    OtherSighash {
        /// The input.
        input: usize,
    },
    /// The crate `bitcoin` does not read it.
    #[error("the crate `bitcoin` refuses the PSBT: {0}")]
    Library(String),
}
