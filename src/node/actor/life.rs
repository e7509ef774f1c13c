//! Suspending, resuming and ending a node, and what can be counted of it.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::{Actor, Command};
use crate::error::{Error, StoreError};
use crate::net::{NetCommand, Network};
use crate::node::metrics::{Metrics, PHASES, Snapshot};
use crate::platform;
use crate::protocol::limits;

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
        // What was asked for before is committed before; what failed before is tried once more.
        self.carry_out_all();
        if !self.suspended {
            self.disk.hand_over_now(Instant::now());
        }
        self.suspended = true;
        self.suspensions += 1;
        let commands = self.commands.clone();
        let (answer, answered) = oneshot::channel();
        self.store.suspend(Box::new(move |result| {
            // By way of the actor, which by then knows what became of the commits before.
            let call = move |actor: &mut Actor| {
                let committed = actor.disk.error().cloned().map_or(Ok(()), Err);
                drop(answer.send(result.and(committed)));
            };
            drop(commands.send(Command::Call(Box::new(call))));
        }));
        tokio::spawn(async move {
            match tokio::time::timeout(limits::COMMIT, answered).await {
                Ok(Ok(result)) => drop(reply.send(result.map_err(Error::Store))),
                // The node is stopped.
                Ok(Err(_)) => {}
                Err(_) => drop(reply.send(Err(Error::Store(StoreError::hangs(limits::COMMIT))))),
            }
        });
    }

    pub(crate) fn resume(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        let (commands, suspensions) = (self.commands.clone(), self.suspensions);
        self.store.resume(Box::new(move |result| {
            let call = move |actor: &mut Actor| actor.resumed(result, suspensions, reply);
            drop(commands.send(Command::Call(Box::new(call))));
        }));
    }

    /// The store is open again, or is not.
    fn resumed(
        &mut self,
        result: Result<(), StoreError>,
        suspensions: u64,
        reply: oneshot::Sender<Result<(), Error>>,
    ) {
        if let Err(error) = result {
            return drop(reply.send(Err(Error::Store(error))));
        }
        // Suspended again meanwhile: the store is closed by now, or will be in a moment.
        if suspensions != self.suspensions {
            return drop(reply.send(Err(Error::Suspended)));
        }
        self.suspended = false;
        self.clocks = (platform::now(), Instant::now());
        self.reconnect();
        self.engine.woke(platform::now());
        if self.disk.error().is_some() {
            // What could not be committed before is now, at once; until then requests would be refused.
            self.disk.hand_over_now(Instant::now());
            self.resuming.push(reply);
        } else {
            drop(reply.send(Ok(())));
        }
    }

    /// Tells those who resumed the node whether its store takes commits again.
    pub(super) fn answer_resuming(&mut self, result: Result<(), StoreError>) {
        for reply in std::mem::take(&mut self.resuming) {
            drop(reply.send(result.clone().map_err(Error::Store)));
        }
    }

    /// The device changed its network.
    pub(crate) fn network_changed(&mut self) -> Result<(), Error> {
        if self.suspended {
            return Err(Error::Suspended);
        }
        self.reconnect();
        Ok(())
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

    pub(crate) fn metrics_snapshot(&self) -> Snapshot {
        let mut phases = [0; PHASES.len()];
        for phase in self.engine.phases() {
            if let Some(place) = PHASES.iter().position(|(other, _)| *other == phase) {
                phases[place] += 1;
            }
        }
        // Asked of the system, which knows it without reading the file.
        let store_bytes = self.store_file.as_ref().and_then(|path| std::fs::metadata(path).ok());
        let timings = self.timings();
        Snapshot {
            metrics: self.metrics(),
            protocol: self.engine.counters().clone(),
            phases,
            peers: self.peer_of.len() as u64,
            congested: self.engine.is_congested(),
            store_bytes: store_bytes.map_or(0, |file| file.len()),
            signing: timings.signing.clone(),
            first_broadcast: timings.first_broadcast.clone(),
            seen: timings.seen.clone(),
            submission: timings.submission.clone(),
            commit: self.store.commit_times(),
        }
    }

    pub(super) async fn end(&mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        self.delivery.stop();
        if let Some(device) = &self.device {
            device.detach();
        }
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
        let (done, synced) = oneshot::channel();
        self.store.stop(Box::new(move |result| drop(done.send(result))));
        // Whoever waits for the node's end waits no longer for a disk that hangs.
        let synced = tokio::time::timeout(limits::COMMIT, synced).await;
        if let Err(error) =
            synced.map_or_else(|_| Err(StoreError::hangs(limits::COMMIT)), |result| result.unwrap_or(Ok(())))
        {
            tracing::warn!(target: "libmusig::store", %error, "the last commit of the store failed");
        }
        // What was asked for before the stop, and is on the disk, was done: a handler may have stopped the node when it
        // heard of it.
        while let Ok(command) = commands.try_recv() {
            if let Command::Committed { batch, result } = command {
                let news = self.disk.committed(batch, result, Instant::now());
                self.hear(news);
            }
        }
        for request in std::mem::take(&mut self.requests).into_values() {
            request(Err(Error::NodeStopped));
        }
    }
}
