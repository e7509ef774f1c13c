//! Signers whose keys are in a device, or another wallet, that reads and writes PSBTs.

use std::sync::Arc;
use std::time::SystemTime;

use super::error::MusigError;
use super::keys::KeyOrigin;
use super::live::Live;
use super::psbt::Psbt;
use super::values::moment;
use crate::chain::psbt::{self as core, DeviceError};
use crate::types::{SessionId, SignerKey};

/// Device, or another wallet, that adds what it can to a PSBT. Calls may block until the session expires, and those for
/// different sessions are made at the same time, each on a thread of its own. A node that stops waits for them: look at
/// `is_cancelled` now and then. Of an answer only the fields that were asked for are read. An exception is a failure: the device
/// is not asked again before `ask_again`.
#[uniffi::export(rust, foreign)]
pub trait PsbtDevice: Send + Sync {
    /// Adds the public nonces of its keys to a PSBT that has none, keeps the secret ones, and gives the PSBT back.
    fn add_nonces(&self, request: Arc<PsbtRequest>) -> Result<PsbtAnswer, MusigError>;

    /// Adds the partial signatures of its keys to a PSBT with the public nonces of all, and gives it back.
    fn add_partials(&self, request: Arc<PsbtRequest>) -> Result<PsbtAnswer, MusigError>;
}

/// Answer of a device that was handed a PSBT.
#[derive(Clone, Debug, uniffi::Enum)]
pub enum PsbtAnswer {
    /// It added what was asked for.
    Signed {
        /// The PSBT.
        psbt: Arc<Psbt>,
    },
    /// It could not be reached, and nothing was handed over: it is asked again each second.
    Unreachable {
        /// Why, for people.
        reason: String,
    },
    /// Nobody waits for the answer any more: the request is cancelled.
    Cancelled,
}

/// Request to a device.
#[derive(uniffi::Object)]
pub struct PsbtRequest {
    request: core::PsbtRequest,
    _live: Live,
}

#[uniffi::export]
impl PsbtRequest {
    /// The session.
    pub fn session(&self) -> SessionId {
        self.request.session
    }

    /// Number of this PSBT in the session, from 1. Odd ones ask for nonces, even ones for partial signatures.
    pub fn number(&self) -> u32 {
        self.request.number
    }

    /// What is to be handed over.
    pub fn psbt(&self) -> Arc<Psbt> {
        Psbt::wrap(self.request.psbt.clone())
    }

    /// The participant keys whose nonces or partial signatures are wanted.
    pub fn keys(&self) -> Vec<SignerKey> {
        self.request.keys.clone()
    }

    /// When the session expires: later answers are of no use.
    pub fn expires_at(&self) -> SystemTime {
        moment(self.request.expires_at)
    }

    /// Whether it was handed over before, and is only to be waited for.
    pub fn again(&self) -> bool {
        self.request.again
    }

    /// Whether nobody waits for the answer any more: the session ended or expired, or the node stopped.
    pub fn is_cancelled(&self) -> bool {
        self.request.is_cancelled()
    }
}

/// Extended public key of a device, below which its participant keys are.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct DeviceAccount {
    /// The key in base58, `xpub…` or `tpub…`.
    pub xpub: String,
    /// Where it is.
    pub origin: KeyOrigin,
}

/// Signer whose participant keys are in a device, or another wallet, that signs PSBTs by BIP-373; for one node. The node
/// makes the PSBT from the session's terms: the first one goes out without nonces, once, the second one with the nonces of
/// all. One public nonce is in at most one second round, after any restart. `SignerWaiting` says what is waited for, until the
/// session expires; raw messages are refused.
#[derive(uniffi::Object)]
pub struct PsbtSigner {
    pub(super) signer: Arc<core::PsbtSigner>,
    _live: Live,
}

impl PsbtSigner {
    fn make(
        keys: Vec<SignerKey>,
        accounts: Vec<DeviceAccount>,
        version: u32,
        device: Arc<dyn core::PsbtDevice>,
    ) -> Result<Arc<Self>, MusigError> {
        if ![0, 2].contains(&version) {
            let reason = format!("{version} is no version of PSBTs; they are 0 and 2");
            return Err(MusigError::InvalidArgument { what: "psbt_version".into(), reason });
        }
        let mut signer = core::PsbtSigner::new(keys, device).psbt_version(version);
        for account in accounts {
            signer = signer.with_xpub(&account.xpub, account.origin.try_into()?)?;
        }
        Ok(Arc::new(Self { signer: Arc::new(signer), _live: Live::new("PsbtSigner") }))
    }
}

#[uniffi::export]
impl PsbtSigner {
    /// A signer for these participant keys, and for those below these accounts (found by their origins), which are in the
    /// device. `psbt_version` is 0, or 2 for devices that read no other. `keeps_requests` says that a request that was handed
    /// over can be waited for again after a restart: then the device is called again, with `again` set.
    #[uniffi::constructor(default(keys = [], accounts = [], psbt_version = 0, keeps_requests = false))]
    pub fn new(
        device: Arc<dyn PsbtDevice>,
        keys: Vec<SignerKey>,
        accounts: Vec<DeviceAccount>,
        psbt_version: u32,
        keeps_requests: bool,
    ) -> Result<Arc<Self>, MusigError> {
        let device = Foreign { object: device, keeps_requests, _live: Live::new("PsbtDevice") };
        Self::make(keys, accounts, psbt_version, Arc::new(device))
    }

    /// The same for a folder of files, for a device that is reached by a memory card, or a person. A request is the file
    /// `SESSION.NUMBER.psbt`, the answer is expected in `SESSION.NUMBER.answer.psbt`, as bytes or base64. The files stay:
    /// remove those of sessions that ended. The folder is created if it does not exist.
    #[uniffi::constructor(default(keys = [], accounts = [], psbt_version = 0))]
    pub fn of_folder(
        folder: String,
        keys: Vec<SignerKey>,
        accounts: Vec<DeviceAccount>,
        psbt_version: u32,
    ) -> Result<Arc<Self>, MusigError> {
        let made = core::PsbtFolder::new(&folder).map_err(|error| MusigError::InvalidArgument {
            what: "folder".into(),
            reason: format!("{folder} cannot be created: {error}"),
        })?;
        Self::make(keys, accounts, psbt_version, Arc::new(made))
    }

    /// Allows asking the device for other nonces in a session that waits for this word: after a failure, an answer that was
    /// refused, or a second PSBT without an answer. See to it first that the device holds nothing of the session. False if the
    /// session does not wait for it.
    pub fn ask_again(&self, session: SessionId) -> Result<bool, MusigError> {
        Ok(self.signer.ask_again(&session))
    }
}

/// The application's device.
struct Foreign {
    object: Arc<dyn PsbtDevice>,
    keeps_requests: bool,
    _live: Live,
}

impl Foreign {
    fn read(answer: Result<PsbtAnswer, MusigError>) -> Result<core::Psbt, DeviceError> {
        match answer {
            Ok(PsbtAnswer::Signed { psbt }) => Ok(psbt.psbt.clone()),
            Ok(PsbtAnswer::Unreachable { reason }) => Err(DeviceError::Unreachable(reason)),
            Ok(PsbtAnswer::Cancelled) => Err(DeviceError::Cancelled),
            Err(error) => Err(DeviceError::Failed(error.to_string())),
        }
    }
}

fn asked(request: &core::PsbtRequest) -> Arc<PsbtRequest> {
    Arc::new(PsbtRequest { request: request.clone(), _live: Live::new("PsbtRequest") })
}

impl core::PsbtDevice for Foreign {
    fn add_nonces(&self, request: &core::PsbtRequest) -> Result<core::Psbt, DeviceError> {
        Self::read(self.object.add_nonces(asked(request)))
    }

    fn add_partials(&self, request: &core::PsbtRequest) -> Result<core::Psbt, DeviceError> {
        Self::read(self.object.add_partials(asked(request)))
    }

    fn keeps_requests(&self) -> bool {
        self.keeps_requests
    }
}
