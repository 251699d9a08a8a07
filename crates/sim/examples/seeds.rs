//! Runs fault simulations: `cargo run -p sim --example seeds -- FROM TO [--log]`.

use sim::simulate::simulate;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| words.get(at).map_or(Ok(default), |word| word.parse());
    let log = words.iter().any(|word| word == "--log");
    let mut failed = 0;
    for seed in number(0, 0)?..number(1, 100)? {
        match simulate(seed) {
            Ok(report) if log => print!("{}", report.log.text()),
            Ok(_) => {}
            Err(failure) => {
                failed += 1;
                if log {
                    print!("{}", failure.log.text());
                }
                println!("seed {}: {}", failure.seed, failure.kind);
            }
        }
    }
    println!("{failed} failed");
    Ok(())
}
