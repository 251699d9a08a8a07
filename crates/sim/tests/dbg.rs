//! dbg
use sim::simulate::{simulate_cut, Cut, shrink};
#[test]
fn dbg() {
    let seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    match simulate_cut(seed, &Cut::default()) {
        Ok(r) => println!("{}", r.log.text()),
        Err(f) => { let s = shrink(&f); println!("{}\n{}", simulate_cut(seed, &s.cut).unwrap_err().log.text(), s.kind) }
    }
}
