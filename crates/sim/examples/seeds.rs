//! Runs fault simulations one after another: `cargo run --release -p sim --example seeds -- FROM TO [--log]`.

use std::time::Instant;

use sim::faults::{Fault, Tally};
use sim::simulate::{shrink, simulate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| words.get(at).map_or(Ok(default), |word| word.parse());
    let (from, to) = (number(0, 0)?, number(1, 100)?);
    let (mut failed, mut tally, mut busiest, began) = (0, Tally::default(), (0.0, 0), Instant::now());
    let (mut events, mut actions) = (0, 0);
    for seed in from..to {
        match simulate(seed) {
            Ok(report) => {
                tally.join(&report.faults);
                events += report.events;
                actions += report.actions;
                if report.busiest > busiest.0 {
                    busiest = (report.busiest, seed);
                }
            }
            Err(failure) => {
                failed += 1;
                let small = shrink(&failure);
                println!("{small}");
                if words.iter().any(|word| word == "--log") {
                    println!("{}", small.log.text());
                }
            }
        }
    }
    for fault in Fault::ALL {
        println!("{:>9} {fault}", tally.of(fault));
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{failed} of {} seeds failed in {seconds:.1} s; {events} events, {actions} orders; busiest {:.2} of seed {}",
        to - from,
        busiest.0,
        busiest.1
    );
    Ok(())
}
