//! ARIMA with automatic orders, for seasons of hundreds or thousands of steps.
//!
//! What is usual (Hyndman and Khandakar 2008): differences by the KPSS test, orders up to (5, 5) and (1, 1) at the season
//! by AICc, stationary and invertible by construction. What differs, so that a week of 2016 steps costs no more than a day
//! of 24: conditional least squares over sparse lags in place of a Kalman filter; all orders compared on one set of
//! regression sums; and Fourier terms (dynamic harmonic regression) as an alternative to the seasonal difference. Which
//! season is differenced or whether waves replace it, whether levels are differenced, and whether effects multiply is
//! decided by the errors of forecasts made all through the history. Parameters are estimated once, on all of it: a handful
//! of numbers from thousands of values. The waves, which are many, are fitted only to what was before each forecast.
//!
//! Not here: covariates (the additive model has them).

mod css;
mod harmonics;
mod kpss;
mod orders;
mod polynomial;
mod recursion;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::css::Arma;
use self::harmonics::Profile;
use self::recursion::{Memory, Recursion};
use super::realised::{Origin, Realised};
use super::warp::Warp;
use super::{Bands, FitError, History, Model, Pace};
use crate::covariates::Covariates;
use crate::paths::Values;

/// A fitted ARIMA.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arima {
    warp: Warp,
    profile: Profile,
    recursion: Recursion,
    memory: Memory,
    /// The next step.
    step: u64,
    realised: Realised,
    non_negative: bool,
}

/// How the season and the level are taken out before an ARMA describes the rest.
#[derive(Clone, Debug)]
struct Plan {
    /// Index into the warped series.
    warp: usize,
    /// Season that is differenced.
    season: Option<usize>,
    /// Whether waves are subtracted.
    waves: bool,
    /// Differences of neighbours.
    d: usize,
}

/// A plan with its estimate.
struct Candidate {
    plan: Plan,
    arma: Arma,
    recursion: Recursion,
    /// Mean absolute error of its forecasts in the history.
    cost: f64,
}

/// The history as this model sees it.
struct Material<'a> {
    values: &'a [f32],
    first: u64,
    /// For each way to warp: the map, the values, and the waves at the cuts.
    warped: Vec<(Warp, Vec<f64>, Vec<Profile>)>,
    seasons: Vec<usize>,
    /// Rising places; profile `i` knows what is before `cuts[i]`. The first is where scoring begins, the last the end.
    cuts: Vec<usize>,
    aheads: Vec<usize>,
}

impl Arima {
    /// Fits plan, orders and coefficients.
    ///
    /// # Errors
    /// [`FitError`] when there are fewer than 30 values, or the training is called off.
    pub fn fit(history: &History<'_>, pace: &mut Pace<'_>) -> Result<Arima, FitError> {
        let present = history.present();
        if present < PRESENT_MIN {
            return Err(FitError::TooLittleHistory { present, needed: PRESENT_MIN });
        }
        let material = Material::new(history, pace)?;
        let mut candidates = Vec::new();
        for plan in material.plans() {
            candidates.extend(material.first_estimate(plan, pace)?);
        }
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let mut best: Option<Candidate> = None;
        for candidate in candidates.into_iter().take(REFINED) {
            let refined = material.refined(&candidate, pace)?;
            for candidate in [candidate, refined] {
                if best.as_ref().is_none_or(|best| candidate.cost < best.cost) {
                    best = Some(candidate);
                }
            }
        }
        match best {
            Some(best) => Ok(material.finish(best, history)),
            None => Err(FitError::Unsuitable("no differencing leaves anything to describe".into())),
        }
    }
}

impl Model for Arima {
    fn name(&self) -> &'static str {
        "arima"
    }

    fn observe(&mut self, value: f32, _covariates: &Covariates) {
        let standard = self.warp.there(value);
        self.warp.extend(standard);
        self.memory.observe(standard - self.profile.at(self.step), &self.recursion);
        self.step += 1;
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _covariates: &Covariates) -> Values {
        let path = self.memory.path(&self.recursion, steps);
        let middle: Vec<f64> = path
            .into_iter()
            .enumerate()
            .map(|(h, said)| self.warp.back(said + self.profile.at(self.step + h as u64)))
            .collect();
        self.realised.around(&middle, self.step, quantiles, self.non_negative)
    }

    fn bytes(&self) -> usize {
        size_of::<Arima>()
            + self.profile.bytes()
            + self.recursion.bytes()
            + self.memory.bytes()
            + self.realised.bytes()
    }
}

impl<'a> Material<'a> {
    fn new(history: &History<'a>, pace: &mut Pace<'_>) -> Result<Material<'a>, FitError> {
        let longest = history.seasons.iter().copied().max().unwrap_or(1);
        let kept = (SEASONS_KEPT * longest).clamp(VALUES_KEPT_MIN, VALUES_KEPT_MAX);
        let from = history.values.len().saturating_sub(kept);
        let values = &history.values[from..];
        let (n, first) = (values.len(), history.first + from as u64);
        let mut seasons: Vec<usize> = history
            .seasons
            .iter()
            .copied()
            .filter(|&season| season >= 2 && season + season / 8 < n)
            .collect();
        seasons.sort_unstable();
        seasons.dedup();
        seasons.truncate(SEASONS_MAX);
        let shortest = seasons.first().copied().unwrap_or(1);
        let longest = seasons.last().copied().unwrap_or(1);
        let begin = (n / 3).min(longest).max(shortest + shortest / 8).min(n / 2);
        let mut cuts: Vec<usize> = (0..=CUTS).map(|i| begin + (n - begin) * i / CUTS).collect();
        cuts.dedup();
        let plain = Warp::plain(values);
        let logarithmic = if history.non_negative { Warp::logarithmic(values) } else { None };
        let mut warped = Vec::new();
        for warp in std::iter::once(plain).chain(logarithmic) {
            pace.checkpoint()?;
            let all = warp.all(values);
            let profiles = if seasons.is_empty() {
                vec![Profile::default(); cuts.len()]
            } else {
                harmonics::fit(&all, first, &seasons, &cuts)
            };
            warped.push((warp, all, profiles));
        }
        let horizon = history.horizon.clamp(1, n / 4 + 1);
        let mut aheads: Vec<usize> =
            [1, horizon / 8, horizon / 2, horizon].into_iter().filter(|&ahead| ahead > 0).collect();
        aheads.dedup();
        Ok(Material { values, first, warped, seasons, cuts, aheads })
    }

    /// Which profile a forecast from a moment may use.
    fn cut_before(&self, t: usize) -> usize {
        self.cuts.partition_point(|&cut| cut <= t).saturating_sub(1)
    }

    /// The series of a plan before it is differenced: less waves that knew only what was before.
    fn rest(&self, plan: &Plan) -> Vec<f64> {
        let (_, standard, profiles) = &self.warped[plan.warp];
        if !plan.waves {
            return standard.clone();
        }
        let at = |t: usize| profiles[self.cut_before(t)].at(self.first + t as u64);
        standard.iter().enumerate().map(|(t, value)| value - at(t)).collect()
    }

    fn plans(&self) -> Vec<Plan> {
        let n = self.values.len();
        let mut ways: Vec<(Option<usize>, bool)> = vec![(None, false)];
        if !self.seasons.is_empty() {
            ways.push((None, true));
        }
        let long_enough = self.seasons.iter().filter(|&&season| season + season / 2 + 50 < n);
        ways.extend(long_enough.map(|&season| (Some(season), false)));
        let mut plans = Vec::new();
        for warp in 0..self.warped.len() {
            for &(season, waves) in &ways {
                let plan = Plan { warp, season, waves, d: 0 };
                let (w, _) = differenced(&filled(&self.rest(&plan), season), season, 0);
                let most = if season.is_some() { 1 } else { 2 };
                let d = kpss::differences(&w, most);
                plans.push(Plan { d, ..plan.clone() });
                if d > 0 {
                    plans.push(plan);
                }
            }
        }
        plans
    }

    /// Orders and coefficients by regression.
    fn first_estimate(&self, plan: Plan, pace: &mut Pace<'_>) -> Result<Option<Candidate>, FitError> {
        let (w, weights, mean) = self.stationary(&plan);
        if w.len() < PRESENT_MIN / 2 {
            return Ok(None);
        }
        let arma = orders::choose(&w, &weights, plan.season, pace)?;
        Ok(Some(self.candidate(plan, arma, mean, &w, &weights)))
    }

    fn refined(&self, candidate: &Candidate, pace: &mut Pace<'_>) -> Result<Candidate, FitError> {
        let (w, weights, mean) = self.stationary(&candidate.plan);
        let (arma, _) = css::refine(&w, &weights, &candidate.arma, pace)?;
        Ok(self.candidate(candidate.plan.clone(), arma, mean, &w, &weights))
    }

    fn candidate(&self, plan: Plan, arma: Arma, mean: f64, w: &[f64], weights: &[f64]) -> Candidate {
        let errors = arma.residuals(w);
        let scored = errors.iter().zip(weights).skip(arma.orders.warm()).filter(|(_, weight)| **weight > 0.0);
        let (sum, n) = scored.fold((0.0, 0.0), |(sum, n), (error, _)| (sum + error.abs(), n + 1.0));
        let recursion = Recursion::new(&arma, plan.d, plan.season, mean, sum / f64::max(n, 1.0));
        let mut candidate = Candidate { plan, arma, recursion, cost: 0.0 };
        let (mut sum, mut n) = (0.0, 0.0);
        self.replay(&candidate, &self.aheads, ORIGINS_SEARCH, |next, said| {
            for (&ahead, said) in self.aheads.iter().zip(said) {
                let Some(&value) = self.values.get(next + ahead - 1) else { break };
                let error = f64::from(value) - said;
                if error.is_finite() {
                    sum += error.abs();
                    n += 1.0;
                }
            }
        });
        candidate.cost = if n > 0.0 { sum / n } else { f64::INFINITY };
        candidate
    }

    /// The differenced series without mean, wild values drawn in; the weights of its places; the mean.
    fn stationary(&self, plan: &Plan) -> (Vec<f64>, Vec<f64>, f64) {
        let rest = self.rest(plan);
        let (mut w, from) = differenced(&filled(&rest, plan.season), plan.season, plan.d);
        let weights: Vec<f64> =
            rest[from..].iter().map(|value| f64::from(u8::from(value.is_finite()))).collect();
        let n = w.len().max(1) as f64;
        let mean = if plan.d == 0 && plan.season.is_none() { w.iter().sum::<f64>() / n } else { 0.0 };
        let limit = WILD * w.iter().map(|x| (x - mean).abs()).sum::<f64>() / n;
        w.iter_mut().for_each(|x| *x = (*x - mean).clamp(-limit, limit));
        (w, weights, mean)
    }

    /// Forecasts from about `many` moments of the history, with the waves that were known then.
    fn replay(
        &self,
        candidate: &Candidate,
        aheads: &[usize],
        many: usize,
        mut on: impl FnMut(usize, &[f64]),
    ) {
        let (warp, _, profiles) = &self.warped[candidate.plan.warp];
        let rest = self.rest(&candidate.plan);
        let (u, e) = candidate.recursion.run(&rest);
        let from = self.cuts[0].max(candidate.recursion.reach().min(rest.len() * 3 / 4));
        let every = ((rest.len() - from) / many).max(1);
        let steps = aheads.last().copied().unwrap_or(1);
        let (mut path, mut said) = (Vec::with_capacity(steps), vec![0.0; aheads.len()]);
        for next in (from..rest.len()).step_by(every) {
            candidate.recursion.path(&u, &e, next, &mut path, steps);
            let profile = &profiles[self.cut_before(next)];
            for (said, &ahead) in said.iter_mut().zip(aheads) {
                let base = if candidate.plan.waves {
                    profile.at(self.first + (next + ahead - 1) as u64)
                } else {
                    0.0
                };
                *said = warp.back(path[ahead - 1] + base);
            }
            on(next, &said);
        }
    }

    fn finish(&self, best: Candidate, history: &History<'_>) -> Arima {
        let bands = Bands::new(history.horizon);
        let aheads = bands.aheads().to_vec();
        let mut origins = Vec::new();
        self.replay(&best, &aheads, ORIGINS_BANDS, |next, said| {
            origins.push(Origin { next, said: said.iter().map(|&said| said as f32).collect() });
        });
        let day = history.grid.steps_in(Duration::from_secs(86_400));
        let period = self.seasons.first().copied().or(day);
        let realised = Realised::new(&origins, self.values, self.first, period, bands);
        let (warp, standard, profiles) = &self.warped[best.plan.warp];
        let profile = match profiles.last() {
            Some(last) if best.plan.waves => last.clone(),
            Some(_) | None => Profile::default(),
        };
        let rest: Vec<f64> =
            standard.iter().enumerate().map(|(t, value)| value - profile.at(self.first + t as u64)).collect();
        let (u, e) = best.recursion.run(&rest);
        let memory = Memory::new(&best.recursion, &u, &e);
        Arima {
            warp: warp.clone(),
            profile,
            recursion: best.recursion,
            memory,
            step: history.end(),
            realised,
            non_negative: history.non_negative,
        }
    }
}

/// Gaps filled by the value a season before, else by the last value, else by the next.
fn filled(values: &[f64], season: Option<usize>) -> Vec<f64> {
    let mut last = values.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0);
    let mut filled: Vec<f64> = Vec::with_capacity(values.len());
    for (t, &value) in values.iter().enumerate() {
        let before = season.and_then(|season| t.checked_sub(season)).map(|place| filled[place]);
        last = if value.is_finite() { value } else { before.unwrap_or(last) };
        filled.push(last);
    }
    filled
}

/// Differenced at the season and `d` times, and the place of its first value.
fn differenced(values: &[f64], season: Option<usize>, d: usize) -> (Vec<f64>, usize) {
    let lagged = |values: &[f64], lag: usize| -> Vec<f64> {
        values.iter().skip(lag).zip(values).map(|(later, earlier)| later - earlier).collect()
    };
    let mut w = season.map_or_else(|| values.to_vec(), |season| lagged(values, season));
    for _ in 0..d {
        w = lagged(&w, 1);
    }
    let from = values.len() - w.len();
    (w, from)
}

const PRESENT_MIN: usize = 30;
const SEASONS_MAX: usize = 3;
/// Longest seasons kept for the fit, and values at least and at most.
const SEASONS_KEPT: usize = 8;
const VALUES_KEPT_MIN: usize = 4000;
const VALUES_KEPT_MAX: usize = 100_000;
/// Stretches between the moments at which waves are fitted anew.
const CUTS: usize = 4;
/// Candidates whose coefficients are refined.
const REFINED: usize = 2;
/// Moments forecast from to compare candidates, and for the intervals.
const ORIGINS_SEARCH: usize = 60;
const ORIGINS_BANDS: usize = 300;
/// Differences beyond this many typical ones are drawn in before coefficients are estimated.
const WILD: f64 = 6.0;
