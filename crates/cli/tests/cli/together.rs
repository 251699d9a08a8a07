//! Several series of a file on the command line: models that are learned from each alone, and from all of them together.

use super::*;

/// From here on the others of [`write`] may differ.
const KNOWN_HOURS: usize = 24 * 18;
const AS_OF: &str = "2024-04-19T00:00:00Z";

/// Three weeks of the hours of four shops of different sizes that are quiet on Sundays; of all but the first, what comes
/// after [`AS_OF`] is as given.
fn write(folder: &Path, name: &str, after: impl Fn(f64) -> String) {
    let start: jiff::Timestamp = "2024-04-01T00:00:00Z".parse().unwrap();
    let mut csv = String::from("timestamp,series,visits\n");
    for shop in 0..4 {
        for hour in 0..24 * 21 {
            let at = start + jiff::SignedDuration::from_hours(hour as i64);
            let noise = ((hour + 31 * shop) * 7919 % 101) as f64;
            let quiet = if hour / 24 % 7 == 6 { 0.25 } else { 1.0 };
            let visits = quiet * (200.0 + 100.0 * ((hour % 24) as f64 / 3.8).sin()) + noise;
            let visits = (visits * (1 + shop) as f64).round();
            let known = shop == 0 || hour < KNOWN_HOURS;
            let visits = if known { visits.to_string() } else { after(visits) };
            csv.push_str(&format!("{at},shop{shop},{visits}\n"));
        }
    }
    std::fs::write(folder.join(name), csv).unwrap();
}

fn run(folder: &Path, words: &str) -> (String, String) {
    let output = foreshadow(folder, words);
    assert!(output.status.success(), "{words}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_table_of_an_evaluation_says_how_rows_of_one_model_differ() {
    let folder = folder();
    write(folder.path(), "shops.csv", |visits| visits.to_string());
    let words = "evaluate shops.csv --models pooled --horizon 1d --origins 2";
    let said = "+others: learned from each series and 3 of the others together";
    let (table, _) = run(folder.path(), words);
    assert!(table.contains(said), "{table}");
    run(folder.path(), &format!("{words} --plot page.html"));
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains(said));
    let (alone, _) = run(folder.path(), &format!("{words} --series shop1"));
    assert!(!alone.contains("others"), "{alone}");
}

#[test]
fn all_series_are_forecast_by_a_model_learned_from_them_together_as_of_the_same_moment() {
    let folder = folder();
    write(folder.path(), "shops.csv", |visits| visits.to_string());
    write(folder.path(), "wild.csv", |_| "1000000".to_owned());
    write(folder.path(), "cut.csv", |_| String::new());
    let forecast = |file: &str, which: &str, as_of: &str| {
        let words = format!("forecast {file} {which} --model pooled --horizon 6h --as-of {as_of}");
        let (csv, said) = run(folder.path(), &words);
        let of_first: Vec<String> =
            csv.lines().filter(|line| line.contains(",shop0,")).map(str::to_owned).collect();
        assert_eq!(of_first.len(), 6, "{csv}");
        (of_first, said)
    };
    let (together, said) = forecast("shops.csv", "--all-series", AS_OF);
    assert!(
        said.contains("note: `pooled` is learned from each series and 3 of the others together"),
        "{said}"
    );
    let (alone, said) = forecast("shops.csv", "--series shop0", AS_OF);
    assert!(!said.contains("together"), "{said}");
    assert_ne!(together, alone);
    // What the others did later is not known, nor is the step that is not over yet.
    for as_of in [AS_OF, "2024-04-19T00:30:00Z"] {
        let (together, _) = forecast("shops.csv", "--all-series", as_of);
        for file in ["wild.csv", "cut.csv"] {
            assert_eq!(forecast(file, "--all-series", as_of).0, together, "{file} as of {as_of}");
        }
    }
}
