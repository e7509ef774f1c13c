//! Summaries of sessions: what somebody is shown before it consents.

use std::ffi::c_char;

use super::boundary::{choice, total};
use super::chain::musig_outpoint;
use super::enums::{
    Enumeration, musig_input_kind, musig_lock, musig_network, musig_sighash, musig_warning_kind,
};
use super::error::musig_error;
use super::failure::Failure;
use super::handle::{add_reference, release};
use super::key_set::musig_derivation;
use super::status::{musig_status, musig_status_code};
use crate::chain::summary::{InputKind, Lock, Summary, SummaryOptions, TransactionSummary, Warning};
use crate::protocol::limits;

/// A summary of a session: what is signed, with warnings, as values and as text. Immutable.
pub struct musig_summary {
    summary: Summary,
    /// With a NUL behind it.
    text: String,
    /// The texts of addresses, each with a NUL behind it: of the inputs, then of the outputs.
    inputs: Vec<Option<String>>,
    outputs: Vec<Option<String>>,
}

impl musig_summary {
    pub(super) fn new(summary: Summary) -> Self {
        let terminated = |address: &Option<String>| address.as_ref().map(|address| format!("{address}\0"));
        let transaction = summary.transaction.iter();
        let inputs =
            transaction.clone().flat_map(|it| it.inputs.iter().map(|input| terminated(&input.address)));
        let outputs = transaction.flat_map(|it| it.outputs.iter().map(|output| terminated(&output.address)));
        let (inputs, outputs) = (inputs.collect(), outputs.collect());
        Self { text: summary.to_text().replace('\0', "") + "\0", inputs, outputs, summary }
    }

    fn transaction(&self) -> Result<&TransactionSummary, Failure> {
        self.summary.transaction.as_ref().ok_or_else(|| {
            Failure::new(
                musig_status_code::NO_SUCH_FIELD,
                "the session is over messages; it has no transaction",
            )
        })
    }
}

/// A script of the application's wallet.
#[repr(C)]
pub struct musig_script {
    /// The script.
    pub script: *const u8,
    /// Length of the script in bytes.
    pub script_length: usize,
}

/// What a summary is to say.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_summary_options {
    /// sizeof(musig_summary_options).
    pub struct_size: u32,
    /// A musig_network, which addresses are of.
    pub network: i32,
    /// The scripts of this node's own wallet; may be NULL. Nothing else is own: keys that only the proposal names prove
    /// nothing.
    pub own_scripts: *const musig_script,
    /// Number of own scripts.
    pub own_scripts_count: usize,
    /// Fee, in percent of what the outputs pay, above which it is absurd; 0 for 25.
    pub most_fee_percent: u64,
    /// Fee rate, in satoshis per virtual byte, above which it is absurd; 0 for 1000.
    pub most_fee_rate: u64,
}

/// The numbers of a summary.
#[repr(C)]
pub struct musig_summary_info {
    /// sizeof(musig_summary_info); the caller sets it.
    pub struct_size: u32,
    /// Number of messages.
    pub messages_count: u32,
    /// Number of inputs of the transaction; 0 for messages.
    pub inputs_count: u32,
    /// Number of outputs of the transaction; 0 for messages.
    pub outputs_count: u32,
    /// Number of warnings.
    pub warnings_count: u32,
    /// 1 if a transaction is signed, 0 for messages; then the rest is zero.
    pub has_transaction: i32,
    /// Version of the transaction.
    pub version: i32,
    /// 1 if the transaction may be replaced in the mempool (BIP-125), else 0.
    pub replaceable: i32,
    /// Lock time as it is in the transaction.
    pub lock_time: u32,
    /// A musig_lock: what the lock time means.
    pub lock: i32,
    /// The height, or the time in seconds since 1970; 0 without a lock.
    pub lock_value: u32,
    /// Weight with all signatures (BIP-141).
    pub weight: u64,
    /// Fee in satoshis.
    pub fee: u64,
    /// Fee rate in satoshis for 1000 virtual bytes.
    pub fee_rate: u64,
    /// The transaction id, in internal byte order.
    pub txid: [u8; 32],
}

/// A message of a summary.
#[repr(C)]
pub struct musig_message_summary {
    /// sizeof(musig_message_summary); the caller sets it.
    pub struct_size: u32,
    /// 1 if it is the signature hash of an input, 0 for a raw message, which is signed blind.
    pub has_input: i32,
    /// The index of the input.
    pub input: u32,
    /// A musig_sighash.
    pub sighash: i32,
    /// The index of the key set that signs.
    pub key_set: u32,
    /// The digest that is signed.
    pub digest: [u8; 32],
    /// The x-only key that the signature verifies under.
    pub final_key: [u8; 32],
    /// What makes it of the key set's aggregate key: with a merkle root, scripts that are not shown can spend the output.
    pub derivation: musig_derivation,
}

/// An input of a summary.
#[repr(C)]
pub struct musig_input_summary {
    /// sizeof(musig_input_summary); the caller sets it.
    pub struct_size: u32,
    /// A musig_input_kind: who completes it.
    pub kind: i32,
    /// The spent output.
    pub coin: musig_outpoint,
    /// 1 if the spent output's script is among the own scripts, else 0.
    pub own: i32,
    /// The value of the spent output in satoshis.
    pub value: u64,
    /// The spent output's script, valid as long as the summary.
    pub script: *const u8,
    /// Length of the script in bytes.
    pub script_length: usize,
    /// The spent output's address, valid as long as the summary; NULL if its script has none.
    pub address: *const c_char,
    /// Sequence number.
    pub sequence: u32,
    /// A musig_lock: the relative lock.
    pub lock: i32,
    /// The blocks, or the seconds; 0 without a lock.
    pub lock_value: u32,
}

/// An output of a summary.
#[repr(C)]
pub struct musig_output_summary {
    /// sizeof(musig_output_summary); the caller sets it.
    pub struct_size: u32,
    /// 1 if the script is among the own scripts, else 0.
    pub own: i32,
    /// Value in satoshis.
    pub value: u64,
    /// The script, valid as long as the summary.
    pub script: *const u8,
    /// Length of the script in bytes.
    pub script_length: usize,
    /// The address, valid as long as the summary; NULL if the script has none.
    pub address: *const c_char,
}

/// A warning of a summary.
#[repr(C)]
pub struct musig_warning {
    /// sizeof(musig_warning); the caller sets it.
    pub struct_size: u32,
    /// A musig_warning_kind.
    pub kind: i32,
    /// The index of the input, the output or the message that it is about, else 0.
    pub index: u32,
    /// The other session, or zeros.
    pub session: [u8; 32],
}

/// The kind of a lock, and its number.
fn lock_of(lock: Lock) -> (i32, u32) {
    let (kind, value) = match lock {
        Lock::None => (musig_lock::NONE, 0),
        Lock::Height(height) => (musig_lock::HEIGHT, height),
        Lock::Time(time) => (musig_lock::TIME, time),
        Lock::Blocks(blocks) => (musig_lock::BLOCKS, blocks.into()),
        Lock::Elapsed(time) => (musig_lock::ELAPSED, u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
    };
    (kind.number(), value)
}

fn address(text: &Option<String>) -> *const c_char {
    text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr().cast())
}

/// Reads the options of a summary.
///
/// # Safety
/// What the header asks for.
pub(super) unsafe fn summary_options(
    options: *const musig_summary_options,
) -> Result<SummaryOptions, Failure> {
    let options = sized!(options);
    let network: musig_network = choice(options.network, "options->network")?;
    let own_scripts = options.own_scripts;
    let count = total(options.own_scripts_count, 1, limits::PROPOSAL, "options->own_scripts_count")?;
    let mut scripts = Vec::new();
    for own in array!(optional own_scripts, count) {
        let (script, length) = (own.script, own.script_length);
        let length = total(length, 1, limits::PROPOSAL, "script_length")?;
        scripts.push(array!(optional script, length).to_vec());
    }
    let or = |given: u64, default: u64| if given == 0 { default } else { given };
    let default = SummaryOptions::default();
    Ok(SummaryOptions {
        network: network.into(),
        own_scripts: scripts,
        most_fee_percent: or(options.most_fee_percent, default.most_fee_percent),
        most_fee_rate: or(options.most_fee_rate, default.most_fee_rate),
        ..default
    })
}

/// Gets a summary as lines of text.
///
/// What others wrote is escaped, cut, on lines of its own that begin with ">", and last.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      summary: the summary.
/// Out:     out: a NUL-terminated text that is valid as long as the summary.
///          out_length: its length in bytes, without the NUL.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_text(
    summary: *const musig_summary,
    out: *mut *const c_char,
    out_length: *mut usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (summary, out, out_length) = (get!(summary), out!(out), out!(out_length));
        out.set(summary.text.as_ptr().cast());
        out_length.set(summary.text.len() - 1);
        Ok(())
    })
}

/// Gets the numbers of a summary.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE.
/// In:      summary: the summary.
/// Out:     out: the numbers. Set its struct_size before the call.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_get_info(
    summary: *const musig_summary,
    out: *mut musig_summary_info,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (summary, out) = (&get!(summary).summary, out!(sized out));
        let transaction = summary.transaction.as_ref();
        let (lock, lock_value) = lock_of(transaction.map_or(Lock::None, |it| it.lock));
        out.set(musig_summary_info {
            struct_size: size_of::<musig_summary_info>() as u32,
            messages_count: summary.messages.len() as u32,
            inputs_count: transaction.map_or(0, |it| it.inputs.len()) as u32,
            outputs_count: transaction.map_or(0, |it| it.outputs.len()) as u32,
            warnings_count: summary.warnings.len() as u32,
            has_transaction: transaction.is_some().into(),
            version: transaction.map_or(0, |it| it.version),
            replaceable: transaction.is_some_and(|it| it.replaceable).into(),
            lock_time: transaction.map_or(0, |it| it.lock_time),
            lock,
            lock_value,
            weight: transaction.map_or(0, |it| it.weight),
            fee: transaction.map_or(0, |it| it.fee),
            fee_rate: transaction.map_or(0, |it| it.fee_rate),
            txid: transaction.map_or([0; 32], |it| it.txid.0),
        });
        Ok(())
    })
}

/// Gets a message of a summary.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_STRUCT_SIZE.
/// In:      summary: the summary.
/// Out:     out: the message. Set its struct_size before the call.
/// In:      index: the index of the message.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_message(
    summary: *const musig_summary,
    out: *mut musig_message_summary,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (messages, out) = (&get!(summary).summary.messages, out!(sized out));
        let message =
            messages.get(index as usize).ok_or_else(|| Failure::no_such("message", index, messages.len()))?;
        out.set(musig_message_summary {
            struct_size: size_of::<musig_message_summary>() as u32,
            has_input: message.input.is_some().into(),
            input: message.input.unwrap_or(0),
            sighash: musig_sighash::from(message.sighash_type).number(),
            key_set: message.key_set as u32,
            digest: message.digest,
            final_key: message.final_key,
            derivation: musig_derivation::write(&message.derivation),
        });
        Ok(())
    })
}

/// Gets an input of a summary's transaction.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_NO_SUCH_FIELD in a session over messages;
///          MUSIG_STATUS_STRUCT_SIZE.
/// In:      summary: the summary.
/// Out:     out: the input. Set its struct_size before the call.
/// In:      index: the index of the input.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_input(
    summary: *const musig_summary,
    out: *mut musig_input_summary,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (summary, out) = (get!(summary), out!(sized out));
        let inputs = &summary.transaction()?.inputs;
        let input =
            inputs.get(index as usize).ok_or_else(|| Failure::no_such("input", index, inputs.len()))?;
        let (lock, lock_value) = lock_of(input.lock);
        let kind = match input.kind {
            InputKind::Session => musig_input_kind::SESSION,
            InputKind::Verified => musig_input_kind::VERIFIED,
            InputKind::Unverified => musig_input_kind::UNVERIFIED,
            InputKind::Unsigned => musig_input_kind::UNSIGNED,
        };
        out.set(musig_input_summary {
            struct_size: size_of::<musig_input_summary>() as u32,
            kind: kind.number(),
            coin: musig_outpoint { txid: input.coin.txid.0, vout: input.coin.vout },
            own: input.own.into(),
            value: input.value,
            script: input.script.as_ptr(),
            script_length: input.script.len(),
            address: address(&summary.inputs[index as usize]),
            sequence: input.sequence,
            lock,
            lock_value,
        });
        Ok(())
    })
}

/// Gets an output of a summary's transaction.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_NO_SUCH_FIELD in a session over messages;
///          MUSIG_STATUS_STRUCT_SIZE.
/// In:      summary: the summary.
/// Out:     out: the output. Set its struct_size before the call.
/// In:      index: the index of the output.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_output(
    summary: *const musig_summary,
    out: *mut musig_output_summary,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (summary, out) = (get!(summary), out!(sized out));
        let outputs = &summary.transaction()?.outputs;
        let output =
            outputs.get(index as usize).ok_or_else(|| Failure::no_such("output", index, outputs.len()))?;
        out.set(musig_output_summary {
            struct_size: size_of::<musig_output_summary>() as u32,
            own: output.own.into(),
            value: output.value,
            script: output.script.as_ptr(),
            script_length: output.script.len(),
            address: address(&summary.outputs[index as usize]),
        });
        Ok(())
    })
}

/// Gets a warning of a summary.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_STRUCT_SIZE.
/// In:      summary: the summary.
/// Out:     out: the warning. Set its struct_size before the call.
/// In:      index: the index of the warning.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_warning(
    summary: *const musig_summary,
    out: *mut musig_warning,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        use musig_warning_kind::*;
        let (warnings, out) = (&get!(summary).summary.warnings, out!(sized out));
        let warning =
            warnings.get(index as usize).ok_or_else(|| Failure::no_such("warning", index, warnings.len()))?;
        let (kind, index, session) = match *warning {
            Warning::HighFee { .. } => (HIGH_FEE, 0, None),
            Warning::HighFeeRate { .. } => (HIGH_FEE_RATE, 0, None),
            Warning::Dust { output } => (DUST, output, None),
            Warning::LockBeyondExpiry => (LOCK_BEYOND_EXPIRY, 0, None),
            Warning::UnverifiedInput { input } => (UNVERIFIED_INPUT, input, None),
            Warning::HiddenScripts { message } => (HIDDEN_SCRIPTS, message, None),
            Warning::Blind { message } => (BLIND, message, None),
            Warning::CoinInOtherSession { input, session } => (COIN_IN_OTHER_SESSION, input, Some(session)),
            Warning::PaidByOtherSession { output, session } => (PAID_BY_OTHER_SESSION, output, Some(session)),
            Warning::UnknownArrangement { output } => (UNKNOWN_ARRANGEMENT, output, None),
            Warning::LowerFeeRate { session, .. } => (LOWER_FEE_RATE, 0, Some(session)),
        };
        out.set(musig_warning {
            struct_size: size_of::<musig_warning>() as u32,
            kind: kind.number(),
            index,
            session: session.map_or([0; 32], |session| session.0),
        });
        Ok(())
    })
}

/// Adds a reference to a summary.
///
/// Returns: the same pointer.
/// In:      summary: the summary; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_ref(summary: *mut musig_summary) -> *mut musig_summary {
    // SAFETY: the header asks for a summary with a reference, or NULL.
    unsafe { add_reference(summary) }
}

/// Releases a reference to a summary; the last one frees it.
///
/// In:      summary: the summary; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_summary_free(summary: *mut musig_summary) {
    // SAFETY: the header asks for a summary with a reference, or NULL.
    unsafe { release(summary) }
}
