//! A toy chain: a mempool, blocks, and a memory of who submitted what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::transaction::TransactionCodec;
use libmusig::types::{ChainQuery, ChainStatus, CoinStatus, OutPoint, SessionId, SubmitOutcome, Txid};

use super::double::{Double, DoubleCodec};

/// Somebody submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    pub at: Duration,
    pub node: usize,
    pub txid: Txid,
}

#[derive(Clone, Debug)]
struct Block {
    at: Duration,
    transactions: Vec<Txid>,
}

/// The chain.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// All submissions that reached it.
    pub submissions: Vec<Submission>,
    spends: BTreeMap<Txid, Vec<OutPoint>>,
    /// The transactions that spend each output.
    spending: HashMap<OutPoint, Vec<Txid>>,
    of_session: BTreeMap<SessionId, Txid>,
    fees: BTreeMap<Txid, u64>,
    /// The heights that transactions wait for.
    locks: BTreeMap<Txid, u32>,
    mempool: BTreeMap<Txid, Duration>,
    /// Everything that was ever in the mempool.
    pub ever: BTreeSet<Txid>,
    blocks: Vec<Block>,
    /// When each height was reached first.
    reached: Vec<Duration>,
    heights: HashMap<Txid, usize>,
    spenders: HashMap<OutPoint, Txid>,
    /// Outputs of transactions that somebody keeps to himself.
    pub withheld: BTreeSet<OutPoint>,
    /// A network in parts: the side that each node's Bitcoin node is on. Empty: it is whole.
    sides: Vec<usize>,
    /// On which sides a transaction was submitted since it fell apart.
    known_on: BTreeSet<(Txid, usize)>,
}

impl Chain {
    /// Learns what the transaction of a proposal spends. Later ones pay more.
    pub fn learn(&mut self, proposal: &Proposal) {
        let fee = self.fees.len() as u64;
        let keys = Arc::new(Double).aggregate_keys(proposal).expect("a double takes all keys");
        if proposal.transaction.is_none() {
            self.learn_spends(Txid(proposal.id().0), Vec::new());
        } else if let Ok(info) = DoubleCodec.check(proposal, keys.as_ref()) {
            if let Some(height) = DoubleCodec.locks(proposal).height {
                self.locks.insert(info.txid, height);
            }
            self.learn_spends(info.txid, info.spends);
            self.of_session.insert(proposal.id(), info.txid);
            self.fees.insert(info.txid, fee);
        }
    }

    /// The transaction of a session, if it has one.
    pub fn txid_of(&self, session: &SessionId) -> Option<Txid> {
        self.of_session.get(session).copied()
    }

    /// A transaction that nobody here signed.
    pub fn foreign(&mut self, txid: Txid, spends: Vec<OutPoint>, now: Duration) {
        self.fees.insert(txid, u64::MAX);
        self.learn_spends(txid, spends);
        self.accept(txid, now);
    }

    fn learn_spends(&mut self, txid: Txid, spends: Vec<OutPoint>) {
        for spent in &spends {
            let spending = self.spending.entry(*spent).or_default();
            if !spending.contains(&txid) {
                spending.push(txid);
            }
        }
        self.spends.insert(txid, spends);
    }

    /// What a transaction spends.
    pub fn spent_by(&self, txid: &Txid) -> Vec<OutPoint> {
        self.spends.get(txid).cloned().unwrap_or_default()
    }

    fn conflict(&self, one: &Txid, other: &Txid) -> bool {
        one != other && self.spent_by(one).iter().any(|spent| self.spent_by(other).contains(spent))
    }

    /// Parts the network, or makes it whole again. What was known before is known on all sides; blocks always are.
    pub fn part(&mut self, sides: Vec<usize>) {
        self.known_on.clear();
        for side in &sides {
            self.known_on.extend(self.mempool.keys().map(|txid| (*txid, *side)));
        }
        self.sides = sides;
    }

    /// Whether a transaction is on other sides only.
    pub fn hidden(&self, node: usize, txid: &Txid) -> bool {
        self.sides.get(node).is_some_and(|side| !self.known_on.contains(&(*txid, *side)))
    }

    pub fn submit(&mut self, node: usize, txid: Txid, now: Duration) -> SubmitOutcome {
        self.submissions.push(Submission { at: now, node, txid });
        if let Some(side) = self.sides.get(node) {
            self.known_on.insert((txid, *side));
        }
        self.accept(txid, now)
    }

    fn accept(&mut self, txid: Txid, now: Duration) -> SubmitOutcome {
        if self.knows(&txid) {
            return SubmitOutcome::Accepted;
        }
        if self.spent_by(&txid).iter().any(|coin| self.withheld.contains(coin)) {
            return SubmitOutcome::Rejected("an input is missing".into());
        }
        if self.conflicted(&txid) {
            return SubmitOutcome::Rejected("its inputs are spent".into());
        }
        let rivals: Vec<Txid> =
            self.mempool.keys().filter(|other| self.conflict(&txid, other)).copied().collect();
        let fee = |txid: &Txid| self.fees.get(txid).copied().unwrap_or_default();
        if rivals.iter().any(|rival| fee(rival) >= fee(&txid)) {
            return SubmitOutcome::Rejected("it pays less than what is there".into());
        }
        self.mempool.retain(|other, _| !rivals.contains(other));
        self.mempool.insert(txid, now);
        self.ever.insert(txid);
        SubmitOutcome::Accepted
    }

    /// Lets a transaction wait for a height, whatever its proposal says.
    pub fn lock(&mut self, txid: Txid, height: u32) {
        self.locks.insert(txid, height);
    }

    /// When this many blocks were there first, also if a reorganisation took them away again.
    pub fn reached(&self, height: u32) -> Option<Duration> {
        self.reached.get((height as usize).checked_sub(1)?).copied()
    }

    /// Whether it waits for a height that is not reached.
    pub fn is_locked(&self, txid: &Txid) -> bool {
        self.locks.get(txid).is_some_and(|height| (self.blocks.len() as u32) < *height)
    }

    /// How many blocks there were.
    pub fn height(&self, until: Duration) -> u32 {
        self.blocks.partition_point(|block| block.at <= until) as u32
    }

    /// The state of an output. Whatever nobody withheld is there.
    pub fn coin(&self, coin: &OutPoint) -> CoinStatus {
        let waits = |txid: &Txid| self.mempool.contains_key(txid);
        if self.withheld.contains(coin) {
            CoinStatus::Unknown
        } else if self.spenders.contains_key(coin)
            || self.spending.get(coin).is_some_and(|spending| spending.iter().any(waits))
        {
            CoinStatus::Spent
        } else {
            CoinStatus::Unspent { confirmations: 1, median_time: None }
        }
    }

    /// Whether it is in the mempool or in a block.
    pub fn knows(&self, txid: &Txid) -> bool {
        self.mempool.contains_key(txid) || self.heights.contains_key(txid)
    }

    /// Puts all of the mempool into a block.
    pub fn mine(&mut self, now: Duration) {
        let transactions: Vec<Txid> = std::mem::take(&mut self.mempool).into_keys().collect();
        for txid in &transactions {
            self.heights.insert(*txid, self.blocks.len());
            for spent in self.spent_by(txid) {
                self.spenders.insert(spent, *txid);
            }
        }
        self.blocks.push(Block { at: now, transactions });
        if self.reached.len() < self.blocks.len() {
            self.reached.push(now);
        }
    }

    pub fn mine_blocks(&mut self, blocks: usize, now: Duration) {
        (0..blocks).for_each(|_| self.mine(now));
    }

    /// Whether another transaction that spends the same is in a block.
    pub fn conflicted(&self, txid: &Txid) -> bool {
        let spenders = self.spent_by(txid).into_iter().filter_map(|spent| self.spenders.get(&spent).copied());
        spenders.into_iter().any(|spender| spender != *txid)
    }

    /// Takes it out of the mempool.
    pub fn evict(&mut self, txid: &Txid) {
        self.mempool.remove(txid);
    }

    /// Drops the last blocks; their transactions are gone.
    pub fn reorganise(&mut self, blocks: usize) {
        let left = self.blocks.len().saturating_sub(blocks);
        for txid in self.blocks.drain(left..).flat_map(|block| block.transactions) {
            self.heights.remove(&txid);
            self.spenders.retain(|_, spender| *spender != txid);
        }
    }

    /// What somebody sees who knows everything up to `until`.
    pub fn status(&self, query: &ChainQuery, until: Duration) -> ChainStatus {
        let seen = self.blocks.partition_point(|block| block.at <= until);
        let depth = |txid: &Txid| {
            let height = self.heights.get(txid).copied()?;
            (height < seen).then(|| (height as u32, (seen - height) as u32))
        };
        if let Some((height, confirmations)) = depth(&query.txid) {
            return ChainStatus::Confirmed { height, confirmations };
        }
        for spender in query.spends.iter().filter_map(|spent| self.spenders.get(spent)) {
            if let Some((_, confirmations)) = depth(spender).filter(|_| *spender != query.txid) {
                return ChainStatus::Conflict { txid: *spender, confirmations };
            }
        }
        // What was mined since was in the mempool before, as far as this one can tell.
        let mined_since = self.heights.contains_key(&query.txid);
        match self.mempool.get(&query.txid) {
            Some(at) if *at <= until => ChainStatus::Seen,
            None if mined_since => ChainStatus::Seen,
            _ => ChainStatus::Unknown,
        }
    }
}
