//! Broadcasters and chain observers: tables of callbacks.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::callback::UserData;
use super::enums::{Enumeration, musig_chain_state, musig_coin_state, musig_submit};
use crate::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, ChainTip, CoinStatus, OutPoint,
    SignedTransaction, SubmitOutcome,
};
use crate::types::Txid;

/// Room for the reason of a callback, including its NUL.
const REASON: usize = 512;

/// The callbacks of a broadcaster, which submits transactions. They run on a thread of the library, one call at a
/// time. They may block; after 30 s the result counts as MUSIG_SUBMIT_UNREACHABLE. No exception may leave them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_broadcaster {
    /// sizeof(musig_broadcaster).
    pub struct_size: u32,
    /// Submits a transaction in consensus encoding and returns a musig_submit. The same transaction may be submitted
    /// again. txid has 32 bytes in internal byte order. The reason of a rejection is written to reason, as text of at
    /// most reason_capacity bytes including its NUL.
    pub submit: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            txid: *const u8,
            transaction: *const u8,
            transaction_length: usize,
            reason: *mut c_char,
            reason_capacity: usize,
        ) -> i32,
    >,
}

/// A reference to an output of a transaction.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_outpoint {
    /// The transaction id, in internal byte order.
    pub txid: [u8; 32],
    /// The index of the output.
    pub vout: u32,
}

/// A query to a chain observer. All pointers are valid during the call.
#[repr(C)]
pub struct musig_chain_query {
    /// sizeof this structure in the calling library.
    pub struct_size: u32,
    /// Number of outputs that the transaction spends.
    pub spends_count: u32,
    /// The transaction id, 32 bytes in internal byte order.
    pub txid: *const u8,
    /// The outputs that it spends. A conflicting transaction spends one of them.
    pub spends: *const musig_outpoint,
}

/// The answer of a chain observer, zeroed before the call.
#[repr(C)]
pub struct musig_chain_answer {
    /// sizeof this structure in the calling library.
    pub struct_size: u32,
    /// A musig_chain_state.
    pub state: i32,
    /// The height of the block.
    pub height: u32,
    /// Confirmations; 1 for the latest block.
    pub confirmations: u32,
    /// The id of the conflicting transaction, in internal byte order.
    pub conflict_txid: [u8; 32],
}

/// What a chain observer says of an output, zeroed before the call.
#[repr(C)]
pub struct musig_coin_answer {
    /// sizeof this structure in the calling library.
    pub struct_size: u32,
    /// A musig_coin_state.
    pub state: i32,
    /// Confirmations of an unspent output; 1 for the latest block.
    pub confirmations: u32,
    /// Median time of the eleven blocks before the output's, in seconds since 1970, from which relative locks by time
    /// count (BIP-68); 0: it is not known, so such a lock delays nothing.
    pub median_time: u32,
}

/// The last block of the chain, zeroed before the call.
#[repr(C)]
pub struct musig_chain_tip {
    /// sizeof this structure in the calling library.
    pub struct_size: u32,
    /// The height of the block.
    pub height: u32,
    /// Median time of the last eleven blocks, in seconds since 1970 (BIP-113); 0: the observer cannot tell.
    pub median_time: u32,
}

/// The callbacks of a chain observer. They run on a thread of the library, one call at a time. They may block; after
/// 30 s the answer is discarded. No exception may leave them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_chain_observer {
    /// sizeof(musig_chain_observer).
    pub struct_size: u32,
    /// Fills answer and returns 0, or returns another value if the Bitcoin backend cannot be reached.
    pub status: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            query: *const musig_chain_query,
            answer: *mut musig_chain_answer,
        ) -> i32,
    >,
    /// Fills answer for an output, before this node consents to a transaction that spends it, and returns 0, or returns
    /// another value if the Bitcoin backend cannot be reached. NULL: the observer cannot tell.
    pub coin: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            outpoint: *const musig_outpoint,
            answer: *mut musig_coin_answer,
        ) -> i32,
    >,
    /// Fills tip with the last block, if a transaction has a lock, and returns 0, or returns another value if the Bitcoin
    /// backend cannot be reached. NULL: the observer cannot tell.
    pub tip: Option<unsafe extern "C" fn(user_data: *mut c_void, tip: *mut musig_chain_tip) -> i32>,
    /// Sets congested, which is 0, to 1 if the chain is congested, so that transactions take longer than they did, and
    /// returns 0, or returns another value if the Bitcoin backend cannot be reached. A coordinator is then given a longer
    /// pace, though never more than the broadcast timeout. Called with a look at a transaction, once a minute at most.
    /// NULL: the observer cannot tell.
    pub congested: Option<unsafe extern "C" fn(user_data: *mut c_void, congested: *mut i32) -> i32>,
}

pub(super) struct ForeignBroadcaster {
    pub table: musig_broadcaster,
    pub data: Arc<UserData>,
}

fn unreachable(reason: impl Into<String>) -> ChainError {
    ChainError { reason: reason.into() }
}

/// The text that a callback wrote, up to its NUL or the end of the buffer.
fn words(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(&buffer[..end]).into_owned()
}

impl Broadcaster for ForeignBroadcaster {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        let submit = self.table.submit.ok_or_else(|| unreachable("there is no callback"))?;
        let mut reason = [0u8; REASON];
        // SAFETY: all pointers are valid for the call, with the lengths that the header says.
        let answer = unsafe {
            submit(
                self.data.pointer(),
                transaction.txid.0.as_ptr(),
                transaction.bytes.as_ptr(),
                transaction.bytes.len(),
                reason.as_mut_ptr().cast(),
                REASON,
            )
        };
        match musig_submit::of_number(answer) {
            Some(musig_submit::ACCEPTED) => Ok(SubmitOutcome::Accepted),
            Some(musig_submit::REJECTED) => Ok(SubmitOutcome::Rejected(words(&reason))),
            Some(musig_submit::NOT_YET_FINAL) => Ok(SubmitOutcome::NotYetFinal),
            Some(musig_submit::UNREACHABLE) | None => {
                let words = words(&reason);
                let words = if words.is_empty() { format!("the callback returned {answer}") } else { words };
                Err(unreachable(words))
            }
        }
    }
}

pub(super) struct ForeignObserver {
    pub table: musig_chain_observer,
    pub data: Arc<UserData>,
}

impl ChainObserver for ForeignObserver {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        let status = self.table.status.ok_or_else(|| unreachable("there is no callback"))?;
        let spends: Vec<musig_outpoint> = query
            .spends
            .iter()
            .map(|outpoint| musig_outpoint { txid: outpoint.txid.0, vout: outpoint.vout })
            .collect();
        let asked = musig_chain_query {
            struct_size: size_of::<musig_chain_query>() as u32,
            spends_count: spends.len() as u32,
            txid: query.txid.0.as_ptr(),
            spends: spends.as_ptr(),
        };
        let mut answer = musig_chain_answer {
            struct_size: size_of::<musig_chain_answer>() as u32,
            state: 0,
            height: 0,
            confirmations: 0,
            conflict_txid: [0; 32],
        };
        // SAFETY: both structures are valid for the call.
        let result = unsafe { status(self.data.pointer(), &asked, &mut answer) };
        if result != 0 {
            return Err(unreachable(format!("the callback returned {result}")));
        }
        let confirmations = answer.confirmations.max(1);
        use musig_chain_state::*;
        match musig_chain_state::of_number(answer.state) {
            Some(UNKNOWN) => Ok(ChainStatus::Unknown),
            Some(SEEN) => Ok(ChainStatus::Seen),
            Some(CONFIRMED) => Ok(ChainStatus::Confirmed { height: answer.height, confirmations }),
            Some(CONFLICT) => Ok(ChainStatus::Conflict { txid: Txid(answer.conflict_txid), confirmations }),
            None => Err(unreachable(format!("the callback answered the state {}", answer.state))),
        }
    }

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        let Some(coin) = self.table.coin else { return Ok(None) };
        let asked = musig_outpoint { txid: outpoint.txid.0, vout: outpoint.vout };
        let mut answer = musig_coin_answer {
            struct_size: size_of::<musig_coin_answer>() as u32,
            state: 0,
            confirmations: 0,
            median_time: 0,
        };
        // SAFETY: both structures are valid for the call.
        let result = unsafe { coin(self.data.pointer(), &asked, &mut answer) };
        if result != 0 {
            return Err(unreachable(format!("the callback returned {result}")));
        }
        use musig_coin_state::*;
        match musig_coin_state::of_number(answer.state) {
            Some(UNKNOWN) => Ok(Some(CoinStatus::Unknown)),
            Some(UNSPENT) => Ok(Some(CoinStatus::Unspent {
                confirmations: answer.confirmations.max(1),
                median_time: Some(answer.median_time).filter(|time| *time > 0),
            })),
            Some(IN_MEMPOOL) => Ok(Some(CoinStatus::InMempool)),
            Some(SPENT) => Ok(Some(CoinStatus::Spent)),
            None => Err(unreachable(format!("the callback answered the state {}", answer.state))),
        }
    }

    fn tip(&self) -> Result<Option<ChainTip>, ChainError> {
        let Some(tip) = self.table.tip else { return Ok(None) };
        let struct_size = size_of::<musig_chain_tip>() as u32;
        let mut answer = musig_chain_tip { struct_size, height: 0, median_time: 0 };
        // SAFETY: the structure is valid for the call.
        let result = unsafe { tip(self.data.pointer(), &mut answer) };
        if result != 0 {
            return Err(unreachable(format!("the callback returned {result}")));
        }
        let musig_chain_tip { height, median_time, .. } = answer;
        Ok((median_time > 0).then_some(ChainTip { height, median_time }))
    }

    fn congested(&self) -> Result<Option<bool>, ChainError> {
        let Some(congested) = self.table.congested else { return Ok(None) };
        let mut answer = 0;
        // SAFETY: the number is valid for the call.
        let result = unsafe { congested(self.data.pointer(), &mut answer) };
        if result != 0 {
            return Err(unreachable(format!("the callback returned {result}")));
        }
        Ok(Some(answer != 0))
    }
}
