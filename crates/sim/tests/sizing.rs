//! Sizes from forecasts beside those of the Vertical Pod Autoscaler, on recorded and on made-up use.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use forecast::{Timestamp, trace};
use planner::SizingMode;
use sim::sizing::judge::{Verdict, judge};
use sim::sizing::ours::Ours;
use sim::sizing::service::{Setting, run};
use sim::sizing::sized;
use sim::sizing::vpa::Vpa;

const STEP: Duration = Duration::from_secs(300);

/// Ours and theirs, after `learn`.
fn both(points: &[(Timestamp, Option<f64>)], learn: Duration) -> (Verdict, Verdict) {
    let from = points[0].0 + learn;
    let ours = judge(points, from, &mut Ours::new(sized(STEP)));
    let theirs = judge(points, from, &mut Vpa::new(1.0));
    println!(
        "unused {:.3} against {:.3}, refused {:.4} against {:.4}",
        ours.slack_share(),
        theirs.slack_share(),
        ours.short_share(),
        theirs.short_share()
    );
    (ours, theirs)
}

#[test]
fn on_a_recorded_web_server_less_is_unused_and_no_more_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/clarknet_http_1995_1min.csv.gz");
    let reader = flate2::read::GzDecoder::new(File::open(path).unwrap());
    let read = trace::parse(reader, &trace::Options::default()).unwrap();
    // So many requests a minute keep one core busy.
    let points: Vec<_> =
        read.series[0].on_grid(STEP).into_iter().map(|(at, v)| (at, v.map(|v| v / 500.0))).collect();
    let (ours, theirs) = both(&points, Duration::from_secs(5 * 86_400));
    assert!(ours.slack_share() < 0.7 * theirs.slack_share());
    assert!(ours.short_share() <= theirs.short_share());
}

#[test]
fn the_weekend_is_small_and_monday_morning_is_not_missed() {
    let mut rng = fastrand::Rng::with_seed(4);
    let points: Vec<_> = (0..35 * 288)
        .map(|n: i64| {
            let (day, hour) = (n / 288 % 7, (n % 288) as f64 / 12.0);
            let office = day < 5 && (8.0..18.0).contains(&hour);
            let noise = 1.0 + 0.1 * (rng.f64() - 0.5);
            (Timestamp::from_millis(n * 300_000), Some(noise * if office { 4.0 } else { 0.5 }))
        })
        .collect();
    let (ours, theirs) = both(&points, Duration::from_secs(21 * 86_400));
    assert!(ours.slack_share() < 0.25 * theirs.slack_share());
    assert!(ours.short_share() <= theirs.short_share().max(0.005));
}

#[test]
fn the_bandit_saves_processor_time_and_answers_no_later() {
    let rules = Setting {
        mode: SizingMode::Rules,
        peak: 60.0,
        work: 0.04,
        bound: Duration::from_millis(400),
        burst: 0.5,
        days: (1, 1),
        seed: 3,
    };
    let ruled = run(&rules);
    let bandit = run(&Setting { mode: SizingMode::Bandit, ..rules });
    println!("{ruled:?} {bandit:?}");
    assert!(bandit.bandit > 0.75, "it decides most of the time: {}", bandit.bandit);
    assert!(bandit.limit < 0.9 * ruled.limit, "{} against {} cores", bandit.limit, ruled.limit);
    assert!(bandit.minutes_late <= ruled.minutes_late + 2, "{bandit:?} {ruled:?}");
    assert!(bandit.limit > bandit.used && (bandit.used / ruled.used - 1.0).abs() < 0.01);
}
