//! Ready-made ways to the chain: Bitcoin Core's RPC interface, Esplora, Electrum.
//!
//! Each is a [`Broadcaster`](crate::chain::Broadcaster) and a [`ChainObserver`](crate::chain::ChainObserver) in one;
//! [`Sources`] makes one of several. They follow no redirects, use no proxy that they were not told of, and limit time
//! and size of every answer. A backend that is used to look at the chain is trusted: what it says makes a node wait, and
//! ends its watch. So let a node of your own look, and submit to as many others as you like.

mod combined;
mod core;
mod electrum;
mod esplora;
mod http;
mod lines;
mod options;
mod outcome;
mod source;
mod tls;

pub use self::combined::Sources;
pub use self::core::{BitcoinCore, CoreAuth};
pub use self::electrum::Electrum;
pub use self::esplora::Esplora;
pub use self::options::{SourceError, SourceOptions, TIME_LIMIT};
pub use self::outcome::{BackendAnswer, BroadcastAnswer, RejectionKind, classify_broadcast_answer};
pub use self::source::Source;
pub use crate::types::{ChainTip, CoinStatus};
