//! Groups of signers, by their cards.

use std::ffi::c_char;

use super::boundary::{choice, flag, total};
use super::bytes::musig_bytes;
use super::descriptor::musig_descriptor;
use super::enums::musig_network;
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::key_set::{musig_derivation, musig_key_set};
use super::proposal::musig_proposal;
use super::psbt::psbt;
use super::signer::musig_signer;
use super::status::{musig_status, musig_status_code};
use crate::chain::group::{CARD_ADDRESSES, Group, GroupError, SignerCard};
use crate::node::SessionRequest;
use crate::protocol::limits;

/// The card of a signer, which it gives to the others so that they make a wallet together: its identity key and extended
/// public key, with its origin, perhaps a name and addresses; signed by the identity key. Immutable. It is no secret, but
/// shows all addresses of the wallet to whoever has the cards of all.
pub struct musig_signer_card(SignerCard);

/// A wallet of several signers, made of their cards: a descriptor tr(musig(...)) of their extended keys (BIP-390), with a
/// branch of addresses that others pay to and one that takes change. Immutable. The same cards make the same group in any
/// order: signer indices are by identity key.
pub struct musig_group(Group);

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Signer(error) => error.into(),
            GroupError::Descriptor(error) => error.into(),
            error => Self::new(musig_status_code::WIRE, error.to_string()),
        }
    }
}

/// Makes and signs a card.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for content that is refused, in words, such as an identity key that is the
///          extended key or an unhardened child of it; MUSIG_STATUS_SIGNER_LOCKED; MUSIG_STATUS_NOT_LOCAL for a signer of
///          callbacks; MUSIG_STATUS_INVALID_ARGUMENT.
/// Out:     out: the card; release it with musig_signer_card_free.
/// In:      signer: the signer with the identity key.
///          xpub: the extended public key in base58, such as `xpub…` or `tpub…`, that its participant keys are below.
///          fingerprint: the 4 bytes of the master key's fingerprint.
///          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
///          path_count: number of child numbers, at most 16.
///          name: what the signer is called, for people, 1 to 64 bytes; may be NULL for none.
///          addresses: the multiaddresses where its node is reached; may be NULL for none.
///          addresses_count: number of addresses, at most 4.
/// Blocks:  until a signature in progress is complete.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_new(
    out: *mut *mut musig_signer_card,
    signer: *const musig_signer,
    xpub: *const c_char,
    fingerprint: *const u8,
    path: *const u32,
    path_count: usize,
    name: *const c_char,
    addresses: *const *const c_char,
    addresses_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, signer, xpub) = (out!(out), get!(signer), text!(xpub));
        let origin = origin!(fingerprint, path, path_count);
        let name = if name.is_null() { None } else { Some(text!(name)) };
        let count = total(addresses_count, 1, CARD_ADDRESSES, "addresses_count")?;
        let texts = array!(optional addresses, count);
        let read = |addresses: &*const c_char| -> Outcome<&str> {
            let addresses = *addresses;
            Ok(text!(addresses))
        };
        let addresses: Vec<&str> = texts.iter().map(read).collect::<Outcome<_>>()?;
        out.give(musig_signer_card(SignerCard::new(signer.local()?, xpub, origin, name, &addresses)?));
        Ok(())
    })
}

/// Reads the text of a card, in either case.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for whatever was changed, and for content that is refused, in words.
/// Out:     out: the card; release it with musig_signer_card_free.
/// In:      text: the text, `musig1…`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_parse(
    out: *mut *mut musig_signer_card,
    text: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        out.give(musig_signer_card(text!(text).parse::<SignerCard>()?));
        Ok(())
    })
}

/// Gets the text of a card: `musig1…`, at most 1023 characters.
///
/// In upper case it is shorter in a QR code.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      card: the card.
/// Out:     out: the text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_text(
    card: *const musig_signer_card,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (card, out) = (get!(card), out!(out));
        out.give(musig_bytes::text(&card.0.to_string()));
        Ok(())
    })
}

/// Gets the identity key of a card, by which the signer is found and elected.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      card: the card.
/// Out:     out: the 33 bytes of the compressed public key.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_identity(
    card: *const musig_signer_card,
    out: *mut u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (card, out) = (get!(card), out!(out, 33));
        out.write(card.0.identity().as_bytes())
    })
}

/// Gets the extended public key of a card.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      card: the card.
/// Out:     out: the key in base58, as text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_xpub(
    card: *const musig_signer_card,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (card, out) = (get!(card), out!(out));
        out.give(musig_bytes::text(&card.0.xpub()));
        Ok(())
    })
}

/// Gets the origin of a card's extended public key.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL.
/// In:      card: the card.
/// Out:     fingerprint: the 4 bytes of the master key's fingerprint.
///          out: the child numbers.
/// In:      out_capacity: room in out, in child numbers; 16 always suffice.
/// Out:     out_count: number of child numbers written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_origin(
    card: *const musig_signer_card,
    fingerprint: *mut u8,
    out: *mut u32,
    out_capacity: usize,
    out_count: *mut usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (card, fingerprint) = (get!(card), out!(fingerprint, 4));
        let (out, out_count) = (out!(out, out_capacity), out!(out_count));
        let origin = card.0.origin();
        out.write(&origin.path)?;
        fingerprint.write(&origin.fingerprint)?;
        out_count.set(origin.path.len());
        Ok(())
    })
}

/// Gets what the owner of a card calls itself.
///
/// Nobody checked that; escape it before it is shown.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if the card has no name.
/// In:      card: the card.
/// Out:     out: the name, as text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_name(
    card: *const musig_signer_card,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (card, out) = (get!(card), out!(out));
        let none = || Failure::new(musig_status_code::NO_SUCH_FIELD, "this card has no name");
        out.give(musig_bytes::text(card.0.name().ok_or_else(none)?));
        Ok(())
    })
}

/// Gets an address of a card, where its owner's node is reached, as the owner says.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the card has no such address.
/// In:      card: the card.
/// Out:     out: the multiaddress, as text; release it with musig_bytes_free.
/// In:      index: which one, from 0 on.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_address(
    card: *const musig_signer_card,
    out: *mut *mut musig_bytes,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (card, out) = (get!(card), out!(out));
        let addresses = card.0.addresses();
        let address = addresses
            .get(index as usize)
            .ok_or_else(|| Failure::no_such("address", index, addresses.len()))?;
        out.give(musig_bytes::text(address));
        Ok(())
    })
}

/// Adds a reference to a card.
///
/// Returns: the same pointer.
/// In:      card: the card; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_ref(card: *mut musig_signer_card) -> *mut musig_signer_card {
    // SAFETY: the header asks for a card with a reference, or NULL.
    unsafe { add_reference(card) }
}

/// Releases a reference to a card; the last one frees it.
///
/// In:      card: the card; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_signer_card_free(card: *mut musig_signer_card) {
    // SAFETY: the header asks for a card with a reference, or NULL.
    unsafe { release(card) }
}

/// Creates a group of the cards of all its signers, in any order.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for two cards with a key in common, and for keys of different networks;
///          MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL for keys that no session signs with.
/// Out:     out: the group; release it with musig_group_free.
/// In:      cards: the cards.
///          cards_count: number of cards, 1 to MUSIG_MAX_SIGNERS.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_new(
    out: *mut *mut musig_group,
    cards: *const *const musig_signer_card,
    cards_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let count = total(cards_count, 1, limits::SIGNERS, "cards_count")?;
        let mut given = Vec::with_capacity(count);
        for cards in array!(cards, count) {
            let cards = *cards;
            given.push(get!(cards).0.clone());
        }
        out.give(musig_group(Group::new(given)?));
        Ok(())
    })
}

/// Reads what musig_group_to_json wrote.
///
/// Everything is made of the cards again.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for text that is no group, a card that is refused, and a descriptor or a
///          check phrase that is not the one of the cards.
/// Out:     out: the group; release it with musig_group_free.
/// In:      text: the text.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_from_json(
    out: *mut *mut musig_group,
    text: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        out.give(musig_group(Group::from_json(text!(text))?));
        Ok(())
    })
}

/// Writes a group as JSON: its cards, and for people the descriptor and the check phrase.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      group: the group.
/// Out:     out: the text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_to_json(
    group: *const musig_group,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (group, out) = (get!(group), out!(out));
        out.give(musig_bytes::text(&group.0.to_json()));
        Ok(())
    })
}

/// Gets the identity keys of a group: the signers of its sessions.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      group: the group.
/// Out:     out: the compressed public keys, 33 bytes each, by signer index; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_signers(
    group: *const musig_group,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (group, out) = (get!(group), out!(out));
        out.give(musig_bytes::new(group.0.signers().iter().flat_map(|key| *key.as_bytes()).collect()));
        Ok(())
    })
}

/// Gets the card of a signer of a group.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the signer does not exist.
/// In:      group: the group.
/// Out:     out: the card; release it with musig_signer_card_free.
/// In:      signer: the signer index.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_card(
    group: *const musig_group,
    out: *mut *mut musig_signer_card,
    signer: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (group, out) = (get!(group), out!(out));
        let cards = group.0.cards();
        let card =
            cards.get(signer as usize).ok_or_else(|| Failure::no_such("signer", signer, cards.len()))?;
        out.give(musig_signer_card(card.clone()));
        Ok(())
    })
}

/// Gets the check phrase of a group: eight words that all signers compare aloud before anything is paid to it.
///
/// They stand for 128 bits of a hash of all identity keys and the descriptor, and tell whether somebody changed cards on
/// their way.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      group: the group.
/// Out:     out: the words, as text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_check_phrase(
    group: *const musig_group,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (group, out) = (get!(group), out!(out));
        out.give(musig_bytes::text(&group.0.check_phrase()));
        Ok(())
    })
}

/// Gets the descriptor of a group, for other wallets.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      group: the group.
/// Out:     out: the descriptor; release it with musig_descriptor_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_descriptor(
    group: *const musig_group,
    out: *mut *mut musig_descriptor,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (group, out) = (get!(group), out!(out));
        out.give(musig_descriptor::new(group.0.descriptor().clone()));
        Ok(())
    })
}

/// Gets the key set and the derivation that sign for an output of a group.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_WIRE for an index of 2^31
///          and above.
/// In:      group: the group.
/// Out:     out: the key set, with the keys by signer index; release it with musig_key_set_free.
///          derivation: the derivation; struct_size is set before.
/// In:      change: 1 for the addresses that take change, 0 for those that others pay to.
///          index: the index.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_keys(
    group: *const musig_group,
    out: *mut *mut musig_key_set,
    derivation: *mut musig_derivation,
    change: i32,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (group, out, derivation) = (get!(group), out!(out), out!(sized derivation));
        let keys = group.0.keys(flag(change, "change")?, index)?;
        derivation.set(musig_derivation::write(&keys.derivation));
        out.give(musig_key_set::new(keys.key_set));
        Ok(())
    })
}

/// Computes an address of a group.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_WIRE for an index of 2^31 and above, and for a
///          network that the keys do not belong to.
/// In:      group: the group.
/// Out:     out: the address, as text; release it with musig_bytes_free.
/// In:      network: a musig_network.
///          change: 1 for the addresses that take change, 0 for those that others pay to.
///          index: the index.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_address(
    group: *const musig_group,
    out: *mut *mut musig_bytes,
    network: i32,
    change: i32,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (group, out) = (get!(group), out!(out));
        let network = choice::<musig_network>(network, "network")?;
        let address = group.0.address(network.into(), flag(change, "change")?, index)?;
        out.give(musig_bytes::text(&address));
        Ok(())
    })
}

/// Adds a reference to a group.
///
/// Returns: the same pointer.
/// In:      group: the group; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_ref(group: *mut musig_group) -> *mut musig_group {
    // SAFETY: the header asks for a group with a reference, or NULL.
    unsafe { add_reference(group) }
}

/// Releases a reference to a group; the last one frees it.
///
/// In:      group: the group; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_group_free(group: *mut musig_group) {
    // SAFETY: the header asks for a group with a reference, or NULL.
    unsafe { release(group) }
}

/// Creates a proposal to sign a group's inputs of a PSBT.
///
/// See musig_proposal_new_psbt; signers and key sets are the group's.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a limit is exceeded; MUSIG_STATUS_WIRE for a malformed PSBT,
///          and one that these signers cannot sign, by name.
/// Out:     out: the proposal; release it with musig_proposal_free.
/// In:      group: the group.
///          psbt: the bytes of the PSBT, version 0 or 2.
///          psbt_length: length of the PSBT in bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_new_group(
    out: *mut *mut musig_proposal,
    group: *const musig_group,
    psbt: *const u8,
    psbt_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, group) = (out!(out), get!(group));
        let psbt = psbt!(psbt, psbt_length);
        out.give(musig_proposal::new(SessionRequest::for_group(&group.0, &psbt)?));
        Ok(())
    })
}
