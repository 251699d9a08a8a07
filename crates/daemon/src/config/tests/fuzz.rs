//! Mutated configurations: what is written in the documentation, damaged.

use std::collections::BTreeSet;

use fuzzing::{Target, did};

use super::{Config, ConfigErrors, Path, Surroundings, workload};

const DOCUMENTS: &[&str] = &[
    include_str!("../../../../../README.md"),
    include_str!("../../../../../docs/admission.md"),
    include_str!("../../../../../docs/cache.md"),
    include_str!("../../../../../docs/external-models.md"),
    include_str!("../../../../../docs/haproxy.md"),
    include_str!("../../../../../docs/observability.md"),
];

/// Every example of a configuration, alone and as part of a workload.
fn seeds() -> Vec<Vec<u8>> {
    let examples = DOCUMENTS.iter().flat_map(|text| text.split("```toml\n").skip(1));
    let examples: Vec<&str> = examples.filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 10, "only {} examples", examples.len());
    let parts = examples.iter().map(|text| workload(text).into_bytes());
    let wholes = examples.iter().map(|text| text.as_bytes().to_vec());
    parts.chain(wholes).chain([workload("").into_bytes()]).collect()
}

/// Keys and values that the documentation names.
fn words() -> Vec<&'static str> {
    let words = DOCUMENTS.iter().flat_map(|text| text.split('`').skip(1).step_by(2));
    let words = words.filter(|word| word.len() < 60 && !word.contains('\n'));
    let more = [
        "[[workload]]\n",
        "[server]\n",
        "\n",
        " = ",
        "{ ",
        " }",
        "[",
        "]",
        "\"",
        "'''",
        "1d",
        "0s",
        "-1",
        "1e99",
        "nan",
        "true",
        "10GB",
        "\u{feff}",
        "0x",
        "1979-05-27",
    ];
    words.chain(more).collect()
}

/// In a folder that is there.
fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let surroundings = Surroundings { current_dir: "/".into(), search_path: "/usr/bin:/bin".into() };
    Config::parse_in(text, Path::new("web.toml"), &surroundings)
}

#[test]
fn configurations() {
    let words = words().leak();
    Target { name: "configuration", seeds: seeds(), words, inputs: 3000 }.run(|input| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(0) };
        let errors = match parse(text) {
            Ok(config) => {
                let written = config.to_toml();
                let again = parse(&written)
                    .map_err(|errors| format!("what was written is refused: {errors}\n{written}"))?;
                let is_same = again == config;
                return if is_same {
                    Ok(did(&written.lines().count()))
                } else {
                    Err(format!("another came back: {written}"))
                };
            }
            Err(errors) => errors,
        };
        let is_toml = text.parse::<toml::Table>().is_ok();
        for error in errors.errors() {
            let is_there = (1..=text.lines().count().max(1) + 1).contains(&error.line);
            let names = !is_toml || !error.key.is_empty();
            if !is_there || !names || error.problem.is_empty() || error.hint.is_empty() {
                return Err(format!("says little: {error:?}"));
            }
        }
        let keys: BTreeSet<&str> = errors.errors().iter().map(|error| error.key.as_str()).take(3).collect();
        Ok(did(&(is_toml, keys)))
    });
}
