//! The table of measurements: one row for each promise.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// In which unit; a ratio names its peer.
    pub(crate) unit: String,
    /// The promised value; absent where the row is there for comparison only.
    pub(crate) bar: Option<f64>,
    pub(crate) better: Better,
    /// Whether the bar is met; true without a bar.
    pub(crate) ok: bool,
    /// The same measurement of the peer, if there is one.
    pub(crate) peer: Option<String>,
}

/// All measurements so far.
#[derive(Default, Serialize)]
pub(crate) struct Rows {
    rows: Vec<Row>,
}

impl Rows {
    /// Adds a value that must not exceed `bar`.
    pub(crate) fn at_most(&mut self, name: &str, value: f64, unit: &str, bar: f64, peer: Option<String>) {
        self.add(name, value, unit, Some(bar), Better::Lower, peer);
    }

    /// Adds a value that must reach `bar`.
    pub(crate) fn at_least(&mut self, name: &str, value: f64, unit: &str, bar: f64, peer: Option<String>) {
        self.add(name, value, unit, Some(bar), Better::Higher, peer);
    }

    /// Adds a value for comparison only.
    pub(crate) fn note(&mut self, name: &str, value: f64, unit: &str, better: Better, peer: Option<String>) {
        self.add(name, value, unit, None, better, peer);
    }

    fn add(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        bar: Option<f64>,
        better: Better,
        peer: Option<String>,
    ) {
        let ok = match (bar, better) {
            (None, _) => true,
            (Some(bar), Better::Lower) => value <= bar,
            (Some(bar), Better::Higher) => value >= bar,
        };
        let row = Row { name: name.to_owned(), value, unit: unit.to_owned(), bar, better, ok, peer };
        eprintln!("  {}: {} {}", row.name, shown(row.value), row.unit);
        self.rows.push(row);
    }

    /// Prints the table to standard output.
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["measurement", "value", "unit", "bar", "met", "peer"]);
        for row in &self.rows {
            let sign = match row.better {
                Better::Lower => "<=",
                Better::Higher => ">=",
            };
            table.add_row([
                row.name.clone(),
                shown(row.value),
                row.unit.clone(),
                row.bar.map(|bar| format!("{sign} {}", shown(bar))).unwrap_or_default(),
                if row.bar.is_none() {
                    ""
                } else if row.ok {
                    "yes"
                } else {
                    "NO"
                }
                .to_owned(),
                row.peer.clone().unwrap_or_default(),
            ]);
        }
        println!("{table}");
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Three significant digits, without an exponent.
fn shown(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// The `q` quantile of `values` by the nearest rank; NaN when there are none.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// The median.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The geometric mean; NaN when there are no values.
pub(crate) fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}
