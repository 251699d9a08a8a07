//! The model repository through the API: promotion, roll-back, and versions that move between daemons.

use std::path::Path;
use std::time::{Duration, SystemTime};

use daemon::client::{Client, ClientError};
use forecast::Timestamp;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::{History as ModelHistory, Kind, Pace};
use history::Store;
use history::models::{By, Description, ModelId, Trial};

use crate::support::{Stage, eventually, request, runs, serves};

const JSON: (&str, &str) = ("content-type", "application/json");
const BYTES: (&str, &str) = ("content-type", "application/octet-stream");

/// Two versions, of which the second did so much better or worse than the first as `share` says.
fn two_versions(history: &Path, share: f64) -> [u64; 2] {
    let store = Store::open(history).expect("a history");
    let by = By::new("trainer", "nightly");
    let at = Timestamp::from_secs(1_764_000_000);
    let described = Description {
        workload: "web".into(),
        model: "gbdt".into(),
        trained_at: at,
        data_from: Timestamp::from_secs(1_761_000_000),
        data_to: at,
        features: vec!["hour".into()],
        scores: [("pinball".to_owned(), 0.25), ("skill".to_owned(), 0.3)].into(),
        parent: None,
        code_version: "0.1.0".into(),
    };
    let models = store.models();
    let add = |body: &[u8]| models.add(at, &by, &described, body).expect("added").record.id;
    let ids = [add(b"one"), add(b"two")];
    let losses = |by: f64| -> Vec<(Timestamp, f64)> {
        (0..200).map(|n| (Timestamp::from_secs(n * 300), by * (1.0 + (n % 5) as f64))).collect()
    };
    let trial = Trial::measure(ids[0], "pinball", &losses(1.0), &losses(share)).expect("comparable");
    models.measured(at, &by, ids[1], Some(trial), &[]).expect("noted");
    ids.map(ModelId::get)
}

fn promotion(force: bool) -> api::PromoteRequest {
    api::PromoteRequest { author: "ana".into(), reason: "launch".into(), force, least_gain: None }
}

fn status(error: &ClientError) -> u16 {
    match error {
        ClientError::Refused { status, .. } => *status,
        other => panic!("not refused: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_takes_over_by_gain_or_by_force_and_can_be_rolled_back() {
    let stage = Stage::new("");
    let [first, second] = two_versions(&stage.history(), 0.999);
    let daemon = stage.start();
    let client = stage.client();
    client.promote_model(first, &promotion(false)).await.expect("the first needs no gain");
    let refused = client.promote_model(second, &promotion(false)).await.expect_err("a gain of 0.1 %");
    assert_eq!(status(&refused), 409);
    assert!(refused.to_string().contains("a gain of 0.10 % where 1.00 % is asked for"), "{refused}");
    let lower = api::PromoteRequest { least_gain: Some(0.0005), ..promotion(false) };
    let promoted = client.promote_model(second, &lower).await.expect("enough for whom asks for less");
    assert_eq!((promoted.summary.state, promoted.replaced), (api::ModelState::Champion, Some(first)));
    let back = api::RollbackRequest { author: "ana".into(), reason: "spikes".into() };
    assert_eq!(client.roll_back_model("web", "gbdt", &back).await.expect("rolled back").summary.id, first);
    let end = client.roll_back_model("web", "gbdt", &back).await.expect_err("nothing before");
    assert_eq!(status(&end), 409);
    let forced = client.promote_model(second, &promotion(true)).await.expect("forced");
    assert_eq!(forced.why, "launch");

    let events = client.events(50).await.expect("events").events;
    assert!(events.is_sorted_by(|a, b| a.at_ms >= b.at_ms));
    let kinds: Vec<&str> =
        events.iter().map(|e| e.kind.as_str()).filter(|kind| kind.starts_with("model_")).collect();
    assert_eq!(kinds, ["model_promoted", "model_rolled_back", "model_promoted", "model_promoted"]);
    let said = events.iter().find(|e| e.kind == "model_promoted").expect("noted");
    assert!(said.message.contains("forced (ana: launch)"), "{}", said.message);

    // A crash right after the answer changes nothing.
    let before = client.models(None, None, None).await.expect("versions");
    serves(&client).await;
    daemon.kill();
    let _daemon = stage.start();
    assert_eq!(client.models(None, None, None).await.expect("versions"), before);
    let champions = client.models(Some("web"), Some("gbdt"), Some("champion")).await.expect("versions");
    assert_eq!(champions.models.iter().map(|model| model.id).collect::<Vec<_>>(), [second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_version_is_imported_elsewhere_as_a_challenger() {
    let (here, there) = (Stage::new(""), Stage::new(""));
    let [first, second] = two_versions(&here.history(), 0.5);
    let _daemons = (here.start(), there.start());
    let content = here.client().export_model(second).await.expect("exported");
    let client = there.client();
    let taken = client.import_model(content.clone(), "ana", "from staging", None).await.expect("taken in");
    assert_eq!((taken.summary.state, taken.imported_from), (api::ModelState::Challenger, Some(second)));
    assert_eq!(taken.sha256, here.client().model(second).await.expect("shown").sha256);
    assert!(taken.trial.is_none(), "the version it was compared with is not here");
    let again = client.import_model(content.clone(), "ana", "x", None).await.expect_err("the same again");
    assert_eq!(status(&again), 409);
    let mut damaged = content.to_vec();
    damaged[60] ^= 1;
    let damaged = client.import_model(damaged.into(), "ana", "x", None).await.expect_err("damaged");
    assert!(status(&damaged) == 400 && damaged.to_string().contains("checksum"), "{damaged}");
    let cut = client.import_model(content.slice(..50), "ana", "x", None).await.expect_err("cut off");
    assert!(status(&cut) == 400 && cut.to_string().contains("cut off"), "{cut}");
    let nobody =
        client.import_model(content, "ana", "x", Some("nobody")).await.expect_err("no such workload");
    assert_eq!(status(&nobody), 404);
    assert_eq!(client.models(None, None, None).await.expect("versions").models.len(), 1);
    assert!(here.client().model(first).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_about_models_is_refused_with_a_hint() {
    let stage = Stage::new("");
    two_versions(&stage.history(), 0.5);
    let _daemon = stage.start();
    let by = r#"{"author":"a","reason":"b"}"#;
    let large = "x".repeat(40 << 20);
    for (method, path, headers, body, expected) in [
        ("GET", "/api/v1/models/7", None, "", 404),
        ("GET", "/api/v1/models/seven", None, "", 400),
        ("GET", "/api/v1/models?state=best", None, "", 400),
        ("GET", "/api/v1/models?wrkload=web", None, "", 400),
        ("GET", "/api/v1/models?workload=nobody", None, "", 404),
        ("GET", "/api/v1/models/7/export", None, "", 404),
        ("DELETE", "/api/v1/models/1", None, "", 405),
        ("POST", "/api/v1/models/1/promote", None, by, 415),
        ("POST", "/api/v1/models/7/promote", Some(JSON), by, 404),
        ("POST", "/api/v1/models/1/promote", Some(JSON), r#"{"author":"a"}"#, 400),
        ("POST", "/api/v1/models/1/promote", Some(JSON), r#"{"author":"a","reason":" "}"#, 400),
        (
            "POST",
            "/api/v1/models/1/promote",
            Some(JSON),
            r#"{"author":"a","reason":"b","least_gain":-1}"#,
            400,
        ),
        ("POST", "/api/v1/workloads/nobody/models/gbdt/rollback", Some(JSON), by, 404),
        ("POST", "/api/v1/workloads/web/models/gbdt/rollback", Some(JSON), by, 409),
        ("POST", "/api/v1/training/pause", None, by, 415),
        ("POST", "/api/v1/training/pause", Some(JSON), r#"{"author":"a"}"#, 400),
        ("POST", "/api/v1/training/pause", Some(JSON), r#"{"author":"a","reason":" "}"#, 400),
        ("POST", "/api/v1/training/resume", Some(JSON), by, 409),
        ("GET", "/api/v1/training/pause", None, "", 405),
        ("POST", "/api/v1/models/import?author=a&reason=b", None, "x", 415),
        ("POST", "/api/v1/models/import?author=a&reason=b", Some(JSON), "x", 415),
        ("POST", "/api/v1/models/import?author=a&reason=b", Some(BYTES), "x", 400),
        ("POST", "/api/v1/models/import?author=a&reason=b", Some(BYTES), large.as_str(), 413),
    ] {
        let headers: Vec<(&str, &str)> = headers.into_iter().collect();
        let (status, answer, _) = request(stage.api, method, path, &headers, body).await.expect("answered");
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let refusal: api::ErrorBody =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert!(!refusal.error.is_empty() && !refusal.hint.is_empty(), "{path}: {refusal:?}");
    }
}

/// Demand of the last fifty minutes by the second, written where the configuration expects it: when it begins, and its values.
fn fifty_minutes(stage: &Stage) -> (Timestamp, Vec<f32>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let values: Vec<u64> = (0..3000_u64).map(|n| 50 + 20 * (n / 30 % 2) + n * 7919 % 11).collect();
    let rows: String =
        values.iter().zip(now - 3000..).map(|(value, second)| format!("{second},{value}\n")).collect();
    let root = stage.history().ancestors().nth(2).expect("a folder").to_owned();
    std::fs::write(root.join("demand.csv"), format!("timestamp,requests\n{rows}")).expect("written");
    let begin = Timestamp::from_secs(i64::try_from(now - 3000).expect("a small number"));
    (begin, values.iter().map(|&value| value as f32).collect())
}

/// The first event of a kind since a moment whose message says `part`.
async fn said(client: &Client, since: Timestamp, kind: &str, part: &str) -> api::Event {
    eventually(part, async || {
        let mut events = client.events(200).await.ok()?.events;
        events.retain(|event| event.at_ms >= since.as_millis() && event.kind == kind);
        events.into_iter().rev().find(|event| event.message.contains(part))
    })
    .await
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(i64::try_from(since.as_millis()).expect("a small number"))
}

/// Another version of the smoothing of `web`, fitted to the first `known` values: a challenger.
fn another_version(stage: &Stage, begin: Timestamp, values: &[f32], known: usize) -> u64 {
    let grid = Grid { origin: begin, step: Duration::from_secs(1), zone: None };
    let covariates = Covariates::default();
    let history = ModelHistory {
        grid: &grid,
        first: 0,
        values: &values[..known],
        seasons: &[60],
        covariates: &covariates,
        horizon: 60,
        non_negative: true,
    };
    let model = Kind::Smoothing.train(&history, &mut Pace::free()).expect("it can be fitted");
    let described = Description {
        workload: "web".into(),
        model: "smoothing".into(),
        trained_at: now(),
        data_from: begin,
        data_to: grid.begins_at(known as u64),
        features: vec!["demand".into()],
        scores: [].into(),
        parent: None,
        code_version: format!("{}+models.{}", env!("CARGO_PKG_VERSION"), forecast::models::FORMAT),
    };
    let body = postcard::to_stdvec(&model).expect("encoded");
    let store = Store::open(&stage.history()).expect("a history");
    let added = store.models().add(now(), &By::new("test", "another one"), &described, &body);
    added.expect("added").record.id.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_trained_in_the_background_and_becomes_champion() {
    let stage = Stage::new("models = [\"smoothing\"]\nhistory = \"demand.csv\"");
    fifty_minutes(&stage);
    let _daemon = stage.start();
    let client = stage.client();
    let message = said(&client, Timestamp::default(), "trained", "is the champion").await.message;
    assert!(message.contains("smoothing version 1 is the champion"), "{message}");
    // It was scored on values that it had not been fitted to.
    assert!(message.contains("smoothing 0."), "{message}");
    let champions =
        client.models(Some("web"), Some("smoothing"), Some("champion")).await.expect("versions").models;
    let [champion] = champions.as_slice() else { panic!("{champions:?}") };
    let detail = client.model(champion.id).await.expect("the version");
    assert!(detail.features.iter().any(|feature| feature == "demand"), "{detail:?}");
}

/// What a monitoring system reads.
async fn shown(stage: &Stage) -> String {
    request(stage.api, "GET", "/metrics", &[], "").await.expect("answered").1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_training_is_told_outlives_the_daemon_and_ends_with_a_champion() {
    let stage = Stage::new("models = [\"smoothing\"]\nhistory = \"demand.csv\"\n[training]\npaused = true");
    fifty_minutes(&stage);
    let by = |author: &str| api::TrainingRequest { author: author.into(), reason: "backup".into() };
    let client = stage.client();
    let author = async || client.training().await.expect("answered").paused.map(|pause| pause.author);
    let daemon = stage.start();
    assert_eq!(author().await.as_deref(), Some("configuration"));
    let refused = client.pause_training(&by("ana")).await.expect_err("it is paused");
    assert_eq!(status(&refused), 409);
    assert_eq!(client.resume_training(&by("ana")).await.expect("resumed"), api::Training::default());
    assert!(shown(&stage).await.contains("\nforeshadow_training_paused 0.0\n"));
    let paused = client.pause_training(&by("ana")).await.expect("paused");
    assert_eq!(client.status().await.expect("the status").training, paused);
    assert!(shown(&stage).await.contains("\nforeshadow_training_paused 1.0\n"));
    serves(&client).await;
    daemon.kill();

    // The file still says what it said, so the last word is the operator's.
    let restarted = now();
    let daemon = stage.start();
    assert_eq!(client.training().await.expect("answered"), paused);
    assert_eq!(client.models(None, None, None).await.expect("versions").training, paused);
    let steps =
        async || client.forecast("web", Duration::from_secs(5)).await.expect("a forecast").issued_at_ms;
    let before = steps().await;
    eventually("the next steps", async || (steps().await >= before + 3000).then_some(())).await;
    let events = client.events(200).await.expect("events").events;
    let of = |kind: &str, since: Timestamp| {
        events.iter().filter(|event| event.kind == kind && event.at_ms >= since.as_millis()).count()
    };
    assert_eq!(of("trained", restarted), 0, "{events:?}");
    daemon.terminate();

    let _daemon = stage.start();
    let resumed = now();
    client.resume_training(&by("bob")).await.expect("resumed");
    said(&client, resumed, "training_resumed", "training of models goes on (bob: backup)").await;
    said(&client, resumed, "trained", "smoothing version").await;
    assert_eq!(author().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_takes_part_at_once_after_a_restart_and_after_an_operators_decision() {
    let stage = Stage::new("models = [\"smoothing\"]\nhistory = \"demand.csv\"");
    let (begin, values) = fifty_minutes(&stage);
    let client = stage.client();
    let daemon = stage.start();
    said(&client, begin, "trained", "smoothing version 1 is the champion").await;
    daemon.terminate();
    let second = another_version(&stage, begin, &values, 2400);

    let restarted = now();
    let _daemon = stage.start();
    let loaded = said(&client, restarted, "models_loaded", "smoothing version 1 takes part").await;
    assert!(loaded.message.contains("; weights one step ahead: online"), "{}", loaded.message);
    assert!(loaded.message.contains("smoothing 0."), "it has no weight: {}", loaded.message);
    let events = client.events(200).await.expect("events").events;
    let trainings =
        events.iter().filter(|event| event.kind == "trained" && event.at_ms >= restarted.as_millis());
    assert!(trainings.into_iter().all(|event| event.at_ms >= loaded.at_ms), "{events:?}");

    let promoted = now();
    client.promote_model(second, &promotion(true)).await.expect("forced");
    let message =
        said(&client, promoted, "models_loaded", &format!("smoothing version {second} takes part")).await;
    assert!(message.message.starts_with("another version was put in charge"), "{}", message.message);
    let rolled = now();
    let back = api::RollbackRequest { author: "ana".into(), reason: "worse".into() };
    client.roll_back_model("web", "smoothing", &back).await.expect("rolled back");
    said(&client, rolled, "models_loaded", "smoothing version 1 takes part").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_put_in_charge_that_cannot_take_part_says_why() {
    let stage = Stage::new("models = [\"smoothing\"]\nhistory = \"demand.csv\"");
    let (begin, values) = fifty_minutes(&stage);
    let [foreign, _] = two_versions(&stage.history(), 0.5);
    let lost = another_version(&stage, begin - Duration::from_secs(86_400), &values, 2400);
    let _daemon = stage.start();
    let client = stage.client();
    client.promote_model(foreign, &promotion(false)).await.expect("the first needs no gain");
    said(&client, begin, "models_loaded", "name it in `models` of this workload").await;
    client.promote_model(lost, &promotion(true)).await.expect("forced");
    said(&client, begin, "models_loaded", "the history does not reach back to its data").await;
}

/// Says the last value of its history at every quantile, until the file named by its argument is there: then it ends.
const OWN_MODEL: &str = r#"
import json, os, sys
last = 0.0
for line in sys.stdin:
    kind, request = next(iter(json.loads(line).items()))
    if kind == "forecast":
        if os.path.exists(sys.argv[1]):
            sys.exit("the end of my wits")
        row = [last + 0.01 * n for n, _ in enumerate(request["quantiles"])]
        print(json.dumps({"values": [row] * request["steps"]}), flush=True)
    else:
        seen = [value for value in request["values"] if value is not None]
        last = seen[-1] if seen else last
        print(json.dumps({"ok": True}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_users_model_takes_part_drops_out_when_it_ends_and_holds_nothing_up() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        return skips::skip("a user's model in the daemon", "there is no python3");
    }
    let stage = Stage::new(
        "history = \"demand.csv\"\nmodels = [\"external:mine\", \"external:slow\"]\n\
         [model.mine]\ncommand = [\"python3\", \"own.py\", \"over\"]\n\
         [model.slow]\ncommand = [\"sh\", \"-c\", \"sleep 1000\"]\n",
    );
    let (begin, _) = fifty_minutes(&stage);
    let root = stage.history().ancestors().nth(2).expect("a folder").to_owned();
    std::fs::write(root.join("own.py"), OWN_MODEL).expect("written");
    let daemon = stage.start();
    let client = stage.client();
    let steps =
        async || client.forecast("web", Duration::from_secs(5)).await.expect("a forecast").issued_at_ms;
    said(&client, begin, "external_model", "external:mine takes part").await;
    std::fs::write(root.join("over"), "").expect("written");
    let gone = said(&client, begin, "external_model", "external:mine takes no part").await;
    assert!(gone.message.contains("the end of my wits"), "{}", gone.message);
    // The other one answers nothing at all, and steps go on all the same.
    let before = steps().await;
    eventually("the next steps", async || (steps().await >= before + 2000).then_some(())).await;
    std::fs::remove_file(root.join("over")).expect("removed");
    said(&client, begin, "external_model", "external:mine is back").await;
    let ends = std::time::Instant::now();
    daemon.terminate();
    assert!(ends.elapsed() < Duration::from_secs(15), "a silent command held the end up");
}

/// The command is two processes, of which the inner one computes and never looks at its pipes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_computes_does_not_outlive_a_killed_daemon() {
    let stage = Stage::new(
        "history = \"demand.csv\"\nmodels = [\"external:busy\"]\n[model.busy]\n\
         command = [\"sh\", \"-c\", \"sh -c 'read line; echo $$ > busy.tmp; mv busy.tmp busy; while :; do :; done'; true\"]\n",
    );
    fifty_minutes(&stage);
    let mark = stage.history().ancestors().nth(2).expect("a folder").join("busy");
    let daemon = stage.start();
    eventually("the model computes", async || mark.exists().then_some(())).await;
    let model = std::fs::read_to_string(&mark).expect("written").trim().parse().expect("a process");
    assert!(runs(model));
    daemon.kill();
    eventually("the model is gone", async || (!runs(model)).then_some(())).await;
}
