//! Suspending, resuming and ending a node, and what can be counted of it.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Actor, Command};
use crate::error::Error;
use crate::net::{NetCommand, Network};
use crate::node::metrics::Metrics;
use crate::platform;

/// Clocks that count sleep and those that do not may differ by this much before it counts as sleep.
const SLEPT: Duration = Duration::from_secs(2);

impl Actor {
    /// Notices that the device slept: one clock counts that, the other does not.
    pub(super) fn check_clocks(&mut self) {
        let (now, instant) = (platform::now(), Instant::now());
        let counted = now.monotonic.saturating_sub(self.clocks.0.monotonic);
        let awake = instant.saturating_duration_since(self.clocks.1);
        self.clocks = (now, instant);
        if counted > awake + SLEPT && !self.suspended {
            self.engine.woke(now);
        }
    }

    pub(crate) fn suspend(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        // What was asked for before is committed before.
        self.settle();
        self.suspended = true;
        self.store.suspend(Box::new(move |result| drop(reply.send(result.map_err(Error::Store)))));
    }

    pub(crate) fn resume(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        let commands = self.commands.clone();
        self.store.resume(Box::new(move |result| {
            let call = move |actor: &mut Actor| {
                if result.is_ok() {
                    actor.suspended = false;
                    actor.clocks = (platform::now(), Instant::now());
                    actor.reconnect();
                    actor.engine.woke(platform::now());
                }
                drop(reply.send(result.map_err(Error::Store)));
            };
            drop(commands.send(Command::Call(Box::new(call))));
        }));
    }

    fn reconnect(&self) {
        if let Some(network) = &self.network {
            network.try_command(NetCommand::Reconnect);
        }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let (events_waiting, notices_dropped) = self.delivery.counters();
        Metrics {
            sessions: self.engine.ids().len(),
            frames_sent: self.envelopes_sent,
            refused: self.engine.refused(),
            store: self.store.counters(),
            network: self.network.as_ref().map(Network::counters).unwrap_or_default(),
            events_waiting,
            notices_dropped,
        }
    }

    pub(super) async fn end(&mut self) {
        self.delivery.stop();
        for lane in [
            self.signer_lane.as_deref(),
            self.broadcaster.as_ref().map(|foreign| &*foreign.lane),
            self.observer.as_ref().map(|foreign| &*foreign.lane),
        ]
        .into_iter()
        .flatten()
        {
            lane.stop();
        }
        if let Some(network) = self.network.take() {
            network.command(NetCommand::Shutdown).await;
        }
        for request in std::mem::take(&mut self.requests).into_values() {
            request(Err(Error::NodeStopped));
        }
        let (done, synced) = oneshot::channel();
        self.store.stop(Box::new(move |result| drop(done.send(result))));
        if let Ok(Err(error)) = synced.await {
            tracing::warn!(%error, "the last commit of the store failed");
        }
    }
}
