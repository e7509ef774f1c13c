//! What is known of the transaction's way to the chain.

use crate::protocol::wire::pb;
use crate::types::Txid;

/// What a node knows about the transaction's way to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Evidence {
    /// Nothing, or only what others claim (E0).
    #[default]
    None,
    /// The own submission was accepted, or the application said so (E1).
    Submitted,
    /// The observer sees it (E2).
    Seen,
    /// It is in a block (E3).
    Confirmed {
        /// The block's height.
        height: u32,
        /// The block itself counts as one.
        confirmations: u32,
    },
    /// A conflicting spend is in a block (E4).
    Conflict {
        /// The conflicting transaction.
        txid: Txid,
        /// The block itself counts as one.
        confirmations: u32,
    },
    /// The application, which is the observer here, said that it is broadcast.
    Notified,
}

impl Evidence {
    /// Whether the watch waits: E2 and above.
    pub fn pauses(self) -> bool {
        !matches!(self, Self::None | Self::Submitted)
    }

    /// Writes it into the watch's record.
    pub(super) fn store(self, record: &mut pb::WatchRecord) {
        match self {
            Self::None => {}
            Self::Submitted => record.evidence = 1,
            Self::Seen => record.evidence = 2,
            Self::Confirmed { height, confirmations } => {
                (record.evidence, record.height, record.confirmations) = (3, height, confirmations);
            }
            Self::Conflict { txid, confirmations } => {
                (record.evidence, record.confirmations) = (4, confirmations);
                record.conflict = txid.0.to_vec();
            }
            Self::Notified => record.evidence = 5,
        }
    }

    /// Reads it from the watch's record.
    pub(super) fn restore(record: &pb::WatchRecord) -> Self {
        let conflict = record.conflict.as_slice().try_into().map(Txid).ok();
        let confirmations = record.confirmations;
        match (record.evidence, conflict) {
            (1, _) => Self::Submitted,
            (2, _) => Self::Seen,
            (3, _) => Self::Confirmed { height: record.height, confirmations },
            (4, Some(txid)) => Self::Conflict { txid, confirmations },
            (5, _) => Self::Notified,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_the_same_evidence_again() {
        let depth = Evidence::Confirmed { height: 7, confirmations: 2 };
        let conflict = Evidence::Conflict { txid: Txid([3; 32]), confirmations: 1 };
        for evidence in
            [Evidence::None, Evidence::Submitted, Evidence::Seen, depth, conflict, Evidence::Notified]
        {
            let mut record = pb::WatchRecord::default();
            evidence.store(&mut record);
            assert_eq!(Evidence::restore(&record), evidence);
        }
    }
}
