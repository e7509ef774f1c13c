//! Signers whose keys are in a device, or another wallet, that reads and writes PSBTs.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use super::boundary::{flag, session_id, signer_keys};
use super::bytes::musig_bytes;
use super::callback::{UserData, musig_destroy};
use super::config::musig_config;
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};
use crate::chain::psbt::{DeviceError, Psbt, PsbtDevice, PsbtFolder, PsbtRequest, PsbtSigner};

/// A signer whose participant keys are in a device, or another wallet, that signs PSBTs by BIP-373; for one node.
pub struct musig_psbt_signer(Mutex<Arc<PsbtSigner>>);

/// What a device is asked. All pointers are valid during the call.
#[repr(C)]
pub struct musig_psbt_request {
    /// sizeof this structure in the calling library.
    pub struct_size: u32,
    /// Number of this PSBT in the session, from 1. Odd ones ask for nonces, even ones for partial signatures.
    pub number: u32,
    /// 1: it was handed over before, and is only to be waited for; else 0.
    pub again: i32,
    /// Number of participant keys.
    pub keys_count: u32,
    /// The session id, 32 bytes.
    pub session_id: *const u8,
    /// The PSBT that is to be handed over.
    pub psbt: *const u8,
    /// Length of the PSBT in bytes.
    pub psbt_length: usize,
    /// The participant keys whose nonces or partial signatures are wanted, 33 bytes each.
    pub keys: *const u8,
    /// When the session expires, in milliseconds since 1970: later answers are of no use.
    pub expires_at: u64,
    /// Tells whether nobody waits for the answer any more (1, else 0): the session ended or expired, or the node stopped. A
    /// device that waits calls it now and then, with this request.
    pub is_cancelled: Option<unsafe extern "C" fn(request: *const musig_psbt_request) -> i32>,
    /// The library's own.
    pub owner: *const c_void,
}

/// The callbacks of a device, or another wallet, that adds what it can to a PSBT. They may block until the session expires;
/// those for different sessions run at the same time, each on a thread of the library. A node that stops waits for them. They
/// return MUSIG_STATUS_OK and the PSBT with what was asked for; MUSIG_STATUS_NOT_READY if the device could not be reached and
/// nothing was handed over: it is asked again each second; or any other value for a failure: it is not asked again before
/// musig_psbt_signer_ask_again. No exception may leave them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_psbt_device {
    /// sizeof(musig_psbt_device).
    pub struct_size: u32,
    /// 1: a request that was handed over can be waited for again after a restart, with again set; else 0.
    pub keeps_requests: i32,
    /// Adds the public nonces of its keys to a PSBT that has none, and keeps the secret ones. The library takes the answer's
    /// reference: see musig_bytes_new.
    pub add_nonces: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            request: *const musig_psbt_request,
            answer: *mut *mut musig_bytes,
        ) -> musig_status,
    >,
    /// Adds the partial signatures of its keys to a PSBT with the public nonces of all. The library takes the answer's
    /// reference.
    pub add_partials: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            request: *const musig_psbt_request,
            answer: *mut *mut musig_bytes,
        ) -> musig_status,
    >,
}

struct Device {
    table: musig_psbt_device,
    keeps_requests: bool,
    data: UserData,
}

/// `musig_psbt_request::is_cancelled`.
unsafe extern "C" fn is_cancelled(request: *const musig_psbt_request) -> i32 {
    super::failure::guarded(1, || {
        // SAFETY: the header asks for the request of a call that runs; its owner is the library's request.
        let owner =
            unsafe { request.as_ref().and_then(|request| request.owner.cast::<PsbtRequest>().as_ref()) };
        owner.is_none_or(PsbtRequest::is_cancelled).into()
    })
}

impl Device {
    fn ask(
        &self,
        request: &PsbtRequest,
        call: unsafe extern "C" fn(
            *mut c_void,
            *const musig_psbt_request,
            *mut *mut musig_bytes,
        ) -> musig_status,
    ) -> Result<Psbt, DeviceError> {
        let psbt = request.psbt.to_bytes();
        let keys: Vec<u8> = request.keys.iter().flat_map(|key| *key.as_bytes()).collect();
        let asked = musig_psbt_request {
            struct_size: size_of::<musig_psbt_request>() as u32,
            number: request.number,
            again: request.again.into(),
            keys_count: request.keys.len() as u32,
            session_id: request.session.0.as_ptr(),
            psbt: psbt.as_ptr(),
            psbt_length: psbt.len(),
            keys: keys.as_ptr(),
            expires_at: request.expires_at.0,
            is_cancelled: Some(is_cancelled),
            owner: std::ptr::from_ref(request).cast(),
        };
        let mut answer = std::ptr::null_mut();
        // SAFETY: the callback gets a request that lives for the call, and a place for the answer, as the header says.
        let status = unsafe { call(self.data.pointer(), &asked, &mut answer) };
        // SAFETY: the header asks for bytes with a reference, or NULL.
        let read = unsafe { answer.as_ref() }.map(|bytes| Psbt::from_bytes(bytes.as_slice()));
        // SAFETY: the reference is the library's now.
        unsafe { release(answer) };
        match (status, read) {
            (0, Some(psbt)) => psbt.map_err(|error| DeviceError::Failed(error.to_string())),
            (0, None) => Err(DeviceError::Failed("the callback gave no answer".into())),
            (status, _) if status == musig_status_code::NOT_READY as i32 => {
                Err(DeviceError::Unreachable("the callback returned MUSIG_STATUS_NOT_READY".into()))
            }
            _ if request.is_cancelled() => Err(DeviceError::Cancelled),
            (status, _) => Err(DeviceError::Failed(format!("the callback returned {status}"))),
        }
    }
}

fn missing() -> DeviceError {
    DeviceError::Failed("the callback is NULL".into())
}

impl PsbtDevice for Device {
    fn add_nonces(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        self.ask(request, self.table.add_nonces.ok_or_else(missing)?)
    }

    fn add_partials(&self, request: &PsbtRequest) -> Result<Psbt, DeviceError> {
        self.ask(request, self.table.add_partials.ok_or_else(missing)?)
    }

    fn keeps_requests(&self) -> bool {
        self.keeps_requests
    }
}

fn version(number: u32) -> Outcome<u32> {
    match number {
        0 | 2 => Ok(number),
        other => Err(Failure::invalid(format!("psbt_version is {other}; PSBTs have version 0 or 2"))),
    }
}

impl musig_psbt_signer {
    fn new(device: Arc<dyn PsbtDevice>, psbt_version: u32) -> Outcome<Self> {
        let signer = PsbtSigner::new([], device).psbt_version(version(psbt_version)?);
        Ok(Self(Mutex::new(Arc::new(signer))))
    }

    fn shared(&self) -> Arc<PsbtSigner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut PsbtSigner) -> Outcome) -> Outcome {
        let mut signer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = "a configuration has this signer; add its keys before";
        change(Arc::get_mut(&mut signer).ok_or_else(|| Failure::new(musig_status_code::CONFIG_USED, used))?)
    }
}

/// Creates a signer whose keys are in a device of callbacks.
///
/// Add its keys before a configuration gets it. Its time limit is the session's expiry; MUSIG_EVENT_SIGNER_WAITING says what is
/// waited for. One public nonce is in at most one second round, after any restart. Raw messages are refused.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a callback is NULL. The library takes ownership of user_data
///          only with MUSIG_STATUS_OK.
/// Out:     out: the signer; release it with musig_psbt_signer_free.
/// In:      device: the table, which is copied.
///          psbt_version: the version of the PSBTs that the device reads: 0 or 2.
///          user_data: passed to each callback; may be NULL.
///          destroy: called with user_data once no node and no reference uses the signer any more; may be NULL.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_signer_new(
    out: *mut *mut musig_psbt_signer,
    device: *const musig_psbt_device,
    psbt_version: u32,
    user_data: *mut c_void,
    destroy: musig_destroy,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, table) = (out!(out), sized!(device));
        if table.add_nonces.is_none() || table.add_partials.is_none() {
            return Err(Failure::invalid("device->add_nonces or add_partials is NULL; set both"));
        }
        let keeps_requests = flag(table.keeps_requests, "keeps_requests")?;
        version(psbt_version)?;
        let data = UserData::new(user_data, destroy);
        let device = Device { table, keeps_requests, data };
        out.give(musig_psbt_signer::new(Arc::new(device), psbt_version)?);
        Ok(())
    })
}

/// Creates a signer whose keys are in a device that is reached by a folder of files.
///
/// A request is the file SESSION.NUMBER.psbt, the answer is expected in SESSION.NUMBER.answer.psbt, as bytes or base64. The
/// files stay: remove those of sessions that ended.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for another version; MUSIG_STATUS_CONFIG for a folder that cannot be
///          created.
/// Out:     out: the signer; release it with musig_psbt_signer_free.
/// In:      folder: the path of the folder, which is created if it does not exist.
///          psbt_version: the version of the PSBTs that the device reads: 0 or 2.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_signer_new_folder(
    out: *mut *mut musig_psbt_signer,
    folder: *const c_char,
    psbt_version: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, folder) = (out!(out), text!(folder));
        version(psbt_version)?;
        let device = PsbtFolder::new(folder).map_err(|error| {
            Failure::new(musig_status_code::CONFIG, format!("{folder} cannot be created: {error}"))
        })?;
        out.give(musig_psbt_signer::new(Arc::new(device), psbt_version)?);
        Ok(())
    })
}

/// Adds a participant key that is in the device.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_CONFIG_USED once a configuration has the signer.
/// In:      signer: the signer.
///          key: the 33 bytes of the compressed public key.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_signer_add_key(
    signer: *const musig_psbt_signer,
    key: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, key) = (get!(signer), signer_keys(array!(key, 33))?[0]);
        signer.change(|signer| {
            signer.add_key(key);
            Ok(())
        })
    })
}

/// Adds all keys below an extended public key whose private one is in the device.
///
/// They are found by their origins, at most 8 unhardened steps below it.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_SIGNER for what is no such key, or not the one of this origin;
///          MUSIG_STATUS_CONFIG_USED once a configuration has the signer; MUSIG_STATUS_INVALID_ARGUMENT.
/// In:      signer: the signer.
///          xpub: the key in base58, such as `xpub…` or `tpub…`.
///          fingerprint: the 4 bytes of the master key's fingerprint.
///          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
///          path_count: number of child numbers, at most 16.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_signer_add_xpub(
    signer: *const musig_psbt_signer,
    xpub: *const c_char,
    fingerprint: *const u8,
    path: *const u32,
    path_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, xpub, origin) = (get!(signer), text!(xpub), origin!(fingerprint, path, path_count));
        signer.change(|signer| Ok(signer.add_xpub(xpub, origin)?))
    })
}

/// Allows asking the device for other nonces in a session that waits for this word.
///
/// A session waits for it after a failure, an answer that was refused, or a second PSBT without an answer. See to it first that
/// the device holds nothing of the session.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      signer: the signer.
/// Out:     out: 1, or 0 if the session does not wait for it.
/// In:      session_id: the 32 bytes of the session id.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_signer_ask_again(
    signer: *const musig_psbt_signer,
    out: *mut i32,
    session_id: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, out, session) = (get!(signer), out!(out), array!(session_id, 32));
        out.set(signer.shared().ask_again(&self::session_id(session)).into());
        Ok(())
    })
}

/// Sets the signer of a node whose participant keys are in a device, beside the one of musig_config_set_signer.
///
/// It takes the place of one of musig_config_set_foreign_signer. With it the identity key signs no session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG_USED.
/// In:      config: the configuration.
///          signer: the signer; the configuration takes a reference of its own.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_config_set_psbt_signer(
    config: *const musig_config,
    signer: *const musig_psbt_signer,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (config, signer) = (get!(config), get!(signer).shared());
        config.change(|settings| settings.psbt_signer.replace(signer))
    })
}

/// Adds a reference to a PSBT signer.
///
/// Returns: the same pointer.
/// In:      signer: the signer; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_signer_ref(signer: *mut musig_psbt_signer) -> *mut musig_psbt_signer {
    // SAFETY: the header asks for a signer with a reference, or NULL.
    unsafe { add_reference(signer) }
}

/// Releases a reference to a PSBT signer; the last one, those of nodes included, frees it.
///
/// In:      signer: the signer; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_signer_free(signer: *mut musig_psbt_signer) {
    // SAFETY: the header asks for a signer with a reference, or NULL.
    unsafe { release(signer) }
}
