//! The distributed hash table of presences (Kademlia): its settings, and which of this node's queries are for what.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::kad::store;
use libp2p::kad::{self, GetRecordOk, InboundRequest, PutRecordError, QueryId, QueryResult, Quorum, Record};
use libp2p::swarm::StreamProtocol;
use libp2p::{Multiaddr, PeerId, identify};

use super::config::{DhtMode, NetworkConfig};
use super::presence::PresenceRecord;
use super::records::{Offered, PresenceStore, presence_key};
use crate::types::SignerKey;

/// The name of the distributed hash table. IPFS's has another one.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/musig/kad/1");

/// The time to live of a presence that is not published again.
const TIME_TO_LIVE: Duration = Duration::from_secs(24 * 3600);
/// How often servers give what they keep to those that are nearer by now.
const REPLICATION: Duration = Duration::from_secs(3600);
/// The time limit of one lookup or publication.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Addresses of one server that are taken from what it says of itself, and kept altogether.
const ADDRESSES: usize = 8;

/// A node's part in the distributed hash table of presences, for programs with a libp2p swarm of their own; see
/// `examples/relay.rs`.
///
/// What others want to have kept comes as [`kad::InboundRequest::PutRecord`]. Put it into
/// [`store_mut`](kad::Behaviour::store_mut), which takes valid presences only.
pub fn dht(own: PeerId, mode: kad::Mode, max_records: usize) -> kad::Behaviour<PresenceStore> {
    behaviour(own, mode, max_records, REPLICATION)
}

fn behaviour(own: PeerId, mode: kad::Mode, most: usize, refresh: Duration) -> kad::Behaviour<PresenceStore> {
    let mut config = kad::Config::new(PROTOCOL);
    config
        .set_query_timeout(QUERY_TIMEOUT)
        .set_record_ttl(Some(TIME_TO_LIVE))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // The own presence is published from here, and only servers have anything else.
        .set_publication_interval(None)
        .set_replication_interval((mode == kad::Mode::Server).then_some(REPLICATION))
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(Some(refresh));
    let mut behaviour = kad::Behaviour::with_config(own, PresenceStore::new(own, most), config);
    behaviour.set_mode(Some(mode));
    behaviour
}

/// The behaviour of a node of this library.
pub(super) fn of_node(own: PeerId, config: &NetworkConfig) -> Option<kad::Behaviour<PresenceStore>> {
    let refresh = config.publish_interval.max(Duration::from_secs(1));
    match config.dht {
        DhtMode::Off => None,
        DhtMode::Client => Some(behaviour(own, kad::Mode::Client, 1, refresh)),
        DhtMode::Server => Some(behaviour(own, kad::Mode::Server, config.max_dht_records, refresh)),
    }
}

/// Adds the addresses of a server of the hash table, as it told them, to the table.
pub(super) fn add_server(
    kad: &mut kad::Behaviour<PresenceStore>,
    peer: PeerId,
    info: &identify::Info,
    may_dial: impl Fn(&Multiaddr) -> bool,
) {
    if !info.protocols.contains(&PROTOCOL) {
        return;
    }
    for address in info.listen_addrs.iter().filter(|address| may_dial(address)).take(ADDRESSES) {
        if known_addresses(kad, peer) < ADDRESSES {
            kad.add_address(&peer, Multiaddr::clone(address));
        }
    }
}

fn known_addresses(kad: &mut kad::Behaviour<PresenceStore>, peer: PeerId) -> usize {
    let bucket = kad.kbucket(peer);
    let entries = bucket.as_ref().map(|bucket| bucket.iter());
    let mut entries = entries.into_iter().flatten();
    let entry = entries.find(|entry| *entry.node.key.preimage() == peer);
    entry.map_or(0, |entry| entry.node.value.len())
}

/// Something that happened in the hash table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DhtEvent {
    /// A server answered a lookup with this presence. Nothing of it was verified.
    Found { signer: SignerKey, presence: Vec<u8> },
    /// A lookup ended.
    LookupEnded(SignerKey),
    /// A publication ended. At least one server says that it took this presence.
    Put { signer: SignerKey, presence: Vec<u8> },
    /// A publication ended; `stored`: the presence can be read back.
    Published { stored: bool },
    /// A server keeps a presence of this node's own signer and peer that is newer than the one that was published.
    Newer { sequence: u64 },
    /// Another node wants to have a record kept.
    Keep(PeerId, Record),
    /// There may be other servers to ask than before, or room for another query.
    Changed,
}

/// What a query of this node is for.
#[derive(Debug)]
enum Query {
    Lookup(SignerKey),
    Publication {
        signer: SignerKey,
        presence: Vec<u8>,
    },
    /// Servers say that they keep it, also those that do not.
    ReadBack {
        published: PresenceRecord,
        presence: Vec<u8>,
        found: bool,
    },
}

/// The queries of this node that run.
#[derive(Debug, Default)]
pub(super) struct Queries(HashMap<QueryId, Query>);

impl Queries {
    /// Looks up a signer's presence.
    pub(super) fn look_up(&mut self, kad: &mut kad::Behaviour<PresenceStore>, signer: SignerKey) {
        let query = kad.get_record(presence_key(&signer).to_vec().into());
        self.0.insert(query, Query::Lookup(signer));
    }

    /// Publishes a presence of this node.
    pub(super) fn publish(
        &mut self,
        kad: &mut kad::Behaviour<PresenceStore>,
        signer: &SignerKey,
        presence: Vec<u8>,
    ) -> store::Result<()> {
        let record = Record::new(presence_key(signer).to_vec(), presence.clone());
        // All that are near it are to keep it; some suffice.
        let query = kad.put_record(record, Quorum::All)?;
        self.0.insert(query, Query::Publication { signer: *signer, presence });
        Ok(())
    }

    /// Looks whether a presence of this node that was put is there. False if it is none.
    pub(super) fn read_back(
        &mut self,
        kad: &mut kad::Behaviour<PresenceStore>,
        signer: &SignerKey,
        presence: Vec<u8>,
    ) -> bool {
        let Ok(published) = PresenceRecord::decode(&presence) else { return false };
        let query = kad.get_record(presence_key(signer).to_vec().into());
        self.0.insert(query, Query::ReadBack { published, presence, found: false });
        true
    }

    /// Translates what libp2p reports.
    pub(super) fn event(&mut self, event: kad::Event) -> Vec<DhtEvent> {
        match event {
            kad::Event::InboundRequest {
                request: InboundRequest::PutRecord { source, record: Some(record), .. },
            } => vec![DhtEvent::Keep(source, record)],
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.progress(id, result, step.last)
            }
            kad::Event::RoutingUpdated { .. } => vec![DhtEvent::Changed],
            _ => Vec::new(),
        }
    }

    fn progress(&mut self, id: QueryId, result: QueryResult, last: bool) -> Vec<DhtEvent> {
        let mut events = Vec::new();
        match (self.0.get_mut(&id), result) {
            (Some(Query::Lookup(signer)), QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found)))) => {
                events.push(DhtEvent::Found { signer: *signer, presence: found.record.value });
            }
            (
                Some(Query::ReadBack { published, presence, found }),
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(there))),
            ) => {
                // One without a peer is this node's own copy.
                if there.peer.is_some() && there.record.value == *presence {
                    *found = true;
                } else if let Ok(other) = PresenceRecord::decode(&there.record.value)
                    && (other.signer, other.peer) == (published.signer, published.peer)
                    && other.sequence > published.sequence
                {
                    events.push(DhtEvent::Newer { sequence: other.sequence });
                }
            }
            (Some(Query::Publication { signer, presence }), QueryResult::PutRecord(result)) => {
                let stored = match result {
                    Ok(_) => true,
                    Err(
                        PutRecordError::QuorumFailed { success, .. }
                        | PutRecordError::Timeout { success, .. },
                    ) => !success.is_empty(),
                };
                events.push(match stored {
                    true => DhtEvent::Put { signer: *signer, presence: std::mem::take(presence) },
                    false => DhtEvent::Published { stored },
                });
            }
            _ => {}
        }
        if last {
            match self.0.remove(&id) {
                Some(Query::Lookup(signer)) => events.push(DhtEvent::LookupEnded(signer)),
                Some(Query::ReadBack { found, .. }) => events.push(DhtEvent::Published { stored: found }),
                Some(Query::Publication { .. }) | None => {}
            }
            events.push(DhtEvent::Changed);
        }
        events
    }
}

/// Keeps a record for others, if it is one to keep.
pub(super) fn keep(kad: &mut kad::Behaviour<PresenceStore>, peer: PeerId, record: Record) -> Offered {
    kad.store_mut().offer(peer, record)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use libp2p::kad::{GetRecordError, ProgressStep, PutRecordOk, QueryStats};

    use super::*;
    use crate::net::testing::{presence_of, signer};

    fn kad() -> kad::Behaviour<PresenceStore> {
        of_node(PeerId::random(), &NetworkConfig::default()).expect("a client by default")
    }

    /// The query that runs.
    fn only(queries: &Queries) -> QueryId {
        *queries.0.keys().next().expect("one query")
    }

    fn step(last: bool) -> ProgressStep {
        ProgressStep { count: NonZeroUsize::MIN, last }
    }

    fn progressed(id: QueryId, result: QueryResult, last: bool) -> kad::Event {
        kad::Event::OutboundQueryProgressed { id, result, stats: QueryStats::empty(), step: step(last) }
    }

    #[tokio::test]
    async fn what_a_lookup_finds_belongs_to_its_signer_until_it_ends() {
        let (mut kad, mut queries, key) = (kad(), Queries::default(), signer(1));
        queries.look_up(&mut kad, key);
        let id = only(&queries);
        let found = || {
            let record = Record::new(presence_key(&key).to_vec(), vec![7]);
            let found = kad::PeerRecord { peer: None, record };
            QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found)))
        };
        let expected = DhtEvent::Found { signer: key, presence: vec![7] };
        assert_eq!(queries.event(progressed(id, found(), false)), [expected]);
        let nothing =
            GetRecordError::NotFound { key: presence_key(&key).to_vec().into(), closest_peers: vec![] };
        let ended = queries.event(progressed(id, QueryResult::GetRecord(Err(nothing)), true));
        assert_eq!(ended, [DhtEvent::LookupEnded(key), DhtEvent::Changed]);
        // What comes later belongs to nobody.
        assert_eq!(queries.event(progressed(id, found(), false)), []);
    }

    fn publication(queries: &mut Queries, kad: &mut kad::Behaviour<PresenceStore>) -> QueryId {
        let query = kad.get_closest_peers(PeerId::random());
        queries.0.insert(query, Query::Publication { signer: signer(1), presence: vec![7] });
        query
    }

    #[tokio::test]
    async fn a_publication_that_some_took_is_looked_for() {
        let put = DhtEvent::Put { signer: signer(1), presence: vec![7] };
        for (success, expected) in
            [(vec![PeerId::random()], put.clone()), (vec![], DhtEvent::Published { stored: false })]
        {
            let (mut kad, mut queries) = (kad(), Queries::default());
            let key: kad::RecordKey = presence_key(&signer(1)).to_vec().into();
            let query = publication(&mut queries, &mut kad);
            let quorum = NonZeroUsize::MIN;
            let failed = PutRecordError::QuorumFailed { key, success, quorum };
            let events = queries.event(progressed(query, QueryResult::PutRecord(Err(failed)), true));
            assert_eq!(events, [expected, DhtEvent::Changed]);
        }
        let (mut kad, mut queries) = (kad(), Queries::default());
        let query = publication(&mut queries, &mut kad);
        let key = presence_key(&signer(1)).to_vec().into();
        let all = QueryResult::PutRecord(Ok(PutRecordOk { key }));
        assert_eq!(queries.event(progressed(query, all, true))[0], put);
    }

    #[tokio::test]
    async fn what_is_read_back_from_others_is_published() {
        let (own, server) = (PeerId::random(), PeerId::random());
        let (mine, newer) = (presence_of(1, own, vec![], 5), presence_of(1, own, vec![], 6));
        let others = presence_of(1, PeerId::random(), vec![], 7);
        for (peer, value, expected) in [
            (Some(server), &mine, vec![DhtEvent::Published { stored: true }]),
            (None, &mine, vec![DhtEvent::Published { stored: false }]),
            (
                Some(server),
                &newer,
                vec![DhtEvent::Newer { sequence: 6 }, DhtEvent::Published { stored: false }],
            ),
            (Some(server), &others, vec![DhtEvent::Published { stored: false }]),
        ] {
            let (mut kad, mut queries) = (kad(), Queries::default());
            assert!(queries.read_back(&mut kad, &signer(1), mine.clone()));
            let record = Record::new(presence_key(&signer(1)).to_vec(), value.clone());
            let found =
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(kad::PeerRecord { peer, record })));
            let events = queries.event(progressed(only(&queries), found, true));
            assert_eq!(events, [expected, vec![DhtEvent::Changed]].concat());
        }
        assert!(!Queries::default().read_back(&mut kad(), &signer(1), vec![7]));
    }

    #[test]
    fn what_is_no_valid_presence_is_neither_published_nor_kept() {
        let (mut kad, mut queries) = (kad(), Queries::default());
        assert!(queries.publish(&mut kad, &signer(1), vec![7]).is_err());
        assert!(queries.0.is_empty());
        let record = Record::new(presence_key(&signer(1)).to_vec(), vec![7]);
        assert_eq!(keep(&mut kad, PeerId::random(), record), Offered::Refused);
    }
}
