//! `foreshadow events` against a running daemon.

use std::process::{Command, Output};

use super::world::{Shape, World, runtime};

#[test]
fn events_are_announced_imported_listed_and_removed() {
    let mut world = World::new(&Shape { replicas_min: 1, replicas_max: 2 });
    let (folder, _) = world.folders();
    world.start();
    runtime().block_on(world.wait_until("it serves", |detail| detail.summary.counts.active == 1));
    let api = world.api.to_string();
    let expect = |words: &[&str], code: i32, part: &str| -> String {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_foreshadow"))
            .arg("events")
            .args(words)
            .args(["--api", &api])
            .current_dir(&folder)
            .output()
            .expect("the binary runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let said = format!("{words:?}: {stdout}{stderr}");
        assert!(status.code() == Some(code) && said.contains(part), "{said}");
        stdout.into_owned()
    };

    expect(&["list", "web"], 0, "no events");
    let sale = ["add", "web", "Sale 2099", "--start", "2099-11-27T00:00:00Z", "--for", "24h"];
    expect(&sale, 0, "1 added, 0 changed, 0 unchanged");
    expect(&sale, 0, "0 added, 0 changed, 1 unchanged");
    expect(&["add", "nobody", "x", "--start", "0", "--for", "1h"], 2, "no workload named");
    std::fs::write(
        folder.join("events.csv"),
        "start,end,name,magnitude\n2099-11-27,,Sale 2099,2\n2099-12-24T18:00:00Z,2099-12-24T20:00:00Z,Match #3,\n",
    )
    .expect("written");
    expect(&["import", "web", "events.csv"], 0, "1 added, 1 changed, 0 unchanged");
    std::fs::write(
        folder.join("events.ics"),
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20991231T220000Z\r\n\
         DTEND:20991231T230000Z\r\nSUMMARY:Fireworks\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    )
    .expect("written");
    let far = ["import", "web", "events.ics", "--until", "2100-01-01T00:00:00Z"];
    expect(&far, 0, "1 added");
    let all = ["list", "web", "--to", "2100-01-01T00:00:00Z"];
    let list = expect(&all, 0, "Fireworks");
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let json = expect(&[&all[..], &["--json"]].concat(), 0, "");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let names: Vec<&str> = json["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["Sale 2099", "Match #3", "Fireworks"]);
    assert_eq!(json["events"][0]["magnitude"].as_f64(), Some(2.0));
    let id = json["events"][1]["id"].as_u64().expect("a number").to_string();
    expect(&["remove", "web", &id, "--reason", "rain"], 0, "is gone");
    expect(&["remove", "web", &id], 2, "there is no event");
    expect(&["add", "web", "surge", "--start", "in 2m", "--for", "10m"], 0, "1 added");
    expect(&["add", "*", "fair", "--start", "14:05", "--for", "1h"], 0, "1 added");
    expect(&["list", "web", "--from", "now", "--to", "in 5m"], 0, "surge");
    world.stop();
}
