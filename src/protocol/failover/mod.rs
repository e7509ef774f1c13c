//! Failover: from the moment on at which a node holds the finished signatures, until the chain shows them.
//!
//! Turns open and never close. What cannot be checked here (claims, NACKs, silence) opens turns sooner, never later.
//! Only what this node's own observer saw, or its application said, makes it wait.

mod evidence;
mod judgement;
mod lock;
mod pace;
mod stopwatch;
mod turns;
mod watch;

pub use self::evidence::Evidence;
pub use self::pace::{Pace, SeenBy};
pub use self::stopwatch::Stopwatch;
pub use self::turns::{FailureCause, Turns};
pub(super) use self::watch::PackedWatch;
pub use self::watch::{
    ASK_FIRST, Action, Outlook, REPLACEMENT_PAUSE, Replacement, Submissions, Surroundings, Wait, Watch,
};
