//! The log: one line for each event of the protocol, under stable targets, with session, signer and turn.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use libmusig::chain::{Broadcaster, ChainError, SignedTransaction, SubmitOutcome};
use libmusig::event::Event;
use libmusig::protocol::election::ElectionMethod;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Level, Metadata, Subscriber};

use crate::world::{Direct, Spend};
use test_support::backend::chain::Chain;
use test_support::nodes::*;

/// A line: level, target, and text.
type Line = (Level, String, String);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl Lines {
    fn find(&self, words: &str) -> Option<Line> {
        self.0.lock().expect("nobody panics with it").iter().find(|line| line.2.contains(words)).cloned()
    }

    #[track_caller]
    fn wait(&self, words: &str) -> Line {
        let end = std::time::Instant::now() + PATIENCE;
        while self.find(words).is_none() {
            assert!(std::time::Instant::now() < end, "the log does not say {words:?}, but {:#?}", self.0);
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
        self.find(words).expect("was waited for")
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("libmusig")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let line = (*event.metadata().level(), event.metadata().target().to_owned(), text.0);
        self.0.lock().expect("nobody panics with it").push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Fails once, with words that would move the cursor of a terminal.
struct Once(Direct, Mutex<bool>);

impl Broadcaster for Once {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        if std::mem::replace(&mut *self.1.lock().expect("nobody panics with it"), false) {
            return Err(ChainError { reason: "no network\u{1b}[2J".into() });
        }
        self.0.submit(transaction)
    }
}

#[test]
fn log_has_a_line_for_each_event_with_session_signer_and_turn() {
    let chain = Arc::new(Chain::new());
    let direct = Arc::new(Direct(chain.clone()));
    let lines = Lines::default();
    let nodes: Vec<_> = (0..2)
        .map(|index| {
            let builder = node_builder()
                .signer(LocalSigner::new(secret(index)).expect("a key"))
                .store(MemoryStore::new())
                .listen("/ip4/127.0.0.1/tcp/0")
                .broadcaster(Arc::new(Once(Direct(chain.clone()), Mutex::new(true))))
                .observer(direct.clone())
                .final_depth(1);
            let builder = if index == 0 { builder.tracing(Dispatch::new(lines.clone())) } else { builder };
            builder.start().expect("starts")
        })
        .collect();
    connect(&nodes);
    lines.wait("a signer connected");
    let session =
        nodes[1].create_session(Spend::new(&chain, &keys(2)).request(keys(2))).wait().expect("is created");
    join_next(&nodes[0]);
    for node in &nodes {
        wait_for(node, "seen", |event| matches!(event.event, Event::BroadcastSeen { .. }).then_some(()));
    }
    chain.mine();
    for node in &nodes {
        wait_for(node, "confirmed", |event| {
            matches!(event.event, Event::BroadcastConfirmed { .. }).then_some(())
        });
    }
    let about = format!("session={}", session.id());
    for (words, fields) in [
        ("a session was proposed", &["signer=1", "signers=2", "messages=1"][..]),
        ("a signer joined", &["signer=", "joined=", "signers=2"]),
        ("all signers joined", &[]),
        ("all nonces arrived", &["attempt=0"]),
        ("the signatures are complete", &["priority_list=[", "rank=", "stored=true"]),
        ("it is this node's turn to broadcast", &["signer=0", "turn="]),
        ("the transaction was seen", &["txid="]),
        ("the transaction is confirmed", &["txid=", "confirmations=1"]),
    ] {
        let (level, target, text) = lines.wait(words);
        assert_eq!((level, target.as_str()), (Level::INFO, "libmusig::session"), "{text}");
        assert!(text.contains(&about), "{text}");
        for field in fields {
            assert!(text.contains(field), "{text} has no {field}");
        }
    }
    let (level, target, text) = lines.wait("the broadcaster failed");
    assert_eq!((level, target.as_str()), (Level::WARN, "libmusig::chain"));
    assert!(text.contains(&about) && text.contains("no network") && !text.contains('\u{1b}'), "{text}");
    for words in ["a submission was answered", "the observer answered"] {
        let (level, target, text) = lines.wait(words);
        assert_eq!((level, target.as_str()), (Level::DEBUG, "libmusig::chain"));
        assert!(text.contains(&about), "{text}");
    }
    let (level, target, _) = lines.wait("a signer connected");
    assert_eq!((level, target.as_str()), (Level::DEBUG, "libmusig::net"));
    let targets = ["libmusig::session", "libmusig::chain", "libmusig::net", "libmusig::store"];
    let all = lines.0.lock().expect("nobody panics with it").clone();
    let strange: Vec<_> = all.iter().filter(|line| !targets.contains(&line.1.as_str())).collect();
    assert!(strange.is_empty(), "{strange:?}");
    for node in nodes {
        node.stop().expect("stops");
    }
}

/// A span: name, target and text; how many refer to it, and how many are inside.
#[derive(Clone, Debug, Default)]
struct Spanned {
    name: &'static str,
    target: String,
    text: String,
    handles: usize,
    inside: usize,
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Spanned>>>);

impl Spans {
    fn all(&self) -> Vec<Spanned> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut Spanned)) {
        change(&mut self.0.lock().expect("nobody panics with it")[id.into_u64() as usize - 1]);
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("libmusig")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = Text(String::new());
        attributes.record(&mut text);
        let (name, target) = (attributes.metadata().name(), attributes.metadata().target().to_owned());
        let mut spans = self.0.lock().expect("nobody panics with it");
        spans.push(Spanned { name, target, text: text.0, handles: 1, inside: 0 });
        Id::from_u64(spans.len() as u64)
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.change(id, |span| span.handles += 1);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut left = 0;
        self.change(&id, |span| {
            span.handles -= 1;
            left = span.handles;
        });
        left == 0
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, id: &Id) {
        self.change(id, |span| span.inside += 1);
    }

    fn exit(&self, id: &Id) {
        self.change(id, |span| span.inside -= 1);
    }
}

/// Notes in which spans it is called.
struct Within(Direct, Spans, Mutex<Vec<&'static str>>);

impl Broadcaster for Within {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        let inside = self.1.all().into_iter().filter(|span| span.inside > 0 && span.target.contains("chain"));
        self.2.lock().expect("nobody panics with it").extend(inside.map(|span| span.name));
        self.0.submit(transaction)
    }
}

#[test]
fn spans_are_short_and_name_the_session_so_that_all_signers_make_one_trace() {
    let chain = Arc::new(Chain::new());
    let spans = [Spans::default(), Spans::default()];
    let within = Arc::new(Within(Direct(chain.clone()), spans[0].clone(), Mutex::default()));
    let broadcasters: [Arc<dyn Broadcaster>; 2] = [within.clone(), Arc::new(Direct(chain.clone()))];
    let nodes: Vec<_> = broadcasters
        .into_iter()
        .zip(&spans)
        .enumerate()
        .map(|(index, (broadcaster, spans))| {
            node_builder()
                .signer(LocalSigner::new(secret(index)).expect("a key"))
                .store(MemoryStore::new())
                .listen("/ip4/127.0.0.1/tcp/0")
                .broadcaster(broadcaster)
                .observer(Arc::new(Direct(chain.clone())))
                .tracing(Dispatch::new(spans.clone()))
                .start()
                .expect("starts")
        })
        .collect();
    connect(&nodes);
    let request = Spend::new(&chain, &keys(2)).request(keys(2)).election_method(ElectionMethod::FirstSigner);
    let session = nodes[1].create_session(request).wait().expect("is created");
    join_next(&nodes[0]);
    for node in &nodes {
        wait_for(node, "seen", |event| matches!(event.event, Event::BroadcastSeen { .. }).then_some(()));
    }
    for node in nodes {
        node.stop().expect("stops");
    }
    assert!(within.2.lock().expect("nobody panics with it").contains(&"submit"), "the application is inside");
    let about = format!("session={} ", session.id());
    for (node, spans) in spans.iter().enumerate() {
        let all = spans.all();
        let open: Vec<_> = all.iter().filter(|span| span.handles > 0 || span.inside > 0).collect();
        assert!(open.is_empty(), "each span ends: {open:?}");
        // It is the first signer's turn, and the other one sees it.
        let own = [("turn", "libmusig::session"), ("submit", "libmusig::chain")];
        let both = [("sign", "libmusig::session"), ("observe", "libmusig::chain")];
        for (name, target) in both.into_iter().chain(own.into_iter().filter(|_| node == 0)) {
            let named: Vec<_> = all.iter().filter(|span| span.name == name).collect();
            assert!(!named.is_empty(), "node {node} has no span {name}: {all:?}");
            for span in named {
                assert_eq!(span.target, target);
                assert!(span.text.contains(&about), "{span:?}");
            }
        }
        let commits = all.iter().filter(|span| span.name == "commit");
        assert!(
            commits.clone().count() > 0 && commits.into_iter().all(|span| span.target == "libmusig::store")
        );
        for task in ["envelope", "nonces", "partial"] {
            assert!(
                all.iter().any(|span| span.text.contains(&format!("task=\"{task}\""))),
                "{task}: {all:?}"
            );
        }
    }
}
