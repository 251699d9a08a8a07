//! Tests by mutated inputs, without a special compiler. For tests only.
//!
//! A target has seeds, words that mean something in its language, and a check. Seeds are damaged, cut, doubled and joined by
//! chance ([`mutate`]) and given to the check. What the check tells of each input (a number for what it has done with it)
//! stands in for coverage: an input that does something new becomes a seed. A failure, a panic included, is made small
//! ([`shrink`]), written to a file and told with the command that repeats it.
//!
//! A plain test run tries some thousands of inputs. `cargo xtask fuzz` tries for as long as it is told to.

mod mutate;
mod shrink;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The seed of a run that is to be repeated.
pub const SEED_VARIABLE: &str = "FORESHADOW_FUZZ_SEED";
/// For how many seconds to go on, in place of the target's number of inputs.
pub const SECONDS_VARIABLE: &str = "FORESHADOW_FUZZ_SECONDS";
/// A file with the only input to try.
pub const INPUT_VARIABLE: &str = "FORESHADOW_FUZZ_INPUT";

/// What is tried, and with what.
#[derive(Clone, Debug)]
pub struct Target {
    /// As `cargo xtask fuzz` calls it.
    pub name: &'static str,
    /// Sound and unsound inputs to begin with; at least one.
    pub seeds: Vec<Vec<u8>>,
    /// What means something in its language.
    pub words: &'static [&'static str],
    /// How many inputs a plain test run tries.
    pub inputs: usize,
}

impl Target {
    /// Tries one input after the other. The check tells what it has done with it (see [`did`]), or what is wrong.
    ///
    /// # Panics
    /// On the first input that fails, made small.
    pub fn run(&self, check: impl Fn(&[u8]) -> Result<u64, String>) {
        self.run_together(1, |inputs| inputs.iter().map(|input| check(input)).collect());
    }

    /// Tries so many inputs at a time. What is wrong with several is looked for in each.
    ///
    /// # Panics
    /// On the first input that fails, made small; or on several that fail together only.
    pub fn run_together(&self, many: usize, mut check: impl FnMut(&[Vec<u8>]) -> Result<Vec<u64>, String>) {
        let mut check = |inputs: &[Vec<u8>]| guarded(|| check(inputs));
        if let Some(file) = std::env::var_os(INPUT_VARIABLE) {
            let input = std::fs::read(&file).expect("the input can be read");
            if let Err(why) = check(std::slice::from_ref(&input)) {
                panic!("{}: {why}\n{}", self.name, shown(&input));
            }
            return println!("fuzz {}: nothing is wrong with {}", self.name, file.display());
        }
        let seed = number(SEED_VARIABLE).unwrap_or_else(|| fastrand::u64(..));
        let until = number(SECONDS_VARIABLE).map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut run =
            Run { random: fastrand::Rng::with_seed(seed), known: self.seeds.clone(), seen: BTreeSet::new() };
        let (began, mut tried) = (Instant::now(), 0);
        while until.map_or(tried < self.inputs, |until| Instant::now() < until) {
            let inputs: Vec<Vec<u8>> =
                (tried..tried + many).map(|index| self.input(&mut run, index)).collect();
            match check(&inputs) {
                Ok(done) => run.learn(inputs, &done),
                Err(why) => self.fail(&inputs, &why, seed, check),
            }
            tried += many;
        }
        let (took, known) = (began.elapsed(), run.known.len());
        println!(
            "fuzz {}: {tried} inputs in {took:.1?}, {known} that do something new, seed {seed}",
            self.name
        );
    }

    /// The seeds as they are, then what becomes of all that is known.
    fn input(&self, run: &mut Run, index: usize) -> Vec<u8> {
        match self.seeds.get(index) {
            Some(seed) => seed.clone(),
            None => mutate::mutate(&mut run.random, &run.known, self.words),
        }
    }

    fn fail(
        &self,
        inputs: &[Vec<u8>],
        why: &str,
        seed: u64,
        mut check: impl FnMut(&[Vec<u8>]) -> Result<Vec<u64>, String>,
    ) -> ! {
        let mut fault = |input: &[u8]| check(&[input.to_vec()]).err();
        let found = inputs.iter().find_map(|input| Some((input, fault(input)?)));
        let repeat = format!("cargo xtask fuzz {} --seed {seed}", self.name);
        let Some((input, why)) = found else {
            let all: Vec<String> = inputs.iter().map(|input| shown(input)).collect();
            panic!(
                "{}: {why}\nnone of {} inputs fails alone:\n{}\n{repeat}",
                self.name,
                inputs.len(),
                all.join("\n")
            );
        };
        let (small, why) = shrink::shrink(input, why, fault);
        let file = std::env::temp_dir().join(format!("foreshadow-fuzz-{}-{:016x}", self.name, did(&small)));
        let kept = std::fs::write(&file, &small).is_ok();
        let alone = if kept {
            format!("cargo xtask fuzz {} --input {}", self.name, file.display())
        } else {
            repeat.clone()
        };
        panic!(
            "{}: {why}\n{} of {} bytes: {}\nthis input: {alone}\nthe whole run: {repeat}",
            self.name,
            small.len(),
            input.len(),
            shown(&small)
        );
    }
}

/// What a run has found out.
struct Run {
    random: fastrand::Rng,
    known: Vec<Vec<u8>>,
    seen: BTreeSet<u64>,
}

impl Run {
    fn learn(&mut self, inputs: Vec<Vec<u8>>, done: &[u64]) {
        for (input, done) in inputs.into_iter().zip(done) {
            if self.seen.len() < KNOWN_MAX && self.seen.insert(*done) {
                self.known.push(input);
            }
        }
    }
}

/// A number for what was done with an input.
pub fn did(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn guarded<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// As it can be written in a test.
fn shown(input: &[u8]) -> String {
    let mut text = format!("b\"{}", input.escape_ascii());
    if text.len() > SHOWN_MAX {
        text.truncate(SHOWN_MAX);
        let _ = write!(text, "... {} bytes", input.len());
    }
    text + "\""
}

const KNOWN_MAX: usize = 4096;
const SHOWN_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(inputs: usize) -> Target {
        Target { name: "test", seeds: vec![b"one, two".to_vec()], words: &["three", "\r\n"], inputs }
    }

    fn message(run: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it fails");
        panic.downcast_ref::<String>().expect("a text").clone()
    }

    #[test]
    fn what_fails_is_made_small_and_can_be_repeated() {
        let check = |input: &[u8]| match input.windows(5).any(|part| part == b"three") {
            true => Err("three is too many".to_owned()),
            false => Ok(did(input)),
        };
        let said = message(|| target(100_000).run(check));
        assert!(said.contains("three is too many\n5 of "), "{said}");
        assert!(said.contains("b\"three\"") && said.contains("cargo xtask fuzz test --seed "), "{said}");
    }

    #[test]
    fn a_panic_is_a_failure() {
        let said = message(|| {
            target(100_000).run(|input| if input.len() > 20 { panic!("too long") } else { Ok(0) })
        });
        assert!(said.contains("panicked: too long\n21 of "), "{said}");
    }

    #[test]
    fn what_does_something_new_is_built_upon() {
        // Six steps that each need the one before: by chance alone, one input in millions.
        let check = |input: &[u8]| {
            let steps = b"qwerty".iter().zip(input).take_while(|(step, byte)| step == byte).count();
            if steps == 6 { Err("found".to_owned()) } else { Ok(steps as u64) }
        };
        assert!(message(|| target(2_000_000).run(check)).contains("b\"qwerty\""));
    }

    #[test]
    fn of_several_the_one_that_fails_is_named() {
        let check = |inputs: &[Vec<u8>]| match inputs.iter().any(|input| input.contains(&0)) {
            true => Err("a zero".to_owned()),
            false => Ok(inputs.iter().map(did).collect()),
        };
        assert!(message(|| target(100_000).run_together(16, check)).contains("\n1 of "));
    }
}
