//! The record of a simulation: one line per thing that happened, the same bytes for the same seed.

use std::fmt;

use forecast::Timestamp;

/// Lines with the virtual time since the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    start: Timestamp,
    /// Writing the lines takes longer than making them happen, so they are written only when somebody wants to read them.
    kept: bool,
    text: String,
    lines: usize,
}

impl Log {
    /// An empty log of a simulation that begins at `start`; `kept` or only counted.
    pub fn new(start: Timestamp, kept: bool) -> Log {
        Log { start, kept, text: String::new(), lines: 0 }
    }

    /// Adds a line. Beyond [`LINES_MAX`] lines are counted but not kept.
    pub fn line(&mut self, now: Timestamp, what: &str, detail: &dyn fmt::Debug) {
        self.lines += 1;
        if !self.kept || self.lines > LINES_MAX {
            return;
        }
        let seconds = now.since(self.start).as_secs_f64();
        // Writing to a String cannot fail.
        let _ = fmt::Write::write_fmt(&mut self.text, format_args!("{seconds:.3} {what} {detail:?}\n"));
    }

    /// The whole text; empty when it was not kept.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many lines there were, kept or not.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The last lines, for an error message.
    pub fn tail(&self, lines: usize) -> &str {
        let from = self.text.rmatch_indices('\n').nth(lines).map_or(0, |(at, _)| at + 1);
        &self.text[from..]
    }
}

/// Most lines that are kept.
pub const LINES_MAX: usize = 500_000;
