//! Signers: keys in this process's memory, or callbacks.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::boundary::{fixed, signer_keys, total};
use super::callback::{UserData, musig_destroy};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};
use crate::error::SignerError;
use crate::protocol::crypto::{NONCE, PARTIAL};
use crate::protocol::limits;
use crate::protocol::proposal::{KeyOrigin, Proposal};
use crate::signer::{LocalSigner, NonceRequest, PartialRequest, Signer};
use crate::types::{SessionId, SignerKey};

/// A signer: its secret keys, in memory; or participant keys behind callbacks.
pub struct musig_signer(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Local(Arc<LocalSigner>),
    Foreign(Arc<Foreign>),
}

impl musig_signer {
    pub(super) fn local(&self) -> Outcome<&LocalSigner> {
        match &self.0 {
            Kind::Local(signer) => Ok(signer),
            Kind::Foreign(_) => Err(Failure::new(
                musig_status_code::NOT_LOCAL,
                "this signer consists of callbacks, and its keys are in the device or process that holds them",
            )),
        }
    }
}

/// A request to a signer of callbacks. All pointers are valid during the call.
#[repr(C)]
pub struct musig_signing_request {
    /// sizeof this structure in the calling library.
    pub struct_size: u32,
    /// The attempt, counted from 0. Nonces are made once per attempt of a session.
    pub attempt: u32,
    /// The signer index.
    pub signer: u32,
    /// Number of messages to sign: those whose participant keys this signer holds.
    pub messages_count: u32,
    /// The session id, 32 bytes.
    pub session_id: *const u8,
    /// The encoded proposal: see musig_terms_decode.
    pub proposal: *const u8,
    /// Length of the encoded proposal in bytes.
    pub proposal_length: usize,
    /// The digests to sign, 32 bytes per message.
    pub digests: *const u8,
    /// The participant keys by which this signer signs, 33 bytes per message.
    pub participant_keys: *const u8,
    /// The x-only keys under which the signatures verify, 32 bytes per message.
    pub output_keys: *const u8,
    /// BIP-327 aggregate nonces, 66 bytes per message; NULL in make_nonces.
    pub aggregate_nonces: *const u8,
    /// The positions of the messages in the proposal, one per message, ascending: see musig_terms_message.
    pub messages: *const u32,
    /// The indices of the key sets that the participant keys are of, one per message: musig_terms_key_set has their
    /// origins.
    pub key_sets: *const u32,
}

/// The callbacks of a foreign signer, which holds participant keys in another process or a device. The identity key is not
/// among them. They run one at a time on a thread of the library; they may block for up to a minute. They return
/// MUSIG_STATUS_OK, MUSIG_STATUS_SIGNER_LOCKED, MUSIG_STATUS_NONCE_GONE, or any other value for a failure. No exception may
/// leave them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_signer_callbacks {
    /// sizeof(musig_signer_callbacks).
    pub struct_size: u32,
    /// Writes 1 if it signs with this participant key (33 bytes), else 0. fingerprint (4 bytes) and path are what the
    /// proposal says of its origin, a hint: derive along it below a key that was configured, at most a few unhardened
    /// steps, and compare. Both are NULL for a key without an origin, path also for no steps. It answers from what it was
    /// told when it was made: a device need not be there.
    pub holds: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            holds: *mut i32,
            key: *const u8,
            fingerprint: *const u8,
            path: *const u32,
            path_count: usize,
        ) -> musig_status,
    >,
    /// Makes secret nonces, keeps them for (session, attempt), and writes the public ones: 66 bytes per message. Never
    /// twice for one attempt: it then returns MUSIG_STATUS_NONCE_GONE, and the session continues with a new attempt.
    pub make_nonces: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            request: *const musig_signing_request,
            nonces: *mut u8,
        ) -> musig_status,
    >,
    /// Consumes the nonces of (session, attempt) and writes partial signatures: 32 bytes per message. If the nonces are
    /// lost, as after a restart, it returns MUSIG_STATUS_NONCE_GONE.
    pub make_partials: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            request: *const musig_signing_request,
            partials: *mut u8,
        ) -> musig_status,
    >,
    /// Wipes the nonces of a session for attempts up to and including this one. May be NULL.
    pub forget: Option<unsafe extern "C" fn(user_data: *mut c_void, session_id: *const u8, attempt: u32)>,
}

pub(super) struct Foreign {
    table: musig_signer_callbacks,
    data: UserData,
}

fn outcome(status: musig_status) -> Result<(), SignerError> {
    match status {
        0 => Ok(()),
        s if s == musig_status_code::SIGNER_LOCKED as i32 => Err(SignerError::Locked),
        s if s == musig_status_code::NONCE_GONE as i32 => Err(SignerError::NonceGone),
        s => Err(SignerError::Other(format!("the callback returned {s}"))),
    }
}

fn missing() -> SignerError {
    SignerError::Other("the callback is NULL".into())
}

impl Foreign {
    /// Calls back with what both rounds have in common.
    fn ask(
        &self,
        request: (&Proposal, u32, usize, &[usize]),
        keys: &dyn crate::protocol::crypto::SessionKeys,
        nonces: Option<&[u8]>,
        call: impl FnOnce(*mut c_void, *const musig_signing_request) -> musig_status,
    ) -> Result<(), SignerError> {
        let (proposal, attempt, signer, messages) = request;
        let session = proposal.id();
        let signed = || messages.iter().filter_map(|message| proposal.messages.get(*message));
        let digests: Vec<u8> = signed().flat_map(|message| message.digest).collect();
        let key_sets: Vec<u32> = signed().map(|message| message.key_set as u32).collect();
        let output_keys: Vec<u8> = messages.iter().flat_map(|index| keys.output_key(*index)).collect();
        let participant_keys: Vec<u8> = messages
            .iter()
            .filter_map(|message| proposal.participant_key(*message, signer))
            .flat_map(|key| *key.as_bytes())
            .collect();
        let positions: Vec<u32> = messages.iter().map(|message| *message as u32).collect();
        let request = musig_signing_request {
            struct_size: size_of::<musig_signing_request>() as u32,
            attempt,
            signer: signer as u32,
            messages_count: messages.len() as u32,
            session_id: session.0.as_ptr(),
            proposal: proposal.as_bytes().as_ptr(),
            proposal_length: proposal.as_bytes().len(),
            digests: digests.as_ptr(),
            participant_keys: participant_keys.as_ptr(),
            output_keys: output_keys.as_ptr(),
            aggregate_nonces: nonces.map_or(std::ptr::null(), <[u8]>::as_ptr),
            messages: positions.as_ptr(),
            key_sets: key_sets.as_ptr(),
        };
        outcome(call(self.data.pointer(), &request))
    }
}

impl Signer for Foreign {
    fn holds(&self, key: &SignerKey, origin: Option<&KeyOrigin>) -> Result<bool, SignerError> {
        let ask = self.table.holds.ok_or_else(missing)?;
        let steps = origin.map_or(&[][..], |origin| &origin.path);
        let fingerprint = origin.map_or(std::ptr::null(), |origin| origin.fingerprint.as_ptr());
        let path = if steps.is_empty() { std::ptr::null() } else { steps.as_ptr() };
        let mut holds = 0;
        // SAFETY: the callback gets a number to write, 33 and 4 readable bytes, or NULL, and so many numbers, as the
        // header says.
        outcome(unsafe {
            ask(self.data.pointer(), &mut holds, key.as_bytes().as_ptr(), fingerprint, path, steps.len())
        })?;
        match holds {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(SignerError::Other(format!("the callback said {other} in place of 0 or 1"))),
        }
    }

    fn make_nonces(&self, request: &NonceRequest) -> Result<Vec<[u8; NONCE]>, SignerError> {
        let make = self.table.make_nonces.ok_or_else(missing)?;
        let mut nonces = vec![[0; NONCE]; request.messages.len()];
        let to = nonces.as_mut_ptr().cast::<u8>();
        let about = (&request.proposal, request.attempt, request.signer, request.messages.as_slice());
        // SAFETY: there is room for 66 bytes for each message, as the header says.
        self.ask(about, request.keys.as_ref(), None, |data, request| unsafe { make(data, request, to) })?;
        Ok(nonces)
    }

    fn make_partials(&self, request: &PartialRequest) -> Result<Vec<[u8; PARTIAL]>, SignerError> {
        let make = self.table.make_partials.ok_or_else(missing)?;
        let count = request.messages.len();
        let nonces: Vec<u8> =
            request.messages.iter().flat_map(|index| request.round.aggregate_nonce(*index)).collect();
        let mut partials = vec![[0; PARTIAL]; count];
        let to = partials.as_mut_ptr().cast::<u8>();
        let about = (&request.proposal, request.attempt, request.signer, request.messages.as_slice());
        self.ask(about, request.keys.as_ref(), Some(&nonces), |data, request| {
            // SAFETY: there is room for 32 bytes for each message, as the header says.
            unsafe { make(data, request, to) }
        })?;
        Ok(partials)
    }

    fn forget(&self, session: &SessionId, attempt: u32) {
        if let Some(forget) = self.table.forget {
            // SAFETY: the callback gets 32 readable bytes, as the header says.
            unsafe { forget(self.data.pointer(), session.0.as_ptr(), attempt) }
        }
    }
}

/// Creates a signer from a secret key, kept in this process's memory.
///
/// The key is kept in a page that is not swapped and excluded from core dumps, where the system allows that. Wipe your
/// own copy afterwards.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET if it is zero or not less than the order of secp256k1.
/// Out:     out: the signer; release it with musig_signer_free.
/// In:      secret: the 32 bytes of the secret key.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_new(
    out: *mut *mut musig_signer,
    secret: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, secret) = (out!(out), array!(secret, 32));
        let signer = LocalSigner::new(fixed(secret))?;
        out.give(musig_signer(Kind::Local(Arc::new(signer))));
        Ok(())
    })
}

/// Creates a signer with a new random key, which cannot be read back.
///
/// For tests, and for ephemeral signers.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_SIGNER if the system has no random bytes.
/// Out:     out: the signer; release it with musig_signer_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_generate(
    out: *mut *mut musig_signer,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        out.give(musig_signer(Kind::Local(Arc::new(LocalSigner::generate()?))));
        Ok(())
    })
}

/// Creates a foreign signer from callbacks, for participant keys in another process or a device that supports MuSig2
/// (BIP-327).
///
/// It is set by musig_config_set_foreign_signer, beside a signer that holds the identity key. Its public nonces and partial
/// signatures are verified before they are stored or sent.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if holds, make_nonces or make_partials is NULL. The library
///          takes ownership of user_data only with MUSIG_STATUS_OK.
/// Out:     out: the signer; release it with musig_signer_free.
/// In:      callbacks: the table, which is copied.
///          user_data: passed to each callback; may be NULL.
///          destroy: called with user_data once no node and no reference uses the signer any more; may be NULL.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_from_callbacks(
    out: *mut *mut musig_signer,
    callbacks: *const musig_signer_callbacks,
    user_data: *mut c_void,
    destroy: musig_destroy,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, table) = (out!(out), sized!(callbacks));
        if table.holds.is_none() || table.make_nonces.is_none() || table.make_partials.is_none() {
            return Err(Failure::invalid(
                "callbacks->holds, make_nonces or make_partials is NULL; set all three",
            ));
        }
        let data = UserData::new(user_data, destroy);
        out.give(musig_signer(Kind::Foreign(Arc::new(Foreign { table, data }))));
        Ok(())
    })
}

/// Adds the secret key of a participant key to a signer, also while a node runs with it.
///
/// From the first one on sessions are signed with participant keys alone, not with the identity key. After
/// musig_signer_lock each is to be added again.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET if it is zero or not less than the order of secp256k1;
///          MUSIG_STATUS_SIGNER for the identity key, and for too many; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
/// In:      signer: the signer.
/// Out:     out: the 33 bytes of the compressed public key.
/// In:      secret: the 32 bytes of the secret key.
/// Blocks:  until a signature in progress is complete.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_add_key(
    signer: *const musig_signer,
    out: *mut u8,
    secret: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, out, secret) = (get!(signer), out!(out, 33), array!(secret, 32));
        let key = signer.local()?.add_key(fixed(secret))?;
        out.write(key.as_bytes())
    })
}

/// Adds an extended private key (BIP-32) to a signer, with its origin (BIP-380), also while a node runs with it.
///
/// Usually it is that of an account, below the last hardened step. Then a participant key is this signer's too if its own
/// origin in the proposal leads there: fingerprint and path of this one, then at most 8 unhardened steps. The key at the
/// end of these is derived and compared; keys without an origin are not looked for. From then on sessions are signed with
/// participant keys alone, and after musig_signer_lock it is to be added again. The identity key must be no unhardened
/// relative of it: this is refused for the extended key itself, its children 0 to 19, and the children 0 to 19 of its
/// children 0 and 1; others cannot be seen.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET for what is no such key or cannot have this origin;
///          MUSIG_STATUS_SIGNER for a relative of the identity key, and for too many; MUSIG_STATUS_NOT_LOCAL for a signer
///          of callbacks; MUSIG_STATUS_INVALID_ARGUMENT.
/// In:      signer: the signer.
///          xprv: the key in base58, such as `xprv…` or `tprv…`. Wipe your own copy afterwards.
///          fingerprint: the 4 bytes of the master key's fingerprint.
///          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
///          path_count: number of child numbers, at most 16.
/// Blocks:  until a signature in progress is complete.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_add_xprv(
    signer: *const musig_signer,
    xprv: *const c_char,
    fingerprint: *const u8,
    path: *const u32,
    path_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, xprv, origin) = (get!(signer), text!(xprv), origin!(fingerprint, path, path_count));
        Ok(signer.local()?.add_xprv(xprv, origin)?)
    })
}

/// Checks whether a signer signs sessions with a participant key, locked or not.
///
/// A key below an extended private key is known by its origin.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_NOT_LOCAL for a signer
///          of callbacks.
/// In:      signer: the signer.
/// Out:     out: 1 if it does, else 0.
/// In:      key: the 33 bytes of the compressed public key.
///          fingerprint: the 4 bytes of the fingerprint in its origin; may be NULL for a key without an origin.
///          path: the child numbers of its origin; may be NULL for none.
///          path_count: number of child numbers, at most 16.
/// Blocks:  until a signature in progress is complete.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_holds(
    signer: *const musig_signer,
    out: *mut i32,
    key: *const u8,
    fingerprint: *const u8,
    path: *const u32,
    path_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, out, key) = (get!(signer), out!(out), signer_keys(array!(key, 33))?[0]);
        let count = total(path_count, 1, limits::ORIGIN, "path_count")?;
        let path = array!(optional path, count).to_vec();
        let origin = match fingerprint.is_null() {
            true => None,
            false => Some(KeyOrigin { fingerprint: fixed(array!(fingerprint, 4)), path }),
        };
        out.set(signer.local()?.holds(&key, origin.as_ref()).into());
        Ok(())
    })
}

/// Gets the identity key of a signer.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks, which has none.
/// In:      signer: the signer.
/// Out:     out: the 33 bytes of the compressed public key.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_public_key(
    signer: *const musig_signer,
    out: *mut u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, out) = (get!(signer), out!(out, 33));
        out.write(signer.local()?.public_key().as_bytes())
    })
}

/// Locks a signer: wipes its keys and all its secret nonces.
///
/// A node with a locked signer watches, relays and broadcasts. Attempts with unused nonces are restarted.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
/// In:      signer: the signer.
/// Blocks:  until a signature in progress is complete.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_lock(
    signer: *const musig_signer,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        get!(signer).local()?.lock();
        Ok(())
    })
}

/// Unlocks a signer with the secret of its identity key.
///
/// Call musig_node_announce afterwards.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WRONG_SECRET if it is not the key of this signer, which stays locked;
///          MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
/// In:      signer: the signer.
///          secret: the 32 bytes of the secret key.
/// Blocks:  until a signature in progress is complete.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_unlock(
    signer: *const musig_signer,
    secret: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, secret) = (get!(signer), array!(secret, 32));
        Ok(signer.local()?.unlock(fixed(secret))?)
    })
}

/// Checks whether a signer is locked.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_LOCAL for a signer of callbacks.
/// In:      signer: the signer.
/// Out:     out: 1 if it is locked, else 0.
/// Blocks:  until a signature in progress is complete.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_is_locked(
    signer: *const musig_signer,
    out: *mut i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (signer, out) = (get!(signer), out!(out));
        out.set(signer.local()?.is_locked().into());
        Ok(())
    })
}

/// Adds a reference to a signer.
///
/// Returns: the same pointer.
/// In:      signer: the signer; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_ref(signer: *mut musig_signer) -> *mut musig_signer {
    // SAFETY: the header asks for a signer with a reference, or NULL.
    unsafe { add_reference(signer) }
}

/// Releases a reference to a signer; the last one, those of nodes included, wipes its key.
///
/// In:      signer: the signer; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_free(signer: *mut musig_signer) {
    // SAFETY: the header asks for a signer with a reference, or NULL.
    unsafe { release(signer) }
}
