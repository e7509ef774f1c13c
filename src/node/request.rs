//! What an application says to propose a session. Everything else has a default.

use std::time::Duration;

use crate::error::{Error, ProposalError, SignerError};
use crate::protocol::crypto::key_set::{TweakForest, aggregate_key};
use crate::protocol::election::ElectionMethod;
use crate::protocol::proposal::{
    FailoverPolicy, KeyOrder, Message, Proposal, SighashType, SpentOutput, Terms, TransactionTerms, Tweak,
};
use crate::types::{SessionId, SignerKey, UnixMillis};

/// What is to be signed.
#[derive(Clone)]
pub(crate) enum Content {
    Messages(Vec<Message>),
    Transaction { unsigned: Vec<u8>, spent: Vec<SpentOutput>, sighash_type: SighashType },
}

/// The terms of a session to be: see [`Terms`] for what each means.
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

    /// Signs 32-byte messages with the aggregate key, or with tweaked ones ([`SessionRequest::tweaks`]). The node
    /// hands out signatures and turns; the application builds and broadcasts.
    pub fn messages(signers: Vec<SignerKey>, messages: Vec<Message>) -> Self {
        Self::new(signers, Content::Messages(messages))
    }

    /// Signs all inputs of a transaction that the signers' key owns, by the Taproot key path (BIP-341). `unsigned`
    /// is its consensus encoding, in which inputs of others carry their final witnesses; `spent` are the spent
    /// outputs, one for each input.
    ///
    /// Without [`SessionRequest::tweaks`] the key is the aggregate key with the BIP-341 tweak and no scripts.
    pub fn transaction(signers: Vec<SignerKey>, unsigned: Vec<u8>, spent: Vec<SpentOutput>) -> Self {
        Self::new(signers, Content::Transaction { unsigned, spent, sighash_type: SighashType::Default })
    }

    /// The order of key aggregation. Sorted by default.
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.key_order = order;
        self
    }

    /// The tweaks that messages, or the keys of inputs, may have: see [`TweakForest`].
    pub fn tweaks(mut self, tweaks: Vec<Tweak>) -> Self {
        self.tweaks = Some(tweaks);
        self
    }

    /// The hash type of a transaction's signatures.
    pub fn sighash_type(mut self, chosen: SighashType) -> Self {
        if let Content::Transaction { sighash_type, .. } = &mut self.content {
            *sighash_type = chosen;
        }
        self
    }

    /// How the coordinator is elected. By the lowest key by default.
    pub fn election_method(mut self, method: ElectionMethod) -> Self {
        self.election_method = method;
        self
    }

    /// When others take over from the coordinator. After 5 minutes each, one at a time, by default.
    pub fn failover(mut self, policy: FailoverPolicy) -> Self {
        self.failover = policy;
        self
    }

    /// When the session ends if it has no other end: 24 hours by default, at most 30 days.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = time;
        self
    }

    /// Words to the other signers, at most 4 KiB.
    pub fn metadata(mut self, metadata: impl Into<Vec<u8>>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// An older session whose transaction this one replaces: a fee bump.
    pub fn replaces(mut self, session: SessionId) -> Self {
        self.replaces = Some(session);
        self
    }

    /// Checks everything and makes the proposal.
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
