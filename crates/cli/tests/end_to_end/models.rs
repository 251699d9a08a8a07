//! `foreshadow models` against a running daemon: what it prints, and the codes it ends with.

use std::path::Path;
use std::process::{Command, Output};

use forecast::Timestamp;
use history::Store;
use history::models::{By, Description};

use super::world::{Shape, WORKLOAD, World, runtime};

fn two_versions(history: &Path) {
    let store = Store::open(history).expect("a history");
    let at = Timestamp::from_secs(1_764_000_000);
    let described = Description {
        workload: WORKLOAD.into(),
        model: "gbdt".into(),
        trained_at: at,
        data_from: Timestamp::from_secs(1_761_000_000),
        data_to: at,
        features: vec!["hour".into(), "lag_288".into()],
        scores: [("pinball".to_owned(), 0.25), ("coverage_90".to_owned(), 0.897)].into(),
        parent: None,
        code_version: "0.1.0".into(),
    };
    for body in ["one", "two"] {
        let by = By::new("trainer", "nightly");
        store.models().add(at, &by, &described, body.as_bytes()).expect("added");
    }
}

#[test]
fn versions_are_listed_promoted_rolled_back_exported_and_imported() {
    let mut world = World::new(&Shape { replicas_min: 1, replicas_max: 2 });
    let (folder, history) = world.folders();
    two_versions(&history);
    world.start();
    runtime().block_on(world.wait_until("it serves", |detail| detail.summary.counts.active == 1));
    let api = world.api.to_string();
    let foreshadow = |words: &str| -> (i32, String, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_foreshadow"))
            .args(words.split_whitespace())
            .args(["--api", &api])
            .current_dir(&folder)
            .output()
            .expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code().expect("it ended by itself"), text(stdout), text(stderr))
    };
    let expect = |words: &str, code: i32, part: &str| -> String {
        let (found, stdout, stderr) = foreshadow(words);
        assert!(
            found == code && (stdout.contains(part) || stderr.contains(part)),
            "{words}: {found} {stdout}{stderr}"
        );
        stdout
    };

    let list = expect("models list", 0, "challenger");
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    for part in ["web", "gbdt", "0.250/90%/-", "3B", "34d"] {
        assert!(list.contains(part), "{part} is not in\n{list}");
    }
    expect("models promote 1 --reason first --author ana", 0, "web: version 1 is the gbdt champion");
    expect("models promote 2 --reason better", 1, "never compared");
    expect("models promote 2 --reason better --force --author ana", 0, "version 2");
    let shown = expect("models show 2", 0, "champion since");
    assert!(shown.contains("better") && shown.contains("version 1") && shown.contains("lag_288"), "{shown}");
    expect("models show 9", 2, "no model version 9");
    expect("models rollback web gbdt --reason spikes", 0, "version 1 is the gbdt champion");
    expect("models rollback web gbdt --reason spikes", 1, "nothing to roll back to");
    expect("models rollback nobody gbdt --reason spikes", 2, "no workload");
    let json: serde_json::Value =
        serde_json::from_str(&expect("models list --json --state retired", 0, "")).expect("JSON");
    assert_eq!(
        (json["models"][0]["id"].as_u64(), json["models"].as_array().map(Vec::len)),
        (Some(2), Some(1))
    );

    expect("models export 2", 0, "web-gbdt-2.fsmodel");
    expect("models export 2", 2, "exists already");
    expect("models export 2 --overwrite", 0, "web-gbdt-2.fsmodel");
    expect("models export 2 --output no/such/folder/x", 1, "cannot write no/such/folder/x");
    expect("models import web-gbdt-2.fsmodel --reason again", 1, "here already, as version 2");
    let mut content = std::fs::read(folder.join("web-gbdt-2.fsmodel")).expect("exported");
    content[70] ^= 4;
    std::fs::write(folder.join("bad.fsmodel"), &content).expect("written");
    expect("models import bad.fsmodel --reason again", 2, "checksum does not match");
    expect("models import foreshadow.toml --reason again", 2, "not an exported model");

    expect("models pause --reason backup --author ana", 0, "training is paused since");
    expect("models pause --reason again --author bob", 1, "by ana (backup)");
    expect("models list", 0, "`foreshadow models resume` lets it go on");
    expect("models resume", 0, "training of models goes on");
    expect("models resume", 1, "training of models is not paused");
    assert!(!expect("models list", 0, "gbdt").contains("paused"));
    world.stop();
}
