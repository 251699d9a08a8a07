//! One horizon of the ensemble: what its members said of coming steps, how much each is believed, and how the average of
//! their quantiles must be read so that it keeps its word.
//!
//! The probability that is read for each quantile adapts by its own misses, in log odds (adaptive conformal inference,
//! Gibbs and Candes 2021), apart for quiet and busy hours.

use std::collections::VecDeque;

use crate::calibration::{GRID, Place};
use crate::models::Kind;

use super::row::{LOWER, MEDIAN, Mixed, Row, UPPER, tail_of};
use super::vigil::Scored;
use super::weights::Weights;
use crate::score::pinball;

/// One horizon.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    /// Steps ahead.
    pub(super) ahead: usize,
    weights: Weights,
    nudges: [Nudges; HOURS],
    pending: VecDeque<Pending>,
    /// Fading mean and high mark of what was forecast: tells busy hours from quiet ones.
    usual: f64,
    busy: f64,
    /// Fading mean of how wide forecasts are.
    width: f64,
    /// Fading share of outcomes inside their 90 % interval.
    held: f64,
    /// Outcomes for which corrections take larger steps.
    haste: u32,
    /// By how much intervals are wider than what was learned says, in log odds; fades.
    caution: f64,
}

/// What was said about a step that has not come yet.
#[derive(Clone, Debug)]
struct Pending {
    due: u64,
    /// The last value known then.
    last: f64,
    row: Row,
    /// The averaged quantiles, and the values read from them in the end.
    mixed: Mixed,
    said: [f64; GRID.len()],
    hour: usize,
}

impl Pending {
    /// How much more a member loses than the mixture: how the loss would change if the mixture moved towards it (the gradient
    /// trick), where the mixture is an average of quantiles.
    fn regret(&self, said: &[f32; GRID.len()], value: f64) -> f64 {
        let regret = |&k: &usize| {
            let (tau, said, mixed) = (GRID[k], f64::from(said[k]), self.mixed.values[k]);
            if self.mixed.idle > 0.0 {
                pinball(tau, value, said) - pinball(tau, value, mixed)
            } else {
                (f64::from(u8::from(value < mixed)) - tau) * (said - mixed)
            }
        };
        SCORED.iter().map(regret).sum::<f64>() / SCORED.len() as f64
    }
}

/// Corrections of the probability that is read for each grid quantile, in log odds.
#[derive(Clone, Copy, Debug)]
struct Nudges {
    steps: u32,
    odds: [f64; GRID.len()],
}

impl Panel {
    /// Members are asked every `stride` steps.
    pub(super) fn new(ahead: usize, stride: u64, kinds: &[Kind], guests: usize) -> Panel {
        // A part of the core beside the core shares its weight.
        let online = if kinds.contains(&Kind::Profile) { PRIOR_ONLINE / 2.0 } else { PRIOR_ONLINE };
        let prior = std::iter::once(online).chain(kinds.iter().map(|kind| kind.prior(kinds)));
        let prior = prior.chain(std::iter::repeat_n(PRIOR_GUEST, guests)).collect();
        Panel {
            ahead,
            weights: Weights::new(prior, (ahead as f32 / stride as f32).max(1.0)),
            nudges: [Nudges { steps: 0, odds: [0.0; GRID.len()] }; HOURS],
            pending: VecDeque::new(),
            usual: f64::NAN,
            busy: f64::NAN,
            width: f64::NAN,
            held: 0.9,
            haste: 0,
            caution: 0.0,
        }
    }

    pub(super) fn seats(&self) -> usize {
        self.weights.len()
    }

    /// Takes over what a rehearsal learned of a member; everything when this has learned nothing. `anew`: even when it was
    /// scored here.
    pub(super) fn take(&mut self, seat: usize, from: &Panel, anew: bool) {
        if from.seats() != self.seats() || from.ahead != self.ahead || !from.weights.proven(seat) {
            return;
        }
        if !self.weights.proven(0) {
            *self = from.clone();
        } else if anew || !self.weights.proven(seat) {
            self.weights.take(seat, &from.weights);
        }
    }

    /// Whether a member has been scored often enough to have weight.
    pub(super) fn is_proven(&self, seat: usize) -> bool {
        self.weights.proven(seat)
    }

    /// Whether a member's weight rests on as many outcomes as are remembered.
    pub(super) fn is_known(&self, seat: usize) -> bool {
        self.weights.known(seat)
    }

    /// Knows nothing of a member any more, as if it were new.
    pub(super) fn forget(&mut self, seat: usize) {
        self.weights.forget(seat);
        self.pending.iter_mut().for_each(|pending| pending.row.clear(seat));
    }

    pub(super) fn drop_pending(&mut self) {
        self.pending.clear();
    }

    /// Keeps what was said about step `due` when `last` was the last value.
    pub(super) fn issue(&mut self, due: u64, row: Row, last: f64) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        let mut weights = vec![0.0; self.seats()];
        self.weights.among(|seat| row.has(seat), &mut weights);
        let mixed = row.mixed(&weights);
        self.mark(mixed.values[MEDIAN]);
        let hour = self.hour(mixed.values[MEDIAN]);
        let tail = tail_of(&mixed.values);
        let said = std::array::from_fn(|k| {
            Place::of(nudged(GRID[k], self.odds(hour, GRID[k]))).read(&mixed.values, &tail)
        });
        self.pending.push_back(Pending { due, last, row, mixed, said, hour });
    }

    /// Scores whatever was said about step `now`, and says how it came out.
    pub(super) fn learn(&mut self, now: u64, value: f32) -> Option<Scored> {
        let mut scored = None;
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.due <= now) {
            if pending.due == now && value.is_finite() {
                let value = f64::from(value);
                self.score(&pending, value);
                let outcome = outcome(&pending, value);
                self.haste = self.haste.saturating_sub(1);
                self.caution *= CAUTION_FADE;
                self.held += HELD_PACE * (f64::from(u8::from(outcome.covered)) - self.held);
                scored = Some(outcome);
            }
        }
        scored
    }

    /// Corrections take larger steps for a while.
    pub(super) fn learn_faster(&mut self) {
        self.haste = HASTE;
    }

    /// Believes less of what was learned of members.
    pub(super) fn weigh_alike(&mut self) {
        self.weights.fade(FADE);
    }

    /// Reads wider intervals for a while, where they did not hold what they promise. Corrections that are learned meanwhile
    /// stay.
    pub(super) fn widen(&mut self) {
        if self.held < HELD_ENOUGH {
            self.caution = CAUTION;
        }
        self.haste = HASTE;
    }

    /// The correction of a quantile's probability, in log odds.
    fn odds(&self, hour: usize, tau: f64) -> f64 {
        let caution = if tau < 0.5 { -self.caution } else { self.caution };
        self.nudges[hour].at(tau) + if tau == 0.5 { 0.0 } else { caution }
    }

    fn score(&mut self, pending: &Pending, value: f64) {
        let mixed = &pending.mixed.values;
        let width = ((mixed[UPPER] - mixed[LOWER]) / 3.3).max(1e-3 * mixed[MEDIAN].abs());
        self.width = if self.width.is_nan() { width } else { self.width + WIDTH_PACE * (width - self.width) };
        let scale = width.max(WIDTH_LEAST * self.width).max(1e-9);
        let regrets: Vec<f32> =
            pending.row.seats().iter().map(|said| (pending.regret(said, value) / scale) as f32).collect();
        // Where all say the same there is nothing to learn, and nothing that was learned may fade for it: of a series that
        // is mostly idle, few steps tell one member from another.
        let tells = regrets.iter().any(|regret| regret.abs() > REGRET_LEAST);
        for (seat, regret) in regrets.into_iter().enumerate().filter(|_| tells) {
            if pending.row.has(seat) {
                self.weights.learn(seat, regret);
            }
        }
        let haste = if self.haste > 0 { HASTE_PACE } else { 1.0 };
        self.nudges[pending.hour].learn(value, pending, self.ahead, haste);
    }

    /// Learns what is usual and what is busy: about the upper quarter of what was forecast.
    fn mark(&mut self, median: f64) {
        if self.usual.is_nan() {
            (self.usual, self.busy) = (median, median);
        }
        let deviation = (median - self.usual).abs();
        self.usual += 0.01 * (median - self.usual);
        let step = 0.02 * deviation.max(1e-9);
        self.busy += if median > self.busy { 0.75 * step } else { -0.25 * step };
    }

    fn hour(&self, median: f64) -> usize {
        usize::from(median > self.busy)
    }

    /// Weights of the members that are present.
    pub(super) fn weights(&self, present: &[bool]) -> Vec<f64> {
        let mut out = vec![0.0; self.seats()];
        self.weights.among(|seat| present.get(seat).copied().unwrap_or(false), &mut out);
        out.into_iter().map(f64::from).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        let pending = size_of::<Pending>() + self.seats() * size_of::<[f32; GRID.len()]>();
        size_of::<Panel>() + self.pending.capacity() * pending + self.seats() * 16
    }
}

/// Reads quantiles for a step that lies between two panels.
pub(super) fn read(lower: &Panel, upper: &Panel, share: f64, row: &Row, quantiles: &[f64], out: &mut [f64]) {
    let seats = lower.seats();
    let (mut low, mut high) = (vec![0.0; seats], vec![0.0; seats]);
    lower.weights.among(|seat| row.has(seat), &mut low);
    upper.weights.among(|seat| row.has(seat), &mut high);
    let share32 = share as f32;
    let weights: Vec<f32> = low.iter().zip(&high).map(|(a, b)| a + share32 * (b - a)).collect();
    let mixed = row.mixed(&weights);
    let tail = tail_of(&mixed.values);
    let (near, far) = (lower.hour(mixed.values[MEDIAN]), upper.hour(mixed.values[MEDIAN]));
    for (value, &tau) in out.iter_mut().zip(quantiles) {
        let odds = (1.0 - share) * lower.odds(near, tau) + share * upper.odds(far, tau);
        *value = Place::of(nudged(tau, odds)).read(&mixed.values, &tail);
    }
    // Quantiles that were asked for in rising order never fall.
    for k in 1..out.len() {
        if quantiles[k] >= quantiles[k - 1] {
            out[k] = out[k].max(out[k - 1]);
        }
    }
}

impl Nudges {
    fn learn(&mut self, value: f64, pending: &Pending, ahead: usize, haste: f64) {
        self.steps = self.steps.saturating_add(1);
        let pace = haste * (PACE_FIRST / f64::from(self.steps).sqrt()).max(PACE_LEAST)
            / (1.0 + (ahead as f64 / 12.0).sqrt());
        for ((odds, &tau), &said) in self.odds.iter_mut().zip(&GRID).zip(&pending.said) {
            // Of outcomes that are idle, where that was likely, the share below a quantile cannot be seen, only expected.
            let below = if value > said {
                0.0
            } else if value == 0.0 && said == 0.0 {
                (tau / pending.mixed.idle).min(1.0)
            } else {
                1.0
            };
            *odds = (*odds + pace * (tau - below)).clamp(-NUDGE_MAX, NUDGE_MAX);
        }
    }

    /// The correction at any probability: between those of its neighbours on the grid.
    fn at(&self, tau: f64) -> f64 {
        let upper = GRID.partition_point(|&grid| grid < tau);
        match upper {
            0 => self.odds[0],
            _ if upper == GRID.len() => self.odds[GRID.len() - 1],
            _ => {
                let share = (tau - GRID[upper - 1]) / (GRID[upper] - GRID[upper - 1]);
                self.odds[upper - 1] + share * (self.odds[upper] - self.odds[upper - 1])
            }
        }
    }
}

/// How what was said came out.
fn outcome(pending: &Pending, value: f64) -> Scored {
    let said = &pending.said;
    let loss = |k: usize| pinball(GRID[k], value, said[k]);
    Scored {
        error: value - said[MEDIAN],
        pinball: SCORED.into_iter().map(loss).sum::<f64>() / SCORED.len() as f64,
        covered: (said[LOWER]..=said[UPPER]).contains(&value),
        naive: value - pending.last,
    }
}

/// A probability moved by log odds.
fn nudged(tau: f64, odds: f64) -> f64 {
    let moved = tau / (1.0 - tau) * odds.exp();
    moved / (1.0 + moved)
}

/// Places on the grid that members are judged by.
const SCORED: [usize; 6] = [2, 4, 5, 6, 7, 8];
/// How fast it is learned how wide forecasts are, and the share of it that one of them is taken for at least.
const WIDTH_PACE: f64 = 0.01;
const WIDTH_LEAST: f64 = 0.1;
/// An outcome tells members apart if it says more of one of them, in widths.
const REGRET_LEAST: f32 = 0.01;
/// Quiet hours and busy ones.
const HOURS: usize = 2;
const PRIOR_ONLINE: f32 = 0.4;
/// Of a model that nothing is known of.
const PRIOR_GUEST: f32 = 0.1;
const PENDING_MAX: usize = 512;
const PACE_FIRST: f64 = 0.3;
const PACE_LEAST: f64 = 0.03;
const NUDGE_MAX: f64 = 3.0;
const HELD_PACE: f64 = 0.03;
/// An interval that holds so much is wide enough.
const HELD_ENOUGH: f64 = 0.88;
/// What is left of what was learned of members when they are to be weighed more alike.
const FADE: f32 = 0.5;
/// Outcomes for which corrections are in haste, and how much larger their steps then are.
const HASTE: u32 = 8;
const HASTE_PACE: f64 = 2.0;
/// In log odds: the 0.95 quantile is then read at about 0.97. Half of it is gone after fourteen outcomes.
const CAUTION: f64 = 0.6;
const CAUTION_FADE: f64 = 0.95;
