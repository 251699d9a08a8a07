//! What the choice of an instance does to latency, by itself: requests of very different cost, instances that each work
//! them off one after another, and a balancing policy between them. No planner, nothing that starts or stops.
//!
//! The policy is told a predicted cost, which may be off by a factor; everything else it sees is exact. First come, first
//! served is the hardest discipline for a small request behind a large one, and that of every pool of workers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use balance::{Ask, Dispatcher, PeakEwma, Policy, Targets, Totals};

use crate::requests::exponential;

/// Instances and how well cost is predicted.
#[derive(Debug, Clone)]
pub struct Bench {
    /// Instances, by weight; one of twice the weight works twice as fast.
    pub weights: Vec<u32>,
    /// Standard deviation of the logarithm of predicted cost over real cost; 0: predictions are exact.
    pub error: f64,
    /// Of all randomness.
    pub seed: u64,
}

/// A request: when it comes and what it costs, in time that an instance of mean weight takes for a mean request.
pub type Request = (f64, f64);

/// Latencies of a run, in units of the mean cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies {
    /// From arrival to the end of service, sorted.
    pub total: Vec<f64>,
    /// From arrival to the beginning of service, sorted: all that a policy can do something about.
    pub waiting: Vec<f64>,
}

/// The value that this share of sorted ones does not exceed; 0 without any.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (share * sorted.len() as f64) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

impl Bench {
    /// So many requests with costs drawn from `costs` that arrive as a Poisson process with `load` of what the instances can do.
    pub fn poisson(&self, costs: &[f64], load: f64, requests: usize) -> Vec<Request> {
        let mean = costs.iter().sum::<f64>() / costs.len() as f64;
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut now = 0.0;
        let mut next = |_| {
            now += exponential(&mut rng) / (load * self.weights.len() as f64);
            (now, costs[rng.usize(..costs.len())] / mean)
        };
        (0..requests).map(&mut next).collect()
    }

    /// Recorded requests, given by time and cost in any units, sped up or slowed down to `load` on average.
    pub fn recorded(&self, requests: &[Request], load: f64) -> Vec<Request> {
        let (Some(first), Some(last)) = (requests.first(), requests.last()) else { return Vec::new() };
        let mean = requests.iter().map(|(_, cost)| cost).sum::<f64>() / requests.len() as f64;
        let span = requests.len() as f64 / (load * self.weights.len() as f64);
        let scale = span / (last.0 - first.0).max(f64::MIN_POSITIVE);
        requests.iter().map(|(at, cost)| ((at - first.0) * scale, cost / mean)).collect()
    }

    /// Serves requests, in the order of their arrival, by a policy.
    pub fn run(&self, policy: Policy, requests: &[Request]) -> Latencies {
        let targets: Vec<(u64, u32)> = (0..).zip(self.weights.iter().copied()).collect();
        let dispatcher = Dispatcher::new(policy, &targets);
        let mut plane = Plane::new(&self.weights);
        // A stream each, so that every policy meets the same predictions.
        let [mut errors, mut choices] = [1, 2].map(|n| fastrand::Rng::with_seed(self.seed ^ n));
        let mut latencies = Latencies { total: Vec::new(), waiting: Vec::new() };
        for &(at, cost) in requests {
            plane.now = at;
            plane.settle();
            // A sum of twelve uniform numbers is normal enough.
            let deviation = (0..12).map(|_| errors.f64()).sum::<f64>() - 6.0;
            let predicted = (cost * (self.error * deviation).exp()) as f32;
            let ask = Ask { key: None, work: predicted };
            let Some(index) = dispatcher.pick(ask, &mut plane, || choices.u64(..)) else { continue };
            let (waiting, total) = plane.take(index, cost, predicted);
            latencies.waiting.push(waiting);
            latencies.total.push(total);
        }
        latencies.waiting.sort_by(f64::total_cmp);
        latencies.total.sort_by(f64::total_cmp);
        latencies
    }
}

/// The instances. Time is in units in which an instance of mean weight serves a request of mean cost.
struct Plane {
    now: f64,
    instances: Vec<Instance>,
    departures: BinaryHeap<Reverse<Departure>>,
    /// Mean of the estimated latencies, and when it is brought up to date next.
    baseline: (f64, f64),
}

struct Instance {
    weight: f64,
    /// Relative to the mean instance.
    speed: f64,
    free_at: f64,
    in_flight: u32,
    work: f64,
    latency: PeakEwma,
}

/// In nanoseconds, so that it has an order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Departure {
    at: u64,
    latency: u64,
    instance: usize,
    predicted: u32,
}

impl Plane {
    fn new(weights: &[u32]) -> Self {
        let mean = weights.iter().copied().map(f64::from).sum::<f64>() / weights.len() as f64;
        let instance = |&weight: &u32| Instance {
            weight: weight.into(),
            speed: f64::from(weight) / mean,
            free_at: 0.0,
            in_flight: 0,
            work: 0.0,
            latency: PeakEwma::new(),
        };
        let instances = weights.iter().map(instance).collect();
        Self { now: 0.0, instances, departures: BinaryHeap::new(), baseline: (1.0, 0.0) }
    }

    /// Waiting and total latency.
    fn take(&mut self, index: usize, cost: f64, predicted: f32) -> (f64, f64) {
        let instance = &mut self.instances[index];
        let begins = instance.free_at.max(self.now);
        instance.free_at = begins + cost / instance.speed;
        instance.in_flight += 1;
        instance.work += f64::from(predicted);
        let latency = instance.free_at - self.now;
        let nanos = |time: f64| (time * 1e9) as u64;
        let (at, predicted) = (nanos(instance.free_at), predicted.to_bits());
        self.departures.push(Reverse(Departure { at, latency: nanos(latency), instance: index, predicted }));
        (begins - self.now, latency)
    }

    /// Lets everything leave that is over.
    fn settle(&mut self) {
        let now = (self.now * 1e9) as u64;
        let (mut baseline, due) = self.baseline;
        if self.now >= due {
            let now = Duration::from_secs_f64(self.now);
            let estimates =
                self.instances.iter().map(|instance| instance.latency.estimate(now, baseline, DECAY));
            baseline = estimates.sum::<f64>() / self.instances.len() as f64;
            self.baseline = (baseline, self.now + REFRESH);
        }
        while let Some(Reverse(departure)) = self.departures.peek().filter(|next| next.0.at <= now) {
            let instance = &mut self.instances[departure.instance];
            instance.in_flight -= 1;
            // What rounding leaves must not add up.
            instance.work -= f64::from(f32::from_bits(departure.predicted));
            if instance.in_flight == 0 {
                instance.work = 0.0;
            }
            let [at, latency] = [departure.at, departure.latency].map(Duration::from_nanos);
            instance.latency.observe(at, latency, baseline, DECAY);
            self.departures.pop();
        }
    }
}

impl Targets for Plane {
    fn is_usable(&mut self, _index: usize) -> bool {
        true
    }

    fn in_flight(&mut self, index: usize) -> u32 {
        self.instances[index].in_flight
    }

    fn latency_s(&mut self, index: usize) -> f64 {
        let now = Duration::from_secs_f64(self.now);
        self.instances[index].latency.estimate(now, self.baseline.0, DECAY)
    }

    fn baseline_s(&self) -> f64 {
        self.baseline.0
    }

    fn work(&mut self, index: usize) -> f64 {
        self.instances[index].work
    }

    fn totals(&mut self) -> Totals {
        self.instances.iter().fold(Totals::default(), |sum, instance| Totals {
            weight: sum.weight + instance.weight,
            in_flight: sum.in_flight + u64::from(instance.in_flight),
        })
    }
}

/// Between two refreshes of the baseline.
const REFRESH: f64 = 0.5;
/// Of latency estimates.
const DECAY: Duration = Duration::from_secs(20);
