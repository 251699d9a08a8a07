//! Whether nodes are there: what their engines and the instances on them say, and what follows from it.
//!
//! An engine that is silent is no proof of anything: it restarts, it is updated, it hangs. As long as an instance of it answers,
//! only control is lost, and traffic goes on. When both are silent for long enough, the node is lost; unless no other is there,
//! because then it may be us who are cut off, and nothing could be replaced anyway. One that is back must answer without a break
//! for a while, longer with every loss, so that a node which comes and goes is left alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use provider::{DockerProvider, EngineHealth, InstanceInfo, Providers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::error::chain;
use crate::inventory::Size;

/// What the watcher of engines tells.
#[derive(Debug)]
pub(crate) enum EngineNews {
    /// What each engine and its instances say now.
    Read(Vec<EngineReading>),
    /// What was found on a node that is back, or why it is not; and its size, where that was not known.
    TakenBack { node: String, found: Result<Vec<InstanceInfo>, String>, size: Option<Size> },
}

/// One engine at one moment.
#[derive(Debug)]
pub(crate) struct EngineReading {
    pub(crate) node: String,
    /// Set while the engine does not answer: for how long by now, and why.
    pub(crate) silent: Option<(Duration, String)>,
    /// It is silent, but one of its instances answered us just now.
    pub(crate) heard: bool,
}

/// Looks at the engines once a second until nobody listens.
pub(crate) async fn watch(provider: Arc<Providers>, news: mpsc::Sender<EngineNews>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u64.. {
        ticks.tick().await;
        let reading = provider.engines().map(|(node, engine)| read(node, engine, round));
        if news.send(EngineNews::Read(join_all(reading).await)).await.is_err() {
            return;
        }
    }
}

async fn read(node: &str, engine: &DockerProvider, round: u64) -> EngineReading {
    let health = engine.health().borrow().clone();
    let mut reading = EngineReading { node: node.to_owned(), silent: None, heard: false };
    if let EngineHealth::Lost { reason, since } = health {
        let silent = since.elapsed();
        // Each question stays with a parked one until it is thawed. And after a while one that nobody can promote is no good.
        let parked = round.is_multiple_of(PARKED_ROUNDS) && silent < PARKED_COUNT_FOR;
        reading.heard = engine.is_heard(parked, PATIENCE).await;
        reading.silent = Some((silent, reason));
    }
    reading
}

/// Fetches images that an engine does not have, so that it is warm: no start on it has to wait for that.
pub(crate) async fn fetch_images(provider: Arc<Providers>, node: String, images: Vec<String>) {
    let Some((_, engine)) = provider.engines().find(|(name, _)| *name == node) else { return };
    for image in images {
        if let Err(error) = engine.pull(&image, false).await {
            tracing::warn!(node, image, error = chain(&error), "an image cannot be fetched beforehand");
        }
    }
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    /// Control is lost: the engine is silent, instances answer or may.
    Silent,
    Lost,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    FellSilent,
    /// The engine answers again; nothing was given up.
    SpokeAgain,
    Lost,
    /// It was lost, and answers for long enough to be taken back.
    Back,
}

/// The judgement about one node.
#[derive(Debug)]
pub(crate) struct Vigil {
    standing: Standing,
    lost_after: Duration,
    /// When an instance was heard last while the engine was silent.
    heard_at: Option<Instant>,
    /// Since when it has answered without a break.
    steady_since: Option<Instant>,
    /// For how long it must have done so to be taken back.
    back_after: Duration,
    /// When it was taken back last.
    back_at: Option<Instant>,
}

impl Vigil {
    /// `there`: its engine answers.
    pub(crate) fn new(there: bool, lost_after: Duration) -> Vigil {
        let standing = if there { Standing::Up } else { Standing::Lost };
        let back_after = BACK_AFTER_MIN;
        Vigil { standing, lost_after, heard_at: None, steady_since: None, back_after, back_at: None }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Takes in a reading. `serving`: the proxy says that an instance on the node is healthy. `elsewhere`: another node is up.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        reading: &EngineReading,
        serving: bool,
        elsewhere: bool,
    ) -> Option<Turn> {
        let Some((silent, _)) = &reading.silent else { return self.answers(now) };
        self.steady_since = None;
        if reading.heard {
            self.heard_at = Some(now);
        }
        let heard = self.heard_at.is_some_and(|at| now.duration_since(at) < self.lost_after / 2);
        match self.standing {
            Standing::Lost => None,
            Standing::Up | Standing::Silent
                if *silent >= self.lost_after && !heard && !serving && elsewhere =>
            {
                self.lose(now);
                Some(Turn::Lost)
            }
            Standing::Up => {
                self.standing = Standing::Silent;
                Some(Turn::FellSilent)
            }
            Standing::Silent => None,
        }
    }

    fn answers(&mut self, now: Instant) -> Option<Turn> {
        let steady = now.duration_since(*self.steady_since.get_or_insert(now));
        self.heard_at = None;
        match self.standing {
            Standing::Silent if steady >= STEADY => {
                self.standing = Standing::Up;
                Some(Turn::SpokeAgain)
            }
            Standing::Lost if steady >= self.back_after => {
                // Should that fail, it is tried again after as long.
                self.steady_since = None;
                Some(Turn::Back)
            }
            Standing::Up | Standing::Silent | Standing::Lost => None,
        }
    }

    fn lose(&mut self, now: Instant) {
        let again = self.back_at.is_some_and(|at| now.duration_since(at) < FORGIVEN_AFTER);
        self.back_after = if again { (self.back_after * 2).min(BACK_AFTER_MAX) } else { BACK_AFTER_MIN };
        self.standing = Standing::Lost;
    }

    /// What was on it has been taken over.
    pub(crate) fn taken_back(&mut self, now: Instant) {
        (self.standing, self.back_at) = (Standing::Up, Some(now));
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an instance that is asked because its engine is silent.
const PATIENCE: Duration = Duration::from_secs(1);
/// In how many rounds parked instances are asked once, ...
const PARKED_ROUNDS: u64 = 4;
/// ... and for how long that counts.
const PARKED_COUNT_FOR: Duration = Duration::from_secs(60);
/// How long an engine must have answered before its node gets new instances again.
const STEADY: Duration = Duration::from_secs(2);
/// The same after a loss: at first, ...
const BACK_AFTER_MIN: Duration = Duration::from_secs(5);
/// ... and at most, doubled with every loss ...
const BACK_AFTER_MAX: Duration = Duration::from_secs(300);
/// ... that comes within this time of the return before.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that is looked at once a second.
    struct World {
        vigil: Vigil,
        now: Instant,
        silent: Option<u64>,
        elsewhere: bool,
    }

    impl World {
        fn new() -> World {
            let vigil = Vigil::new(true, Duration::from_secs(10));
            World { vigil, now: Instant::now(), silent: None, elsewhere: true }
        }

        /// Lets so many seconds pass; every turn with the second in which it came.
        fn pass(&mut self, seconds: u64, engine: bool, heard: bool, serving: bool) -> Vec<(u64, Turn)> {
            let mut turns = Vec::new();
            for second in 1..=seconds {
                self.now += Duration::from_secs(1);
                self.silent = if engine { None } else { Some(self.silent.unwrap_or(0) + 1) };
                let silent = self.silent.map(|s| (Duration::from_secs(s), "gone".to_owned()));
                let reading = EngineReading { node: "a".to_owned(), silent, heard };
                let turn = self.vigil.look(self.now, &reading, serving, self.elsewhere);
                if turn == Some(Turn::Back) {
                    self.vigil.taken_back(self.now);
                }
                turns.extend(turn.map(|turn| (second, turn)));
            }
            turns
        }
    }

    #[test]
    fn a_node_is_lost_only_when_engine_and_instances_are_silent() {
        for (heard, serving) in [(true, false), (false, true), (true, true)] {
            let mut world = World::new();
            assert_eq!(world.pass(3600, false, heard, serving), [(1, Turn::FellSilent)]);
            assert_eq!(world.pass(10, true, false, false), [(3, Turn::SpokeAgain)]);
        }
        let mut world = World::new();
        assert_eq!(world.pass(60, false, false, false), [(1, Turn::FellSilent), (10, Turn::Lost)]);
    }

    #[test]
    fn the_only_node_is_never_given_up() {
        let mut world = World::new();
        world.elsewhere = false;
        assert_eq!(world.pass(3600, false, false, false), [(1, Turn::FellSilent)]);
        world.elsewhere = true;
        assert_eq!(world.pass(60, false, false, false), [(1, Turn::Lost)]);
    }

    #[test]
    fn instances_that_fall_silent_later_are_given_half_of_the_time() {
        let mut world = World::new();
        assert_eq!(world.pass(60, false, true, false), [(1, Turn::FellSilent)]);
        assert_eq!(world.pass(60, false, false, false), [(5, Turn::Lost)]);
    }

    #[test]
    fn a_short_silence_is_nothing() {
        let mut world = World::new();
        for _ in 0..100 {
            assert_eq!(world.pass(9, false, false, false), [(1, Turn::FellSilent)]);
            assert_eq!(world.pass(5, true, false, false), [(3, Turn::SpokeAgain)]);
        }
    }

    #[test]
    fn a_node_that_comes_and_goes_is_left_alone_for_longer_and_longer() {
        let mut world = World::new();
        let mut turns = 0;
        // An hour of ten bad and twenty good seconds.
        for _ in 0..120 {
            turns += world.pass(12, false, false, false).len();
            turns += world.pass(20, true, false, false).len();
        }
        assert!((2..=10).contains(&turns), "{turns}");
        assert_eq!(world.pass(600, true, false, false).len(), 1, "it is used again when it stays");
        world.pass(3600, true, false, false);
        world.pass(12, false, false, false);
        assert_eq!(world.pass(30, true, false, false), [(6, Turn::Back)], "and is forgiven");
    }
}
