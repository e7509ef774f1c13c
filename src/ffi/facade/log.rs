//! A node's log, in the application's language.

use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Metadata, Subscriber};

use super::error::MusigError;
use super::live::Live;
use crate::node::level_for_sinks;
use crate::types::SessionId;

/// Length of the queue to the sink; further records are dropped.
const WAITING: usize = 1024;

/// Receiver of a node's log records. Called on a thread of its own, one call at a time; it may block.
#[uniffi::export(rust, foreign)]
pub trait LogSink: Send + Sync {
    /// Takes one record. Errors are ignored.
    fn log(&self, record: LogRecord) -> Result<(), MusigError>;
}

/// Severity of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum LogLevel {
    /// A fault: something does not work.
    Error,
    /// A warning: something may not work.
    Warn,
    /// Information for operators.
    Info,
    /// Information for developers.
    Debug,
    /// Every detail.
    Trace,
}

/// Record of a node's log.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LogRecord {
    /// The severity.
    pub level: LogLevel,
    /// The part of the library that logged it: `libmusig::session` (events of the protocol), `libmusig::chain`
    /// (submissions, observations), `libmusig::net` and `libmusig::store`, perhaps with `::` and more; or a library below it.
    pub target: String,
    /// The message, with fields as `name=value`.
    pub text: String,
    /// The session that it is about, which the text names too.
    pub session: Option<SessionId>,
    /// When it was logged.
    pub time: SystemTime,
    /// Number of records of this node that were dropped so far, because the sink was too slow.
    pub dropped: u64,
}

fn tracing_level(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

fn log_level(level: tracing::Level) -> LogLevel {
    const LEVELS: [LogLevel; 5] =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    LEVELS.into_iter().find(|known| tracing_level(*known) == level).unwrap_or(LogLevel::Trace)
}

/// Starts the thread that hands records to the sink. It ends when the dispatch is dropped.
pub(super) fn start(sink: Arc<dyn LogSink>, level: LogLevel) -> std::io::Result<(Dispatch, JoinHandle<()>)> {
    let (sender, receiver): (_, Receiver<LogRecord>) = sync_channel(WAITING);
    let live = Live::new("LogSink");
    let thread = std::thread::Builder::new().name("musig-log".into()).spawn(move || {
        let _live = live;
        for record in receiver {
            let _ = sink.log(record);
        }
    })?;
    let forward = Forward { level: tracing_level(level), sender, dropped: AtomicU64::new(0) };
    Ok((Dispatch::new(forward), thread))
}

struct Forward {
    level: tracing::Level,
    sender: SyncSender<LogRecord>,
    dropped: AtomicU64,
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level_for_sinks(metadata) <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text { text: String::new(), session: None };
        event.record(&mut text);
        let metadata = event.metadata();
        let record = LogRecord {
            level: log_level(level_for_sinks(metadata)),
            target: metadata.target().to_owned(),
            session: text.session.and_then(|id| id.parse().ok()),
            text: text.text,
            time: SystemTime::now(),
            dropped: self.dropped.load(Ordering::Relaxed),
        };
        // A sink that does not keep up loses records, rather than the node its time.
        if self.sender.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text {
    text: String,
    session: Option<String>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.text.is_empty() { "" } else { " " };
        if field.name() == "session" {
            self.session = Some(format!("{value:?}"));
        }
        let _ = match field.name() {
            "message" => write!(self.text, "{space}{value:?}"),
            name => write!(self.text, "{space}{name}={value:?}"),
        };
    }
}
