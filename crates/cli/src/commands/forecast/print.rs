//! `foreshadow forecast --format csv` and `table`.

use std::io::Write;

use forecast::Trust;
use forecast::effects::Seen;

use super::core::Answer;
use super::{ForecastArgs, Issued, company};
use crate::failure::Failure;
use crate::output;
use crate::trace_file::Clock;

/// A row for each step of each forecast.
pub(super) fn csv(issued: &[Issued], args: &ForecastArgs, clock: Clock) -> Result<(), Failure> {
    let mut out = output::stdout();
    writeln!(out, "as_of,series,timestamp,{}", header(args).join(","))?;
    for Issued { as_of, series, answer } in issued {
        let (as_of, series) = (clock.write(*as_of), csv_cell(series.as_deref().unwrap_or("")));
        let joint = &answer.joint;
        for step in 0..answer.forecast.steps() {
            write!(out, "{as_of},{series},{}", clock.write(answer.forecast.begins_at(step)))?;
            for value in &answer.forecast.values[step] {
                write!(out, ",{value}")?;
            }
            for crossed in &joint.crossed {
                write!(out, ",{:.6}", crossed[step])?;
            }
            let windows = joint.windows.iter().flat_map(|(_, values)| &values[step]);
            for value in windows.chain(joint.paths.iter().map(|path| &path[step])) {
                write!(out, ",{value}")?;
            }
            writeln!(out, ",{}", cells_of(answer.trust.at(step + 1)))?;
        }
    }
    Ok(out.flush()?)
}

/// The last four cells of a row.
fn cells_of(trust: Trust) -> String {
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
    let reason = trust.reason().map_or(String::new(), |reason| reason.to_string());
    let (coverage, skill) = (number(trust.coverage()), number(trust.skill()));
    format!("{},{coverage},{skill},{}", trust.is_trusted(), csv_cell(&reason))
}

/// Names of the columns after the step.
fn header(args: &ForecastArgs) -> Vec<String> {
    let (quantiles, joint) = (&args.quantiles.0, &args.joint);
    let mut names: Vec<String> = quantiles.iter().map(f64::to_string).collect();
    names.extend(joint.levels().iter().map(|level| format!("above_{level}")));
    for window in &joint.window {
        names.extend(quantiles.iter().map(|quantile| format!("{}_{quantile}", window.name())));
    }
    names.extend((1..=joint.paths).map(|path| format!("path_{path}")));
    names.extend(["trusted", "coverage", "skill", "reason"].map(str::to_owned));
    names
}

/// A cell quoted when it must be (RFC 4180).
fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A table for each forecast, with what was learned of effects. Paths are left to formats for machines.
pub(super) fn tables(issued: &[Issued], args: &ForecastArgs, clock: Clock) -> Result<(), Failure> {
    let mut out = output::stdout();
    let (quantiles, joint) = (&args.quantiles.0, &args.joint);
    let mut names = vec!["from".to_owned()];
    names.extend(quantiles.iter().map(f64::to_string));
    names.extend(joint.levels().iter().map(|level| format!("above {level}")));
    for window in &joint.window {
        names.extend(quantiles.iter().map(|quantile| format!("{} {quantile}", window.name())));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for Issued { as_of, series, answer } in issued {
        let title = series.as_ref().map_or(String::new(), |series| format!("{series}, "));
        writeln!(out, "{title}as of {}: {}", clock.write(*as_of), answer.trust.near())?;
        for (first, trust) in answer.trust.within(answer.forecast.steps()).skip(1) {
            writeln!(out, "from {} on: {trust}", clock.write(answer.forecast.begins_at(first - 1)))?;
        }
        let mut table = output::table(&names);
        for step in 0..answer.forecast.steps() {
            let mut cells = vec![clock.write(answer.forecast.begins_at(step))];
            cells.extend(answer.forecast.values[step].iter().map(|value| output::rounded(*value)));
            let percent = |crossed: &Vec<f64>| format!("{:.1} %", 100.0 * crossed[step]);
            cells.extend(answer.joint.crossed.iter().map(percent));
            let windows = answer.joint.windows.iter().flat_map(|(_, values)| &values[step]);
            cells.extend(windows.map(|value| output::rounded(*value)));
            output::row(&mut table, &cells);
        }
        writeln!(out, "{table}")?;
        if let Some(parts) = company::told(&answer.parts) {
            writeln!(out, "{parts}")?;
        }
        writeln!(out)?;
        if !answer.known.effects.is_empty() {
            writeln!(out, "{}\n", effects(answer))?;
        }
    }
    Ok(out.flush()?)
}

/// What was learned of events and covariates.
fn effects(answer: &Answer) -> String {
    let mut table = output::table(&["effect", "factor", "from", "to", "seen"]);
    for effect in &answer.known.effects {
        let seen = match effect.seen {
            Seen::Occurrences(count) => format!("{count} times"),
            Seen::Steps(count) => format!("{count} steps"),
        };
        let cells = [
            effect.name.chars().take(EFFECT_CHARS).collect(),
            format!("{:.2}", effect.factor),
            format!("{:.2}", effect.low),
            format!("{:.2}", effect.high),
            seen,
        ];
        output::row(&mut table, &cells);
    }
    table.to_string()
}

/// Longer names of events are cut.
const EFFECT_CHARS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_names_are_quoted_when_they_must_be() {
        assert_eq!(csv_cell("web"), "web");
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
