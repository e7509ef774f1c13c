//! Deliberate breaks of the library, one at a time, each for one promise. Those of the protocol the simulator has to find,
//! or it proves nothing (`make sim-mutations`); those of what strangers may do, whom the simulator does not have, are for
//! tests/protocol/strangers.rs. And tests by name have to fail with them (`make mutants`).
//!
//! It belongs to the lowest layer, so that every other one can ask. A break is switched on in a thread by `set`, or in a
//! whole process by the variable `LIBMUSIG_MUTATION=Name`.
//!
//! Without the feature `mutations` [`on`] is `false` at compile time and nothing of this is left. With it nothing
//! compiles that is optimised for shipping.

#[cfg(all(feature = "mutations", not(debug_assertions)))]
compile_error!(
    "the feature `mutations` breaks the library on demand: it is for its own tests, never for a release build"
);

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(not(feature = "mutations"), allow(dead_code))]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        #[cfg(feature = "mutations")]
        impl Mutation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mutations! {
    /// S1: the simulated signer begins with the same random bytes in every process.
    RandomnessRepeats,
    /// S2: a node whose nonces are lost makes new ones for the same attempt.
    SameAttemptAgain,
    /// S3: a certificate is believed as it comes.
    CertificateUnverified,
    /// S4: who answers to other nonces is guilty.
    MismatchIsGuilt,
    /// S5: a claim counts as seen.
    ClaimIsEvidence,
    /// S5: the first confirmation is final.
    FinalAtOnce,
    /// S6: signer 0 is no signer.
    NoSignerZero,
    /// S7: the application is not asked.
    ConsentNotAsked,
    /// S7: the rounds go on after an abort.
    AbortStopsNothing,
    /// S7: inputs of others whose witnesses cannot be verified need no word of the application.
    UnverifiedInputsJoined,
    /// S7: what the observer says of the coins that a transaction spends counts for nothing.
    MissingCoinsJoined,
    /// S7: witnesses of others are believed as they come.
    ForeignWitnessBelieved,
    /// S7: raw messages are signed with any key, without a word of the application.
    BlindUnasked,
    /// S8: a place takes any number of envelopes.
    PlacesWithoutLimit,
    /// S8: equivocations of all attempts are kept.
    OldProofsKept,
    /// S9: after a claim the observer is asked before the own turn begins.
    ClaimMakesAsk,
    /// S10: the first reason for an ending stays, also if a stronger one comes.
    FirstEndingStays,
    /// S11: no key is refused, whosever it is and wherever it stands.
    AimedKeys,
    /// S11: a merkle root is added to its key as it came, without a hash.
    RootIsScalar,
    /// S14: partial signatures are verified again with each envelope that comes.
    VerifiedAgain,
    /// V11: a signer is gone as soon as its last connection is lost.
    GoneWithoutGrace,
    /// V11: a turn that opens early asks for longer than its time.
    AskFirstTooLong,
    /// V1: the pace is longer than a turn lasts.
    PaceBeyondTimeout,
    /// V11: a signer that was never connected is gone.
    StarIsGone,
    /// V11: of a connected signer that does not answer nothing follows.
    SilenceIsIgnored,
    /// V11: signers are asked for signs of life also when no turn approaches.
    AsksForEver,
    /// clocks: any difference of clocks is told.
    SkewOfNothing,
    /// V10: a refused proposal is reported each time that it comes.
    ReportedAgain,
    /// counters: a durable event that comes again after a restart is counted again.
    CountsAgain,
    /// counters: whoever claims to have broadcast gets a better record.
    ReputationFromClaims,
    /// V1: each turn lasts twice as long as the one before.
    LongerTurns,
    /// V2: nobody looks at the chain before all turns are over.
    LooksTooLate,
    /// V3: who returns after its turn began does not submit any more.
    ReturnMissesTurn,
    /// V4: a claim starts the clock anew.
    ClaimStartsClock,
    /// V5: what was seen once is believed for ever.
    LossUnnoticed,
    /// V5: any moment without the transaction begins a new watch.
    LostAtOnce,
    /// V6: every new connection begins a new watch.
    ReconnectBeginsAgain,
    /// S12: a replacement that is seen pauses the older watch without limit.
    ReplacementPausesForEver,
    /// S12: submissions and certificates wait for the disk.
    SubmissionWaitsForDisk,
    /// S12: what expired is forgotten, also if a partial signature of this node is out.
    ExpiryForgets,
    /// S12: who aborted takes its turn with a certificate that comes later.
    AbortTakesTurn,
    /// S12: a consent that waits for the observer is given although the application gave the session up meanwhile.
    ConsentOutlivesAbort,
    /// S12: a session that only signs has turns as with failover.
    SignOnlyTakesTurn,
    /// S12: who abandoned a session takes its turn all the same.
    AbandonTakesTurn,
    /// S12: a session is closed while its watch is open, and the watch with it.
    CloseEndsWatch,
    /// S13: a replacement in a block ends the older watch.
    ReplacementEnds,
    /// V7: a proof is not passed on.
    ProofNotSent,
    /// V8: a NACK of one signer counts for all.
    NackCountsForOthers,
    /// V8: turns begin although the transaction cannot be final yet, and whoever is told so is late.
    LockIgnored,
    /// V8: the alarm is raised when the last turn begins.
    AlarmTooEarly,
    /// V9: who withholds its partial signatures is not missing.
    NobodyMissing,
    /// V10: a proposal that was not joined does not expire.
    NeverExpires,
    /// Strangers: a proposal that was answered takes the room of those that wait for an answer.
    AnsweredKeepRoom,
    /// Strangers: a proposal that was answered and forgotten is taken again.
    AnsweredComeAgain,
    /// Strangers: a proposal that failed at the end of its check is checked again each time that it comes.
    RefusedComeAgain,
    /// Strangers: the checks of proposals have no budget of time.
    CheckedWithoutBudget,
    /// Strangers: proposals have no rate.
    ProposalsWithoutRate,
    /// Strangers: proposals are taken from everybody, whomever the application accepts.
    EverybodyAccepted,
    /// Strangers: who was named by the application has no more room than others.
    NamedAreStrangers,
    /// Keys: a final key is given out, whether or not a session signs with it.
    MakeableUnchecked,
    /// V11: whoever does not hold the signatures is passed over at once.
    HoldWithoutGrace,
    /// The alarm comes without the transaction.
    AlarmWithoutTransaction,
    /// Strangers: whoever a proposal names is looked for before the application answers.
    UnansweredSeek,
    /// Strangers: a session of others is not asked for as an unknown one is.
    OthersUnanswered,
    /// Fork: a process is known by its number.
    TokenIsNumber,
    /// Fork: a child has its parent's threads and locks.
    ParentsValues,
    /// Fork: a child finds its parent's secret nonces.
    ForkKeepsNonces,
    /// Store: it serves any key, whosever it is.
    OwnerIgnored,
    /// Store: a session that ended is read as an open one.
    EndingForgotten,
    /// Store: a stop waits twice as long for a disk that hangs.
    StopHangs,
    /// Network: a peer may send any number of identify messages.
    IdentifyUncounted,
    /// Network: what one server of several says of this node's address is announced.
    OneServerBelieved,
    /// Network: who connects and says nothing keeps its place.
    SilentSocketsStay,
    /// Network: strangers take the places that are kept for known peers.
    StrangersTakeAll,
    /// Network: limits and bans by address bind those that this node seeks, too.
    KnownAreStrangers,
    /// Network: all share one allowance for the verification of records.
    RecordsWithoutShare,
    /// Network: a presence from the future is taken.
    FutureBelieved,
    /// Network: the sequence number of the own presence is forgotten when the node stops.
    SequenceForgotten,
    /// Network: what others say of a peer counts against what it says itself.
    HearsayCounts,
    /// Network: the system is not asked for names.
    NamesUnresolved,
    /// Network: a port that somebody else has is listened on.
    PortsShared,
    /// Network: a pasted address is taken with the spaces around it.
    PastedAsTyped,
    /// Network: why a peer cannot be reached is reported each time that it is dialled.
    CausesRepeated,
    /// Network: connections are opened beside the proxy.
    ProxyPassedBy,
    /// Network: this node shows its presence to whoever connects.
    ShownToStrangers,
    /// Network: connections stay when the network changed.
    ConnectionsStay,
    /// Consent: a summary warns of nothing.
    WarningsUnsaid,
    /// Consent: what a proposer writes is shown as it came.
    TextUnescaped,
    /// PSBT: a field of one version is taken in the other one.
    PsbtVersionsMixed,
    /// PSBT: the lock times that inputs require count for nothing.
    PsbtLocksIgnored,
    /// PSBT: what is read has no limits.
    PsbtWithoutLimits,
    /// PSBT: a key may stand twice in a map.
    PsbtDuplicatesTaken,
    /// PSBT: the fields of BIP-373, and unknown ones, are not written back.
    PsbtFieldsDropped,
    /// PSBT: partial signatures are not verified.
    PsbtPartialsBelieved,
    /// PSBT: a device may answer with a nonce that was used before.
    OldNoncesTaken,
    /// PSBT: nonces that were in a second round may be in another one.
    SecondRoundAgain,
    /// Descriptors: a checksum need not fit.
    ChecksumIgnored,
    /// Descriptors: outputs beyond the gap limit are the wallet's own.
    GapIgnored,
    /// Groups: a card's signature is not verified.
    CardUnverified,
    /// Backends: an answer's code decides before its words.
    CodesFirst,
    /// Backends: a failure is reported each time.
    FailuresUnbounded,
    /// Backends: nobody asks whether the chain is congested.
    CongestionUnasked,
    /// Metrics: half of them are left out.
    MetricsUntold,
    /// Metrics, in C: samples have no labels.
    SamplesWithoutLabel,
}

#[cfg(feature = "mutations")]
mod switch {
    use std::cell::Cell;
    use std::sync::LazyLock;

    use super::Mutation;

    thread_local!(static CURRENT: Cell<Option<Mutation>> = const { Cell::new(None) });

    /// What the environment breaks in all threads.
    static PROCESS: LazyLock<Option<Mutation>> = LazyLock::new(|| {
        let name = std::env::var("LIBMUSIG_MUTATION").ok()?;
        let named = |mutation: &&Mutation| format!("{mutation:?}") == name;
        let found = Mutation::ALL.iter().find(named);
        Some(*found.unwrap_or_else(|| panic!("LIBMUSIG_MUTATION={name} is none of {:?}", Mutation::ALL)))
    });

    /// Breaks the library in this thread, until it is called again.
    pub fn set(mutation: Option<Mutation>) {
        CURRENT.set(mutation);
    }

    /// Whether this is broken.
    pub fn on(mutation: Mutation) -> bool {
        CURRENT.get() == Some(mutation) || *PROCESS == Some(mutation)
    }
}

#[cfg(not(feature = "mutations"))]
mod switch {
    use super::Mutation;

    pub(crate) const fn on(_: Mutation) -> bool {
        false
    }
}

#[cfg(not(feature = "mutations"))]
pub(crate) use switch::on;
#[cfg(feature = "mutations")]
pub use switch::{on, set};
