//! Replays, and that nothing looks ahead: what the tail of a file says changes nothing before it.

use std::path::{Path, PathBuf};

use super::*;

/// The first `rows` rows of the ClarkNet trace in a file of their own.
fn clarknet(folder: &Path, rows: usize) -> PathBuf {
    let packed =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/clarknet_http_1995_1min.csv.gz"))
            .unwrap();
    let mut csv = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut csv).unwrap();
    let file = folder.join(format!("first-{rows}.csv"));
    let head: Vec<&str> = csv.lines().take(rows + 1).collect();
    std::fs::write(&file, head.join("\n") + "\n").unwrap();
    file
}

#[test]
fn a_replay_with_events_is_another_one_and_its_beginning_does_not_depend_on_its_end() {
    let folder = folder();
    shop(folder.path(), "shop.csv", |hour| (50 + hour % 7).to_string());
    let whole = std::fs::read_to_string(folder.path().join("shop.csv")).unwrap();
    let part: Vec<&str> = whole.lines().take(24 * 50).collect();
    std::fs::write(folder.path().join("part.csv"), part.join("\n") + "\n").unwrap();
    std::fs::write(
        folder.path().join("quiet.ics"),
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Quiet\nDTSTART;VALUE=DATE:20240407\nRRULE:FREQ=WEEKLY\nEND:VEVENT\n\
         END:VCALENDAR\n",
    )
    .unwrap();
    let decisions = |file: &str, known: &str| {
        let words = format!(
            "replay {file} --column visits --capacity 20 --cold 2h --promote 1h --policy foreshadow {known} --decisions out.csv"
        );
        let output = foreshadow(folder.path(), &words);
        assert!(output.status.success(), "{words}: {}", text(&output.stderr));
        std::fs::read_to_string(folder.path().join("out.csv")).unwrap()
    };
    let known = "--events quiet.ics --holidays US --time-zone America/New_York";
    let whole = decisions("shop.csv", known);
    assert!(whole.starts_with(&decisions("part.csv", known)));
    assert_ne!(whole, decisions("shop.csv", "--time-zone America/New_York"));
}

#[test]
fn cutting_the_tail_off_a_trace_changes_no_earlier_decision() {
    let folder = tempfile::tempdir().unwrap();
    let decisions = |rows: usize, policy: &str| -> Vec<String> {
        let file = clarknet(folder.path(), rows);
        let words = format!(
            "replay {} --capacity 20 --cold 5m --promote 1s --policy {policy} --decisions out.csv",
            file.display()
        );
        let output = foreshadow(folder.path(), &words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let csv = std::fs::read_to_string(folder.path().join("out.csv")).unwrap();
        csv.lines().map(str::to_owned).collect()
    };
    for policy in ["foreshadow", "hpa", "kpa"] {
        let (short, long) = (decisions(1500, policy), decisions(3000, policy));
        assert_eq!(short.len(), 1501);
        assert_eq!(short[0], "timestamp,demand,active_wanted,standby_wanted");
        assert_eq!(short[..], long[..1501], "{policy} knew what was coming");
    }
}

#[test]
fn a_forecast_uses_only_rows_before_its_moment() {
    let folder = tempfile::tempdir().unwrap();
    let forecast = |rows: usize, moments: &str| {
        let file = clarknet(folder.path(), rows);
        let output =
            foreshadow(folder.path(), &format!("forecast {} --horizon 30m {moments}", file.display()));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let alone = forecast(1440, "--as-of 1995-08-29T04:00:00Z");
    assert_eq!(alone, forecast(3000, "--as-of 1995-08-29T04:00:00Z"));
    assert_eq!(alone, forecast(1440, ""), "the default is the end of the data");
    let both = forecast(3000, "--as-of 1995-08-29T16:00:00Z --as-of 1995-08-29T04:00:00Z");
    assert!(both.starts_with(&alone), "an earlier forecast does not depend on a later one");
}

#[test]
fn replay_scores_are_the_same_twice_and_stand_beside_the_oracle() {
    let folder = tempfile::tempdir().unwrap();
    let file = clarknet(folder.path(), 2000);
    let scores = || {
        let words = format!("replay {} --capacity 20 --cold 5m --promote 1s --json out.json", file.display());
        let output = foreshadow(folder.path(), &words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            text(&output.stdout).lines().all(|line| line.chars().count() <= 80),
            "{}",
            text(&output.stdout)
        );
        std::fs::read_to_string(folder.path().join("out.json")).unwrap()
    };
    let first = scores();
    assert_eq!(first, scores());
    let json: serde_json::Value = serde_json::from_str(&first).unwrap();
    let names: Vec<&str> =
        json["policies"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    let known = [
        "foreshadow",
        "hpa",
        "hpa-warm-pool",
        "keda",
        "kpa",
        "last-week",
        "crane",
        "phpa-linear",
        "phpa-holt-winters",
        "aws",
        "hybrid-histogram",
        "static-peak",
        "oracle",
    ];
    assert_eq!(names, known);
    assert!(json["policies"].as_array().unwrap().iter().all(|policy| policy["cost_over_oracle"].is_f64()));
}

#[test]
fn a_report_names_its_verdict_its_prices_and_every_policy_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = clarknet(folder.path(), 1500);
    let words = format!(
        "replay {} --capacity 20 --cold 5m --promote 1s --policy foreshadow --policy hpa --policy hpa-warm-pool \
         --warm-pool 3 --report out.html --price-per-hour 0.5 --currency EUR",
        file.display()
    );
    let output = foreshadow(folder.path(), &words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("out.html")).unwrap();
    let body = page.split("<main>").nth(1).expect("a page with a body");
    assert!(body.contains("class=\"lead\">On this trace foreshadow serves "), "the verdict comes first");
    assert!(body.contains(" EUR a month"), "prices are in the user's currency");
    for title in ["Kubernetes HPA", "HPA with a warm pool", "foreshadow"] {
        assert!(body.contains(&format!("<td>{title}</td>")), "{title} is in the tables");
    }
    assert!(!body.contains("<td>KEDA</td>"), "nobody asked for it");
    assert!(body.contains("x perfect foresight"), "the frontiers are drawn");
    let outside = body.matches("http://").count() + body.matches("https://").count();
    assert_eq!(outside, 0, "nothing comes from the network");
}

#[test]
fn scores_go_to_standard_output_where_a_program_asks_for_them() {
    let folder = folder();
    let words = "replay good.csv --capacity 5 --cold 1d --promote 1s --policy foreshadow --json -";
    let output = foreshadow(folder.path(), words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let scores: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scores["policies"][0]["name"], "foreshadow");
    assert!(text(&output.stderr).contains("instance-hours"));
    assert!(!folder.path().join("-").exists());
}
