//! What an application's word covers when it consents, beyond what a node checks for itself.

use std::collections::BTreeSet;

use crate::error::ConsentError;
use crate::mutation::{self, Mutation};
use crate::types::{CoinStatus, OutPoint, SignerKey};

/// Word of the application when it joins, or creates, one session. Without it the node consents to a transaction with
/// failover only if the signatures alone complete it, as far as the node can find out, and to raw messages only with keys
/// that own no coins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct JoinOptions {
    /// Whether inputs that the session does not sign may have witnesses that this node cannot verify: all but P2WPKH and
    /// the key path of P2TR. If such a witness is invalid, the signatures complete nothing, and whoever can replace it
    /// decides when.
    pub allow_unverified_inputs: bool,
    /// Whether inputs may spend coins that the chain observer calls spent or unknown, or could not be asked about. Of a
    /// coin that is not there, whoever holds back its transaction decides when.
    pub allow_missing_coins: bool,
    /// Whether raw messages may be signed with keys that own coins, as far as this node can tell: with an output key (any
    /// BIP-341 derivation), with a key set of a registered descriptor, or with one that a transaction session of this node
    /// signs with too. Such a message may be the signature hash of a transaction that spends all that the signers have.
    pub sign_blind: bool,
}

/// Signers whose proposals a node takes. Those of all others are refused as if they were for somebody else: the
/// application is not told of them, and nothing of them is kept. What the application imports is taken from anybody.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AcceptedProposers {
    /// All, strangers too. The default.
    #[default]
    All,
    /// These alone. Each of them has as much room as a signer with whom this node signed before.
    Only(BTreeSet<SignerKey>),
}

impl AcceptedProposers {
    /// These proposers alone.
    pub fn only(proposers: impl IntoIterator<Item = SignerKey>) -> Self {
        Self::Only(proposers.into_iter().collect())
    }

    /// Whether proposals of this signer are taken.
    pub fn accepts(&self, proposer: &SignerKey) -> bool {
        match self {
            Self::All => true,
            Self::Only(proposers) => proposers.contains(proposer),
        }
    }

    /// Whether it is one that the application named.
    pub(super) fn names(&self, proposer: &SignerKey) -> bool {
        matches!(self, Self::Only(proposers) if proposers.contains(proposer))
    }
}

/// Refuses a transaction of which a coin is not there. `coins` are those that were asked about, each with its input's
/// index; of each the observer said something, `None` if it cannot tell.
pub(super) fn check_coins(
    coins: &[(u32, OutPoint)],
    answer: Result<Vec<Option<CoinStatus>>, String>,
) -> Result<(), ConsentError> {
    if mutation::on(Mutation::MissingCoinsJoined) {
        return Ok(());
    }
    let statuses = answer.map_err(|reason| ConsentError::CoinsNotKnown { reason })?;
    if statuses.len() != coins.len() {
        let reason = format!("the answer is about {} coins of {}", statuses.len(), coins.len());
        return Err(ConsentError::CoinsNotKnown { reason });
    }
    for ((input, coin), status) in coins.iter().zip(statuses) {
        let spent = match status {
            None | Some(CoinStatus::Unspent { .. } | CoinStatus::InMempool) => continue,
            Some(CoinStatus::Spent) => true,
            Some(CoinStatus::Unknown) => false,
        };
        return Err(ConsentError::MissingCoin { input: *input, coin: *coin, spent });
    }
    Ok(())
}
