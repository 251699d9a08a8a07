//! Inputs made of others.

/// One of `known`, changed in one to some places.
pub(crate) fn mutate(random: &mut fastrand::Rng, known: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let Some(first) = random.choice(known) else { return Vec::new() };
    let mut input = first.clone();
    // Mostly few changes: what is changed everywhere is refused at once.
    let changes = 1 + random.usize(..8).min(random.usize(..8));
    for _ in 0..changes {
        change(random, &mut input, known, words);
    }
    input.truncate(LENGTH_MAX);
    input
}

fn change(random: &mut fastrand::Rng, input: &mut Vec<u8>, known: &[Vec<u8>], words: &[&str]) {
    let at = random.usize(..=input.len());
    let end = (at + 1 + random.usize(..16)).min(input.len());
    match random.u8(..12) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 if at < input.len() => input[at] = *random.choice(TELLING).unwrap_or(&0),
        3 => input.insert(at, *random.choice(TELLING).unwrap_or(&0)),
        4 => drop(input.drain(at..end)),
        5 => input.truncate(at),
        6 => {
            // The same again, once or very often.
            let part = input[at..end].to_vec();
            let times = if random.u8(..8) == 0 { random.usize(..200) } else { 1 };
            input.splice(at..at, part.repeat(times));
        }
        7 | 8 => {
            if let Some(word) = random.choice(words) {
                let until = if random.bool() { at } else { end };
                input.splice(at..until, word.bytes());
            }
        }
        9 => {
            if let Some(other) = random.choice(known) {
                let from = random.usize(..=other.len());
                let to = (from + random.usize(..64)).min(other.len());
                let until = if random.bool() { at } else { input.len() };
                input.splice(at..until, other[from..to].iter().copied());
            }
        }
        10 => renumber(random, input, at),
        _ => {
            let to = random.usize(..=input.len());
            if end > at && to <= input.len() - (end - at) {
                let part: Vec<u8> = input.drain(at..end).collect();
                input.splice(to..to, part);
            }
        }
    }
}

/// Another number in place of the next one.
fn renumber(random: &mut fastrand::Rng, input: &mut Vec<u8>, from: usize) {
    let Some(begin) = (from..input.len()).find(|&at| input[at].is_ascii_digit()) else { return };
    let end = (begin..input.len()).find(|&at| !input[at].is_ascii_digit()).unwrap_or(input.len());
    let number = random.choice(NUMBERS).unwrap_or(&"0");
    input.splice(begin..end, number.bytes());
}

/// Bytes at which readers part ways.
const TELLING: &[u8] = b"\0\x01\t\n\x0b\r \"#%&'(),-./0:;<=>?@[\\]^_`{|}~\x7f\x80\xbf\xc0\xff";
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-1",
    "1",
    "00",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e309",
    "1e-400",
    "0x10",
    "0.1",
    "NaN",
    "inf",
];
const LENGTH_MAX: usize = 8192;
