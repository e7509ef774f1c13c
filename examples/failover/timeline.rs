//! Who did what, and when: in colour on a terminal, plain elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub struct Timeline {
    start: Instant,
    colour: bool,
    progress: bool,
}

#[derive(Clone, Copy)]
pub enum Tone {
    Plain,
    Good,
    Bad,
    Quiet,
}

impl Timeline {
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { start: Instant::now(), colour, progress: false }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Prints a line of the timeline.
    pub fn say(&mut self, who: &str, what: &str, tone: Tone) {
        self.clear();
        let milliseconds = self.elapsed().as_millis();
        let (begin, end) = match (self.colour, tone) {
            (true, Tone::Good) => ("\x1b[32m", "\x1b[0m"),
            (true, Tone::Bad) => ("\x1b[31m", "\x1b[0m"),
            (true, Tone::Quiet) => ("\x1b[2m", "\x1b[0m"),
            _ => ("", ""),
        };
        println!("{milliseconds:>7} ms  {begin}{who:<10} {what}{end}");
    }

    /// Shows what is waited for, on a terminal only.
    pub fn wait(&mut self, what: &str) {
        if self.colour {
            print!("\r\x1b[K{:>7} ms  … {what}", self.elapsed().as_millis());
            let _ = std::io::stdout().flush();
            self.progress = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.progress) {
            print!("\r\x1b[K");
        }
    }
}
