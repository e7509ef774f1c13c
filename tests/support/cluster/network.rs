//! Connections and frames.

use super::*;

/// How often a host asks for signs of life.
pub(super) const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long after the first question without an answer a signer is silent.
pub(super) const UNANSWERED: Duration = Duration::from_secs(3);
/// How long after anything came a host closes a connection.
const DEAD_AFTER: Duration = Duration::from_secs(15);

impl Cluster {
    /// Cuts the link between two nodes, or heals it.
    pub fn cut(&mut self, one: usize, other: usize, cut: bool) {
        self.links[one][other].cut = cut;
        self.links[other][one].cut = cut;
        self.refresh();
    }

    /// Pulls the cable of a node, or plugs it in again. Its connections stay, and nothing arrives on them; after a while
    /// both ends close them.
    pub fn pull(&mut self, node: usize, pulled: bool) {
        if pulled == self.nodes[node].pulled.is_some() {
            return;
        }
        self.nodes[node].pulled = pulled.then_some(self.now);
        self.refresh();
        if pulled {
            (0..self.nodes.len()).for_each(|other| self.expect_answers(other, ASKED_EVERY + UNANSWERED));
            return self.push(DEAD_AFTER, What::Call(Box::new(Self::refresh)));
        }
        for (from, to, connection, frame) in std::mem::take(&mut self.stalled) {
            let there = self.links[from][to].connection == connection;
            if self.stalls(from, to) {
                self.stalled.push((from, to, connection, frame));
            } else if there {
                self.push(self.options.delay, What::Frame { from, to, connection, frame });
            }
        }
        for other in 0..self.nodes.len() {
            if self.links[node][other].connection == 0 || self.stalls(node, other) {
                continue;
            }
            for (one, key) in [(node, self.nodes[other].key), (other, self.nodes[node].key)] {
                let answered = move |cluster: &mut Self| {
                    cluster.silences.push((cluster.now, one, key, false));
                    cluster.drive(one, |engine, now| engine.heard(key, now));
                };
                self.push(self.options.delay * 2, What::Call(Box::new(answered)));
            }
        }
    }

    /// Whether nothing arrives between two nodes, whatever connection they have.
    fn stalls(&self, one: usize, other: usize) -> bool {
        self.nodes[one].pulled.is_some() || self.nodes[other].pulled.is_some()
    }

    /// After so long a node knows who does not answer.
    pub(super) fn expect_answers(&mut self, node: usize, after: Duration) {
        let asked = self.nodes.iter().any(|other| other.pulled.is_some());
        if asked {
            self.push(after, What::Call(Box::new(move |cluster| cluster.miss_answers(node))));
        }
    }

    fn miss_answers(&mut self, node: usize) {
        if !self.nodes[node].awake() {
            return;
        }
        let mut asked: Vec<SignerKey> = self.nodes[node].asked.iter().copied().collect();
        asked.sort_unstable();
        for key in asked {
            let there = (0..self.nodes.len())
                .filter(|peer| self.nodes[*peer].key == key && self.links[node][*peer].connection != 0);
            // Nothing comes from any of its nodes since the first of both cables was pulled.
            let pulled = there.map(|peer| {
                let cables = [self.nodes[node].pulled, self.nodes[peer].pulled];
                cables.into_iter().flatten().min()
            });
            let Some(since) = pulled.max_by_key(|since| since.unwrap_or(Duration::MAX)).flatten() else {
                continue;
            };
            let silence = self.now - since;
            if silence >= UNANSWERED {
                self.silences.push((since, node, key, true));
                self.drive(node, |engine, now| engine.silent(key, silence, now));
            }
        }
    }

    /// Loses this many of a thousand frames in one direction.
    pub fn lose(&mut self, from: usize, to: usize, per_mille: u64) {
        self.links[from][to].loss = per_mille;
    }

    /// Whether no fault lies between two nodes: nothing cut, pulled, held back, lost or slowed.
    pub fn whole(&self, one: usize, other: usize) -> bool {
        let end = |node: usize| self.nodes[node].pulled.is_none() && !self.held_back.contains(&node);
        let way = |from: usize, to: usize| {
            let link = &self.links[from][to];
            !link.cut && link.loss == 0 && link.slower.is_zero()
        };
        end(one) && end(other) && way(one, other) && way(other, one)
    }

    /// Makes one direction slower.
    pub fn slow(&mut self, from: usize, to: usize, by: Duration) {
        self.links[from][to].slower = by;
    }

    pub(super) fn refresh(&mut self) {
        let able = |node: &Node| node.awake() && !node.cut_off;
        let now = self.now;
        // Nobody is reached by a new connection without a cable, and after a while by none.
        let dead =
            |node: &Node, there: bool| node.pulled.is_some_and(|since| !there || now >= since + DEAD_AFTER);
        for node in &mut self.nodes {
            let is = able(node) && node.pulled.is_none();
            if node.up.last().map(|(_, was)| *was) != Some(is) {
                node.up.push((now, is));
            }
        }
        for one in 0..self.nodes.len() {
            for other in one + 1..self.nodes.len() {
                let (a, b) = (&self.nodes[one], &self.nodes[other]);
                let there = self.links[one][other].connection != 0;
                let dead = dead(a, there) || dead(b, there);
                let wanted = able(a) && able(b) && !self.links[one][other].cut && a.key != b.key && !dead;
                if wanted == there {
                    continue;
                }
                let keys = (a.key, b.key);
                if wanted {
                    self.connections += 1;
                    let connection = self.connections;
                    self.links[one][other].connection = connection;
                    self.links[other][one].connection = connection;
                    self.push(self.options.delay, What::Connect { one, other, connection });
                } else {
                    self.links[one][other].connection = 0;
                    self.links[other][one].connection = 0;
                    for (node, key) in [(one, keys.1), (other, keys.0)] {
                        // Another node with the same key may still be there.
                        let others: HashSet<SignerKey> = (0..self.nodes.len())
                            .filter(|peer| self.links[node][*peer].connection != 0)
                            .map(|peer| self.nodes[peer].key)
                            .collect();
                        if !self.nodes[node].asleep && !others.contains(&key) {
                            self.push(
                                Duration::ZERO,
                                What::Call(Box::new(move |cluster| {
                                    cluster.contacts.push((cluster.now, node, key, false));
                                    cluster.drive(node, |engine, now| engine.disconnected(&key, now));
                                })),
                            );
                        }
                    }
                }
            }
        }
    }

    pub(super) fn send(&mut self, from: usize, to: SignerKey, frame: Arc<[u8]>) {
        for other in 0..self.nodes.len() {
            if self.links[from][other].connection != 0 && self.nodes[other].key == to {
                self.send_to(from, other, frame.clone());
            }
        }
    }

    /// Notes what a node says at exclusive places, as itself: before anything on the way changes it.
    pub(super) fn look_at(&mut self, node: usize, frame: &Arc<[u8]>) {
        if self.last_frame[node].as_ref().is_some_and(|last| Arc::ptr_eq(last, frame)) {
            return;
        }
        self.last_frame[node] = Some(frame.clone());
        let key = self.nodes[node].key;
        for (session, place, id) in self.own_words(node, frame) {
            if self.withdrawn.contains(&(node, session)) && !self.said.contains_key(&(key, session, place)) {
                self.unstopped.push((node, session));
            }
            self.note_said(key, session, &place);
            let said = *self.said.entry((key, session, place)).or_insert(id);
            if said != id {
                self.equivocated.insert((key, session));
            }
        }
    }

    /// Notes what a node has signed at exclusive places of a session that it stops: it may still say that.
    pub(super) fn note_signed(&mut self, node: usize, session: &SessionId) {
        let exported = self.nodes[node].engine.as_ref().and_then(|engine| engine.export(session));
        let key = self.nodes[node].key;
        for (session, place, id) in self.own_words(node, &exported.unwrap_or_default()) {
            self.note_said(key, session, &place);
            self.said.entry((key, session, place)).or_insert(id);
        }
    }

    fn note_said(&mut self, key: SignerKey, session: SessionId, place: &Place) {
        if matches!(place, Place::Partial(_)) {
            self.partials.entry((key, session)).or_insert(self.now);
        }
    }

    /// What is a node's own at exclusive places, of all that a frame holds.
    fn own_words(&self, node: usize, frame: &[u8]) -> Vec<(SessionId, Place, EnvelopeId)> {
        let message: pb::Frame = wire::decode(frame, "a frame").expect("nodes send valid frames");
        let engine = self.nodes[node].engine.as_ref();
        let own_word = |bytes: &Vec<u8>| {
            let envelope = Envelope::decode(bytes).expect("nodes send valid envelopes");
            let (place, session) = (envelope.place()?, envelope.body().session);
            let own = engine?.own_index(&session)? == envelope.body().signer;
            own.then(|| (session, place, envelope.id()))
        };
        message.envelopes.iter().filter_map(own_word).collect()
    }

    /// Whether others could finish a session with this frame.
    fn finishes(frame: &[u8]) -> bool {
        let frame: pb::Frame = wire::decode(frame, "a frame").expect("nodes send valid frames");
        let partial = |bytes: &Vec<u8>| {
            let envelope = Envelope::decode(bytes).expect("nodes send valid envelopes");
            matches!(envelope.place(), Some(Place::Partial(_)))
        };
        !frame.certificates.is_empty() || frame.envelopes.iter().any(partial)
    }

    pub(super) fn send_to(&mut self, from: usize, to: usize, frame: Arc<[u8]>) {
        if self.held_back.contains(&from) && Self::finishes(&frame) {
            return;
        }
        let Some(frame) = self.through_hooks(from, to, frame) else { return };
        self.deliver(from, to, frame);
    }

    /// Puts a frame on the wire as it is.
    pub fn deliver(&mut self, from: usize, to: usize, frame: Arc<[u8]>) {
        self.frames += 1;
        let jitter = self.random.duration(self.options.jitter);
        let lost = self.links[from][to].loss > 0 && self.random.chance(self.links[from][to].loss);
        let link = &mut self.links[from][to];
        let mut at = self.now + self.options.delay + link.slower + jitter;
        if !self.reorders {
            at = at.max(link.last);
            link.last = at;
        }
        let connection = link.connection;
        let twice = self.duplicates > 0 && self.random.chance(self.duplicates);
        if let Some(trace) = &mut self.trace {
            trace.bytes(&frame);
        }
        if let Some(log) = &mut self.log {
            log.push((self.frames, self.now, frame.clone()));
        }
        if lost || connection == 0 || self.dropped == Some(self.frames) {
            return;
        }
        if twice {
            let again = at - self.now + self.random.duration(self.options.delay * 3);
            self.push(again, What::Frame { from, to, connection, frame: frame.clone() });
        }
        if self.stalls(from, to) {
            return self.stalled.push((from, to, connection, frame));
        }
        self.push(at - self.now, What::Frame { from, to, connection, frame });
    }

    pub(super) fn through_hooks(&mut self, from: usize, to: usize, frame: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let looked_at = self.options.audit || self.on_envelope.is_some() || self.on_frame.is_some();
        if !looked_at {
            return Some(frame);
        }
        let mut message: pb::Frame = wire::decode(&frame, "a frame").expect("nodes send valid frames");
        if self.on_frame.as_mut().is_some_and(|hook| !hook(from, to, &message)) {
            return None;
        }
        let mut envelopes = Vec::new();
        for bytes in &message.envelopes {
            let envelope = Envelope::decode(bytes).expect("nodes send valid envelopes");
            let changed = match &mut self.on_envelope {
                Some(hook) => hook(from, to, &envelope),
                None => vec![envelope],
            };
            for envelope in changed {
                *self.sent.entry(kind_of(envelope.content())).or_default() += 1;
                envelopes.push(envelope.as_bytes().to_vec());
                if self.options.audit {
                    self.audited.insert(envelope.as_bytes().to_vec(), envelope);
                }
            }
        }
        if !message.certificates.is_empty() {
            *self.sent.entry("certificate").or_default() += message.certificates.len() as u64;
        }
        if !message.have.is_empty() {
            *self.sent.entry("have").or_default() += message.have.len() as u64;
        }
        message.envelopes = envelopes;
        Some(wire::encode(&message).into())
    }

    /// Signs as a node: for signers that do what no honest one does.
    pub fn forge(&self, node: usize, session: SessionId, signer: usize, content: Content) -> Envelope {
        let body = Body { session, signer, content };
        let signature = self.nodes[node].signer.sign(&envelope_id(&body.encode()).0).expect("not locked");
        Envelope::new(body, signature)
    }

    /// Sends envelopes from a node to a node.
    pub fn inject(&mut self, from: usize, to: usize, envelopes: &[Envelope]) {
        let envelopes = envelopes.iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
        let frame = pb::Frame { envelopes, ..pb::Frame::default() };
        self.deliver(from, to, wire::encode(&frame).into());
    }
}
