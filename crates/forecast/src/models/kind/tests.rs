//! A model that was kept must be the model that was fitted.

use std::time::Duration;

use super::*;
use crate::grid::Grid;
use crate::timestamp::Timestamp;

const DAY: usize = 48;

/// Four weeks of half hours: busy ones with two seasons and a covariate, or rare ones.
fn with<T>(sparse: bool, work: impl FnOnce(&History<'_>, &[f32]) -> T) -> T {
    let grid = Grid {
        origin: Timestamp::from_secs(1_700_006_400),
        step: Duration::from_secs(1800),
        zone: jiff::tz::TimeZone::get("Europe/Berlin").ok(),
    };
    let rain = |i: usize| (i * 7919 % 13) as f32 / 13.0;
    let value = |i: usize| {
        let wave = (std::f32::consts::TAU * (i % DAY) as f32 / DAY as f32).sin();
        let week = if i / DAY % 7 < 5 { 1.0 } else { 0.6 };
        let busy = week * (100.0 + 40.0 * wave) + 10.0 * rain(i) + (i * 6151 % 17) as f32;
        match (sparse, i.is_multiple_of(11), i % 97 == 5) {
            (true, rare, _) => f32::from(u8::from(rare)) * (2.0 + (i % 5) as f32),
            (false, _, true) => f32::NAN,
            (false, ..) => busy,
        }
    };
    let values: Vec<f32> = (0..28 * DAY + 60).map(value).collect();
    let mut covariates = Covariates::default();
    covariates.add("rain", (0..values.len() + DAY).map(rain).collect()).unwrap();
    let history = History {
        grid: &grid,
        first: 0,
        values: &values[..28 * DAY],
        seasons: if sparse { &[] } else { &[DAY, 7 * DAY] },
        covariates: &covariates,
        horizon: DAY,
        non_negative: true,
    };
    work(&history, &values[28 * DAY..])
}

fn say(model: &Fitted, covariates: &Covariates) -> Values {
    model.forecast(DAY, &[0.05, 0.5, 0.95], covariates)
}

#[test]
fn every_kind_is_read_back_as_it_was_and_follows_as_it_would_have() {
    let batch: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| kind.is_batch()).collect();
    assert_eq!(batch, Kind::BATCH);
    for kind in batch {
        with(kind == Kind::Sparse, |history, later| {
            let mut fitted =
                kind.train(history, &mut Pace::free()).unwrap_or_else(|why| panic!("{kind}: {why}"));
            let bytes = postcard::to_stdvec(&fitted).unwrap_or_else(|why| panic!("{kind}: {why}"));
            let mut kept: Fitted = postcard::from_bytes(&bytes).unwrap_or_else(|why| panic!("{kind}: {why}"));
            assert_eq!(postcard::to_stdvec(&kept).unwrap(), bytes, "{kind} changes when it is kept again");
            assert_eq!(fitted.forecast(0, &[0.5], history.covariates).len(), 0, "{kind} asked for nothing");
            let first = say(&fitted, history.covariates);
            assert_eq!(first, say(&kept, history.covariates), "{kind}");
            for &value in later {
                fitted.observe(value, history.covariates);
                kept.observe(value, history.covariates);
            }
            let after = say(&fitted, history.covariates);
            assert_eq!(after, say(&kept, history.covariates), "{kind} after following");
            assert!(kind == Kind::Sparse || first != after, "{kind} does not follow");
        });
    }
}

#[test]
fn a_kind_learns_alone_from_nothing_beside_it_and_only_some_learn_together() {
    with(false, |history, _| {
        for kind in [Kind::Day, Kind::Pooled] {
            let alone = kind.train(history, &mut Pace::free()).unwrap();
            let same = kind.train_together(history, &[], &mut Pace::free()).unwrap();
            assert_eq!(say(&alone, history.covariates), say(&same, history.covariates));
        }
        let refused = Kind::Day.train_together(history, &[*history], &mut Pace::free()).unwrap_err();
        assert!(refused.to_string().contains("`day` learns from one series only"), "{refused}");
    });
}
