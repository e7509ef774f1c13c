//! The log sink.

use std::ffi::{CString, c_char, c_void};
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use super::callback::UserData;
use super::enums::{Enumeration, musig_log_level};
use crate::event::lane::Lane;
use crate::node::level_for_sinks;

/// Lines queued for the callback; more are dropped.
pub(super) const LINES: usize = 1024;

/// The log sink of one node. The callback runs on a thread of the library, one line at a time; lines are dropped if it
/// is too slow. No exception may leave it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_log_sink {
    /// sizeof(musig_log_sink).
    pub struct_size: u32,
    /// The most verbose musig_log_level that is logged.
    pub level: i32,
    /// Logs a line: its musig_log_level, its module, and its message. Both strings are UTF-8 and valid during the call.
    /// They contain no secrets.
    pub log: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            level: i32,
            target: *const c_char,
            message: *const c_char,
        ),
    >,
}

pub(super) struct Sink {
    pub table: musig_log_sink,
    pub data: Arc<UserData>,
    pub lane: Arc<Lane>,
    pub spans: AtomicU64,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" if self.0.is_empty() => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        musig_log_level::from(level_for_sinks(metadata)).number() <= self.table.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let level = musig_log_level::of_number(self.table.level)?;
        Some(tracing::Level::from(level).into())
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(log) = self.table.log else { return };
        let mut line = Line(String::new());
        event.record(&mut line);
        let level = musig_log_level::from(level_for_sinks(event.metadata())).number();
        let text = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
        let (target, message) = (text(event.metadata().target()), text(line.0.trim_start()));
        let data = self.data.clone();
        self.lane.call(
            None,
            // SAFETY: both texts are NUL-terminated and live for the call.
            move || unsafe { log(data.pointer(), level, target.as_ptr(), message.as_ptr()) },
            |_| {},
        );
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
