//! The output of containers: the engine keeps that of those that are there, we keep the end of that of those removed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::sleep;

use super::error::EngineError;
use super::instance::Instance;
use super::table::Table;
use crate::process::{blocking, output};

/// The last `bytes` of the output at most, cut to whole lines.
pub(super) async fn tail(table: &Table, id: &str, bytes: u64) -> Result<String, EngineError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    // The API counts lines. Short ones are guessed at first, and then more are asked for.
    let mut lines = bytes / LINE_BYTES_GUESSED + 16;
    loop {
        let end = read(table, id, &lines.to_string(), bytes).await?;
        if end.is_cut {
            return Ok(end.text());
        }
        // It is all there, but counting lines, Podman leaves out what was written of a line before its end.
        if end.seen < lines || lines > LINES_MAX {
            return Ok(read(table, id, "all", bytes).await?.text());
        }
        lines *= 8;
    }
}

/// The same as `read_once`. Podman reads the file that is being written, and fails where it finds half a line: what is written on
/// in a moment.
async fn read(table: &Table, id: &str, tail: &str, bytes: usize) -> Result<End, EngineError> {
    for _ in 1..READ_TRIES {
        match read_once(table, id, tail, bytes).await {
            Err(EngineError::Refused { status: 500, .. }) => sleep(READ_PAUSE).await,
            done => return done,
        }
    }
    read_once(table, id, tail, bytes).await
}

/// What was read, `tail` lines or "all", of which the end is kept.
async fn read_once(table: &Table, id: &str, tail: &str, bytes: usize) -> Result<End, EngineError> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(tail).build();
    let reading = async {
        let mut output = std::pin::pin!(table.engine.docker.logs(id, Some(options)));
        let mut end = End::default();
        while let Some(piece) = output.next().await {
            end.push(piece?.into_bytes(), bytes);
        }
        Ok(end)
    };
    table.engine.call(reading).await
}

/// The end of an output: lines, and pieces of lines where they were written so.
#[derive(Default)]
struct End {
    kept: VecDeque<Bytes>,
    length: usize,
    /// How many pieces there were, with those that are not kept.
    seen: usize,
    is_cut: bool,
    /// Whether the cut is within a line.
    cuts_line: bool,
}

impl End {
    fn push(&mut self, piece: Bytes, bytes_max: usize) {
        self.length += piece.len();
        self.seen += 1;
        self.kept.push_back(piece);
        while self.length > bytes_max {
            let Some(first) = self.kept.pop_front() else { break };
            self.length -= first.len();
            self.is_cut = true;
            self.cuts_line = first.last() != Some(&b'\n');
        }
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().flat_map(|piece| piece.iter().copied()).collect();
        let rest =
            if self.cuts_line { bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1) } else { None };
        String::from_utf8_lossy(&bytes[rest.unwrap_or(0)..]).into_owned()
    }
}

/// The last lines, for an error message.
pub(super) async fn quote(table: &Table, id: &str) -> String {
    last_lines(&tail(table, id, QUOTE_BYTES_MAX).await.unwrap_or_default())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTE_LINES_MAX)..].join("\n")
}

/// The same of one that has just ended: its end may be known before its last words are written down.
pub(super) async fn last_words(table: &Table, id: &str) -> String {
    for _ in 1..WORDS_LOOKS {
        match tail(table, id, QUOTE_BYTES_MAX).await {
            Ok(words) if words.trim().is_empty() => sleep(WORDS_PAUSE).await,
            Ok(words) => return last_lines(&words),
            Err(_) => return String::new(),
        }
    }
    quote(table, id).await
}

/// Keeps the end of the output of a container that is about to be removed, and not too many of those.
pub(super) async fn keep(table: &Arc<Table>, instance: &Instance) {
    let text = match tail(table, &instance.facts.id, instance.facts.log_limit.min(KEPT_BYTES_MAX)).await {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(instance = %instance.facts.name, %error, "the last output cannot be read");
            return;
        }
    };
    let (table, name) = (Arc::clone(table), instance.facts.name.clone());
    let kept = blocking(move || {
        output::prune(&table.state.logs(), |name| table.knows(name));
        let path = table.state.log(&name);
        std::io::Write::write_all(&mut output::create(&path)?, text.as_bytes())
    })
    .await;
    if let Err(error) = kept {
        tracing::warn!(instance = %instance.facts.name, %error, "the last output cannot be kept");
    }
}

/// How long a line is guessed to be.
const LINE_BYTES_GUESSED: usize = 20;
/// Beyond so many lines no more are asked for.
const LINES_MAX: usize = 4_000_000;
/// How often, and with which pauses, an output is read that the engine fails to read.
const READ_TRIES: u32 = 5;
const READ_PAUSE: Duration = Duration::from_millis(40);
/// How much of the output is kept of a container that is no more.
const KEPT_BYTES_MAX: u64 = 1 << 20;
/// How much output is quoted in an error.
const QUOTE_BYTES_MAX: u64 = 4096;
const QUOTE_LINES_MAX: usize = 20;
/// How often, and with which pauses, the last words of one that ended are looked for; most that say nothing have nothing to say.
const WORDS_LOOKS: u32 = 4;
const WORDS_PAUSE: Duration = Duration::from_millis(100);
