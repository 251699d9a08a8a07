//! What the tests of crashes share: a repository that is changed for ever, and its journal played back.
//!
//! A change and its entry in the journal are one transaction. So after any crash the journal, played back from its
//! beginning, must give exactly the versions and states that the repository has; anything half done would differ.

use std::collections::{BTreeMap, BTreeSet};

use forecast::Timestamp;

use super::{By, Change, Description, Fingerprint, ModelEvent, ModelId, ModelLimits, ModelState, Models};
use super::{Promotion, rows};
use crate::limit::QUERY_RECORDS_MAX;
use crate::store::Store;

pub(crate) const WORKLOAD: &str = "web";
const MODELS: [&str; 2] = ["gbdt", "lstm"];
/// So few that most changes remove something.
const LIMITS: ModelLimits = ModelLimits { versions_max: 8, bytes_max: 40_000 };

pub(crate) fn at(n: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + n)
}

pub(crate) fn by() -> By {
    By::new("trainer", "nightly")
}

pub(crate) fn described(workload: &str, model: &str) -> Description {
    Description {
        workload: workload.to_owned(),
        model: model.to_owned(),
        trained_at: at(0),
        data_from: Timestamp::EPOCH,
        data_to: at(0),
        features: vec!["hour".into(), "lag_288".into()],
        scores: BTreeMap::from([("pinball".to_owned(), 0.25)]),
        parent: None,
        code_version: "0.1.0".into(),
    }
}

pub(crate) fn body(n: i64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(n.unsigned_abs());
    (0..rng.usize(100..6000)).map(|_| rng.u8(..)).collect()
}

pub(crate) fn repository(store: &Store) -> Models<'_> {
    store.models().with_limits(LIMITS).with_journal(line)
}

/// The `n`th change: mostly additions, with promotions, roll-backs and retirements between them.
pub(crate) fn change(store: &Store, n: i64) {
    let models = repository(store);
    let model = MODELS[(n / 5 % 2) as usize];
    let newest = models.list(Some(WORKLOAD)).unwrap().into_iter().rfind(|record| record.model() == model);
    let challenger = newest.filter(|record| record.state == ModelState::Challenger);
    let done = match (n % 5, challenger) {
        (2, Some(record)) => models.promote(at(n), &by(), record.id, Promotion::Forced),
        (4, _) if n % 3 == 0 => models.roll_back(at(n), &by(), WORKLOAD, model),
        (3, Some(record)) => models.retire(at(n), &by(), record.id),
        _ => models.add(at(n), &by(), &described(WORKLOAD, model), &body(n)),
    };
    match done {
        Ok(_) | Err(crate::HistoryError::Model(_)) => {}
        Err(error) => panic!("change {n}: {error}"),
    }
}

/// How many changes are in the journal, after a check of everything against it.
pub(crate) fn verified(store: &Store) -> usize {
    let mut lines: Vec<String> = store
        .events(Timestamp::EPOCH, Timestamp::MAX, Some(WORKLOAD), QUERY_RECORDS_MAX)
        .unwrap()
        .into_iter()
        .map(|event| String::from_utf8(event.body).unwrap())
        .collect();
    lines.reverse();
    assert!(lines.len() < QUERY_RECORDS_MAX, "the journal is too long to be played back whole");
    let wanted = play_back(&lines);
    let records = repository(store).list(None).unwrap();
    let found: BTreeMap<u64, ModelState> =
        records.iter().map(|record| (record.id.get(), record.state)).collect();
    assert_eq!(found, wanted, "the repository is not what its journal says");
    let mut in_charge = BTreeSet::new();
    for record in &records {
        let (_, body) = repository(store).body(record.id).unwrap();
        assert_eq!(Fingerprint::of(&body), record.fingerprint);
        if record.state == ModelState::Champion {
            assert!(in_charge.insert(record.model().to_owned()), "two champions of {}", record.model());
        }
    }
    let bodies = store.engine().read("count", |tx| {
        use redb::ReadableTableMetadata as _;
        Ok(tx.open_table(crate::table::MODEL_BODIES)?.len()?)
    });
    assert_eq!(bodies.unwrap(), records.len() as u64, "bytes that no version has");
    // Numbers are not given again.
    let highest = wanted_highest(&lines);
    let next = store.engine().write("look at the next number", rows::next_id).unwrap();
    assert!(next.get() > highest, "{next} was given before");
    lines.len()
}

fn line(event: &ModelEvent) -> Vec<u8> {
    let other = match &event.change {
        Change::Promoted { over, .. } => over.map_or(0, ModelId::get),
        Change::RolledBack { from } => from.get(),
        Change::Added | Change::Measured(_) | Change::Retired | Change::Removed | Change::Imported { .. } => {
            0
        }
    };
    format!("{} {} {other}", event.kind(), event.id).into_bytes()
}

fn play_back(lines: &[String]) -> BTreeMap<u64, ModelState> {
    let mut states = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let (id, other): (u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let state = match words[0] {
            "model_added" | "model_imported" => ModelState::Challenger,
            "model_promoted" | "model_rolled_back" => ModelState::Champion,
            "model_retired" => ModelState::Retired,
            "model_removed" => {
                assert!(states.remove(&id).is_some(), "removed twice: {line}");
                continue;
            }
            other => panic!("{other}"),
        };
        states.insert(id, state);
        if other != 0 {
            states.insert(other, ModelState::Retired);
        }
    }
    states
}

fn wanted_highest(lines: &[String]) -> u64 {
    lines.iter().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).max().unwrap_or(0)
}
