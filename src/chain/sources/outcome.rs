//! What a backend's answer to a submission means.
//!
//! One table for Bitcoin Core and Knots, btcd, Esplora and Electrum servers, and whoever speaks like them. Words decide
//! first, codes second, the HTTP status last: btcd says -25 of a bad signature and -26 of a transaction that it has
//! already, Electrum's code is always 1, and Bitcoin Core answers a JSON-RPC 2.0 request with status 200 whatever
//! became of it.

use std::fmt;

use serde_json::Value;

use crate::mutation::{self, Mutation};
use crate::types::Txid;

/// Characters of a backend's words that are kept.
pub const WORDS: usize = 256;

/// A backend's answer to a submission, as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackendAnswer<'a> {
    /// The HTTP status, if the answer came by HTTP.
    pub http_status: Option<u16>,
    /// The error's code, if it is known apart from the words.
    pub code: Option<i64>,
    /// The words: an error's message alone, or the whole body of the answer (a transaction id, a JSON-RPC response or
    /// error object, Esplora's text with the object inside).
    pub words: &'a str,
    /// The id of the submitted transaction. With it, an answer that names another id is no success.
    pub txid: Option<Txid>,
}

/// The meaning of an answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BroadcastAnswer {
    /// The backend took the transaction.
    Accepted,
    /// The backend has it, or the same transaction with another witness, in its mempool or in a block. A success.
    AlreadyKnown,
    /// The backend refuses the transaction itself.
    Rejected {
        /// Why, as far as the words are known.
        kind: RejectionKind,
        /// The backend's words, cut and without control characters.
        words: String,
        /// Backends say the same when the transaction is in a block and all its outputs are spent: look whether it is
        /// in the chain, and who spent its coins, before this counts.
        ambiguous: bool,
    },
    /// A lock time, a relative lock or a coinbase's maturity is not reached: submit it again later.
    NotYetFinal {
        /// The backend's words.
        words: String,
    },
    /// No answer that says anything about the transaction: submit it again later, or elsewhere.
    Unreachable {
        /// The backend's words, or what went wrong.
        words: String,
    },
    /// The backend answers, but not as it is set up: a wrong password or address, still warming up, a method that is
    /// missing. Somebody has to look at the set-up.
    Misconfigured {
        /// The backend's words, and what to do.
        words: String,
    },
}

/// Why a backend refuses a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// A coin that it spends does not exist or is spent, as far as the backend knows.
    MissingInputs,
    /// Another transaction in the mempool spends one of its coins, and this one may not replace it.
    Conflict,
    /// The fee is below what the backend takes.
    FeeTooLow,
    /// The fee is above what the backend takes.
    FeeTooHigh,
    /// Relay policy: valid in a block, but not taken into this mempool.
    Policy,
    /// It breaks a rule of consensus: a signature, amounts.
    Invalid,
    /// The bytes are no transaction.
    Undecodable,
    /// The words are unknown.
    Other,
}

impl BroadcastAnswer {
    /// Whether the backend has the transaction.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Accepted | Self::AlreadyKnown)
    }

    /// The backend's words; empty after a success.
    pub fn words(&self) -> &str {
        match self {
            Self::Accepted | Self::AlreadyKnown => "",
            Self::Rejected { words, .. }
            | Self::NotYetFinal { words }
            | Self::Unreachable { words }
            | Self::Misconfigured { words } => words,
        }
    }
}

impl fmt::Display for BroadcastAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::AlreadyKnown => f.write_str("already known"),
            Self::Rejected { words, .. } => write!(f, "rejected: {words}"),
            Self::NotYetFinal { words } => write!(f, "not yet final: {words}"),
            Self::Unreachable { words } => write!(f, "unreachable: {words}"),
            Self::Misconfigured { words } => write!(f, "misconfigured: {words}"),
        }
    }
}

/// The classes of the table, without words.
#[derive(Clone, Copy)]
enum Class {
    AlreadyKnown,
    NotYetFinal,
    Rejected(RejectionKind),
    Unreachable,
    Misconfigured(&'static str),
}

use Class::{AlreadyKnown, Misconfigured, NotYetFinal, Rejected, Unreachable};
use RejectionKind::{Conflict, FeeTooHigh, FeeTooLow, Invalid, MissingInputs, Other, Policy, Undecodable};

const WAIT: &str = "it is starting; wait until it is ready";
const CREDENTIALS: &str = "check user and password, or the path of the cookie file, and who may connect";
const METHOD: &str = "check that the address is that of the right kind of backend, and its version";
const REDIRECT: &str = "redirects are not followed; give the final address";

/// Phrases, in lower case, and what they mean. The first that is found decides.
const BY_WORDS: &[(&str, Class)] = &[
    // Bitcoin Core, Knots; btcd.
    ("txn-already-in-mempool", AlreadyKnown),
    ("txn-already-known", AlreadyKnown),
    ("txn-same-nonwitness-data-in-mempool", AlreadyKnown),
    ("already in utxo set", AlreadyKnown),
    ("already in block chain", AlreadyKnown),
    ("already in mempool", AlreadyKnown),
    ("already have transaction", AlreadyKnown),
    ("transaction already exists in blockchain", AlreadyKnown),
    ("non-bip68-final", NotYetFinal),
    ("non-final", NotYetFinal),
    ("bad-txns-premature-spend-of-coinbase", NotYetFinal),
    ("before required maturity", NotYetFinal),
    ("transaction is not finalized", NotYetFinal),
    ("sequence locks on inputs not met", NotYetFinal),
    ("bad-txns-inputs-missingorspent", Rejected(MissingInputs)),
    ("bad-txns-inputs-spent", Rejected(MissingInputs)),
    ("missing-inputs", Rejected(MissingInputs)),
    ("missing inputs", Rejected(MissingInputs)),
    ("orphan transaction", Rejected(MissingInputs)),
    ("unknown or fully-spent transaction", Rejected(MissingInputs)),
    // Bitcoin Core's words for a replacement that pays too little, and for nothing else.
    ("insufficient fee", Rejected(Conflict)),
    ("replacement transaction has an insufficient", Rejected(Conflict)),
    ("txn-mempool-conflict", Rejected(Conflict)),
    ("bip125-replacement-disallowed", Rejected(Conflict)),
    ("too many potential replacements", Rejected(Conflict)),
    ("replacement-adds-unconfirmed", Rejected(Conflict)),
    ("bad-txns-spends-conflicting-tx", Rejected(Conflict)),
    ("in the memory pool", Rejected(Conflict)),
    ("min relay fee not met", Rejected(FeeTooLow)),
    ("mempool min fee not met", Rejected(FeeTooLow)),
    ("mempool full", Rejected(FeeTooLow)),
    ("insufficient priority", Rejected(FeeTooLow)),
    ("fees which is under the required amount", Rejected(FeeTooLow)),
    ("max-fee-exceeded", Rejected(FeeTooHigh)),
    ("fee exceeds maximum", Rejected(FeeTooHigh)),
    ("absurdly-high-fee", Rejected(FeeTooHigh)),
    ("which is above the allowhighfee check threshold", Rejected(FeeTooHigh)),
    ("tx decode failed", Rejected(Undecodable)),
    ("must be hexadecimal string", Rejected(Undecodable)),
    ("dust", Rejected(Policy)),
    ("too-long-mempool-chain", Rejected(Policy)),
    ("is not standard", Rejected(Policy)),
    ("non-mandatory-script-verify-flag", Rejected(Policy)),
    ("bad-witness-nonstandard", Rejected(Policy)),
    ("bad-txns-nonstandard-inputs", Rejected(Policy)),
    ("bad-txns-too-many-sigops", Rejected(Policy)),
    ("truc-violation", Rejected(Policy)),
    ("multi-op-return", Rejected(Policy)),
    ("bare-multisig", Rejected(Policy)),
    ("datacarrier", Rejected(Policy)),
    ("scriptpubkey", Rejected(Policy)),
    ("scriptsig-", Rejected(Policy)),
    ("tx-size", Rejected(Policy)),
    ("tokens-", Rejected(Policy)),
    ("script-verify-flag-failed", Rejected(Invalid)),
    ("failed to validate input", Rejected(Invalid)),
    ("is less than the amount spent", Rejected(Invalid)),
    ("bad-txns-", Rejected(Invalid)),
    ("method not found", Misconfigured(METHOD)),
    ("unknown method", Misconfigured(METHOD)),
    ("wrong type passed", Misconfigured(METHOD)),
    ("expected type", Misconfigured(METHOD)),
    ("loading block index", Misconfigured(WAIT)),
    ("verifying blocks", Misconfigured(WAIT)),
    ("rpc in warm-up", Misconfigured(WAIT)),
    ("work queue depth exceeded", Unreachable),
    ("excessive resource usage", Unreachable),
    ("server busy", Unreachable),
    ("too many requests", Unreachable),
];

/// Codes of Bitcoin Core's RPC interface and of JSON-RPC.
const BY_CODE: &[(i64, Class)] = &[
    (-22, Rejected(Undecodable)),
    (-25, Rejected(Other)),
    (-26, Rejected(Other)),
    (-27, AlreadyKnown),
    (-28, Misconfigured(WAIT)),
    (-3, Misconfigured(METHOD)),
    (-8, Misconfigured(METHOD)),
    (-32_600, Misconfigured(METHOD)),
    (-32_601, Misconfigured(METHOD)),
    (-32_602, Misconfigured(METHOD)),
    (-31, Misconfigured("its connections to the network are switched off; switch them on")),
    (-7, Unreachable),
    (-9, Unreachable),
    (-10, Unreachable),
    (-32_603, Unreachable),
    (-32_700, Unreachable),
];

/// Says what a backend's answer to a submission means.
///
/// Words decide first, codes second, the HTTP status last. Words that are not known are a rejection that keeps them,
/// never a success; a page of HTML, an empty answer and a server's failure are no answer at all. After
/// [`BroadcastAnswer::Rejected`] with `ambiguous` the caller has to look into the chain.
pub fn classify_broadcast_answer(answer: &BackendAnswer<'_>) -> BroadcastAnswer {
    let BackendAnswer { http_status, code, words: text, txid } = *answer;
    let stated = Stated::read(text);
    let code = stated.code.or(code);
    let shown = shown(&stated.words);
    if let (true, None, Some(named)) = (http_status.is_none_or(|status| status < 300), code, stated.named) {
        return match txid {
            Some(own) if own != named => BroadcastAnswer::Unreachable {
                words: format!("it answered with the id {named}, which is not the submitted transaction's"),
            },
            _ => BroadcastAnswer::Accepted,
        };
    }
    let class = by_words(&stated.words)
        .filter(|_| code.is_none() || !mutation::on(Mutation::CodesFirst))
        .or_else(|| BY_CODE.iter().find(|(known, _)| Some(*known) == code).map(|(_, class)| *class))
        .unwrap_or_else(|| by_status(http_status, code, &shown));
    let or_status = |words: String| match http_status {
        Some(status) if words.is_empty() => format!("it answered with HTTP status {status} and no words"),
        _ if words.is_empty() => "it answered without words".into(),
        _ => words,
    };
    match class {
        AlreadyKnown => BroadcastAnswer::AlreadyKnown,
        NotYetFinal => BroadcastAnswer::NotYetFinal { words: shown },
        Rejected(kind) => {
            let ambiguous = kind == MissingInputs || (kind == Other && code == Some(-25));
            BroadcastAnswer::Rejected { kind, words: shown, ambiguous }
        }
        Unreachable => BroadcastAnswer::Unreachable { words: or_status(shown) },
        Misconfigured(advice) => {
            BroadcastAnswer::Misconfigured { words: format!("{}: {advice}", or_status(shown)) }
        }
    }
}

fn by_words(words: &str) -> Option<Class> {
    let lower = words.to_ascii_lowercase();
    BY_WORDS.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, class)| *class)
}

/// What an answer means whose words and code say nothing.
fn by_status(status: Option<u16>, code: Option<i64>, words: &str) -> Class {
    match status {
        Some(401 | 403 | 407) => Misconfigured(CREDENTIALS),
        Some(300..=399) => Misconfigured(REDIRECT),
        _ if code.is_some() && !words.is_empty() => Rejected(Other),
        Some(404 | 405 | 410 | 501) => Misconfigured(METHOD),
        Some(429 | 500..) => Unreachable,
        _ if words.is_empty() || words.starts_with('<') => Unreachable,
        _ => Rejected(Other),
    }
}

/// What the text of an answer states.
#[derive(Default)]
struct Stated {
    /// A transaction id, and nothing else.
    named: Option<Txid>,
    code: Option<i64>,
    words: String,
}

impl Stated {
    fn read(text: &str) -> Self {
        let text = text.trim();
        if let Some(stated) = text.find('{').and_then(|start| Self::of_json(text, start)) {
            return stated;
        }
        // A JSON string is a text like any other.
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        match bare.parse() {
            Ok(txid) => Self { named: Some(txid), ..Self::default() },
            Err(_) => Self { words: without_transaction(bare).to_owned(), ..Self::default() },
        }
    }

    /// The first JSON object in the text: a JSON-RPC response, or its error alone.
    fn of_json(text: &str, start: usize) -> Option<Self> {
        let (before, json) = text.split_at(start);
        let object = serde_json::Deserializer::from_str(json).into_iter::<Value>().next()?.ok()?;
        let error = match object.get("error") {
            None if object.get("message").is_some() => Some(&object),
            None | Some(Value::Null) => None,
            Some(error) => Some(error),
        };
        if let Some(error) = error {
            let message = error.get("message").unwrap_or(error);
            let words = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
            let words = without_transaction(&words).to_owned();
            return Some(Self { named: None, code: error["code"].as_i64(), words });
        }
        // Only a response that is nothing but that can be a success.
        let named = object["result"].as_str().filter(|_| before.is_empty());
        match named.and_then(|text| text.parse().ok()) {
            Some(txid) => Some(Self { named: Some(txid), ..Self::default() }),
            None => Some(Self { words: text.to_owned(), ..Self::default() }),
        }
    }
}

/// An ElectrumX error without its preamble, and without the whole transaction in brackets at its end.
fn without_transaction(words: &str) -> &str {
    let words = words.trim();
    let Some(rest) = words.strip_prefix("the transaction was rejected by network rules.") else {
        return words;
    };
    match rest.rsplit_once('\n') {
        Some((head, tail)) if tail.starts_with('[') => head.trim(),
        _ => rest.trim(),
    }
}

/// Foreign words as they may be shown: cut, on one line, without characters that control a terminal or its direction.
pub(super) fn shown(words: &str) -> String {
    let harmless = |char: char| match char {
        '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{2028}'
        | '\u{2029}' => ' ',
        char if char.is_control() => ' ',
        char => char,
    };
    let words: String = words.trim().chars().take(WORDS).map(harmless).collect();
    words.trim_end().to_owned()
}
