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

    /// Whether enough has come since the last training to make another one worth its time: a quarter of what is kept.
    pub fn training_due(&self) -> bool {
        self.observed - self.trained_at >= (self.reservoir.len() as u64 / 4).max(TRAINING_MIN)
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
        self.names.get(endpoint).map_or(0, |&place| self.endpoints[place as usize].seen())
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
        let Some(&place) = self.names.get(endpoint) else { return Some((self.pooled(row)?, 0)) };
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
        if let Some(&place) = self.names.get(name) {
            return Some(place as usize);
        }
        if self.endpoints.len() >= self.config.endpoints {
            return None;
        }
        let place = self.endpoints.len();
        self.names.insert(name.chars().take(NAME_MAX).collect(), u32::try_from(place).ok()?);
        self.endpoints.push(Endpoint::new(self.config.window.max(1)));
        Some(place)
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
