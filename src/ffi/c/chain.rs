//! The way to the chain, as tables of callbacks.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::callback::UserData;
use super::enums::{Enumeration, musig_chain_state, musig_submit};
use crate::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use crate::types::Txid;

/// Room for the words of a callback, with the NUL behind them.
const REASON: usize = 512;

/// Submits transactions. The callback is entered on a thread of the library, one call at a time. It may block; after
/// 30 s its answer counts as MUSIG_SUBMIT_UNREACHABLE. No exception may leave it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_broadcaster {
    /// sizeof(musig_broadcaster).
    pub struct_size: u32,
    /// Submits a transaction in consensus encoding, and returns a musig_submit. It may be called again with the same
    /// one. txid has 32 bytes in the order in which they are hashed. Words of a refusal go to reason, as a text of at
    /// most reason_capacity bytes with its NUL.
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

/// An output of a transaction.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_outpoint {
    /// The transaction that made it, in the order in which it is hashed.
    pub txid: [u8; 32],
    /// Its position there.
    pub vout: u32,
}

/// What an observer is asked about. Everything lives for the length of the call.
#[repr(C)]
pub struct musig_chain_query {
    /// The size of this structure in the library that calls.
    pub struct_size: u32,
    /// How many outputs the transaction spends.
    pub spends_length: u32,
    /// The transaction, 32 bytes in the order in which they are hashed.
    pub txid: *const u8,
    /// What it spends: a conflicting transaction spends one of these.
    pub spends: *const musig_outpoint,
}

/// An observer's answer. All zeros when the callback gets it.
#[repr(C)]
pub struct musig_chain_answer {
    /// The size of this structure in the library that calls.
    pub struct_size: u32,
    /// A musig_chain_state.
    pub state: i32,
    /// The height of the block.
    pub height: u32,
    /// The block itself counts as one.
    pub confirmations: u32,
    /// The conflicting transaction, in the order in which it is hashed.
    pub conflict_txid: [u8; 32],
}

/// Looks at the chain. The callback is entered on a thread of the library, one call at a time. It may block; after
/// 30 s its answer is discarded. No exception may leave it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_chain_observer {
    /// sizeof(musig_chain_observer).
    pub struct_size: u32,
    /// Fills the answer, and returns 0; or returns any other number if the chain cannot be looked at now.
    pub status: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            query: *const musig_chain_query,
            answer: *mut musig_chain_answer,
        ) -> i32,
    >,
}

pub(super) struct ForeignBroadcaster {
    pub table: musig_broadcaster,
    pub data: Arc<UserData>,
}

fn unreachable(reason: impl Into<String>) -> ChainError {
    ChainError { reason: reason.into() }
}

/// A text that a callback wrote, whatever it wrote.
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
            spends_length: spends.len() as u32,
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
}
