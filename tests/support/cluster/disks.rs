//! Outputs that wait for disks, and disks that fail. As the node does it: `src/node/disk.rs`.

use super::*;

impl Cluster {
    /// Makes a node's disk fail, or work again: then what waits for it is written.
    pub fn disk(&mut self, node: usize, fault: Option<DiskFault>) {
        let (now, life) = (self.now, self.nodes[node].life);
        self.nodes[node].disk_fault = fault.map(|fault| (fault, now));
        match fault {
            Some(DiskFault::Full) => {
                self.disk_failed(node);
                self.pump(node);
            }
            Some(DiskFault::Hangs) => {
                self.push(limits::COMMIT, What::Hung { node, life, since: now });
                // What was written when it began to hang waits as long as what comes after that.
                let held = self.nodes[node].held.iter();
                let until = held.flat_map(|(session, one)| {
                    one.outputs.iter().filter_map(|held| Some((held.until?, *session)))
                });
                let mut until: Vec<(Duration, SessionId)> = until.collect();
                until.sort_unstable();
                for (until, session) in until {
                    self.push(until.saturating_sub(now), What::Waited { node, life, session });
                }
            }
            None => {
                self.nodes[node].disk_failed = false;
                let mut pending: Vec<(u64, SessionId)> =
                    self.nodes[node].held.iter().map(|(session, one)| (one.synced, *session)).collect();
                pending.sort_unstable();
                for (commit, session) in pending {
                    self.push(self.options.sync, What::Synced { node, life, session, commit });
                }
            }
        }
    }

    /// Nothing waits for this disk that need not.
    pub(super) fn disk_failed(&mut self, node: usize) {
        self.nodes[node].disk_failed = true;
        let mut sessions: Vec<SessionId> = self.nodes[node].held.keys().copied().collect();
        sessions.sort_unstable();
        for session in sessions {
            self.release(node, session, |held| held.until.is_some());
        }
    }

    /// The output, if it waits for nothing.
    pub(super) fn hold(&mut self, node: usize, output: Output) -> Option<Output> {
        let state = &mut self.nodes[node];
        let session = output.session();
        let Some((session, pending)) = session.and_then(|it| Some((it, state.held.get_mut(&it)?))) else {
            return Some(output);
        };
        let (commit, until) = match output.waits() {
            Waits::Never => return Some(output),
            Waits::Barrier if pending.barrier == 0 => return Some(output),
            Waits::Barrier => (pending.barrier, None),
            Waits::Stored => (pending.synced, None),
            Waits::Briefly if state.disk_failed => return Some(unstored(output)),
            Waits::Briefly => (pending.synced, Some(self.now + limits::UNSTORED_AFTER)),
        };
        pending.outputs.push_back(Held { commit, until, output });
        // Where a disk works, its commit comes long before that.
        if until.is_some() && state.disk_fault.is_some() {
            let life = state.life;
            self.push(limits::UNSTORED_AFTER, What::Waited { node, life, session });
        }
        None
    }

    /// Carries out what waits no more.
    pub(super) fn release(&mut self, node: usize, session: SessionId, which: impl Fn(&Held) -> bool) {
        let synced = self.nodes[node].disk.synced();
        let Some(mut pending) = self.nodes[node].held.remove(&session) else { return };
        let (ready, left): (VecDeque<Held>, VecDeque<Held>) = pending.outputs.into_iter().partition(which);
        pending.outputs = left;
        if pending.barrier <= synced {
            pending.barrier = 0;
        }
        if pending.synced > synced {
            self.nodes[node].held.insert(session, pending);
        }
        for Held { commit, output, .. } in ready {
            self.carry_out_held(node, if commit <= synced { output } else { unstored(output) });
        }
    }
}

/// The output, as it is without a commit.
fn unstored(output: Output) -> Output {
    match output {
        Output::Event { mut event } => {
            event.event.set_unstored();
            Output::Event { event }
        }
        Output::Done { session, request, result: Ok(()), waits } => {
            let error = StoreError::Unstored { reason: "simulated".into() };
            Output::Done { session, request, result: Err(error.into()), waits }
        }
        output => output,
    }
}
