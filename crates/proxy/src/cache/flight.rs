//! Requests that miss the same at the same time: one asks a backend, the others wait for what it gets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::timeout_at;

use super::key::Key;

/// The questions that are being asked.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<BTreeMap<Question, watch::Receiver<Flight>>>);

/// An address with the variant of it, as far as that is known.
pub(super) type Question = (Key, Box<[u8]>);

/// How far the one that asks has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    /// Asking, or receiving the response.
    Up,
    /// What came is kept.
    Landed,
    /// What came is for nobody else.
    Alone,
}

/// What a request that waited is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Look again: it is kept, or whoever asked has given up.
    Look,
    /// Ask by itself.
    Ask,
}

/// The part that falls to a request.
pub(super) enum Part {
    /// It asks.
    Leads(Leader),
    /// It waits.
    Follows(Follower),
}

impl Flights {
    pub(super) fn join(self: &Arc<Self>, question: Question) -> Part {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&question) {
            return Part::Follows(Follower(flight.clone()));
        }
        let (sender, receiver) = watch::channel(Flight::Up);
        flights.insert(question.clone(), receiver);
        Part::Leads(Leader { flights: Arc::clone(self), question, sender })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Question, watch::Receiver<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to ask for all that wait. Dropped without a word, the next one asks.
#[derive(Debug)]
pub(super) struct Leader {
    flights: Arc<Flights>,
    question: Question,
    sender: watch::Sender<Flight>,
}

impl Leader {
    /// What came is kept.
    pub(super) fn landed(self) {
        self.end(Flight::Landed);
    }

    /// What came is for nobody else.
    pub(super) fn alone(self) {
        self.end(Flight::Alone);
    }

    /// Whether anybody waits.
    pub(super) fn is_followed(&self) -> bool {
        // One receiver is the one that others are given copies of.
        self.sender.receiver_count() > 1
    }

    fn end(&self, flight: Flight) {
        // Nobody may join what is over.
        self.flights.lock().remove(&self.question);
        self.sender.send_replace(flight);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if *self.sender.borrow() == Flight::Up {
            self.flights.lock().remove(&self.question);
        }
    }
}

/// A place among those that wait.
pub(super) struct Follower(watch::Receiver<Flight>);

impl Follower {
    /// Waits until the other has an answer, at the latest until `deadline`.
    pub(super) async fn wait(mut self, deadline: Instant) -> Waited {
        match timeout_at(deadline.into(), self.0.wait_for(|flight| *flight != Flight::Up)).await {
            Ok(Ok(flight)) if *flight == Flight::Landed => Waited::Look,
            // The one that asked has left.
            Ok(Err(_)) => Waited::Look,
            Ok(Ok(_)) | Err(_) => Waited::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn question() -> Question {
        (Arc::from(&b"a"[..]), Box::default())
    }

    fn pair(flights: &Arc<Flights>) -> (Leader, Follower) {
        match (flights.join(question()), flights.join(question())) {
            (Part::Leads(leader), Part::Follows(follower)) => (leader, follower),
            _ => panic!("the first leads, the second follows"),
        }
    }

    #[tokio::test]
    async fn followers_learn_how_it_ended() {
        let flights = Arc::<Flights>::default();
        let soon = || Instant::now() + Duration::from_secs(5);
        let (leader, follower) = pair(&flights);
        leader.landed();
        assert_eq!(follower.wait(soon()).await, Waited::Look);
        let (leader, follower) = pair(&flights);
        leader.alone();
        assert_eq!(follower.wait(soon()).await, Waited::Ask);
        let (leader, follower) = pair(&flights);
        drop(leader);
        assert_eq!(follower.wait(soon()).await, Waited::Look);
        let (_leader, follower) = pair(&flights);
        assert_eq!(follower.wait(Instant::now()).await, Waited::Ask);
    }

    #[test]
    fn what_has_ended_leaves_nothing_behind() {
        let flights = Arc::<Flights>::default();
        drop(pair(&flights));
        pair(&flights).0.landed();
        pair(&flights).0.alone();
        assert!(flights.lock().is_empty());
    }
}
