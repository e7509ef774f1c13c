//! Requests for new sessions.

use std::collections::HashMap;
use std::time::Duration;

#[cfg(feature = "bitcoin")]
use crate::chain::group::Group;
#[cfg(feature = "bitcoin")]
use crate::chain::psbt::{Psbt, PsbtError};
use crate::error::{Error, ProposalError, SignerError};
use crate::protocol::consent::JoinOptions;
use crate::protocol::crypto::key_set::KeyTree;
use crate::protocol::election::ElectionMethod;
use crate::protocol::proposal::{
    Broadcast, Derivation, FailoverPolicy, KeyOrder, KeySet, Message, Proposal, SighashType, SpentOutput,
    Terms, TransactionTerms,
};
use crate::types::{SessionId, SignerKey, UnixMillis};

/// Content to sign.
#[derive(Clone)]
pub(crate) enum Content {
    Messages(Vec<Message>),
    Transaction {
        unsigned: Vec<u8>,
        spent: Vec<SpentOutput>,
        sighash_type: SighashType,
    },
    /// Of a PSBT, which named everything else.
    #[cfg(feature = "bitcoin")]
    Inputs {
        messages: Vec<Message>,
        transaction: TransactionTerms,
    },
}

/// Request for a new session: the terms that an application chooses, with defaults for the others. See [`Terms`].
#[derive(Clone)]
pub struct SessionRequest {
    signers: Vec<SignerKey>,
    pub(crate) key_order: KeyOrder,
    /// Besides the identity keys, which are key set 0.
    pub(crate) key_sets: Vec<KeySet>,
    /// For the inputs of a transaction.
    pub(crate) derivations: Vec<(usize, Derivation)>,
    pub(crate) content: Content,
    pub(crate) election_method: ElectionMethod,
    pub(crate) broadcast: Broadcast,
    pub(crate) expires_in: Duration,
    pub(crate) metadata: Vec<u8>,
    pub(crate) replaces: Option<SessionId>,
    pub(crate) consent: JoinOptions,
}

impl SessionRequest {
    fn new(signers: Vec<SignerKey>, content: Content) -> Self {
        Self {
            signers,
            key_order: KeyOrder::default(),
            key_sets: Vec::new(),
            derivations: Vec::new(),
            content,
            election_method: ElectionMethod::default(),
            broadcast: Broadcast::default(),
            expires_in: Duration::from_secs(24 * 3600),
            metadata: Vec::new(),
            replaces: None,
            consent: JoinOptions::default(),
        }
    }

    /// Session over 32-byte messages, signed with the aggregate of the identity keys, or with what they name
    /// ([`Message::with`]); digests of 32 bytes are messages, too. The node reports signatures and turns; the application builds the transaction and
    /// broadcasts it. With [`SessionRequest::sign_only`] there are no turns.
    pub fn messages<M: Into<Message>>(
        signers: Vec<SignerKey>,
        messages: impl IntoIterator<Item = M>,
    ) -> Self {
        Self::new(signers, Content::Messages(messages.into_iter().map(Into::into).collect()))
    }

    /// Session over a transaction: signs all inputs that the signers' key owns, by the Taproot key path (BIP-341). `unsigned`
    /// is its consensus encoding, in which inputs of others carry their final witnesses; `spent` are the spent
    /// outputs, one for each input.
    ///
    /// Without [`SessionRequest::derive`] these are the outputs without scripts whose internal key is the aggregate of the
    /// identity keys, or of another key set ([`SessionRequest::key_set`]).
    pub fn transaction(signers: Vec<SignerKey>, unsigned: Vec<u8>, spent: Vec<SpentOutput>) -> Self {
        Self::new(signers, Content::Transaction { unsigned, spent, sighash_type: SighashType::Default })
    }

    /// Session over the transaction of a PSBT (version 0 or 2, with the fields of BIP-373): signs every input that is not
    /// final and has MuSig2 participants, by the Taproot key path. Key sets, derivations and hash types are the PSBT's, of
    /// each input its own; [`derive`](Self::derive) and [`sighash_type`](Self::sighash_type) have no effect. The proposal has
    /// the canonical terms and none of the PSBT's bytes.
    ///
    /// A participant is a signer's if it is that signer's identity key, or its key in one of `key_sets`, which have one key
    /// for each signer, in their order. Wallets that derive first have another key set for each address:
    /// [`Descriptor::key_sets`](crate::chain::descriptor::Descriptor::key_sets) finds them.
    ///
    /// The session's signatures go back with [`Psbt::add_signatures`]. Inputs of others must be final, and valid, or the
    /// session has to be one without failover.
    ///
    /// Errors: those of [`Psbt::spend_plan`]; [`PsbtError::OtherSigners`], [`PsbtError::ForeignParticipant`],
    /// [`PsbtError::MissingSigner`], [`PsbtError::SignerTwice`], [`PsbtError::ParticipantOrder`], [`PsbtError::Signers`].
    #[cfg(feature = "bitcoin")]
    pub fn from_psbt(signers: Vec<SignerKey>, psbt: &Psbt, key_sets: &[KeySet]) -> Result<Self, PsbtError> {
        let terms = psbt.terms(&signers, key_sets)?;
        let content = Content::Inputs { messages: terms.messages, transaction: terms.transaction };
        Ok(Self { key_sets: terms.key_sets, ..Self::new(signers, content) })
    }

    /// Session of a group over the transaction of a PSBT: [`from_psbt`](Self::from_psbt) with the group's signers and keys.
    ///
    /// Errors: those of [`from_psbt`](Self::from_psbt).
    #[cfg(feature = "bitcoin")]
    pub fn for_group(group: &Group, psbt: &Psbt) -> Result<Self, PsbtError> {
        Self::from_psbt(group.signers(), psbt, &[group.key_set()])
    }

    /// Sets the order in which the identity keys are aggregated. Default: sorted.
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.key_order = order;
        self
    }

    /// Adds a key set. Key set 0 is the identity keys; the first one added has index 1, the next one 2. The proposal has
    /// those that sign a message.
    pub fn key_set(mut self, key_set: KeySet) -> Self {
        self.key_sets.push(key_set);
        self
    }

    /// Adds an output key, by the index of its key set and its derivation, to those whose coins a transaction's inputs may
    /// spend. There may be any number: the proposal has those that are needed. No effect in sessions over messages.
    pub fn derive(mut self, key_set: usize, derivation: Derivation) -> Self {
        self.derivations.push((key_set, derivation));
        self
    }

    /// Sets the BIP-341 hash type of a transaction's signatures. No effect in sessions over messages.
    pub fn sighash_type(mut self, chosen: SighashType) -> Self {
        if let Content::Transaction { sighash_type, .. } = &mut self.content {
            *sighash_type = chosen;
        }
        self
    }

    /// Sets the election method. Default: the lowest key.
    pub fn election_method(mut self, method: ElectionMethod) -> Self {
        self.election_method = method;
        self
    }

    /// Sets that the coordinator broadcasts, and by what policy the next signers take over. This is the default: one signer
    /// per turn, a turn every 5 minutes. A [`FailoverPreset`](crate::FailoverPreset) is a policy too.
    pub fn failover(mut self, policy: impl Into<FailoverPolicy>) -> Self {
        self.broadcast = Broadcast::Failover(policy.into());
        self
    }

    /// Sets that the coordinator alone is to broadcast: nobody takes over. After five minutes each node raises the alarm
    /// ([`Event::FailoverExhausted`](crate::Event::FailoverExhausted)).
    pub fn coordinator_only(mut self) -> Self {
        self.broadcast = Broadcast::CoordinatorOnly;
        self
    }

    /// Sets that the session only signs: nobody is asked to broadcast, and `SessionComplete` is the end. For protocols that
    /// do something else with the signatures.
    pub fn sign_only(mut self) -> Self {
        self.broadcast = Broadcast::SignOnly;
        self
    }

    /// Sets the time until the proposal expires, at most 30 days. Default: 24 hours.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = time;
        self
    }

    /// Sets application data for the other signers, at most 4 KiB.
    pub fn metadata(mut self, metadata: impl Into<Vec<u8>>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Sets the session whose transaction this one replaces (a fee bump).
    pub fn replaces(mut self, session: SessionId) -> Self {
        self.replaces = Some(session);
        self
    }

    /// Sets what this node's own consent covers, which is part of the proposal: see [`JoinOptions`]. It is no term; every
    /// other signer's application gives its own.
    pub fn consent(mut self, options: JoinOptions) -> Self {
        self.consent = options;
        self
    }

    /// Validates the terms and builds the proposal.
    pub(crate) fn into_proposal(self, proposer: &SignerKey, now: UnixMillis) -> Result<Proposal, Error> {
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|_| SignerError::NoRandomness)?;
        let proposer =
            self.signers.iter().position(|signer| signer == proposer).ok_or(ProposalError::NotASigner)?;
        let mut key_sets = vec![KeySet::ordered(&self.signers, self.key_order)];
        key_sets.extend(self.key_sets);
        let (mut messages, transaction) = match self.content {
            Content::Messages(messages) => (messages, None),
            Content::Transaction { unsigned, spent, sighash_type } => {
                let keys = final_keys(&key_sets, self.derivations)?;
                let messages = transaction_messages(&unsigned, &spent, keys, sighash_type)?;
                (messages, Some(TransactionTerms { unsigned, spent }))
            }
            #[cfg(feature = "bitcoin")]
            Content::Inputs { messages, transaction } => (messages, Some(transaction)),
        };
        let key_sets = used_key_sets(key_sets, &mut messages)?;
        Ok(Proposal::new(Terms {
            entropy,
            proposer,
            signers: self.signers,
            key_sets,
            messages,
            transaction,
            election_method: self.election_method,
            broadcast: self.broadcast,
            expires_at: now.saturating_add(self.expires_in),
            metadata: self.metadata,
            replaces: self.replaces,
        })?)
    }
}

/// What may spend the inputs of a transaction: x-only output keys, each with what makes it.
fn final_keys(
    key_sets: &[KeySet],
    derivations: Vec<(usize, Derivation)>,
) -> Result<Vec<([u8; 32], usize, Derivation)>, ProposalError> {
    let derivations = match derivations.is_empty() {
        true => (0..key_sets.len()).map(|index| (index, Derivation::key_path([]))).collect(),
        false => derivations,
    };
    let mut trees: Vec<Option<KeyTree>> = key_sets.iter().map(|_| None).collect();
    let mut keys = Vec::with_capacity(derivations.len());
    for (index, derivation) in derivations {
        let missing = ProposalError::Index { what: "key set", index: index as u64 };
        let (key_set, tree) = key_sets.get(index).zip(trees.get_mut(index)).ok_or(missing)?;
        let tree = match tree {
            Some(tree) => tree,
            None => tree.insert(KeyTree::new(key_set)?),
        };
        keys.push((tree.derive(&derivation)?.x_only(), index, derivation));
    }
    Ok(keys)
}

/// The key sets that messages name, each once; the messages name their places there afterwards.
fn used_key_sets(key_sets: Vec<KeySet>, messages: &mut [Message]) -> Result<Vec<KeySet>, ProposalError> {
    let mut used = vec![false; key_sets.len()];
    for message in &*messages {
        let index = message.key_set;
        *used.get_mut(index).ok_or(ProposalError::Index { what: "key set", index: index as u64 })? = true;
    }
    let (mut chosen, mut places, mut known) = (Vec::new(), Vec::new(), HashMap::new());
    for (key_set, used) in key_sets.into_iter().zip(used) {
        let place = match used {
            true => *known.entry(key_set.aggregated()).or_insert(chosen.len()),
            false => usize::MAX,
        };
        places.push(place);
        if place == chosen.len() {
            chosen.push(key_set);
        }
    }
    messages.iter_mut().for_each(|message| message.key_set = places[message.key_set]);
    Ok(chosen)
}

#[cfg(feature = "bitcoin")]
fn transaction_messages(
    unsigned: &[u8],
    spent: &[SpentOutput],
    keys: Vec<([u8; 32], usize, Derivation)>,
    sighash_type: SighashType,
) -> Result<Vec<Message>, ProposalError> {
    use crate::chain::transaction::{SigningKey, messages};
    let key = |(output_key, key_set, derivation)| SigningKey { output_key, key_set, derivation };
    let keys: Vec<SigningKey> = keys.into_iter().map(key).collect();
    messages(unsigned, spent, &keys, sighash_type)
}

#[cfg(not(feature = "bitcoin"))]
fn transaction_messages(
    _: &[u8],
    _: &[SpentOutput],
    _: Vec<([u8; 32], usize, Derivation)>,
    _: SighashType,
) -> Result<Vec<Message>, ProposalError> {
    Err(ProposalError::Transaction("this build has no support for transactions (feature `bitcoin`)".into()))
}

#[cfg(all(test, feature = "bitcoin"))]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, Transaction, TxIn, TxOut, Txid, consensus};

    use super::*;
    use crate::protocol::proposal::Taproot;
    use crate::signer::LocalSigner;

    fn key(number: u8) -> SignerKey {
        LocalSigner::new([number; 32]).expect("in range").public_key()
    }

    fn script(key: &SignerKey) -> Vec<u8> {
        [&[0x51, 0x20], key.x_only().as_slice()].concat()
    }

    /// A transaction that spends outputs with these keys, and what it spends.
    fn spending(keys: &[SignerKey]) -> (Vec<u8>, Vec<SpentOutput>) {
        let input = |index: usize| TxIn {
            previous_output: bitcoin::OutPoint { txid: Txid::all_zeros(), vout: 7 + index as u32 },
            ..TxIn::default()
        };
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: (0..keys.len()).map(input).collect(),
            output: vec![TxOut { value: Amount::from_sat(1), script_pubkey: ScriptBuf::new() }],
        };
        let spent = keys.iter().map(|key| SpentOutput { value: 1_000, script: script(key) }).collect();
        (consensus::serialize(&transaction), spent)
    }

    fn proposal(request: SessionRequest) -> Proposal {
        request.into_proposal(&key(1), UnixMillis(0)).expect("valid terms")
    }

    #[test]
    fn key_sets_of_600_addresses_travel_as_the_two_that_are_spent() {
        let signers = vec![key(1), key(2)];
        // Derived after the aggregation, and before: a key set for each address.
        let wallet = KeySet::new(&[key(3), key(4)]);
        let each: Vec<_> = (0..100).map(|index| KeySet::new(&[key(5 + index), key(105 + index)])).collect();
        let after = wallet.final_key(&Derivation::key_path([0, 321])).expect("unhardened");
        let before = each[77].final_key(&Derivation::key_path([])).expect("two keys");
        let (unsigned, spent) = spending(&[before, after]);
        let mut request = SessionRequest::transaction(signers, unsigned, spent).key_set(wallet.clone());
        for index in 0..600 {
            request = request.derive(1, Derivation::key_path([0, index]));
        }
        for (index, key_set) in each.iter().enumerate() {
            request = request.key_set(key_set.clone()).derive(2 + index, Derivation::key_path([]));
        }
        let proposal = proposal(request);
        assert_eq!(proposal.key_sets, [wallet, each[77].clone()]);
        let named: Vec<_> = proposal.messages.iter().map(|one| (one.key_set, &one.derivation)).collect();
        assert_eq!(named, [(1, &Derivation::key_path([])), (0, &Derivation::key_path([0, 321]))]);
        assert!(proposal.as_bytes().len() < 700, "{} bytes", proposal.as_bytes().len());
    }

    #[test]
    fn key_sets_are_the_identity_keys_by_default() {
        let signers = vec![key(2), key(1)];
        let output = KeySet::new(&signers).final_key(&Derivation::key_path([])).expect("two keys");
        let (unsigned, spent) = spending(&[output]);
        let made = proposal(SessionRequest::transaction(signers.clone(), unsigned, spent));
        assert_eq!(made.key_sets, [KeySet::new(&signers)]);
        assert_eq!(made.messages[0].derivation, Derivation::key_path([]));
        let made = proposal(SessionRequest::messages(signers.clone(), [[7; 32]]));
        assert_eq!(made.messages, [Message::raw([7; 32])]);
        // Given once more, they are still one key set.
        let root = Derivation { path: vec![3], taproot: Taproot::MerkleRoot([9; 32]) };
        let messages = [Message::raw([7; 32]), Message::with([8; 32], 1, root.clone())];
        let request = SessionRequest::messages(signers.clone(), messages).key_set(KeySet::new(&signers));
        let made = proposal(request);
        assert_eq!(made.key_sets, [KeySet::new(&signers)]);
        assert_eq!(made.messages[1], Message::with([8; 32], 0, root));
        let missing = SessionRequest::messages(signers, [Message::with([8; 32], 1, Derivation::default())]);
        let refused = missing.into_proposal(&key(1), UnixMillis(0)).err();
        let index = ProposalError::Index { what: "key set", index: 1 };
        assert_eq!(refused, Some(Error::Proposal(index)));
    }
}
