//! [`FailoverPreset`]: timeouts of failover by what a transaction is worth, and how its signers are connected.

use std::time::Duration;

use crate::protocol::proposal::FailoverPolicy;

/// Preset of the broadcast timeout. It is a value for the proposal, not a field of it: all signers see the timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailoverPreset {
    /// 30 seconds: tests, and signers in one local network.
    LocalTest,
    /// 2 minutes: low values, where a duplicate submission is cheaper than a wait.
    LowValue,
    /// 5 minutes, the default.
    Standard,
    /// 10 minutes: high values, whose signers are asked by hand or behind slow backends.
    HighValue,
    /// 15 minutes: signers across borders, by satellite or over Tor.
    Satellite,
}

impl FailoverPreset {
    /// All presets, the shortest first.
    pub const ALL: [Self; 5] =
        [Self::LocalTest, Self::LowValue, Self::Standard, Self::HighValue, Self::Satellite];

    /// Time from the start of a turn to the start of the next, for [`FailoverPolicy::broadcast_timeout`].
    pub const fn broadcast_timeout(self) -> Duration {
        Duration::from_secs(match self {
            Self::LocalTest => 30,
            Self::LowValue => 2 * 60,
            Self::Standard => 5 * 60,
            Self::HighValue => 10 * 60,
            Self::Satellite => 15 * 60,
        })
    }
}

impl From<FailoverPreset> for FailoverPolicy {
    /// One signer for each turn.
    fn from(preset: FailoverPreset) -> Self {
        Self { broadcast_timeout: preset.broadcast_timeout(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits;

    #[test]
    fn presets_are_what_the_documents_say() {
        let seconds = FailoverPreset::ALL.map(|preset| preset.broadcast_timeout().as_secs());
        assert_eq!(seconds, [30, 120, 300, 600, 900]);
        assert_eq!(FailoverPolicy::from(FailoverPreset::Standard), FailoverPolicy::default());
        for preset in FailoverPreset::ALL {
            assert!(limits::BROADCAST_TIMEOUT.contains(&preset.broadcast_timeout()), "{preset:?}");
        }
    }
}
