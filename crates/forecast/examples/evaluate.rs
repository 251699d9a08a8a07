//! Measures the forecaster on a recorded trace, beside naive forecasts.
//!
//! `cargo run --release -p forecast --example evaluate -- FILE.csv[.gz] [COLUMN [SERIES]]`
//!
//! Every forecast is made with what was known at its moment. The first part of each series is for learning and is not
//! scored: eight days, or a third of shorter traces.

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use forecast::score::{WeightedPinball, pinball};
use forecast::{Config, Forecaster, Timestamp, trace};

const QUANTILES: [f64; 6] = [0.05, 0.5, 0.9, 0.95, 0.99, 0.999];
const SCORED: [usize; 3] = [1, 2, 3];
const WINDOWS: [usize; 8] = [1, 3, 8, 12, 40, 60, 144, 288];
const TAUS: [f64; 4] = [0.9, 0.95, 0.99, 0.999];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = args.first() else {
        eprintln!("usage: evaluate FILE.csv[.gz] [COLUMN [SERIES]]");
        return ExitCode::from(2);
    };
    match read(path, args.get(1).cloned(), args.get(2).cloned()) {
        Ok(trace) => {
            let mut ratios = Vec::new();
            for series in &trace.series {
                let name = series.name.clone().unwrap_or_else(|| trace.column.clone());
                let values = dense(&series.on_grid(trace.step), trace.step);
                ratios.extend(evaluate(
                    &name,
                    series.points[0].0,
                    &values,
                    trace.step,
                    trace.series.len() == 1,
                ));
            }
            let n = ratios.len().max(1) as f64;
            println!(
                "geometric mean of WPL ratios: {:.3}",
                (ratios.iter().map(|r: &f64| r.ln()).sum::<f64>() / n).exp()
            );
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &str, column: Option<String>, series: Option<String>) -> Result<trace::Trace, String> {
    let file = File::open(path).map_err(|e| format!("failed to open {path}: {e}"))?;
    let reader: Box<dyn Read> =
        if path.ends_with(".gz") { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let options = trace::Options { column, series, allow_negative: false };
    trace::parse(reader, &options).map_err(|e| format!("{path}: {e}"))
}

fn dense(points: &[(Timestamp, Option<f64>)], step: Duration) -> Vec<Option<f64>> {
    let origin = points[0].0;
    let mut values = Vec::new();
    for &(at, value) in points {
        let slot = (at.since(origin).as_millis() / step.as_millis()) as usize;
        values.resize(slot, None);
        values.push(value);
    }
    values
}

#[derive(Default)]
struct Errors {
    sum: f64,
    n: f64,
}

impl Errors {
    fn add(&mut self, error: f64) {
        self.sum += error;
        self.n += 1.0;
    }
    fn mean(&self) -> f64 {
        self.sum / self.n
    }
}

#[expect(clippy::too_many_lines, reason = "one pass over a series that fills one table")]
fn evaluate(
    name: &str,
    origin: Timestamp,
    values: &[Option<f64>],
    step: Duration,
    verbose: bool,
) -> Option<f64> {
    let day = ((86_400_000 / step.as_millis()) as usize).max(1);
    let (n, horizon) = (values.len(), day.clamp(12, 1440));
    let week = 7 * day;
    let warm = (8 * day).min(n * 2 / 3).max(n / 4);
    let mut forecaster = Forecaster::new(forecaster_config(step, horizon)).ok()?;
    let every = (n / 400).max(1) | 1;
    let (mut ours, mut naive) = (WeightedPinball::default(), WeightedPinball::default());
    let (mut ours99, mut naive99) = (WeightedPinball::default(), WeightedPinball::default());
    let mut inside: Vec<(usize, Errors, Errors)> = [1, 2, 3, 6, 12, 24, 48, 96, 144, 288, 720, 1440]
        .into_iter()
        .filter(|&h| h <= horizon)
        .map(|h| (h, Errors::default(), Errors::default()))
        .collect();
    let mut maes: Vec<[Errors; 4]> = (0..12).map(|_| Default::default()).collect();
    let mut far: [Errors; 3] = Default::default();
    let mut peaks: Vec<[Errors; 4]> = WINDOWS.iter().map(|_| Default::default()).collect();
    let mut peak_loss: Vec<[f64; 2]> = vec![[0.0; 2]; WINDOWS.len()];
    let value = |u: usize| values.get(u).copied().flatten();
    let lag = if n > week + warm.max(week) / 8 && warm >= week { week } else { day };
    let mut residuals: Vec<f64> = Vec::new();
    let (mut spent, mut asked, mut ask_time) = (Duration::ZERO, 0u32, Duration::ZERO);
    let mut slowest = Duration::ZERO;
    let (mut each, mut each_ask) = (Vec::with_capacity(n), Vec::new());
    for (t, &observed) in values.iter().enumerate() {
        let at = origin + step * u32::try_from(t).unwrap_or(u32::MAX);
        let begin = Instant::now();
        forecaster.observe(at, observed).ok()?;
        let took = begin.elapsed();
        spent += took;
        each.push(took);
        slowest = slowest.max(took);
        if let (Some(a), Some(b)) = (value(t), t.checked_sub(lag).and_then(value)) {
            residuals.push(a - b);
        }
        if t < warm {
            continue;
        }
        let short = forecaster.forecast(12, &QUANTILES);
        for h in 1..=12 {
            let Some(actual) = value(t + h) else { continue };
            let back = |m: usize| (t + h).checked_sub(m).and_then(value).or(value(t)).unwrap_or(0.0);
            let errors = &mut maes[h - 1];
            let says = [short.values[h - 1][1], value(t).unwrap_or(0.0), back(day), back(week)];
            for (error, said) in errors.iter_mut().zip(says) {
                error.add((actual - said).abs());
            }
        }
        for (k, &w) in WINDOWS.iter().enumerate() {
            if t + w >= n || (t + 1..=t + w).any(|u| value(u).is_none()) {
                continue;
            }
            let actual = (t + 1..=t + w).filter_map(value).fold(0.0, f64::max);
            let distribution = forecaster.window_max(w);
            for (j, &tau) in TAUS.iter().enumerate() {
                let said = distribution.quantile(tau);
                peaks[k][j].add(f64::from(u8::from(actual <= said)));
                if tau == 0.99 {
                    peak_loss[k][0] += pinball(tau, actual, said);
                    peak_loss[k][1] += (said - actual).max(0.0);
                }
            }
        }
        if t % every != 0 {
            continue;
        }
        let begin = Instant::now();
        let path = forecaster.forecast(288, &QUANTILES[..4]);
        ask_time += begin.elapsed();
        each_ask.push(begin.elapsed());
        asked += 1;
        std::hint::black_box(path);
        let path = forecaster.forecast(horizon, &QUANTILES);
        let mut sorted = residuals[residuals.len().saturating_sub(4 * week)..].to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |tau: f64| sorted.get((tau * sorted.len() as f64) as usize).copied().unwrap_or(0.0);
        let offsets: Vec<f64> = QUANTILES.iter().map(|&tau| quantile(tau)).collect();
        for h in 1..=horizon {
            let Some(actual) = value(t + h) else { continue };
            let row = &path.values[h - 1];
            let base = (t + h).checked_sub(lag * h.div_ceil(lag)).and_then(value).or(value(t)).unwrap_or(0.0);
            let says: Vec<f64> = offsets.iter().map(|offset| (base + offset).max(0.0)).collect();
            for q in SCORED {
                ours.add(QUANTILES[q], actual, row[q]);
                naive.add(QUANTILES[q], actual, says[q]);
            }
            ours99.add(0.99, actual, row[4]);
            naive99.add(0.99, actual, says[4]);
            far[0].add((actual - row[1]).abs());
            far[1].add((actual - base).abs());
            far[2].add(actual);
        }
        for (h, cover, above) in &mut inside {
            let Some(actual) = value(t + *h) else { continue };
            let row = &path.values[*h - 1];
            cover.add(f64::from(u8::from(actual >= row[0] && actual <= row[3])));
            above.add(f64::from(u8::from(actual <= row[4])));
        }
    }
    let ratio = ours.value()? / naive.value()?;
    let best = |h: usize| (1..4).map(|k| maes[h][k].mean()).fold(f64::INFINITY, f64::min);
    let mean_ratio = (0..12).map(|h| maes[h][0].mean()).sum::<f64>()
        / (1..4).map(|k| (0..12).map(|h| maes[h][k].mean()).sum::<f64>()).fold(f64::INFINITY, f64::min);
    println!(
        "{name}: n {n}, WPL {:.4} = {ratio:.3} of naive({lag}), at 0.99 {:.3}; MAE day {:.3}, 1..12 {mean_ratio:.3} (h1 {:.3} h3 {:.3} h6 {:.3} h12 {:.3}) of best naive",
        ours.value()?,
        ours99.value()? / naive99.value()?,
        far[0].mean() / far[1].mean(),
        maes[0][0].mean() / best(0),
        maes[2][0].mean() / best(2),
        maes[5][0].mean() / best(5),
        maes[11][0].mean() / best(11),
    );
    if verbose {
        let mut alone = Forecaster::new(forecaster_config(step, horizon)).ok()?;
        let begin = cpu_time();
        for (t, &value) in values.iter().enumerate() {
            alone.observe(origin + step * u32::try_from(t).unwrap_or(u32::MAX), value).ok()?;
        }
        let all = (cpu_time() - begin) as f64 / 1e3 / n as f64;
        let begin = cpu_time();
        for _ in 0..1000 {
            std::hint::black_box(forecaster.forecast(288, &QUANTILES[..4]));
        }
        println!(
            "  processor time: {all:.2} us per observe with all searches, {:.2} us per forecast of 288 x 4",
            (cpu_time() - begin) as f64 / 1e6
        );
        println!(
            "  {:.2} us per observe (median {:?}, slowest {slowest:?}), {:.2} us (median {:?}) per forecast of 288 x 4, {} bytes, {:?}",
            spent.as_secs_f64() * 1e6 / n as f64,
            median(&mut each),
            ask_time.as_secs_f64() * 1e6 / f64::from(asked.max(1)),
            median(&mut each_ask),
            forecaster.bytes(),
            forecaster.seasons(),
        );
        for w in [1, 12, 60, 288] {
            let begin = Instant::now();
            for _ in 0..200 {
                std::hint::black_box(forecaster.window_max(w));
            }
            print!("  window_max({w}) {:.2} us", begin.elapsed().as_secs_f64() * 5e3);
        }
        println!("\n  {}", forecaster.trust());
        for (h, cover, above) in &inside {
            print!("  h{h} {:.3}/{:.4}", cover.mean(), above.mean());
        }
        println!("   (90 % interval / 0.99)");
        for (k, w) in WINDOWS.iter().enumerate() {
            let [a, b, c, d] = &peaks[k];
            println!(
                "  max over {w:>3}: {:.3} {:.3} {:.4} {:.4}  pinball(.99)/mean {:.4} idle(.99)/mean {:.3}",
                a.mean(),
                b.mean(),
                c.mean(),
                d.mean(),
                peak_loss[k][0] / a.n / far[2].mean(),
                peak_loss[k][1] / a.n / far[2].mean(),
            );
        }
    }
    Some(ratio)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn forecaster_config(step: Duration, horizon: usize) -> Config {
    let mut config = Config::new(step);
    config.horizon_max = step * u32::try_from(horizon.max(288)).unwrap_or(288);
    config
}

/// Nanoseconds this thread has computed, where the system tells (Linux); zero elsewhere.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}
