// The README links these names to files. The first definition of a link counts, so here they lead to the items.
#![cfg_attr(
    all(feature = "node", feature = "bitcoin"),
    doc = "[`SessionRequest::transaction`]: SessionRequest::transaction",
    doc = "[`Broadcaster`]: Broadcaster",
    doc = "[`ChainObserver`]: ChainObserver",
    doc = "[`Event::ShouldBroadcast`]: Event::ShouldBroadcast",
    doc = "[`protocol::limits`]: protocol::limits",
    doc = "",
    doc = include_str!("../README.md")
)]
#![cfg_attr(
    not(all(feature = "node", feature = "bitcoin")),
    doc = "MuSig2 sessions with failover of the broadcast. This build has the protocol alone."
)]
#![deny(missing_docs, unsafe_code, unsafe_op_in_unsafe_fn)]

#[cfg(feature = "uniffi")]
uniffi::setup_scaffolding!("musig");

#[cfg(any(feature = "node", feature = "bitcoin"))]
pub mod chain;
pub mod error;
#[cfg(feature = "node")]
pub mod event;
#[cfg(any(feature = "capi", feature = "uniffi"))]
#[doc(hidden)]
pub mod ffi;
#[cfg(not(feature = "mutations"))]
mod mutation;
#[cfg(feature = "mutations")]
#[doc(hidden)]
pub mod mutation;
#[cfg(feature = "node")]
#[doc(hidden)]
pub mod net;
#[cfg(feature = "node")]
pub mod node;
pub mod platform;
pub mod protocol;
pub mod signer;
#[cfg(feature = "node")]
pub mod store;
pub mod types;

// What a user needs is `libmusig::X`; the modules have the rest.
#[cfg(feature = "bitcoin")]
pub use self::chain::descriptor::{Descriptor, DescriptorKeys};
#[cfg(feature = "bitcoin")]
pub use self::chain::group::{Group, GroupError, SignerCard};
#[cfg(feature = "bitcoin")]
pub use self::chain::psbt::{DeviceError, Psbt, PsbtDevice, PsbtError, PsbtFolder, PsbtRequest, PsbtSigner};
#[cfg(feature = "http")]
pub use self::chain::sources::{BitcoinCore, CoreAuth, Electrum, Esplora, SourceOptions, Sources};
#[cfg(feature = "bitcoin")]
pub use self::chain::summary::{
    InputKind, InputSummary, Lock, MessageSummary, OutputSummary, Summary, SummaryOptions,
    TransactionSummary, Warning, summarize,
};
#[cfg(any(feature = "node", feature = "bitcoin"))]
pub use self::chain::{Broadcaster, ChainObserver};
pub use self::error::{
    ConsentError, ElectionError, Error, ProposalError, SignerError, StoreError, WireError,
};
#[cfg(feature = "node")]
pub use self::event::{EventHandler, KeepEvent, NodeEvent};
#[cfg(feature = "node")]
pub use self::net::Multiaddr;
#[cfg(feature = "node")]
pub use self::node::{
    DhtMode, FailoverPreset, MetricFamily, MetricKind, MetricSample, MetricValue, Metrics, MetricsFormat,
    NetworkConfig, Node, NodeBuilder, Reply, RuntimeProfile, Session, SessionRequest, metric_families,
};
pub use self::protocol::EarlyTurns;
pub use self::protocol::consent::{AcceptedProposers, JoinOptions};
pub use self::protocol::crypto::key_set::{aggregate_key, sort_keys, synthetic_xpub};
pub use self::protocol::election::{Election, ElectionMethod, elect, priority_list};
pub use self::protocol::envelope::NackKind;
pub use self::protocol::envelope::Proof;
pub use self::protocol::event::{Depth, DurableKind, Event, FailureCause, Nack, Submission};
pub use self::protocol::proposal::{
    Broadcast, Derivation, FailoverPolicy, KeyOrder, KeyOrigin, KeySet, Message, Participant, Proposal,
    SighashType, SpentOutput, Taproot, Terms, Tiers, TransactionTerms,
};
pub use self::protocol::reputation::Reputation;
pub use self::protocol::status::{CoordinatorStatus, FailoverStatus, Phase, SessionStatus};
pub use self::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
#[cfg(feature = "node")]
pub use self::store::{Store, memory::MemoryStore, redb::RedbStore};
pub use self::types::{
    ChainError, ChainQuery, ChainStatus, ChainTip, CoinStatus, OutPoint, SessionId, Signature,
    SignedTransaction, SignerKey, SubmitOutcome, Txid, UnixMillis, from_hex, to_hex,
};
