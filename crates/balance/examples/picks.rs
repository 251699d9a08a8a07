//! What a pick costs by policy and number of targets, and how even and how steady a ring is beside a Maglev table:
//! `cargo run --release -p balance --example picks`.

use std::hint::black_box;
use std::time::Instant;

use balance::{Ask, Dispatcher, Policy, Ring, SCAN_MAX, Targets, Totals, hash};

const PICKS: u32 = 400_000;
const KEYS: u64 = 200_000;

/// Some requests in flight on each target; totals are kept, as in the proxy.
struct Loads {
    in_flight: Vec<u32>,
    totals: Totals,
}

impl Targets for Loads {
    fn is_usable(&mut self, _index: usize) -> bool {
        true
    }

    fn in_flight(&mut self, index: usize) -> u32 {
        self.in_flight[index]
    }

    fn latency_s(&mut self, _index: usize) -> f64 {
        0.01
    }

    fn baseline_s(&self) -> f64 {
        0.01
    }

    fn work(&mut self, index: usize) -> f64 {
        f64::from(self.in_flight[index])
    }

    fn totals(&mut self) -> Totals {
        self.totals
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Nanoseconds per pick; each moves one request, so that the loads stay alike.
fn time(policy: Policy, count: u64) -> f64 {
    let targets: Vec<(u64, u32)> = (0..count).map(|id| (id, 1000)).collect();
    let dispatcher = Dispatcher::new(policy, &targets);
    let totals = Totals { weight: 1000.0 * count as f64, in_flight: 8 * count };
    let mut loads = Loads { in_flight: vec![8; targets.len()], totals };
    let mut state = 1;
    let mut place = 0;
    let began = Instant::now();
    for _ in 0..PICKS {
        let ask = Ask { key: Some(random(&mut state)), work: 1.0 };
        if let Some(chosen) = black_box(dispatcher.pick(ask, &mut loads, || random(&mut state))) {
            loads.in_flight[chosen] += 1;
        }
        while loads.in_flight[place] == 0 {
            place = (place + 1) % targets.len();
        }
        loads.in_flight[place] -= 1;
        place = (place + 1) % targets.len();
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(PICKS)
}

/// A Maglev table (Eisenbud and others, 2016) of ids without weights.
fn maglev(ids: &[u64]) -> Vec<u64> {
    const SLOTS: u64 = 65_537;
    let mut table = vec![u64::MAX; SLOTS as usize];
    let mut walks: Vec<(u64, u64, u64)> = ids
        .iter()
        .map(|id| {
            (*id, hash(&id.to_le_bytes()) % SLOTS, hash(&(id ^ 0xff00).to_le_bytes()) % (SLOTS - 1) + 1)
        })
        .collect();
    let mut filled = 0;
    loop {
        for (id, place, stride) in &mut walks {
            while table[*place as usize] != u64::MAX {
                *place = (*place + *stride) % SLOTS;
            }
            table[*place as usize] = *id;
            filled += 1;
            if filled == SLOTS {
                return table;
            }
        }
    }
}

/// How far the fullest target is above its share, and what moves when one leaves, in shares.
fn evenness(count: u64, owners: impl Fn(&[u64]) -> Vec<u64>) -> (f64, f64) {
    let ids: Vec<u64> = (0..count).collect();
    let before = owners(&ids);
    let share = KEYS as f64 / count as f64;
    let mut counts = vec![0u32; ids.len()];
    before.iter().for_each(|owner| counts[*owner as usize] += 1);
    let after = owners(&ids[..ids.len() - 1]);
    let stayed = before.iter().zip(&after).filter(|(before, _)| **before != count - 1);
    let moved = stayed.filter(|(before, after)| before != after).count();
    (f64::from(counts.iter().copied().max().unwrap_or(0)) / share, moved as f64 / share)
}

fn main() {
    println!("{:20} {:>10} {:>10} {:>10}   ns per pick", "targets", 10, least_scan(), 1000);
    for (name, policy) in [
        ("p2c", Policy::P2c),
        ("round_robin", Policy::RoundRobin),
        ("least_connections", Policy::LeastConnections),
        ("least_work", Policy::LeastWork),
        ("hash", Policy::Hash { load_factor: 1.25 }),
    ] {
        let [few, some, many] = [10, least_scan(), 1000].map(|count| time(policy, count));
        println!("{name:20} {few:>10.1} {some:>10.1} {many:>10.1}");
    }
    println!("\n{:20} {:>10} {:>22} {:>16}", "", "fullest", "moved besides its own", "making it");
    for count in [10, 100, 1000] {
        let key = |number: u64| hash(&number.to_le_bytes());
        let ring = |ids: &[u64]| {
            let ring = Ring::new(ids.iter().map(|&id| (id, 1000)));
            (0..KEYS).filter_map(|number| ring.owner(key(number))).map(|index| index as u64).collect()
        };
        let table = |ids: &[u64]| {
            let table = maglev(ids);
            (0..KEYS).map(|number| table[(key(number) % table.len() as u64) as usize]).collect()
        };
        let began = Instant::now();
        black_box(Ring::new((0..count).map(|id| (id, 1000))));
        let ring_took = began.elapsed();
        let began = Instant::now();
        black_box(maglev(&(0..count).collect::<Vec<_>>()));
        let maglev_took = began.elapsed();
        let ids = format!("of {count}");
        for (name, (fullest, moved), took) in
            [("ring", evenness(count, ring), ring_took), ("maglev", evenness(count, table), maglev_took)]
        {
            println!("{:20} {fullest:>10.3} {moved:>15.3} shares {took:>16.1?}", format!("{name} {ids}"));
        }
    }
}

fn least_scan() -> u64 {
    SCAN_MAX as u64
}
