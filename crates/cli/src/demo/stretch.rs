//! A stretch of the NASA trace, made ready for the demo: what to send, and what to have learned before.

use std::fmt::Write as _;
use std::io::Cursor;
use std::time::Duration;

use forecast::Timestamp;
use forecast::trace::Options;

use super::plan::Script;
use crate::loadgen::schedule::Schedule;
use crate::trace_file;

/// Two months of requests to the web server of the Kennedy Space Center, 1995, counted in steps of ten seconds.
static TRACE: &[u8] = include_bytes!("../../../../data/nasa_http_1995_10s.csv.gz");
/// What to call it.
pub(crate) const TRACE_NAME: &str = "nasa_http_1995_10s";
/// A sample is known when at least this share of its rows is there.
const ROWS_KNOWN_MIN: f64 = 0.5;

/// The trace with its rows on an even grid.
pub(crate) struct Trace {
    start: Timestamp,
    bin: Duration,
    counts: Vec<Option<f64>>,
}

impl Trace {
    /// The embedded trace.
    ///
    /// # Errors
    /// When the embedded file is damaged.
    pub(crate) fn embedded() -> anyhow::Result<Trace> {
        let trace = trace_file::parse(Cursor::new(TRACE), &Options::default())?.trace;
        let series = trace.series.first().ok_or_else(|| anyhow::anyhow!("the embedded trace is empty"))?;
        let bin = trace.step;
        let (Some(&(start, _)), Some(&(end, _))) = (series.points.first(), series.points.last()) else {
            anyhow::bail!("the embedded trace is empty");
        };
        let slot = |at: Timestamp| (at.since(start).as_millis() / bin.as_millis()) as usize;
        let mut counts = vec![None; slot(end) + 1];
        for &(at, count) in &series.points {
            counts[slot(at)] = count;
        }
        Ok(Trace { start, bin, counts })
    }

    /// The load of a run, lead-in included: exactly the recorded requests, `scale` times as many, `speedup` times as fast.
    ///
    /// # Errors
    /// A sentence, when the stretch is not inside the trace.
    pub(crate) fn load(&self, script: &Script) -> Result<Schedule, String> {
        let from = script.from - script.stands_for(script.lead_in);
        let length = script.stands_for(script.lead_in + script.length);
        let end = self.start + self.bin.saturating_mul(u32::try_from(self.counts.len()).unwrap_or(u32::MAX));
        if from < self.start || from + length > end {
            return Err(format!("the trace has no such stretch: it reaches from {} to {end}", self.start));
        }
        self.schedule(script, from, length)
    }

    /// What comes after the scored run, up to `length` of it.
    ///
    /// # Errors
    /// A sentence, when nothing comes after it.
    pub(crate) fn afterwards(&self, script: &Script, length: Duration) -> Result<Schedule, String> {
        self.schedule(script, script.from + script.stands_for(script.length), script.stands_for(length))
    }

    fn schedule(&self, script: &Script, from: Timestamp, length: Duration) -> Result<Schedule, String> {
        let first = self.slot(from).ok_or("the demo's stretch begins before the trace")?;
        let bins = (length.as_secs_f64() / self.bin.as_secs_f64()).ceil() as usize;
        let counts: Vec<f64> =
            self.counts.iter().skip(first).take(bins).map(|count| count.unwrap_or(0.0)).collect();
        if counts.is_empty() {
            return Err("the demo's stretch begins after the trace".into());
        }
        Schedule::from_counts(&counts, script.compressed(self.bin), script.scale, script.seed)
    }

    /// Mean rate in demo requests a second over a stretch of the trace.
    pub(crate) fn rate(&self, script: &Script, from: Timestamp, length: Duration) -> f64 {
        let first = self.slot(from).unwrap_or(0);
        let bins = ((length.as_secs_f64() / self.bin.as_secs_f64()) as usize).max(1);
        let sum: f64 = self.counts.iter().skip(first).take(bins).flatten().sum();
        sum * script.scale / script.compressed(self.bin).as_secs_f64() / bins as f64
    }

    /// The weeks before the lead-in as a trace file in the demo's time: sampled every `step`, ending so that the lead-in would begin
    /// at `lead_in_at`, in requests a second. Rows from `until` on are left out: they are not past yet.
    pub(crate) fn history(&self, script: &Script, lead_in_at: Timestamp, until: Timestamp) -> String {
        let end = script.from - script.stands_for(script.lead_in);
        let window = script.stands_for(script.step);
        let samples = (script.history.as_secs_f64() / window.as_secs_f64()) as u32;
        let bins = (window.as_secs_f64() / self.bin.as_secs_f64()).round() as usize;
        let mut csv = String::from("timestamp,requests_per_second\n");
        for back in (1..=samples).rev() {
            let at = lead_in_at - script.step.saturating_mul(back);
            if at >= until {
                break;
            }
            let Some(first) = self.slot(end - window.saturating_mul(back)) else { continue };
            let rows = self.counts.get(first..first + bins).unwrap_or(&[]);
            let known: Vec<f64> = rows.iter().flatten().copied().collect();
            let _ = match known.len() as f64 >= ROWS_KNOWN_MIN * bins as f64 {
                true => {
                    let mean = known.iter().sum::<f64>() / known.len() as f64;
                    let rate = mean * script.scale / script.compressed(self.bin).as_secs_f64();
                    writeln!(csv, "{at},{rate:.3}")
                }
                false => writeln!(csv, "{at},"),
            };
        }
        csv
    }

    fn slot(&self, at: Timestamp) -> Option<usize> {
        (at >= self.start).then(|| (at.since(self.start).as_millis() / self.bin.as_millis()) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_has_exactly_the_recorded_requests() {
        let trace = Trace::embedded().unwrap();
        let script = Script::new(1);
        let load = trace.load(&script).unwrap();
        assert_eq!(load.length(), script.lead_in + script.length);
        let from = script.from - script.stands_for(script.lead_in);
        let length = script.stands_for(script.lead_in + script.length);
        let mean = trace.rate(&script, from, length);
        assert_eq!(load.arrivals().len(), (mean * load.length().as_secs_f64()).round() as usize);
    }

    #[test]
    fn history_ends_before_now_and_is_sampled_at_the_demos_step() {
        let trace = Trace::embedded().unwrap();
        let script = Script::new(1);
        let lead_in_at = Timestamp::from_secs(1_800_000_000);
        let until = lead_in_at - Duration::from_secs(5);
        let text = trace.history(&script, lead_in_at, until);
        let file = trace_file::parse(Cursor::new(text.into_bytes()), &Options::default()).unwrap();
        assert_eq!(file.trace.step, script.step);
        let points = &file.trace.series[0].points;
        assert_eq!(points.last().unwrap().0, until - script.step);
        assert!(points.len() > 12_000, "{} samples", points.len());
        // The last sample is the minute of the trace that lies six steps before the lead-in.
        let minute = script.from - script.stands_for(script.lead_in + script.step * 6);
        let rate = trace.rate(&script, minute, script.stands_for(script.step));
        assert!((points.last().unwrap().1.unwrap() - rate).abs() < 1e-3);
    }
}
