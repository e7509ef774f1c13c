//! Applications, and their way to the chain.

use libmusig::protocol::consent::JoinOptions;
use libmusig::types::{ChainTip, CoinStatus};

use super::*;

impl Cluster {
    pub(super) fn submit(&mut self, node: usize, txid: Txid) -> Option<Result<SubmitOutcome, String>> {
        if self.nodes[node].cut_off {
            return Some(Err("no network".into()));
        }
        match self.nodes[node].broadcaster.clone() {
            Broadcaster::Works if self.chain.is_locked(&txid) => {
                let submission = super::super::chain::Submission { at: self.now, node, txid };
                self.chain.submissions.push(submission);
                Some(Ok(SubmitOutcome::NotYetFinal))
            }
            Broadcaster::Works => Some(Ok(self.chain.submit(node, txid, self.now))),
            Broadcaster::Unreachable => Some(Err("cannot be reached".into())),
            Broadcaster::Hangs => None,
            Broadcaster::Lies => Some(Ok(SubmitOutcome::Accepted)),
            Broadcaster::Rejects(reason) => Some(Ok(SubmitOutcome::Rejected(reason))),
        }
    }

    pub(super) fn observe(&mut self, node: usize, query: &ChainQuery) -> Option<ChainStatus> {
        let lag = self.nodes[node].observer_lag.filter(|_| !self.nodes[node].cut_off)?;
        if self.nodes[node].observer_flaps && self.nodes[node].observations.is_multiple_of(2) {
            return Some(ChainStatus::Unknown);
        }
        let status = self.chain.status(query, self.now.checked_sub(lag)?);
        let hidden = status == ChainStatus::Seen && self.chain.hidden(node, &query.txid);
        Some(if hidden { ChainStatus::Unknown } else { status })
    }

    /// What a node's observer says of the last block, and of coins.
    pub(super) fn tip(&self, node: usize, coins: &[OutPoint]) -> Option<(ChainTip, Vec<Option<CoinStatus>>)> {
        let lag = self.nodes[node].observer_lag.filter(|_| !self.nodes[node].cut_off)?;
        let height = self.chain.height(self.now.checked_sub(lag)?);
        Some((ChainTip { height, median_time: 0 }, self.coins(node, coins).ok()?))
    }

    /// What a node's observer says of coins.
    pub(super) fn coins(&self, node: usize, coins: &[OutPoint]) -> Result<Vec<Option<CoinStatus>>, String> {
        if self.nodes[node].coins_unknown {
            return Err("cannot be reached".into());
        }
        Ok(coins.iter().map(|coin| Some(self.chain.coin(coin))).collect())
    }

    /// Notes that an application consents, also after it had stopped.
    pub fn consent(&mut self, node: usize, session: SessionId) {
        self.consented.insert((node, session));
        self.withdrawn.remove(&(node, session));
        // What it asked for before, and was not answered yet, counts no more.
        self.withdrawals.retain(|_, asked| *asked != (node, session));
    }

    /// What an application says when it consents.
    pub fn word(&self, session: &SessionId) -> JoinOptions {
        JoinOptions { sign_blind: self.blind.contains(session), ..JoinOptions::default() }
    }

    /// Learns of a proposal that applications made: what it spends, and that they know what they sign.
    pub fn learn(&mut self, proposal: &Proposal) {
        self.chain.learn(proposal);
        if proposal.transaction.is_none() {
            self.blind.insert(proposal.id());
        }
    }

    /// A number for a request.
    pub fn request(&mut self) -> RequestId {
        self.requests += 1;
        self.requests
    }

    pub(super) fn react(&mut self, node: usize, event: &SessionEvent) {
        let Some(session) = event.session else { return };
        let application = self.nodes[node].application.clone();
        let request = self.request();
        match &event.event {
            Event::SessionProposed { .. } => match application.consent {
                Consent::Joins => {
                    self.consent(node, session);
                    let options = self.word(&session);
                    self.drive(node, |engine, now| engine.join_with(&session, options, request, now).ok());
                }
                Consent::JoinsAfter(delay) => {
                    let life = self.nodes[node].life;
                    self.after(delay, move |cluster| {
                        if cluster.nodes[node].life == life && cluster.nodes[node].alive() {
                            cluster.consent(node, session);
                            let options = cluster.word(&session);
                            cluster.drive(node, |engine, now| {
                                engine.join_with(&session, options, request, now).ok()
                            });
                        }
                    });
                }
                Consent::Declines => {
                    self.withdrawals.insert(request, (node, session));
                    self.drive(node, |engine, now| engine.decline(&session, "no".into(), request, now).ok());
                }
                Consent::Waits => {}
            },
            Event::ShouldBroadcast { .. } => {
                let broadcasts = self.nodes[node].settings.broadcaster && event_transaction(&event.event);
                if !broadcasts {
                    self.duty(node, session, application.duty);
                }
            }
            Event::BroadcastClaimed { .. } if application.checks_claims && event.durable.is_some() => {
                let known = self.session_txid(node, &session).is_some_and(|txid| self.chain.knows(&txid));
                if known && !self.nodes[node].cut_off {
                    self.notify(node, session);
                }
            }
            _ => {}
        }
        // Who answers later wants to be told again after a crash.
        let later = matches!(application.consent, Consent::JoinsAfter(_))
            && matches!(event.event, Event::SessionProposed { .. });
        if let Some(kind) = event.durable.filter(|_| application.acknowledges && !later) {
            self.drive(node, |engine, now| engine.acknowledge(&session, kind, now));
        }
    }

    /// The transaction of a session; a session of raw messages stands for one that is named by its id.
    pub(super) fn session_txid(&mut self, node: usize, session: &SessionId) -> Option<Txid> {
        let engine = self.nodes[node].engine.as_ref()?;
        Some(engine.final_transaction(session).map_or(Txid(session.0), |transaction| transaction.txid))
    }

    fn duty(&mut self, node: usize, session: SessionId, duty: Duty) {
        let Some(txid) = self.session_txid(node, &session) else { return };
        if self.nodes[node].cut_off {
            return;
        }
        // Asked again after a timeout, it tries again.
        if matches!(duty, Duty::Submits | Duty::SubmitsQuietly) && self.chain.is_locked(&txid) {
            return;
        }
        match duty {
            Duty::Ignores => {}
            Duty::Submits => {
                if self.chain.submit(node, txid, self.now) == SubmitOutcome::Accepted {
                    self.notify(node, session);
                }
            }
            Duty::SubmitsQuietly => {
                self.chain.submit(node, txid, self.now);
            }
            Duty::OnlySays => self.notify(node, session),
            Duty::CannotReach => {
                let request = self.request();
                self.drive(node, |engine, now| {
                    engine.report_broadcast_failed(&session, "no network".into(), request, now).ok()
                });
            }
        }
    }

    pub fn notify(&mut self, node: usize, session: SessionId) {
        let request = self.request();
        self.drive(node, |engine, now| engine.notify_broadcast(&session, None, request, now).ok());
    }

    /// Terms of a session of all nodes that spends a new output.
    pub fn terms(&mut self) -> Terms {
        let spent = OutPoint { txid: Txid(self.random.bytes()), vout: 0 };
        let (transaction, messages) = transaction(&[spent], b"");
        let mut signers: Vec<SignerKey> = Vec::new();
        for node in &self.nodes {
            if !signers.contains(&node.key) {
                signers.push(node.key);
            }
        }
        Terms {
            entropy: self.random.bytes(),
            proposer: 0,
            key_sets: vec![KeySet::new(&signers)],
            signers,
            messages,
            transaction: Some(transaction),
            election_method: ElectionMethod::FirstSigner,
            broadcast: Broadcast::Failover(FailoverPolicy {
                broadcast_timeout: Duration::from_secs(10),
                tiers: Tiers::Single,
            }),
            expires_at: EPOCH.saturating_add(self.now + Duration::from_secs(24 * 3600)),
            metadata: Vec::new(),
            replaces: None,
        }
    }

    /// Terms of a session that signs a raw message.
    pub fn raw_terms(&mut self) -> Terms {
        let messages = vec![Message::raw(self.random.bytes())];
        Terms { transaction: None, messages, ..self.terms() }
    }

    /// Proposes a session at a node, after a change of its terms.
    pub fn create(&mut self, node: usize, change: impl FnOnce(&mut Terms)) -> SessionId {
        let mut terms = self.terms();
        change(&mut terms);
        self.create_with(node, terms)
    }

    pub fn create_with(&mut self, node: usize, mut terms: Terms) -> SessionId {
        terms.proposer = terms.index_of(&self.nodes[node].key).expect("the node is a signer");
        let proposal = Proposal::new(terms).expect("valid terms");
        self.learn(&proposal);
        let request = self.request();
        self.consented.insert((node, proposal.id()));
        let options = self.word(&proposal.id());
        self.drive(node, |engine, now| engine.create_with(proposal, options, request, now))
            .expect("the node runs")
            .expect("a new session")
    }

    /// Runs until all nodes that are alive hold the certificate.
    pub fn complete(&mut self, session: &SessionId) {
        let done = self.run_until(Duration::from_secs(60), |cluster| cluster.all_hold(session));
        assert!(done, "the session completes");
    }

    /// A request of the application; its error if it failed at once.
    pub fn ask(
        &mut self,
        node: usize,
        request: impl FnOnce(&mut Engine, RequestId, Time) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let number = self.request();
        self.drive(node, |engine, now| request(engine, number, now)).expect("the node runs")
    }
}

fn event_transaction(event: &Event) -> bool {
    matches!(event, Event::ShouldBroadcast { transaction: Some(_), .. })
}
