//! The cost model of one workload.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::boosted::{Trained, Training};
use super::choice::{ALIKE, LAYERS, Layer, Said};
use super::endpoint::Endpoint;
use super::levels::{Levels, at};
use super::parameters::{Parameters, Row};
use super::pool::Pool;
use super::window::Sample;

/// Limits of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Endpoints that are told apart. Default 512; further ones are answered from all requests together.
    pub endpoints: usize,
    /// Latest requests kept for each endpoint, some 70 bytes each. Default 256: more knows far quantiles better, fewer
    /// follow a changed program sooner.
    pub window: usize,
    /// Latest requests of the workload kept for the training of trees, some 70 bytes each. Default 16384.
    pub reservoir: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { endpoints: 512, window: 256, reservoir: 16_384 }
    }
}

/// A request that has run to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome<'a> {
    /// What was called: a route, a kind of task, a function.
    pub endpoint: &'a str,
    /// What was known before it ran.
    pub parameters: Parameters<'a>,
    /// What it cost, in any unit that stays the same. Zero counts as [`COST_MIN`]; NaN and what is below zero is not
    /// learned.
    pub cost: f64,
}

/// Costs of the requests of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CostModel {
    config: Config,
    names: BTreeMap<String, u32>,
    endpoints: Vec<Endpoint>,
    /// All requests as one endpoint.
    all: Endpoint,
    pool: Pool,
    /// Latest requests and their endpoints, a ring.
    reservoir: Vec<(u32, Sample)>,
    reservoir_next: usize,
    observed: u64,
    trained_at: u64,
}

impl CostModel {
    /// A model that has seen nothing.
    pub fn new(config: Config) -> CostModel {
        CostModel {
            config,
            names: BTreeMap::new(),
            endpoints: Vec::new(),
            all: Endpoint::new(config.window.max(1) * 2),
            pool: Pool::default(),
            reservoir: Vec::new(),
            reservoir_next: 0,
            observed: 0,
            trained_at: 0,
        }
    }

    /// Quantiles of the cost of a request that is about to run: `out[i]` for `taus[i]`, each inside (0, 1). Finite, not
    /// negative, and never falling where `taus` rise. Returns how many requests of the endpoint are known: with zero the answer comes from
    /// other endpoints; `None` when nothing at all is known, and `out` is left as it is.
    pub fn predict(
        &self,
        endpoint: &str,
        parameters: &Parameters<'_>,
        taus: &[f64],
        out: &mut [f64],
    ) -> Option<u64> {
        let (levels, seen) = self.levels(endpoint, &Row::new(parameters))?;
        for (out, &tau) in out.iter_mut().zip(taus) {
            *out = cost(at(&levels, tau));
        }
        Some(seen)
    }

    /// Learns from a request that has run.
    pub fn observe(&mut self, outcome: &Outcome<'_>) {
        if !outcome.cost.is_finite() || outcome.cost < 0.0 {
            return;
        }
        let row = Row::new(&outcome.parameters);
        let log = outcome.cost.max(COST_MIN).ln();
        let sample = Sample { row, cost: log as f32 };
        if let Some(place) = self.place(outcome.endpoint) {
            let mut said: Said = [None; LAYERS];
            if self.endpoints[place].seen() < POOLED_UNTIL {
                said[Layer::Pooled as usize] = self.pooled(&row);
            }
            let endpoint = &mut self.endpoints[place];
            endpoint.say(&row, &self.pool, &mut said);
            let mixed = endpoint.choice.mix(&said, &self.pool.losses);
            endpoint.choice.learn(&said, log);
            if let Some(mixed) = mixed {
                endpoint.offset.learn(&mixed, log);
            }
            if let Some((distance, spread)) = endpoint.standardised(log, &self.pool) {
                let losses = endpoint.choice.means(&self.pool.losses);
                self.pool.learn(distance, spread, &losses);
            }
            endpoint.learn(sample);
            self.keep(place as u32, sample);
        }
        let mut said: Said = [None; LAYERS];
        self.all.say(&row, &self.pool, &mut said);
        self.all.choice.learn(&said, log);
        self.all.learn(sample);
    }

    /// Whether enough has come since the last training to make another one worth its time: an eighth of what is kept.
    pub fn training_due(&self) -> bool {
        self.observed - self.trained_at >= (self.reservoir.len() as u64 / 8).max(TRAINING_MIN)
    }

    /// A snapshot to train trees on, wherever and whenever there is time. The model goes on meanwhile.
    pub fn training(&mut self) -> Training {
        self.trained_at = self.observed;
        let (late, early) = self.reservoir.split_at(self.reservoir_next.min(self.reservoir.len()));
        Training::new(early.iter().chain(late).copied())
    }

    /// Puts in place what a training of this model gave. It is believed as its losses from now on say.
    pub fn install(&mut self, trained: Trained) {
        for (place, trees) in trained.endpoints {
            if let Some(endpoint) = self.endpoints.get_mut(place as usize) {
                endpoint.install(trees);
            }
        }
    }

    /// Requests of an endpoint that were learned.
    pub fn seen(&self, endpoint: &str) -> u64 {
        self.names.get(cut(endpoint)).map_or(0, |&place| self.endpoints[place as usize].seen())
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let names: usize = self.names.keys().map(|name| name.len() + size_of::<(String, u32)>()).sum();
        let endpoints: usize = self.endpoints.iter().map(|e| e.bytes() + size_of::<Endpoint>()).sum();
        size_of::<CostModel>()
            + names
            + endpoints
            + self.all.bytes()
            + self.pool.bytes()
            + self.reservoir.capacity() * size_of::<(u32, Sample)>()
    }

    /// Log quantiles at the grid, and how many requests of the endpoint they rest on.
    pub(crate) fn levels(&self, endpoint: &str, row: &Row) -> Option<(Levels, u64)> {
        let Some(&place) = self.names.get(cut(endpoint)) else { return Some((self.pooled(row)?, 0)) };
        let endpoint = &self.endpoints[place as usize];
        let mut said: Said = [None; LAYERS];
        if endpoint.seen() < POOLED_UNTIL {
            said[Layer::Pooled as usize] = self.pooled(row);
        }
        endpoint.say(row, &self.pool, &mut said);
        let mut levels = endpoint.choice.mix(&said, &self.pool.losses)?;
        endpoint.offset.apply(&mut levels);
        Some((levels, endpoint.seen()))
    }

    /// Takes a request into the reservoir.
    fn keep(&mut self, place: u32, sample: Sample) {
        self.observed += 1;
        let limit = self.config.reservoir.max(1);
        if self.reservoir.len() < limit {
            self.reservoir.push((place, sample));
        } else {
            self.reservoir[self.reservoir_next] = (place, sample);
        }
        self.reservoir_next = (self.reservoir_next + 1) % limit;
    }

    /// What all requests together say.
    fn pooled(&self, row: &Row) -> Option<Levels> {
        let mut said: Said = [None; LAYERS];
        self.all.say(row, &self.pool, &mut said);
        self.all.choice.mix(&said, &ALIKE)
    }

    /// Where an endpoint is kept; makes room for a new one while the limit allows.
    fn place(&mut self, name: &str) -> Option<usize> {
        let name = cut(name);
        if let Some(&place) = self.names.get(name) {
            return Some(place as usize);
        }
        if self.endpoints.len() >= self.config.endpoints {
            return None;
        }
        let place = self.endpoints.len();
        self.names.insert(name.to_owned(), u32::try_from(place).ok()?);
        self.endpoints.push(Endpoint::new(self.config.window.max(1)));
        Some(place)
    }
}

/// The part of an endpoint's name that counts.
fn cut(name: &str) -> &str {
    match name.char_indices().nth(NAME_MAX) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

/// A cost from its log: finite whatever the log.
fn cost(log: f64) -> f64 {
    if log.is_nan() { COST_MIN } else { log.clamp(-LOG_MAX, LOG_MAX).exp() }
}

/// Costs below count as this much: a log needs something.
pub const COST_MIN: f64 = 1e-9;
/// Requests between two trainings, at least.
const TRAINING_MIN: u64 = 200;
const LOG_MAX: f64 = 700.0;
/// Names of endpoints are cut after as many characters.
const NAME_MAX: usize = 256;
/// An endpoint of which more requests are known speaks for itself.
const POOLED_UNTIL: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const TAUS: [f64; 4] = [0.05, 0.5, 0.95, 0.999];

    fn said(model: &CostModel, endpoint: &str, size: f64) -> Option<[f64; 4]> {
        let mut out = [0.0; 4];
        model.predict(endpoint, &Parameters { numeric: &[size], categorical: &[] }, &TAUS, &mut out)?;
        Some(out)
    }

    fn observe(model: &mut CostModel, endpoint: &str, size: f64, cost: f64) {
        let parameters = Parameters { numeric: &[size], categorical: &[] };
        model.observe(&Outcome { endpoint, parameters, cost });
    }

    #[test]
    fn one_request_is_enough_for_an_answer_and_none_is_said_to_be_none() {
        let mut model = CostModel::new(Config::default());
        assert_eq!(said(&model, "a", 1.0), None);
        observe(&mut model, "a", 100.0, 40.0);
        let first = said(&model, "a", 100.0).unwrap();
        assert!((first[1] / 40.0).ln().abs() < 0.01 && first[2] > 44.0 && first[2] < 120.0, "{first:?}");
        // An endpoint never seen is answered from the others.
        assert!(said(&model, "b", 100.0).is_some());
        assert_eq!(model.seen("b"), 0);
    }

    #[test]
    fn a_larger_request_than_all_before_is_expected_to_need_up_to_as_much_more() {
        let mut model = CostModel::new(Config::default());
        for i in 0..40 {
            observe(&mut model, "a", 1e6 * (1.0 + 0.01 * f64::from(i)), 500.0);
        }
        let (known, beyond) = (said(&model, "a", 1.2e6).unwrap(), said(&model, "a", 1.4e7).unwrap());
        assert!(known[2] < 550.0, "{known:?}");
        assert!(beyond[2] > 2500.0 && beyond[1] < 1000.0, "{beyond:?}");
    }

    #[test]
    fn coverage_holds_through_a_jump_of_one_endpoint() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut model = CostModel::new(Config::default());
        let mut covered = [0.0; 2];
        for i in 0..6000 {
            let endpoint = if rng.bool() { "steady" } else { "jumps" };
            let size = 1e3 * (4.0 * rng.f64()).exp();
            let noise = (0.3 * (rng.f64() + rng.f64() + rng.f64() - 1.5)).exp();
            let factor = if endpoint == "jumps" && i >= 3000 { 1.6 } else { 1.0 };
            let cost = factor * noise * size.powf(0.7);
            if i >= 3400 {
                let side = usize::from(endpoint == "jumps");
                covered[side] += f64::from(u8::from(cost <= said(&model, endpoint, size).unwrap()[2]));
            }
            observe(&mut model, endpoint, size, cost);
        }
        for covered in covered {
            assert!((covered / 1300.0 - 0.95f64).abs() < 0.02, "{covered} of some 1300");
        }
    }

    #[test]
    fn nothing_that_comes_in_breaks_it_or_makes_it_grow_without_end() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut model = CostModel::new(Config { endpoints: 8, window: 16, reservoir: 64 });
        let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e308, 5e-324, 1.0, 7.5];
        let long = "x".repeat(1000);
        let mut bytes = 0;
        for i in 0..4000 {
            let name = if i % 3 == 0 { long.clone() } else { format!("endpoint {}", rng.u32(..100)) };
            let numeric = [odd[rng.usize(..8)], odd[rng.usize(..8)]];
            let kind = format!("{}", rng.u32(..));
            let parameters = Parameters { numeric: &numeric[..rng.usize(..3)], categorical: &[&kind, ""] };
            model.observe(&Outcome { endpoint: &name, parameters, cost: odd[rng.usize(..8)] });
            let mut out = [f64::NAN; 4];
            if model.predict(&name, &parameters, &TAUS, &mut out).is_some() {
                assert!(out.iter().all(|cost| cost.is_finite() && *cost >= 0.0), "{out:?}");
                assert!(out.windows(2).all(|pair| pair[0] <= pair[1]), "{out:?}");
            }
            if model.training_due() {
                let trained = model.training().fit(&mut crate::models::Pace::free()).unwrap();
                model.install(trained);
            }
            if i == 2000 {
                bytes = model.bytes();
            }
        }
        assert!(
            model.seen(&long) > 500 && model.bytes() < bytes * 2 && model.bytes() < 300_000,
            "{}",
            model.bytes()
        );
    }
}
