//! What is known about the costs of a route's requests, over all shards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use forecast::models::Pace;
use forecast::requests::{Config, CostModel, Outcome, Parameters};

use super::facts::Facts;
use super::ledger::Need;
use super::samples::SampleRing;
use crate::control::{Admission, Amount, CLASSES_MAX, COSTS_MAX, CostStats, Measure, RequestSample};

/// The cost models of a route and what was counted with them. They outlive table changes for as long as the same costs are
/// measured in the same way.
#[derive(Debug)]
pub(crate) struct RouteCosts {
    /// As the newest table has it: what is predicted and how much there is may change under it.
    admission: RwLock<Admission>,
    costs: Vec<Cost>,
    samples: Mutex<SampleRing>,
    /// Reservations that were raised while their request ran.
    outgrown: AtomicU64,
    /// Requests that were sent away because their turn would have come too late.
    hopeless: AtomicU64,
}

/// One cost, in millionths throughout.
#[derive(Debug)]
struct Cost {
    /// None where every request costs the same.
    model: Option<RwLock<CostModel>>,
    /// Expected of all requests that came.
    arrived: AtomicU64,
    /// Expected of requests that have been measured since.
    expected: AtomicU64,
    /// What those cost.
    measured: AtomicU64,
    /// Given back by requests that are over.
    released: AtomicU64,
    /// Given back per second while requests waited; 0 before any did.
    pace: AtomicU64,
    /// Wanted by those that wait, by class.
    waiting: [AtomicU64; CLASSES_MAX],
}

/// What a request is thought to need.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Prediction {
    /// What is reserved for it.
    pub(crate) need: Need,
    /// What it will cost on average.
    pub(crate) expected: Need,
}

impl RouteCosts {
    pub(crate) fn new(admission: &Admission) -> Self {
        let cost = |measure: &Measure| Cost {
            model: (*measure != Measure::One).then(|| RwLock::new(CostModel::new(Config::default()))),
            arrived: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            released: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            waiting: Default::default(),
        };
        Self {
            admission: RwLock::new(admission.clone()),
            costs: admission.costs.iter().map(|spec| cost(&spec.measure)).collect(),
            samples: Mutex::default(),
            outgrown: AtomicU64::new(0),
            hopeless: AtomicU64::new(0),
        }
    }

    /// Whether what was learned holds for another table's admission, too: the same parameters and costs.
    pub(crate) fn is_about(&self, other: &Admission) -> bool {
        let admission = self.admission.read().unwrap_or_else(PoisonError::into_inner);
        let alike =
            admission.costs.iter().zip(&other.costs).all(|(a, b)| a.name == b.name && a.measure == b.measure);
        alike
            && admission.costs.len() == other.costs.len()
            && admission.numbers == other.numbers
            && admission.names == other.names
    }

    /// Takes over what a new table says.
    pub(crate) fn renew(&self, admission: &Admission) {
        self.admission.write().unwrap_or_else(PoisonError::into_inner).clone_from(admission);
    }

    /// What a request with these parameters is thought to need; counts it as arrived.
    pub(crate) fn predict(&self, admission: &Admission, facts: &Facts) -> Prediction {
        let mut prediction = Prediction::default();
        for (index, (spec, cost)) in admission.costs.iter().zip(&self.costs).enumerate() {
            let said = cost.say(facts, f64::from(spec.quantile_milli) / 1000.0);
            let (expected, need) = match (&spec.measure, said) {
                (Measure::One, _) => (Amount::from_f64(1.0), Amount::from_f64(1.0)),
                (_, Some(said)) => said,
                (_, None) => (spec.initial, spec.initial),
            };
            (prediction.expected[index], prediction.need[index]) = (expected.micros(), need.micros());
            cost.arrived.fetch_add(expected.micros(), Ordering::Relaxed);
        }
        prediction
    }

    /// Learns what a request has cost; NaN where that is not known.
    pub(crate) fn learn(&self, facts: &Facts, expected: &Need, measured: &[f64; COSTS_MAX]) {
        for (index, cost) in self.costs.iter().enumerate() {
            if !measured[index].is_finite() {
                continue;
            }
            cost.expected.fetch_add(expected[index], Ordering::Relaxed);
            cost.measured.fetch_add(Amount::from_f64(measured[index]).micros(), Ordering::Relaxed);
            cost.observe(facts, measured[index]);
        }
    }

    /// Trains what is due for it. Takes up to some seconds, during which predictions and learning go on.
    pub(crate) fn train(&self) {
        for model in self.costs.iter().filter_map(|cost| cost.model.as_ref()) {
            if !model.read().unwrap_or_else(PoisonError::into_inner).training_due() {
                continue;
            }
            let training = model.write().unwrap_or_else(PoisonError::into_inner).training();
            match training.fit(&mut Pace::free()) {
                Ok(trained) => model.write().unwrap_or_else(PoisonError::into_inner).install(trained),
                Err(error) => tracing::warn!(%error, "training a cost model failed"),
            }
        }
    }

    /// A request of this class begins to wait for so much.
    pub(crate) fn join_queue(&self, class: u8, need: &Need) {
        for (cost, amount) in self.costs.iter().zip(need) {
            cost.waiting[usize::from(class)].fetch_add(*amount, Ordering::Relaxed);
        }
    }

    /// It waits no longer.
    pub(crate) fn leave_queue(&self, class: u8, need: &Need) {
        for (cost, amount) in self.costs.iter().zip(need) {
            cost.waiting[usize::from(class)].fetch_sub(*amount, Ordering::Relaxed);
        }
    }

    /// What those whose turn is before that of a newcomer of this class wait for.
    pub(crate) fn waiting_ahead(&self, class: u8) -> Need {
        let mut ahead = Need::default();
        for (ahead, cost) in ahead.iter_mut().zip(&self.costs) {
            *ahead =
                cost.waiting[..=usize::from(class)].iter().map(|amount| amount.load(Ordering::Relaxed)).sum();
        }
        ahead
    }

    /// A request is over and has given this back.
    pub(crate) fn released(&self, need: &Need) {
        for (cost, amount) in self.costs.iter().zip(need) {
            cost.released.fetch_add(*amount, Ordering::Relaxed);
        }
    }

    pub(crate) fn outgrew(&self) {
        self.outgrown.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_hopeless(&self) {
        self.hopeless.fetch_add(1, Ordering::Relaxed);
    }

    /// How long work of `ahead`, in millionths of each cost, takes at the pace at which it went lately; zero when that is
    /// not known.
    pub(crate) fn wait_s(&self, ahead: &Need) -> f64 {
        let pace = |cost: &Cost| cost.pace.load(Ordering::Relaxed);
        let waits = self.costs.iter().zip(ahead).filter(|(cost, _)| pace(cost) > 0);
        waits.map(|(cost, ahead)| *ahead as f64 / pace(cost) as f64).fold(0.0, f64::max)
    }

    /// Measures the pace; called regularly by one thread, with what it returned the last time and the seconds since.
    pub(crate) fn measure_pace(&self, before: &Need, seconds: f64) -> Need {
        let mut now = Need::default();
        for (index, cost) in self.costs.iter().enumerate() {
            now[index] = cost.released.load(Ordering::Relaxed);
            // While nobody waits, what is given back says how much came, not how much could be done.
            if cost.waiting() == 0 || seconds <= 0.0 {
                continue;
            }
            let latest = now[index].saturating_sub(before[index]) as f64 / seconds;
            let known = cost.pace.load(Ordering::Relaxed) as f64;
            let pace = if known == 0.0 { latest } else { known + (latest - known) * PACE_GAIN };
            cost.pace.store(pace as u64, Ordering::Relaxed);
        }
        now
    }

    /// A reading of all that is counted; `reserved` holds what is reserved over all backends.
    pub(crate) fn stats(&self, reserved: impl Fn(usize) -> Amount) -> Vec<CostStats> {
        let admission = self.admission.read().unwrap_or_else(PoisonError::into_inner);
        let amount = |atomic: &AtomicU64| Amount::from_micros(atomic.load(Ordering::Relaxed));
        let costs = self.costs.iter().zip(&admission.costs).enumerate();
        costs
            .map(|(index, (cost, spec))| CostStats {
                name: spec.name.clone(),
                per_instance: spec.per_instance,
                arrived: amount(&cost.arrived),
                expected: amount(&cost.expected),
                measured: amount(&cost.measured),
                reserved: reserved(index),
                waiting: Amount::from_micros(cost.waiting()),
                outgrown: self.outgrown.load(Ordering::Relaxed),
                hopeless: self.hopeless.load(Ordering::Relaxed),
            })
            .collect()
    }

    /// Samples that are numbered above `after`.
    pub(crate) fn samples_after(&self, after: u64) -> Vec<RequestSample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).after(after)
    }

    /// Learns from a request that was measured in an earlier life of the proxy. It is counted nowhere.
    pub(crate) fn recall(&self, sample: &RequestSample) {
        let facts = Facts::recalled(sample);
        for (cost, measured) in self.costs.iter().zip(&sample.measured) {
            cost.observe(&facts, *measured);
        }
    }

    /// Keeps a sample if the route wants as many.
    pub(crate) fn keep(&self, sample: RequestSample) {
        let per_second = self.admission.read().unwrap_or_else(PoisonError::into_inner).samples_per_second;
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).keep(sample, per_second);
    }
}

impl Cost {
    /// Wanted by all that wait.
    fn waiting(&self) -> u64 {
        self.waiting.iter().map(|amount| amount.load(Ordering::Relaxed)).sum()
    }

    fn observe(&self, facts: &Facts, measured: f64) {
        let Some(model) = &self.model else { return };
        let names = facts.names();
        let parameters = Parameters { numeric: &facts.numbers, categorical: &names };
        let outcome = Outcome { endpoint: &facts.endpoint, parameters, cost: measured };
        model.write().unwrap_or_else(PoisonError::into_inner).observe(&outcome);
    }

    /// Expected and reserved.
    fn say(&self, facts: &Facts, tau: f64) -> Option<(Amount, Amount)> {
        let model = self.model.as_ref()?.read().unwrap_or_else(PoisonError::into_inner);
        let names = facts.names();
        let parameters = Parameters { numeric: &facts.numbers, categorical: &names };
        let [a, b, c, d, e] = MEAN_TAUS;
        let mut said = [0.0; MEAN_TAUS.len() + 1];
        model.predict(&facts.endpoint, &parameters, &[a, b, c, d, e, tau], &mut said)?;
        let [middles @ .., reserved] = said;
        let mean = middles.iter().sum::<f64>() / middles.len() as f64;
        Some((Amount::from_f64(mean), Amount::from_f64(reserved)))
    }
}

/// Middles of equal shares of the distribution: their mean is about its mean.
const MEAN_TAUS: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
/// How much one measurement moves the pace.
const PACE_GAIN: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::CostSpec;

    fn admission() -> Admission {
        let cost = |name: &str, measure| CostSpec {
            name: name.into(),
            measure,
            per_instance: Amount::from_f64(4.0),
            quantile_milli: 900,
            is_spent: false,
            initial: Amount::from_f64(0.5),
        };
        Admission {
            numbers: vec!["query:n".parse().expect("source")],
            costs: vec![cost("seconds", Measure::Duration), cost("requests", Measure::One)],
            ..Admission::new()
        }
    }

    fn facts(n: f64) -> Facts {
        let parts = http::Request::get(format!("/?n={n}")).body(()).expect("valid").into_parts().0;
        Facts::of(&admission(), &parts, b"")
    }

    #[test]
    fn what_is_not_known_is_assumed_and_what_was_seen_is_learned() {
        let (admission, costs) = (admission(), RouteCosts::new(&admission()));
        assert_eq!(costs.predict(&admission, &facts(3.0)).need, [500_000, 1_000_000, 0, 0]);
        for i in 0..400 {
            let n = f64::from(1 + i % 50);
            costs.learn(&facts(n), &Need::default(), &[0.01 * n, 1.0, f64::NAN, f64::NAN]);
        }
        let small = Amount::from_micros(costs.predict(&admission, &facts(2.0)).need[0]).as_f64();
        let large = Amount::from_micros(costs.predict(&admission, &facts(40.0)).need[0]).as_f64();
        assert!((0.015..0.06).contains(&small) && (0.35..0.6).contains(&large), "{small} {large}");
    }

    #[test]
    fn the_pace_is_only_measured_while_somebody_waits() {
        let costs = RouteCosts::new(&admission());
        costs.released(&[1_000_000, 0, 0, 0]);
        let before = costs.measure_pace(&Need::default(), 1.0);
        assert_eq!(costs.wait_s(&[1_000_000, 0, 0, 0]), 0.0);
        costs.join_queue(1, &[5_000_000, 0, 0, 0]);
        assert_eq!((costs.waiting_ahead(0)[0], costs.waiting_ahead(1)[0]), (0, 5_000_000));
        costs.released(&[2_000_000, 0, 0, 0]);
        costs.measure_pace(&before, 1.0);
        assert_eq!(costs.wait_s(&[5_000_000, 0, 0, 0]), 2.5);
    }
}
