//! Prints what our rules and the Vertical Pod Autoscaler would have wasted and refused on a recorded processor use.
//!
//! `cargo run --release -p sim --example sizing -- TRACE.csv.gz [WEEKS_TO_LEARN]`
//!
//! The first column after `series` is the use, in percent of one core. The first week (or so many) only teaches.

use std::error::Error;
use std::time::Duration;

use forecast::{Timestamp, trace};
use planner::sizing::SizingPolicy;
use sim::sizing::judge::{Verdict, judge};
use sim::sizing::ours::Ours;
use sim::sizing::vpa::Vpa;
use sim::sizing::{Sizer, sized};

type Points = Vec<(Timestamp, Option<f64>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file?")?;
    let weeks: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let reader = flate2::read::GzDecoder::new(std::fs::File::open(file)?);
    let read = trace::parse(reader, &trace::Options::default())?;
    let series: Vec<Points> = read
        .series
        .iter()
        .map(|s| s.on_grid(read.step).into_iter().map(|(at, v)| (at, v.map(|v| v / 100.0))).collect())
        .collect();
    let learn = Duration::from_secs(weeks * 7 * 86_400);
    let day = 86_400.0 / read.step.as_secs_f64();
    let show = |name: &str, make: &dyn Fn() -> Box<dyn Sizer>| {
        let mut all = Verdict::default();
        for points in &series {
            let Some((start, _)) = points.first() else { continue };
            all.join(&judge(points, *start + learn, make().as_mut()));
        }
        println!(
            "{name:<28} unused {:6.1} % of use, refused {:6.3} % of use in {:5.2} % of steps, {:5.2} changes a day",
            all.slack_share() * 100.0,
            all.short_share() * 100.0,
            all.steps_short as f64 / all.steps.max(1) as f64 * 100.0,
            all.changes as f64 / (all.steps as f64 / day)
        );
    };
    show("VPA (p90 + 15 %)", &|| Box::new(Vpa::new(1.0)));
    let tuned = [(0.9, 0.5, 24), (0.95, 0.15, 24), (0.97, 0.15, 24), (0.9, 0.15, 2), (0.95, 0.15, 2)];
    for (percentile, margin, hours) in tuned {
        let name = format!("VPA p{:.0} + {:.0} %, {hours} h", percentile * 100.0, margin * 100.0);
        let half_life = Duration::from_secs(hours * 3600);
        show(&name, &|| Box::new(Vpa::tuned(1.0, percentile, margin, half_life)));
    }
    show("rules (defaults)", &|| Box::new(Ours::new(sized(read.step))));
    for minutes in [60, 240] {
        let every = Duration::from_secs(60 * minutes);
        show(&format!("rules, every {minutes} min"), &|| {
            Box::new(Ours::new(SizingPolicy { every, ..sized(read.step) }))
        });
    }
    Ok(())
}
