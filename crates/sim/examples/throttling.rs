//! Prints what a service would be given and how late it would be, sized by the rules and by the bandit.
//!
//! `cargo run --release -p sim --example throttling`

use std::time::Duration;

use planner::SizingMode;
use sim::sizing::service::{Setting, run};

fn main() {
    let base = Setting {
        mode: SizingMode::Rules,
        peak: 300.0,
        work: 0.005,
        bound: Duration::from_millis(150),
        burst: 0.5,
        days: (3, 2),
        seed: 1,
    };
    let cases = [
        ("usual", base),
        ("bursty", Setting { burst: 1.0, ..base }),
        ("strict", Setting { bound: Duration::from_millis(80), ..base }),
        ("heavy", Setting { peak: 60.0, work: 0.04, bound: Duration::from_millis(400), ..base }),
    ];
    for (name, setting) in cases {
        let mut given = 0.0;
        for mode in [SizingMode::Rules, SizingMode::Bandit] {
            let account = run(&Setting { mode, ..setting });
            let saved = if mode == SizingMode::Rules { 0.0 } else { 1.0 - account.limit / given };
            given = account.limit;
            println!(
                "{name:<8} {:<7} {:.3} cores given for {:.3} used, late in {:.2} % of minutes, bandit on in {:.0} %, \
                 {:.0} changes an hour, saved {:.1} %",
                format!("{mode:?}").to_lowercase(),
                account.limit,
                account.used,
                100.0 * f64::from(account.minutes_late) / f64::from(account.minutes),
                100.0 * account.bandit,
                f64::from(account.changes) / f64::from(account.minutes) * 60.0,
                100.0 * saved
            );
        }
    }
}
