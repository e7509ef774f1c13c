//! How long a transaction waits for its broadcast if the first coordinators of the list are faulty, and how often it is
//! submitted.

use std::time::Duration;

use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, Tiers};

use test_support::cluster::{Broadcaster, Cluster, Options};

/// The default of the proposal.
pub const TIMEOUT: Duration = Duration::from_secs(300);
const DELAY: Duration = Duration::from_millis(20);
const JITTER: Duration = Duration::from_millis(30);
const SYNC: Duration = Duration::from_millis(2);
/// How often it is looked whether somebody holds the signatures.
const GLANCE: Duration = Duration::from_millis(1);
/// How long a submission is on its way to the network.
pub const SUBMISSION: Duration = Duration::from_millis(100);

/// What a faulty coordinator does, once it holds the signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing, although it is connected.
    Silent,
    /// It says that it submitted, and claims so to the others.
    Lying,
    /// It cannot reach the network, and says so.
    Nacking,
    /// It has neither a way to the others nor to the network.
    Partitioned,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Silent, Self::Lying, Self::Nacking, Self::Partitioned];

    pub fn name(self) -> &'static str {
        ["silent", "lying", "NACKing", "partitioned"][self as usize]
    }
}

/// The three ways to group signers, with their names.
pub const TIERS: [(Tiers, &str); 3] =
    [(Tiers::Single, "Single"), (Tiers::Fixed(3), "Fixed(3)"), (Tiers::Doubling, "Doubling")];

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub signers: usize,
    pub tiers: Tiers,
    pub fault: Fault,
    /// The first so many of the priority list are faulty.
    pub faulty: usize,
    pub seed: u64,
}

/// What came out of it.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// From the moment at which the first honest signer held the signatures to the first submission.
    pub waited: Duration,
    /// Submissions after the first one.
    pub duplicates: usize,
}

impl Case {
    /// The turns before the first one in which somebody is honest. By arithmetic, not by the code that is tested.
    pub fn turns(&self) -> u32 {
        let faulty = self.faulty as u32;
        match self.tiers {
            Tiers::Single => faulty,
            Tiers::Fixed(width) => faulty / u32::from(width),
            Tiers::Doubling => (faulty + 1).ilog2(),
        }
    }

    /// V1: turns times timeout, one delivery, and the way to the network.
    pub fn bound(&self) -> Duration {
        self.least() + DELAY + JITTER + SYNC + GLANCE
    }

    /// V11: whoever lost all connections costs a second, the question before an early submission, and what V1 adds to that.
    fn gone(&self) -> (Duration, Duration) {
        let least = limits::GONE_AFTER + SUBMISSION;
        (least, least + SUBMISSION + 2 * (DELAY + JITTER) + SYNC + GLANCE)
    }

    /// If no turn opens early it does not come earlier either, but for one delivery: the clock of whoever submits starts
    /// when it holds the signatures, and here the first honest one may do so up to a delivery before.
    pub fn least(&self) -> Duration {
        TIMEOUT * self.turns() + SUBMISSION
    }

    /// Whether what was measured is as V1 says.
    pub fn check(&self, measured: &Measured) -> Result<(), String> {
        let (least, bound) = match self.fault {
            Fault::Nacking => (Duration::ZERO, self.bound()),
            Fault::Partitioned if self.turns() > 0 => self.gone(),
            _ => (self.least(), self.bound()),
        };
        if measured.waited < least || measured.waited > bound {
            return Err(format!(
                "{self:?}: submitted after {:?}, not {least:?} to {bound:?}",
                measured.waited
            ));
        }
        Ok(())
    }

    pub fn run(&self) -> Measured {
        let options = Options {
            seed: self.seed,
            delay: DELAY,
            jitter: JITTER,
            sync: SYNC,
            chain: SUBMISSION,
            ..Options::new(self.signers)
        };
        let mut cluster = Cluster::new(options);
        cluster.run_for(Duration::from_secs(1));
        let session = cluster.create(0, |terms| {
            terms.election_method = ElectionMethod::SessionSalted;
            terms.broadcast =
                Broadcast::Failover(FailoverPolicy { broadcast_timeout: TIMEOUT, tiers: self.tiers });
        });
        // It is known once its observer said that the coin exists.
        while cluster.engine(0).election(&session).is_none() {
            cluster.run_for(GLANCE);
        }
        let list = cluster.engine(0).election(&session).expect("it is known").priority_list.clone();
        let (faulty, honest) = list.split_at(self.faulty);
        for node in faulty {
            cluster.nodes[*node].broadcaster = match self.fault {
                Fault::Silent => Broadcaster::Hangs,
                Fault::Lying => Broadcaster::Lies,
                Fault::Nacking => Broadcaster::Unreachable,
                Fault::Partitioned => Broadcaster::Works,
            };
        }
        let mut completed = cluster.now();
        while !honest.iter().any(|node| cluster.holds(*node, &session)) {
            completed = cluster.now();
            cluster.run_for(GLANCE);
        }
        while !cluster.all_hold(&session) {
            cluster.run_for(GLANCE);
        }
        assert!(cluster.chain.submissions.is_empty(), "all hold the signatures before the first submission");
        if self.fault == Fault::Partitioned {
            faulty.iter().for_each(|node| cluster.cut_off(*node, true));
        }
        let limit = TIMEOUT * (self.turns() + 2);
        let submitted = cluster.run_until(limit, |cluster| !cluster.chain.submissions.is_empty());
        assert!(submitted, "{self:?}: somebody submits");
        cluster.run_for(TIMEOUT * 2);
        let now = cluster.now();
        cluster.chain.mine_blocks(6, now);
        cluster.run_for(TIMEOUT);
        let submissions = &cluster.chain.submissions;
        Measured { waited: submissions[0].at - completed, duplicates: submissions.len() - 1 }
    }
}
