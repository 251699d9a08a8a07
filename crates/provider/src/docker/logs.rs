//! The output of containers: the engine keeps that of those that are there, we keep the end of that of those removed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
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
        let (text, complete) = read(table, id, lines, bytes).await?;
        if complete || lines > LINES_MAX {
            return Ok(text);
        }
        lines *= 8;
    }
}

/// True: there is no more, or no more fits.
async fn read(table: &Table, id: &str, lines: usize, bytes: usize) -> Result<(String, bool), EngineError> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
    let reading = async {
        let mut output = std::pin::pin!(table.engine.docker.logs(id, Some(options)));
        let (mut kept, mut length, mut seen) = (VecDeque::new(), 0, 0);
        let mut is_cut = false;
        while let Some(line) = output.next().await {
            let line = line?.into_bytes();
            length += line.len();
            seen += 1;
            kept.push_back(line);
            while length > bytes {
                length -= kept.pop_front().map_or(0, |first| first.len());
                is_cut = true;
            }
        }
        let text: Vec<u8> = kept.iter().flat_map(|line| line.iter().copied()).collect();
        Ok((String::from_utf8_lossy(&text).into_owned(), is_cut || seen < lines))
    };
    table.engine.call(reading).await
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
            Ok(words) if words.is_empty() => sleep(WORDS_PAUSE).await,
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
/// How much of the output is kept of a container that is no more.
const KEPT_BYTES_MAX: u64 = 1 << 20;
/// How much output is quoted in an error.
const QUOTE_BYTES_MAX: u64 = 4096;
const QUOTE_LINES_MAX: usize = 20;
/// How often, and with which pauses, the last words of one that ended are looked for; most that say nothing have nothing to say.
const WORDS_LOOKS: u32 = 4;
const WORDS_PAUSE: Duration = Duration::from_millis(100);
