//! The life of versions: who may take over, who goes, and what the journal says of it.

use forecast::Timestamp;

use super::script::{at, body, by, described};
use super::{
    By, Changed, Gain, ModelId, ModelLimits, ModelRefusal, ModelState, Models, NoGain, Promotion, Trial,
};
use crate::error::HistoryError;
use crate::limit::{self, Limit};
use crate::store::Store;

const MEASURED: Promotion = Promotion::Measured(Gain::DEFAULT);

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn add(models: &Models<'_>, n: i64) -> ModelId {
    models.add(at(n), &by(), &described("web", "gbdt"), &body(n)).unwrap().record.id
}

/// A trial against `rival` in which this version's loss is `share` of the rival's.
fn trial(rival: ModelId, share: f64) -> Trial {
    let losses = |by: f64| -> Vec<(Timestamp, f64)> {
        (0..200).map(|n| (at(n * 300), by * (1.0 + f64::from(n as i32 % 5)))).collect()
    };
    Trial::measure(rival, "pinball", &losses(1.0), &losses(share)).unwrap()
}

fn refusal(result: Result<Changed, HistoryError>) -> ModelRefusal {
    match result {
        Err(HistoryError::Model(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn state(models: &Models<'_>, id: ModelId) -> ModelState {
    models.version(id).unwrap().state
}

#[test]
fn a_challenger_takes_over_only_by_a_gain_measured_against_the_champion_in_charge() {
    let (_dir, store) = store();
    let models = store.models();
    let (first, second, third) = (add(&models, 1), add(&models, 2), add(&models, 3));
    models.promote(at(4), &by(), first, MEASURED).expect("there is nothing to be better than");
    let missing = refusal(models.promote(at(5), &by(), second, MEASURED));
    assert_eq!(missing, ModelRefusal::NotMeasured { id: second, champion: first });
    models.measured(at(6), &by(), second, Some(trial(first, 0.999)), &[]).unwrap();
    let small = refusal(models.promote(at(7), &by(), second, MEASURED));
    assert!(matches!(small, ModelRefusal::NoGain { why: NoGain::TooSmall { .. }, .. }), "{small}");
    assert_eq!(state(&models, first), ModelState::Champion, "a refusal changes nothing");
    models.measured(at(8), &by(), second, Some(trial(first, 0.9)), &[]).unwrap();
    models.promote(at(9), &by(), second, MEASURED).unwrap();
    assert_eq!(state(&models, first), ModelState::Retired);
    assert_eq!(models.version(first).unwrap().why, format!("replaced by version {second}"));
    assert_eq!(models.champion("web", "gbdt").unwrap().unwrap().replaced, Some(first));
    models.measured(at(10), &by(), third, Some(trial(first, 0.5)), &[]).unwrap();
    let stale = refusal(models.promote(at(11), &by(), third, MEASURED));
    assert_eq!(stale, ModelRefusal::MeasuredAgainstAnother { id: third, against: first, champion: second });
    assert_eq!(
        refusal(models.promote(at(12), &by(), second, MEASURED)),
        ModelRefusal::AlreadyChampion { id: second }
    );
}

#[test]
fn an_operator_may_force_with_a_reason_and_the_journal_says_so() {
    let (_dir, store) = store();
    let models = store.models();
    let (first, second) = (add(&models, 1), add(&models, 2));
    models.promote(at(3), &by(), first, Promotion::Forced).unwrap();
    let nobody = models.promote(at(4), &By::new("ana", "  "), second, Promotion::Forced);
    assert!(matches!(nobody, Err(HistoryError::Anonymous { what: "reason" })));
    models
        .promote(at(5), &By::new("ana", "the trial missed the campaign"), second, Promotion::Forced)
        .unwrap();
    let events = store.events(at(5), at(6), Some("web"), 10).unwrap();
    let said = String::from_utf8(events[0].body.clone()).unwrap();
    assert_eq!(events[0].kind, "model_promoted");
    assert_eq!(
        said,
        "gbdt version 2 became champion, over version 1, forced (ana: the trial missed the campaign)"
    );
}

#[test]
fn rolling_back_goes_to_the_version_replaced_step_by_step_and_then_ends() {
    let (_dir, store) = store();
    let models = store.models();
    let ids: Vec<ModelId> = (0..3).map(|n| add(&models, n)).collect();
    for (n, id) in ids.iter().enumerate() {
        models.promote(at(10 + n as i64), &by(), *id, Promotion::Forced).unwrap();
    }
    for (from, to) in [(2, 1), (1, 0)] {
        let back = models.roll_back(at(20), &By::new("ana", "spikes"), "web", "gbdt").unwrap().record;
        assert_eq!((back.id, back.state), (ids[to], ModelState::Champion));
        assert_eq!(state(&models, ids[from]), ModelState::Retired);
        assert!(models.version(ids[from]).unwrap().why.contains("spikes"));
    }
    let end = refusal(models.roll_back(at(21), &by(), "web", "gbdt"));
    assert_eq!(end, ModelRefusal::NothingBefore { champion: ids[0] });
    let none = refusal(models.roll_back(at(21), &by(), "web", "lstm"));
    assert!(matches!(none, ModelRefusal::NoChampion { .. }));
    let unknown = refusal(models.roll_back(at(21), &by(), "nobody", "gbdt"));
    assert!(matches!(unknown, ModelRefusal::NoChampion { .. }));
}

#[test]
fn a_first_champion_rolls_back_to_its_parent() {
    let (_dir, store) = store();
    let models = store.models();
    let parent = add(&models, 1);
    let child = super::Description { parent: Some(parent), ..described("web", "gbdt") };
    let child = models.add(at(2), &by(), &child, &body(2)).unwrap().record.id;
    models.promote(at(3), &by(), child, MEASURED).unwrap();
    assert_eq!(models.roll_back(at(4), &by(), "web", "gbdt").unwrap().record.id, parent);
}

#[test]
fn kinds_and_workloads_do_not_compete() {
    let (_dir, store) = store();
    let models = store.models();
    let web = add(&models, 1);
    let lstm = models.add(at(2), &by(), &described("web", "lstm"), &body(2)).unwrap().record.id;
    let api = models.add(at(3), &by(), &described("api", "gbdt"), &body(3)).unwrap().record.id;
    for id in [web, lstm, api] {
        models.promote(at(4), &by(), id, MEASURED).unwrap();
    }
    assert!([web, lstm, api].iter().all(|id| state(&models, *id) == ModelState::Champion));
    assert_eq!(models.list(Some("web")).unwrap().len(), 2);
    let foreign = refusal(models.measured(at(5), &by(), web, Some(trial(lstm, 0.5)), &[]));
    assert_eq!(foreign, ModelRefusal::ForeignRival { id: web, against: lstm });
    let child = super::Description { parent: Some(api), ..described("web", "gbdt") };
    let foreign = refusal(models.add(at(6), &by(), &child, b"x"));
    assert_eq!(foreign, ModelRefusal::ForeignParent { parent: api });
}

#[test]
fn the_oldest_retired_go_first_and_never_the_champion_its_predecessor_or_its_parent() {
    let (_dir, store) = store();
    let limits = ModelLimits { versions_max: 5, bytes_max: u64::MAX };
    let models = store.models().with_limits(limits);
    let parent = add(&models, 1);
    let before = add(&models, 2);
    let child = super::Description { parent: Some(parent), ..described("web", "gbdt") };
    let champion = models.add(at(3), &by(), &child, &body(3)).unwrap().record.id;
    models.promote(at(4), &by(), before, Promotion::Forced).unwrap();
    models.promote(at(5), &by(), champion, Promotion::Forced).unwrap();
    models.retire(at(6), &by(), parent).unwrap();
    let older = add(&models, 7);
    let retired = add(&models, 8);
    models.retire(at(9), &by(), retired).unwrap();
    let newest = models.add(at(10), &by(), &described("web", "gbdt"), &body(10)).unwrap();
    assert_eq!(newest.events.len(), 2, "{:?}", newest.events);
    assert_eq!(newest.events[1].kind(), "model_removed");
    assert_eq!(newest.events[1].id, retired, "a retired one goes before an older challenger");
    let last = models.add(at(11), &by(), &described("web", "gbdt"), &body(11)).unwrap();
    assert_eq!(last.events[1].id, older);
    let kept: Vec<ModelId> = models.list(Some("web")).unwrap().iter().map(|record| record.id).collect();
    assert_eq!(kept, [parent, before, champion, newest.record.id, last.record.id]);
}

#[test]
fn bytes_are_bounded_too_and_a_full_repository_says_what_takes_its_room() {
    let (_dir, store) = store();
    let models = store.models().with_limits(ModelLimits { versions_max: 100, bytes_max: 1000 });
    let put =
        |n: i64, bytes: usize| models.add(at(n), &by(), &described("web", "gbdt"), &vec![n as u8; bytes]);
    let first = put(1, 600).unwrap().record.id;
    models.promote(at(2), &by(), first, MEASURED).unwrap();
    put(3, 300).unwrap();
    assert_eq!(put(4, 300).unwrap().events.len(), 2, "the challenger before it had to go");
    let full = refusal(put(5, 500));
    assert_eq!(
        full,
        ModelRefusal::NoRoom {
            workload: "web".into(),
            versions: 2,
            bytes: 1100,
            versions_max: 100,
            bytes_max: 1000
        }
    );
    assert_eq!(models.list(None).unwrap().len(), 2, "a refused addition removes nothing");
    let large = models.add(at(6), &by(), &described("web", "gbdt"), &vec![0; limit::MODEL_BYTES_MAX + 1]);
    assert!(matches!(large, Err(HistoryError::Limit { limit: Limit::ModelBytes, .. })));
}

#[test]
fn descriptions_and_scores_that_make_no_sense_are_refused() {
    let (_dir, store) = store();
    let models = store.models();
    let mut nan = described("web", "gbdt");
    nan.scores.insert("pinball".into(), f64::NAN);
    assert!(matches!(models.add(at(1), &by(), &nan, b"x"), Err(HistoryError::NotFinite { .. })));
    assert!(matches!(
        models.add(at(1), &by(), &described("", "gbdt"), b"x"),
        Err(HistoryError::Name { what: "workload", .. })
    ));
    let mut many = described("web", "gbdt");
    many.features = (0..=limit::MODEL_NAMES_MAX).map(|n| format!("f{n}")).collect();
    assert!(matches!(
        models.add(at(1), &by(), &many, b"x"),
        Err(HistoryError::Limit { limit: Limit::ModelNames, .. })
    ));
    let id = add(&models, 1);
    let infinite = models.measured(at(2), &by(), id, None, &[("skill".into(), f64::INFINITY)]);
    assert!(matches!(infinite, Err(HistoryError::NotFinite { .. })));
    let made_up = Trial { champion: f64::NAN, ..trial(id, 0.5) };
    let made_up = refusal(models.measured(at(2), &by(), id, Some(made_up), &[]));
    assert!(matches!(made_up, ModelRefusal::Trial(_)));
    models.measured(at(2), &by(), id, None, &[("skill".into(), 0.4)]).unwrap();
    let scores = models.version(id).unwrap().described.scores;
    assert_eq!((scores["skill"], scores["pinball"]), (0.4, 0.25), "earlier scores stay");
}

#[test]
fn everything_is_there_after_a_restart() {
    let (dir, store) = store();
    let models = store.models();
    let (first, second) = (add(&models, 1), add(&models, 2));
    models.promote(at(3), &by(), first, MEASURED).unwrap();
    models.measured(at(4), &by(), second, Some(trial(first, 0.9)), &[("coverage_90".into(), 0.9)]).unwrap();
    models.promote(at(5), &by(), second, MEASURED).unwrap();
    let before = models.list(None).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.models().list(None).unwrap(), before);
    assert_eq!(store.stats().unwrap().models, 2);
    assert_eq!(add(&store.models(), 6), ModelId::new(3));
}
