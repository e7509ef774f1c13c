//! What Swift, Kotlin and Python see, by UniFFI. No logic: types that UniFFI can carry, and their conversions.
//!
//! - Identifiers (session ids, keys, transaction ids) are hexadecimal text, everything else that is made of bytes is
//!   bytes. A transaction id is written as Bitcoin writes it.
//! - Identifiers are parsed inside the call that takes them, so every function that takes one returns a `Result`, if
//!   only for that. In a function that does not, malformed text would be a fault of the process in Swift and an internal
//!   error elsewhere; the Python suite looks at each function of the interface.
//! - A type whose fields UniFFI can carry as they are is the library's own, declared by `uniffi::remote`: a difference
//!   does not compile. The others have twins here, with conversions: those that hold `usize` (signer indices, counts),
//!   arrays of bytes, a wall clock time or an error, and those whose fields may be left out.
//! - Waiting calls need no runtime: any executor may drive them. Operations that change something go on when their
//!   caller is cancelled; questions have no effect either way.
//! - Foreign objects are called on a thread of their own, one call at a time. They may block, and they may call the
//!   node.

mod chain;
mod election;
mod error;
mod event;
mod keys;
mod live;
mod log;
mod node;
mod proposal;
mod request;
mod session;
mod signer;
mod status;
mod values;

pub use self::chain::{Broadcaster, ChainObserver, ChainQuery, ChainStatus, OutPoint, SubmitOutcome};
pub use self::election::{Election, ElectionMethod, backup_after, elect, verify_election};
pub use self::error::{MusigError, ProposalProblem, SignerProblem, StoreProblem};
pub use self::event::{Depth, Event, NodeEvent};
pub use self::keys::{TweakForest, aggregate_key, sort_keys, synthetic_xpub, taproot_tweak};
#[cfg(feature = "test-hooks")]
pub use self::live::live_objects;
pub use self::log::{LogLevel, LogRecord, LogSink};
pub use self::node::{DhtMode, Metrics, Node, NodeConfig, RuntimeProfile, StoreChoice, library_version};
pub use self::proposal::{Culprit, Proposal, ProposalMessage, decode_proposal, verify_proof};
pub use self::request::{Message, SessionContent, SessionRequest};
pub use self::session::Session;
pub use self::signer::{LocalSigner, NonceRequest, PartialRequest, Signer, SignerChoice};
pub use self::status::{Evidence, FailoverStatus, Phase, SessionStatus};
pub use self::values::{
    FailoverPolicy, KeyOrder, SighashType, SignedTransaction, SignerIndex, SpentOutput, Tiers, Tweak,
};
