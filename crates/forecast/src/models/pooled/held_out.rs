//! How much wider the errors are on what a model was not fitted to: the bands' one correction.
//!
//! Bands are made of errors on the past that the models were fitted to, which are too small. So the models are fitted once
//! more without the newest part of every series, and the factor is found that makes nine tenths of the errors there fall
//! inside the 90 % interval (split conformal prediction, Vovk and others 2005).

use super::{Pool, PoolSettings, View};
use crate::models::pooled::groups::Member;
use crate::models::{FitError, History, Pace};

/// The factor for the bands of a pool with these `views`; one when the histories are too short to tell. `members[v]` and
/// `of[v]` are the series as view `v` sees them, and their groups.
pub(super) fn widening(
    views: &[View],
    members: &[Vec<Member>],
    of: &[Vec<usize>],
    histories: &[History<'_>],
    settings: &PoolSettings,
    pace: &mut Pace<'_>,
) -> Result<f64, FitError> {
    let horizon = settings.horizon.max(1);
    let held = 2 * horizon;
    let mut shorter = Vec::with_capacity(views.len());
    for ((view, members), of) in views.iter().zip(members).zip(of) {
        let blocks = held.div_ceil(view.lens.block_steps.max(1));
        let cut: Vec<Member> = members
            .iter()
            .map(|member| Member {
                blocks: member.blocks[..member.blocks.len().saturating_sub(blocks)].to_vec(),
                scale: member.scale,
            })
            .collect();
        shorter.extend(View::fit(view.lens, &cut, of, settings, pace)?);
    }
    if shorter.len() < views.len() {
        return Ok(1.0);
    }
    let pool = Pool { views: shorter, horizon, widening: 1.0 };
    let mut ratios = Vec::new();
    for history in histories.iter().step_by(histories.len().div_ceil(SERIES).max(1)) {
        if history.values.len() > 2 * held {
            let known = history.until(history.values.len() - held);
            if let Ok(model) = pool.attach(&known, pace) {
                model.errors_over_bands(history.values, known.values.len(), LEVEL, &mut ratios);
            }
        }
        pace.checkpoint()?;
    }
    if ratios.len() < ERRORS_MIN {
        return Ok(1.0);
    }
    ratios.sort_by(f32::total_cmp);
    let place = ((ratios.len() as f64 * LEVEL).ceil() as usize).clamp(1, ratios.len()) - 1;
    Ok(f64::from(ratios[place]).clamp(1.0, WIDENING_MAX))
}

/// The interval that is made right.
const LEVEL: f64 = 0.9;
/// About how many series are looked at.
const SERIES: usize = 256;
/// Errors needed for an answer.
const ERRORS_MIN: usize = 50;
/// Most that bands are widened.
const WIDENING_MAX: f64 = 3.0;
