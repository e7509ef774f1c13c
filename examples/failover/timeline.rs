//! Who did what, and when: in colour on a terminal, plain elsewhere; or, to be watched, a line for each signer as it is now.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub struct Timeline {
    start: Instant,
    colour: bool,
    progress: bool,
    /// What each said last, if that is watched.
    rows: Option<Vec<Row>>,
    /// Number of lines of the rows on the terminal.
    drawn: usize,
}

struct Row {
    who: String,
    what: String,
    tone: Tone,
    at: Option<Duration>,
}

#[derive(Clone, Copy)]
pub enum Tone {
    Plain,
    Good,
    Bad,
    Quiet,
}

impl Timeline {
    /// With a number of signers to watch, if this is a terminal, their lines are drawn again and again.
    pub fn new(watched: Option<usize>) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        let rows = watched.filter(|_| terminal).map(|signers| {
            let names =
                std::iter::once("all".to_owned()).chain((0..signers).map(|index| format!("signer {index}")));
            names.map(|who| Row { who, what: String::new(), tone: Tone::Plain, at: None }).collect()
        });
        Self { start: Instant::now(), colour, progress: false, rows, drawn: 0 }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Prints a line of the timeline.
    pub fn say(&mut self, who: &str, what: &str, tone: Tone) {
        let now = self.elapsed();
        if let Some(row) = self.rows.iter_mut().flatten().find(|row| row.who == who) {
            (row.what, row.tone, row.at) = (what.to_owned(), tone, Some(now));
            return self.draw("");
        }
        self.clear();
        let milliseconds = now.as_millis();
        let (begin, end) = self.codes(tone);
        println!("{milliseconds:>7} ms  {begin}{who:<10} {what}{end}");
    }

    /// Shows what is waited for, on a terminal only.
    pub fn wait(&mut self, what: &str) {
        if self.rows.is_some() {
            self.draw(what);
        } else if self.colour {
            print!("\r\x1b[K{:>7} ms  … {what}", self.elapsed().as_millis());
            let _ = std::io::stdout().flush();
            self.progress = true;
        }
    }

    fn codes(&self, tone: Tone) -> (&'static str, &'static str) {
        match (self.colour, tone) {
            (true, Tone::Good) => ("\x1b[32m", "\x1b[0m"),
            (true, Tone::Bad) => ("\x1b[31m", "\x1b[0m"),
            (true, Tone::Quiet) => ("\x1b[2m", "\x1b[0m"),
            _ => ("", ""),
        }
    }

    /// Draws all rows, over those that were drawn before.
    fn draw(&mut self, waits: &str) {
        let mut frame = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        let rows = self.rows.as_deref().unwrap_or_default();
        for Row { who, what, tone, at } in rows {
            let (begin, end) = self.codes(*tone);
            let at = at.map_or_else(|| "-".into(), |at| format!("{} ms", at.as_millis()));
            frame += &format!("\r\x1b[K{at:>10}  {begin}{who:<10} {what}{end}\n");
        }
        let waits = if waits.is_empty() { String::new() } else { format!("waits for {waits}") };
        frame += &format!("\r\x1b[K{:>7} ms  {waits}\n", self.elapsed().as_millis());
        self.drawn = rows.len() + 1;
        print!("{frame}");
        let _ = std::io::stdout().flush();
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.progress) {
            print!("\r\x1b[K");
        }
    }
}
