//! What signers owe for what was done for them. Time pays.

use std::collections::HashMap;
use std::time::Duration;

use crate::types::SignerKey;

/// Signers whose debts are remembered.
pub(super) const SIGNERS: usize = 1024;

/// Work that was done and is not paid by time yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Debt {
    owed: Duration,
    at: Duration,
}

impl Debt {
    /// What is owed now, if each `share` of time pays one.
    pub fn owed(&self, now: Duration, share: u32) -> Duration {
        self.owed.saturating_sub(now.saturating_sub(self.at) / share)
    }

    pub fn add(&mut self, cost: Duration, now: Duration, share: u32) {
        *self = Self { owed: self.owed(now, share).saturating_add(cost), at: now };
    }

    /// Takes back what was added.
    pub fn forgive(&mut self, cost: Duration) {
        self.owed = self.owed.saturating_sub(cost);
    }
}

/// The debt of each of [`SIGNERS`] signers.
#[derive(Debug, Default)]
pub(super) struct Debts(HashMap<SignerKey, Debt>);

impl Debts {
    pub fn owed(&self, signer: &SignerKey, now: Duration, share: u32) -> Duration {
        self.0.get(signer).map_or(Duration::ZERO, |debt| debt.owed(now, share))
    }

    /// Adds to a debt. Who finds no place owes nothing here: it has the share of all.
    pub fn add(&mut self, signer: SignerKey, cost: Duration, now: Duration, share: u32) {
        if self.0.len() >= SIGNERS {
            self.0.retain(|_, debt| !debt.owed(now, share).is_zero());
        }
        if self.0.len() < SIGNERS || self.0.contains_key(&signer) {
            self.0.entry(signer).or_default().add(cost, now, share);
        }
    }

    /// Takes back what was added.
    pub fn forgive(&mut self, signer: &SignerKey, cost: Duration) {
        if let Some(debt) = self.0.get_mut(signer) {
            debt.forgive(cost);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
