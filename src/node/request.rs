//! Requests for new sessions.

use std::time::Duration;

use crate::error::{Error, ProposalError, SignerError};
use crate::protocol::crypto::key_set::{TweakForest, aggregate_key};
use crate::protocol::election::ElectionMethod;
use crate::protocol::proposal::{
    FailoverPolicy, KeyOrder, Message, Proposal, SighashType, SpentOutput, Terms, TransactionTerms, Tweak,
};
use crate::types::{SessionId, SignerKey, UnixMillis};

/// Content to sign.
#[derive(Clone)]
pub(crate) enum Content {
    Messages(Vec<Message>),
    Transaction { unsigned: Vec<u8>, spent: Vec<SpentOutput>, sighash_type: SighashType },
}

/// Request for a new session: the terms that an application chooses, with defaults for the others. See [`Terms`].
#[derive(Clone)]
pub struct SessionRequest {
    signers: Vec<SignerKey>,
    pub(crate) key_order: KeyOrder,
    pub(crate) tweaks: Option<Vec<Tweak>>,
    pub(crate) content: Content,
    pub(crate) election_method: ElectionMethod,
    pub(crate) failover: FailoverPolicy,
    pub(crate) expires_in: Duration,
    pub(crate) metadata: Vec<u8>,
    pub(crate) replaces: Option<SessionId>,
}

impl SessionRequest {
    fn new(signers: Vec<SignerKey>, content: Content) -> Self {
        Self {
            signers,
            key_order: KeyOrder::default(),
            tweaks: None,
            content,
            election_method: ElectionMethod::default(),
            failover: FailoverPolicy::default(),
            expires_in: Duration::from_secs(24 * 3600),
            metadata: Vec::new(),
            replaces: None,
        }
    }

    /// Session over 32-byte messages, signed with the aggregate key, or with tweaked ones ([`SessionRequest::tweaks`]). The node
    /// reports signatures and turns; the application builds the transaction and broadcasts it.
    pub fn messages(signers: Vec<SignerKey>, messages: Vec<Message>) -> Self {
        Self::new(signers, Content::Messages(messages))
    }

    /// Session over a transaction: signs all inputs that the signers' key owns, by the Taproot key path (BIP-341). `unsigned`
    /// is its consensus encoding, in which inputs of others carry their final witnesses; `spent` are the spent
    /// outputs, one for each input.
    ///
    /// Without [`SessionRequest::tweaks`] the key is the aggregate key with the BIP-341 tweak and no scripts.
    pub fn transaction(signers: Vec<SignerKey>, unsigned: Vec<u8>, spent: Vec<SpentOutput>) -> Self {
        Self::new(signers, Content::Transaction { unsigned, spent, sighash_type: SighashType::Default })
    }

    /// Sets the order of key aggregation. Default: sorted.
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.key_order = order;
        self
    }

    /// Sets the tweaks to which messages, or the keys of inputs, refer: see [`TweakForest`].
    pub fn tweaks(mut self, tweaks: Vec<Tweak>) -> Self {
        self.tweaks = Some(tweaks);
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

    /// Sets the failover policy. Default: one signer per turn, a turn every 5 minutes.
    pub fn failover(mut self, policy: FailoverPolicy) -> Self {
        self.failover = policy;
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

    /// Validates the terms and builds the proposal.
    pub(crate) fn into_proposal(self, proposer: &SignerKey, now: UnixMillis) -> Result<Proposal, Error> {
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|_| SignerError::NoRandomness)?;
        let proposer =
            self.signers.iter().position(|signer| signer == proposer).ok_or(ProposalError::NotASigner)?;
        let (tweaks, messages, transaction) = match self.content {
            Content::Messages(messages) => (self.tweaks.unwrap_or_default(), messages, None),
            Content::Transaction { unsigned, spent, sighash_type } => {
                let forest = tweak_forest(&self.signers, self.key_order, self.tweaks)?;
                let messages = transaction_messages(&unsigned, &spent, &forest, sighash_type)?;
                (forest.into_tweaks(), messages, Some(TransactionTerms { unsigned, spent }))
            }
        };
        Ok(Proposal::new(Terms {
            entropy,
            proposer,
            signers: self.signers,
            key_order: self.key_order,
            tweaks,
            messages,
            transaction,
            election_method: self.election_method,
            failover: self.failover,
            expires_at: now.saturating_add(self.expires_in),
            metadata: self.metadata,
            replaces: self.replaces,
        })?)
    }
}

fn tweak_forest(
    signers: &[SignerKey],
    order: KeyOrder,
    tweaks: Option<Vec<Tweak>>,
) -> Result<TweakForest, ProposalError> {
    let mut forest = TweakForest::new(aggregate_key(signers, order)?);
    match tweaks {
        Some(tweaks) => {
            for tweak in tweaks {
                forest.push(tweak)?;
            }
        }
        None => drop(forest.taproot(None, None)?),
    }
    Ok(forest)
}

#[cfg(feature = "bitcoin")]
fn transaction_messages(
    unsigned: &[u8],
    spent: &[SpentOutput],
    forest: &TweakForest,
    sighash_type: SighashType,
) -> Result<Vec<Message>, ProposalError> {
    let mut keys = Vec::new();
    let mut index = None;
    while let Ok(key) = forest.key(index) {
        keys.push((*key.x_only(), index));
        index = Some(index.map_or(0, |index| index + 1));
    }
    crate::chain::transaction::messages(unsigned, spent, &keys, sighash_type)
}

#[cfg(not(feature = "bitcoin"))]
fn transaction_messages(
    _: &[u8],
    _: &[SpentOutput],
    _: &TweakForest,
    _: SighashType,
) -> Result<Vec<Message>, ProposalError> {
    Err(ProposalError::Transaction("this build has no support for transactions (feature `bitcoin`)".into()))
}
