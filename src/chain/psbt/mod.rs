//! Partially signed transactions (PSBT) of versions 0 (BIP-174) and 2 (BIP-370), with the fields of Taproot (BIP-371)
//! and MuSig2 (BIP-373).
//!
//! A [`Psbt`] is kept as its maps: it is written back in the version that came in, byte for byte but for what was
//! added. Whatever it holds was checked when it was read, within the [`limits`]: lengths, points of the curve, that the
//! participants aggregate to the key they are said to.
//!
//! [`Psbt::update`] adds what a wallet's descriptor knows. [`Psbt::musig2_spends`] finds what signs each input,
//! [`Psbt::spend_plan`] what a session can sign, [`SessionRequest::from_psbt`](crate::node::SessionRequest::from_psbt)
//! proposes it, [`Psbt::add_signatures`] puts the session's signatures in, [`Psbt::finalize`] and [`Psbt::extract`] make the
//! final transaction. [`PsbtSigner`] signs a session's transaction with a device or another wallet that reads and writes PSBTs.

mod base64;
mod error;
mod finalize;
mod folder;
pub mod limits;
mod maps;
mod musig2;
mod plan;
mod request;
mod rules;
mod signer;
mod terms;
mod unsigned;
mod update;

use std::fmt;
use std::str::FromStr;

use bitcoin::Transaction;

pub use error::{Field, MapName, PsbtError};
pub use folder::PsbtFolder;
use maps::Maps;
pub use musig2::{Musig2Nonce, Musig2Partial, Musig2Slot, ParticipantKeys};
pub use plan::{InputPlan, Musig2Spend, SpendPlan};
pub use signer::{DeviceError, PsbtDevice, PsbtRequest, PsbtSigner};
#[cfg(feature = "node")]
pub(crate) use signer::{NonceId, PsbtHost};

/// A partially signed transaction.
#[derive(Clone)]
pub struct Psbt {
    maps: Maps,
    /// Without script signatures and witnesses.
    unsigned: Transaction,
}

impl Psbt {
    /// Reads the bytes of a PSBT of version 0 or 2.
    ///
    /// Errors: any of [`PsbtError`] that concerns reading; it names the field.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PsbtError> {
        let maps = Maps::read(bytes)?;
        let unsigned = unsigned::transaction(&maps)?;
        let psbt = Self { maps, unsigned };
        psbt.check_previous_transactions()?;
        Ok(psbt)
    }

    /// Reads base64 text; white space around it is ignored.
    ///
    /// Errors: [`PsbtError::Base64`], and those of [`from_bytes`](Self::from_bytes).
    pub fn from_base64(text: &str) -> Result<Self, PsbtError> {
        let text = text.trim_ascii();
        limits::check("characters", text.len() as u64, limits::BYTES.div_ceil(3) as u64 * 4)?;
        Self::from_bytes(&base64::decode(text).ok_or(PsbtError::Base64)?)
    }

    /// The bytes, in the version that was read.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.maps.write()
    }

    /// The bytes as base64 text.
    pub fn to_base64(&self) -> String {
        base64::encode(&self.to_bytes())
    }

    /// 0 or 2.
    pub fn version(&self) -> u32 {
        self.maps.version()
    }

    /// How many inputs the transaction has.
    pub fn inputs(&self) -> usize {
        self.maps.inputs()
    }

    /// How many outputs the transaction has.
    pub fn outputs(&self) -> usize {
        self.maps.outputs()
    }

    /// The transaction without script signatures and witnesses. Of version 2 with the lock time that its inputs require
    /// (BIP-370, "Determining Lock Time").
    pub fn unsigned_transaction(&self) -> &Transaction {
        &self.unsigned
    }
}

impl FromStr for Psbt {
    type Err = PsbtError;

    fn from_str(text: &str) -> Result<Self, PsbtError> {
        Self::from_base64(text)
    }
}

/// Base64 text.
impl fmt::Display for Psbt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for Psbt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Psbt({})", self.to_base64())
    }
}

impl PartialEq for Psbt {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Psbt {}
