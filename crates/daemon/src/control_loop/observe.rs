//! What the control loop learns from readings of the proxy and of the instances.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecast::{Ensemble, Timestamp};
use history::{Sample, SeriesKey};
use planner::{Event, Phase, ReactionStep, Role};
use proxy::control::Stats;

use super::ControlLoop;
use super::workload::UsageNow;
use crate::convert;
use crate::instances::id_of;
use crate::proxy_process::ProxyNews;
use crate::recent::{METRICS, StepRecord};
use crate::recorder::{
    LATENCY_MAX_MS, LATENCY_P90_MS, LATENCY_P95_MS, PROXIED_RECEIVED, PROXIED_SENT, REACTION_DEMAND,
    REACTION_MISSED, REACTION_MISSED_TRULY, REACTION_READY, REQUESTS, Record, SESSIONS, TOTAL_PREFIX, clock,
};
use crate::request_samples;
use crate::routes::{backend_observed, load_observed};
use crate::signals::{BackendDelta, Reading, StepDone};
use crate::usage::UsageReading;

impl ControlLoop {
    pub(crate) fn proxy_news(&mut self, news: ProxyNews) {
        match news {
            ProxyNews::Read(stats) => self.proxy_read(&stats),
            ProxyNews::Silent(reason) => {
                self.proxy.connected = false;
                if !self.problems.contains_key("proxy_unreachable") {
                    self.note_own("proxy_unreachable", format!("the proxy does not answer: {reason}"));
                }
                let hint = self.proxy.silent_hint;
                self.problem("proxy_unreachable", format!("the proxy does not answer: {reason}"), hint);
            }
            ProxyNews::Succeeded { restart, result } => self.proxy_succeeded(*restart, result),
            ProxyNews::Restarted => {
                self.proxy.restarts += 1;
                self.proxy.table_doubtful = true;
                self.note_own("proxy_restarted", "the proxy was gone and has been started anew".to_owned());
                self.router.want(self.routes(), None);
            }
        }
    }

    fn proxy_read(&mut self, stats: &Stats) {
        self.proxy.connected = true;
        self.proxy.pid = Some(stats.pid);
        if self.solved("proxy_unreachable") {
            self.note_own("proxy_reachable", "the proxy answers again".to_owned());
        }
        let another =
            self.proxy.started_at.replace(stats.started_at).is_some_and(|before| before != stats.started_at);
        // None in force: it began anew, or somebody else has changed what it routes to.
        let doubtful = another || self.proxy.table_doubtful || stats.generation == 0;
        if doubtful && stats.generation < self.router.generation().max(1) {
            self.router.want(self.routes(), None);
        }
        let at = Timestamp::from_millis(i64::try_from(stats.at).unwrap_or(i64::MAX));
        for index in 0..self.workloads.len() {
            self.workload_read(index, at, stats);
        }
        self.published.stale = true;
    }

    fn workload_read(&mut self, index: usize, at: Timestamp, stats: &Stats) {
        let serving = self.serving(index);
        let workload = &mut self.workloads[index];
        let Some(counted) = stats.workload(&workload.config.name) else { return };
        workload.counted = Some(Arc::new(counted.clone()));
        workload.totals.read(stats.started_at, counted);
        workload.costs = counted.costs.iter().map(request_samples::cost).collect();
        workload.cache = Some(counted.cache);
        let reading = Reading { at, proxy_started_at: stats.started_at, stats: counted, serving };
        let observed = workload.meter.read(reading);
        let id = workload.id.clone();
        let counted_here = workload.metered();
        for backend in &counted.backends {
            let now = workload.backends.entry(backend.id).or_default();
            (now.in_flight, now.healthy) = (backend.in_flight, backend.healthy);
        }
        workload.backends.retain(|id, _| counted.backend(*id).is_some());
        for BackendDelta { id, latency, .. } in &observed.backends {
            if let (Some(p50), Some(p99)) = (latency.quantile(0.5), latency.quantile(0.99)) {
                workload.backends.entry(*id).or_default().latency = Some((p50, p99));
            }
        }
        if let Some(load) = observed.load.filter(|_| counted_here) {
            self.workloads[index].load = Some(load);
            self.handle(index, load_observed(&id, load));
        }
        for delta in observed.backends.iter().filter(|delta| delta.requests > 0 || delta.in_flight > 0) {
            self.handle(index, backend_observed(&id, delta));
        }
        for change in observed.health {
            self.health_told(index, change);
        }
        for step in observed.steps {
            self.step_over(index, step);
        }
        self.answer_drains(index, stats.generation);
        self.raise(index, counted);
    }

    /// Whether at least one instance of the workload is in traffic.
    fn serving(&self, index: usize) -> bool {
        let workload = &self.workloads[index];
        !workload.unasked.is_empty()
            || workload.weights.iter().any(|(id, weight)| *weight > 0 && workload.places.contains_key(id))
    }

    /// Closes steps for which no reading or sample came.
    pub(crate) fn close_silent_steps(&mut self, now: Timestamp) {
        for index in 0..self.workloads.len() {
            for step in self.workloads[index].meter.advance(now) {
                self.step_over(index, step);
            }
            let missing =
                self.workloads[index].pushed.as_mut().map(|pushed| pushed.advance(now)).unwrap_or_default();
            for start in missing {
                self.demand_observed(index, start, None, 0.0);
            }
        }
    }

    /// A step at the proxy is over.
    fn step_over(&mut self, index: usize, step: StepDone) {
        let (p50, p99) = (step.latency.quantile(0.5), step.latency.quantile(0.99));
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let workload = &mut self.workloads[index];
        workload.latency_step = api::LatencySummary {
            count: step.latency.count(),
            p50: p50.map(ms),
            p99: p99.map(ms),
            max: step.latency.quantile(1.0).map(ms),
        };
        let mut further = Vec::new();
        for (metric, quantile) in [(LATENCY_P90_MS, 0.9), (LATENCY_P95_MS, 0.95), (LATENCY_MAX_MS, 1.0)] {
            further.extend(step.latency.quantile(quantile).map(|latency| (metric, ms(latency))));
        }
        if let Some(demand) = step.demand {
            let seconds = workload.config.step.as_secs_f64();
            further.push((REQUESTS, demand * seconds));
            let [received, sent] = workload.totals.traffic_of_step();
            further.push((PROXIED_RECEIVED, received as f64 / seconds));
            further.push((PROXIED_SENT, sent as f64 / seconds));
            further.extend(workload.load.map(|load| (SESSIONS, f64::from(load.in_flight))));
        }
        let elsewhere = !workload.metered();
        let mut values = [None; METRICS.len()];
        (values[9], values[10]) = (p50.map(ms), p99.map(ms));
        values[11] = step.demand.map(|_| step.errors);
        if elsewhere {
            // Demand of this step comes, or came, by another way.
            self.record_step(index, step.start, values, &further);
            return;
        }
        values[0] = step.demand;
        values[8] = step.demand.map(|_| step.missed);
        self.fill_capacity(index, step.start, &mut values);
        self.record_step(index, step.start, values, &further);
        self.tell_demand(index, step.start, step.demand, step.missed);
    }

    /// Demand of a step came by the API, or did not come in time.
    pub(crate) fn demand_observed(
        &mut self,
        index: usize,
        start: Timestamp,
        demand: Option<f64>,
        missed: f64,
    ) {
        let mut values = [None; METRICS.len()];
        values[0] = demand;
        values[8] = demand.map(|_| missed);
        self.fill_capacity(index, start, &mut values);
        self.record_step(index, start, values, &[]);
        self.tell_demand(index, start, demand, missed);
    }

    fn tell_demand(&mut self, index: usize, start: Timestamp, demand: Option<f64>, missed: f64) {
        let workload = self.workloads[index].id.clone();
        self.workloads[index].demand_last = demand;
        let begun = Instant::now();
        self.handle(
            index,
            Event::DemandObserved { workload: workload.clone(), step_start: start, demand, missed },
        );
        self.metrics.planned(begun.elapsed());
        self.count_covariates(index);
        let snapshot = self.planner.snapshot();
        let Some(view) = snapshot.workload(&workload) else { return };
        let (forecaster, share) = (Arc::new(view.forecaster.clone()), view.budget.missed_share());
        self.record_reaction(index, start, view.reaction);
        let lead = view.lead_cold;
        self.journal_noticed(index, &forecaster);
        let workload = &mut self.workloads[index];
        workload.note_missed_share(start, share);
        // What is forecast now for one cold start ahead is compared with what comes.
        let step = workload.config.step;
        let ahead = (lead.as_secs_f64() / step.as_secs_f64()).ceil().clamp(1.0, AHEAD_STEPS_MAX) as usize;
        let forecast = forecaster.forecast(ahead, &[0.05, 0.5, 0.95]);
        if forecaster.observed() > 0 && forecast.steps() == ahead {
            let row = &forecast.values[ahead - 1];
            workload.ahead.insert(forecast.begins_at(ahead - 1), [row[0], row[1], row[2]]);
        }
        workload.forecaster = forecaster;
        self.train_if_due(index);
        self.ask_externals(index);
    }

    /// Journals what the forecast has noticed since the last time.
    pub(super) fn journal_noticed(&mut self, index: usize, forecaster: &Ensemble) {
        let workload = &mut self.workloads[index];
        let (name, unit, now) = (workload.id.to_string(), workload.config.unit.clone(), clock());
        let noticed = std::mem::replace(&mut workload.noticed, forecaster.noticed());
        self.notes
            .extend(forecaster.notices(noticed).map(|notice| convert::notice(now, &name, &unit, notice)));
    }

    /// Instances and their capacity, and what had been forecast for this step.
    fn fill_capacity(&mut self, index: usize, start: Timestamp, values: &mut [Option<f64>; METRICS.len()]) {
        let snapshot = self.planner.snapshot();
        let workload = &mut self.workloads[index];
        if let Some(view) = snapshot.workload(&workload.id) {
            let ready = || view.instances.iter().filter(|instance| instance.phase() == Phase::Ready);
            let active = ready().filter(|instance| instance.role() == Role::Active).count() as f64;
            let standby = ready().filter(|instance| instance.role() == Role::Standby).count() as f64;
            (values[4], values[5]) = (Some(active * view.capacity), Some(standby * view.capacity));
            (values[6], values[7]) = (Some(active), Some(standby));
        }
        let foreseen = workload.ahead.remove(&start);
        workload.ahead.retain(|at, _| *at > start);
        if let Some([low, median, high]) = foreseen {
            (values[1], values[2], values[3]) = (Some(median), Some(low), Some(high));
        }
    }

    /// Keeps what is known of a step; `further` are metrics that the charts do not show.
    fn record_step(
        &mut self,
        index: usize,
        at: Timestamp,
        values: [Option<f64>; METRICS.len()],
        further: &[(&'static str, f64)],
    ) {
        let workload = &self.workloads[index];
        let name = workload.name();
        let mut samples: Vec<Sample> = METRICS
            .iter()
            .zip(values)
            .filter_map(|(metric, value)| {
                Some(Sample::new(SeriesKey::new(name, *metric), at, value.filter(|v| v.is_finite())?))
            })
            .collect();
        let mut totals: BTreeMap<&'static str, f64> = BTreeMap::new();
        for (id, usage) in &workload.usage {
            for (metric, value) in usage.values() {
                let key = SeriesKey::new(name, metric).with_label("instance", id.to_string());
                samples.push(Sample::new(key, at, value));
                *totals.entry(metric).or_default() += value;
            }
        }
        // Instances come and go; what a forecast needs is the sum of them.
        let totals = totals.into_iter().filter(|(_, value)| value.is_finite());
        samples.extend(totals.map(|(metric, value)| {
            Sample::new(SeriesKey::new(name, format!("{TOTAL_PREFIX}{metric}")), at, value)
        }));
        samples.extend(
            further
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(metric, value)| Sample::new(SeriesKey::new(name, *metric), at, *value)),
        );
        self.recent.push_step(name, StepRecord { at, values });
        self.recorder.record(Record::Samples(samples));
    }

    /// Keeps what reacting alone would have missed in a step, beside what was.
    fn record_reaction(&self, index: usize, start: Timestamp, step: Option<ReactionStep>) {
        let Some(step) = step.filter(|step| step.start == start) else { return };
        let values = [
            (REACTION_DEMAND, step.demand),
            (REACTION_MISSED, step.missed),
            (REACTION_MISSED_TRULY, step.missed_truly),
            (REACTION_READY, f64::from(step.ready)),
        ];
        let name = self.workloads[index].name();
        let samples = values.map(|(metric, value)| Sample::new(SeriesKey::new(name, metric), start, value));
        self.recorder.record(Record::Samples(samples.to_vec()));
    }

    /// Takes in what the instances used.
    pub(crate) fn usage_read(&mut self, readings: Vec<UsageReading>) {
        let mut sizing_facts = Vec::new();
        for UsageReading { name, at, usage } in readings {
            let found = self
                .workloads
                .iter_mut()
                .enumerate()
                .find_map(|(index, workload)| Some((id_of(workload.name(), &name)?, index, workload)));
            let Some((id, index, workload)) =
                found.filter(|(id, _, workload)| workload.places.contains_key(id))
            else {
                continue;
            };
            let now = UsageNow::read(at, usage, workload.usage.get(&id));
            let before = workload.usage.insert(id, now);
            let facts = workload.sizing_facts(id, before.as_ref());
            sizing_facts.extend(facts.into_iter().map(|event| (index, event)));
        }
        for (index, event) in sizing_facts {
            self.handle(index, event);
        }
        self.published.stale = true;
    }

    /// Says so when history cannot be written, and when it can again.
    pub(crate) fn history_health(&mut self) {
        let status = self.recorder.health().status();
        match (status.state, status.detail) {
            (api::HistoryState::Ok, _) => {
                if self.solved("history") {
                    self.note_own("history_recovered", "history is written again".to_owned());
                }
            }
            (api::HistoryState::Full | api::HistoryState::Failing, detail) => {
                let message = format!("history is not written: {}", detail.unwrap_or_default());
                let kind =
                    if status.state == api::HistoryState::Full { "history_full" } else { "history_failing" };
                if !self.problems.contains_key("history") {
                    self.note_own(kind, message.clone());
                }
                let hint = "serving and scaling go on; free space on the disk of the state folder";
                self.problem("history", message, hint);
            }
        }
    }
}

const AHEAD_STEPS_MAX: f64 = 288.0;
