//! The command line as its users meet it: the real binary, what it prints, and the code it ends with.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

mod forecast;
mod own_model;
mod replay;
mod together;

const FORESHADOW: &str = env!("CARGO_BIN_EXE_foreshadow");

fn foreshadow(folder: &Path, words: &str) -> Output {
    Command::new(FORESHADOW)
        .args(words.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with the files that the commands below name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("good.csv", "timestamp,v\n0,10\n60,12\n120,11\n180,13\n240,12\n300,14\n360,13\n420,15\n"),
        ("weather.csv", "timestamp,v,rain\n0,10,0\n60,12,1\n120,11,0\n180,,1\n240,,-1\n"),
        ("two.csv", "timestamp,series,v\n0,a,1\n0,b,2\n60,a,1\n60,b,2\n120,a,1\n120,b,2\n"),
        ("empty.csv", ""),
        ("events.csv", "start,end,name\n2026-11-27,2026-11-27,Sale\n"),
        ("header.csv", "timestamp,v\n"),
        ("unsorted.csv", "timestamp,v\n60,1\n0,2\n120,3\n"),
        ("duplicate.csv", "timestamp,v\n0,1\n60,2\n60,3\n"),
        ("nan.csv", "timestamp,v\n0,1\n60,NaN\n120,3\n"),
        ("negative.csv", "timestamp,v\n0,1\n60,-2\n120,3\n"),
        ("named.csv", "timestamp,name,v\n0,web,1\n60,web,2\n120,web,3\n"),
        ("words.csv", "timestamp,v\n0,1\n60,many\n120,3\n"),
        ("nozone.csv", "timestamp,v\n2020-01-01T00:00:00,1\n2020-01-01T00:01:00,1\n"),
        ("notime.csv", "when,v\n0,1\n60,1\n"),
        ("nothing.csv", "timestamp,v\n0,\n60,\n120,\n"),
        ("zeros.csv", "timestamp,v\n0,0\n60,0\n120,0\n180,0\n"),
        ("tiny.csv", "timestamp,v\n0,1e-300\n60,2e-300\n120,1e-300\n"),
        ("spring.csv", "timestamp,v\n2024-03-31T01:00,1\n2024-03-31T02:00,1\n2024-03-31T03:00,1\n"),
        (
            "broken.toml",
            "[server]\nlisten = \"127.0.0.1:0\"\nlissen = 3\n\n[[workload]]\nname = \"web\"\nstep = \"30 parsecs\"\n",
        ),
        (
            "swapped.toml",
            "[[workload]]\nname = \"web\"\ncommand = [\"/bin/true\", \"{port}\"]\nlisten = \"127.0.0.1:9\"\ncapacity = 10\n\
             replicas = { min = 5, max = 2 }\n",
        ),
    ];
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(files[0].1.as_bytes()).unwrap();
    std::fs::write(folder.path().join("packed.bin"), packed.finish().unwrap()).unwrap();
    folder
}

/// Command, exit code, and words that stderr must contain (all of them, separated by `|`).
const REFUSED: &[(&str, i32, &str)] = &[
    ("", 2, "Usage: foreshadow <COMMAND>"),
    ("predict", 2, "unrecognized subcommand 'predict'"),
    ("forecast good.csv --horizon 5m --quantile 0.5", 2, "unexpected argument '--quantile'"),
    ("forecast good.csv", 2, "--horizon"),
    ("forecast good.csv --horizon 5", 2, "`5` has no unit|`5m`"),
    ("forecast good.csv --horizon 0s", 2, "longer than zero"),
    ("forecast good.csv --horizon soon", 2, "`soon` is not a duration"),
    ("forecast good.csv --horizon 90d", 2, "at most 100000 are possible"),
    ("forecast good.csv --horizon 5m --quantiles 1.5", 2, "1.5 is not between 0 and 1"),
    ("forecast good.csv --horizon 5m --quantiles 0", 2, "strictly between 0 and 1"),
    ("forecast good.csv --horizon 5m --quantiles 0.5,0.5", 2, "given twice"),
    ("forecast good.csv --horizon 5m --as-of tomorrow", 2, "tomorrow|1995-08-30T10:30:00Z"),
    ("forecast good.csv --horizon 5m --as-of -60", 2, "no rows before"),
    ("forecast good.csv --horizon 5m --as-of=0", 2, "no rows before"),
    ("forecast good.csv --horizon 5m --column w", 2, "good.csv|`w`"),
    ("forecast good.csv --horizon 5m --series a", 2, "series"),
    ("forecast good.csv --horizon 5m --events e.csv", 2, "cannot open e.csv"),
    ("forecast good.csv --horizon 5m --events words.csv", 2, "cannot use words.csv|no column `start`"),
    ("forecast good.csv --horizon 5m --holidays US", 2, "counts seconds|--time-zone"),
    ("forecast good.csv --horizon 5m --holidays XX --time-zone UTC", 2, "`XX`|US, US-DC"),
    ("forecast good.csv --horizon 5m --covariates rain", 2, "good.csv|`rain`"),
    ("forecast good.csv --horizon 5m --covariates v", 2, "`v`|column to forecast"),
    ("forecast weather.csv --horizon 5m --covariates rain,rain", 2, "`rain` twice"),
    ("forecast good.csv --horizon 5m --model prophet", 2, "no model `prophet`|online"),
    ("forecast good.csv --horizon 5m --format pdf", 2, "csv"),
    ("forecast good.csv --horizon 5m --time-zone Mars/Olympus", 2, "no time zone"),
    ("forecast two.csv --horizon 5m", 2, "2 series (a, b, ..)|--all-series"),
    ("forecast two.csv --horizon 5m --series c", 2, "`c`"),
    ("forecast missing.csv --horizon 5m", 2, "cannot open missing.csv|No such file"),
    ("forecast . --horizon 5m", 2, "is a folder"),
    ("forecast empty.csv --horizon 5m", 2, "empty.csv|empty"),
    ("forecast header.csv --horizon 5m", 2, "header.csv|no row"),
    ("forecast unsorted.csv --horizon 5m", 2, "unsorted.csv|line 3"),
    ("forecast duplicate.csv --horizon 5m", 2, "duplicate.csv|line 4"),
    ("forecast nan.csv --horizon 5m", 2, "nan.csv|line 3"),
    ("forecast negative.csv --horizon 5m", 2, "negative.csv|line 3"),
    ("forecast words.csv --horizon 5m", 2, "words.csv|line 3|many"),
    ("forecast nothing.csv --horizon 5m", 2, "nothing.csv|no value before 180|column `v`|--column"),
    ("forecast tiny.csv --horizon 5m", 2, "tiny.csv|column v|2e-300|another unit"),
    ("forecast zeros.csv --horizon 5m --model boosted", 2, "zeros.csv|`boosted`|every value is zero|`auto`"),
    ("forecast zeros.csv --horizon 5m --model sparse", 2, "zeros.csv|`sparse`|every value is zero|`auto`"),
    ("forecast good.csv --horizon 5m --model arima", 2, "good.csv|8 values, 30 are needed|`auto`"),
    ("forecast good.csv --horizon 5m --as-of 9999999", 2, "166659 steps|the step of 420|newer rows"),
    (
        "forecast spring.csv --horizon 5m --time-zone Europe/Berlin",
        2,
        "spring.csv|line 3|Europe/Berlin never show `2024-03-31T02:00`|offset +01",
    ),
    ("forecast nozone.csv --horizon 5m", 2, "line 2|no zone|--time-zone Europe/Berlin"),
    ("forecast nozone.csv --horizon 5m --time-zone none", 2, "line 2|no zone"),
    ("evaluate nozone.csv", 2, "--time-zone"),
    ("forecast notime.csv --horizon 5m", 2, "timestamp"),
    ("replay good.csv", 2, "--capacity|--cold|--promote"),
    ("replay good.csv --capacity -1 --cold 1m --promote 1s", 2, "-1 is not greater than zero"),
    ("replay good.csv --capacity=-1 --cold 1m --promote 1s", 2, "-1 is not greater than zero"),
    ("replay good.csv --capacity NaN --cold 1m --promote 1s", 2, "NaN is not greater than zero"),
    ("replay good.csv --capacity 5 --cold 1 --promote 1s", 2, "no unit"),
    ("replay good.csv --capacity 5 --cold 1m --promote 1s --policy hpb", 2, "no policy `hpb`|kpa"),
    ("replay good.csv --capacity 5 --cold 1m --promote 1s --budget 1", 2, "strictly between"),
    (
        "replay good.csv --capacity 5 --cold 1m --promote 1s --replicas-min 5 --replicas-max 2",
        2,
        "--replicas-min must be at most --replicas-max",
    ),
    ("replay good.csv --capacity 5 --cold 1m --promote 1s --events e.csv", 2, "cannot open e.csv"),
    ("replay good.csv --capacity 5 --cold 1m --promote 1s --holidays US", 2, "counts seconds|--time-zone"),
    (
        "replay good.csv --capacity 5 --cold 1m --promote 1s --start-failures 0.99",
        2,
        "--start-failures|at most 0.95",
    ),
    ("replay good.csv --capacity 5 --cold 1m --promote 1s --price-per-hour 2", 2, "--report"),
    ("replay good.csv --capacity 5 --cold 1m --promote 1s --against foreshadow", 2, "name a rival"),
    ("replay good.csv --capacity 5 --cold 1m --promote 1s --against hpa", 2, "--report"),
    ("replay named.csv --capacity 5 --cold 1m --promote 1s", 2, "named.csv|`web`|--column"),
    ("replay nozone.csv --capacity 5 --cold 1m --promote 1s", 2, "line 2|--time-zone"),
    ("evaluate good.csv --covariates rain", 2, "good.csv|`rain`"),
    ("replay unsorted.csv --capacity 5 --cold 1m --promote 1s", 2, "line 3"),
    ("replay empty.csv --capacity 5 --cold 1m --promote 1s", 2, "empty"),
    ("replay good.csv --workload missing.toml", 2, "cannot read missing.toml"),
    (
        "replay good.csv --capacity 5 --cold 1m --promote 1s --json no/such/folder.json",
        1,
        "cannot write no/such/folder.json",
    ),
    ("run missing.toml", 2, "cannot read missing.toml"),
    ("run broken.toml", 2, "broken.toml:3|lissen|broken.toml:7|parsecs|command"),
    ("run swapped.toml", 2, "swapped.toml:6|min|max"),
    ("status --api 127.0.0.1:9", 1, "no daemon answers at 127.0.0.1:9|foreshadow run"),
    ("explain web --api 127.0.0.1:9", 1, "no daemon answers"),
    ("explain web --at noon", 2, "noon"),
    ("explain web --at 14:05 --api 127.0.0.1:9", 1, "no daemon answers"),
    ("override set web --api 127.0.0.1:9 --reason x", 2, "--active"),
    ("override set web --active -2 --reason x --api 127.0.0.1:9", 2, "-2"),
    ("override set web --active 2 --api 127.0.0.1:9", 2, "--reason"),
    ("override clear web --api 127.0.0.1:9", 1, "no daemon answers"),
    ("override forecast web --reason x --for 1h", 2, "--scale"),
    ("override forecast web --scale 2 --add 3 --reason x --for 1h", 2, "cannot be used with"),
    ("override forecast web --scale 2 --reason x", 2, "--to"),
    ("override forecast web --scale 2 --reason x --for 1h --from noon", 2, "in 2h"),
    ("override forecast web --add -3 --reason x --to 18:00 --api 127.0.0.1:9", 1, "no daemon answers"),
    ("override list web --api 127.0.0.1:9", 1, "no daemon answers"),
    ("override remove web --api 127.0.0.1:9", 2, "<ID>"),
    ("models", 2, "list|promote|rollback|export|import|pause|resume"),
    ("models pause --api 127.0.0.1:9", 2, "--reason"),
    ("models pause --reason x --api 127.0.0.1:9", 1, "no daemon answers"),
    ("models resume --api 127.0.0.1:9", 1, "no daemon answers"),
    ("models list --api 127.0.0.1:9", 1, "no daemon answers at 127.0.0.1:9"),
    ("models list --state best --api 127.0.0.1:9", 2, "challenger"),
    ("models show seven --api 127.0.0.1:9", 2, "seven"),
    ("models promote 7 --api 127.0.0.1:9", 2, "--reason"),
    ("models promote 7 --reason x --force --least-gain 0.1 --api 127.0.0.1:9", 2, "cannot be used with"),
    ("models promote 7 --reason x --least-gain 2 --api 127.0.0.1:9", 2, "not between 0 and 1"),
    ("models rollback web --reason x --api 127.0.0.1:9", 2, "<MODEL>"),
    ("models rollback web gbdt --reason x --api 127.0.0.1:9", 1, "no daemon answers"),
    ("models export 7 --api 127.0.0.1:9", 1, "no daemon answers"),
    (
        "models import missing.fsmodel --reason x --api 127.0.0.1:9",
        2,
        "cannot read missing.fsmodel|No such file",
    ),
    ("events", 2, "list|add|remove|import"),
    ("events list web --api 127.0.0.1:9", 1, "no daemon answers at 127.0.0.1:9"),
    ("events add web sale --start 2026-11-27T00:00:00Z --api 127.0.0.1:9", 2, "--end|--for"),
    ("events add web sale --start noon --for 2h --api 127.0.0.1:9", 2, "noon"),
    (
        "events add web sale --start 2026-11-27T02:00:00Z --end 2026-11-27T01:00:00Z --api 127.0.0.1:9",
        2,
        "ends before it begins",
    ),
    ("events add web sale --start 0 --for 2h --magnitude large --api 127.0.0.1:9", 2, "large"),
    ("events remove web first --api 127.0.0.1:9", 2, "first"),
    ("events import web missing.csv --api 127.0.0.1:9", 2, "cannot read missing.csv|No such file"),
    ("events import web good.csv --api 127.0.0.1:9", 2, "good.csv|no column `start`"),
    ("events import web empty.csv --api 127.0.0.1:9", 2, "empty.csv|empty"),
    ("events import web events.csv --time-zone Mars/Olympus --api 127.0.0.1:9", 2, "Mars/Olympus"),
    ("events import web events.csv --api 127.0.0.1:9", 1, "no daemon answers"),
    ("simulate --seeds 5..2", 2, "`5..2`"),
    ("simulate --scenario peace", 2, "`peace`|silent-gap"),
    ("simulate --report out.html", 2, "--scenario"),
    ("replay good.csv --capacity 1 --promote 1s --cold-from none.csv", 2, "none.csv"),
    ("replay good.csv --capacity 1 --promote 1s --cold-from good.csv", 2, "good.csv|unit"),
    ("replay good.csv --capacity 1 --promote 1s --cold 1s --start-failures 2", 2, "start-failures"),
    ("simulate --seed 5 --without earthquake", 2, "earthquake|node-loss"),
    ("simulate --without death", 2, "--seed"),
    ("demo --report no/such/folder.html", 2, "cannot write no/such/folder.html"),
    (
        "demo --no-report --provider docker --docker /no/such.sock",
        2,
        "no Docker engine at /no/such.sock|--docker",
    ),
    ("demo --no-report --provider docker --docker tcp://b:2376", 2, "not a socket of this machine"),
    ("demo --no-report --from 1996-01-01T00:00:00Z", 2, "no such stretch|1995-09-01"),
    ("sample-service --port 70000", 2, "70000"),
];

fn shop(folder: &Path, name: &str, last_day: impl Fn(usize) -> String) {
    let mut csv = String::from("timestamp,visits,sale\n");
    let start: jiff::Timestamp = "2024-04-01T00:00:00Z".parse().unwrap();
    for hour in 0..24 * 59 {
        let (day, at) = (hour / 24, start + jiff::SignedDuration::from_hours(hour as i64));
        // 27 May 2024, day 56, is Memorial Day.
        let quiet = if day % 7 == 6 || day == 56 { 0.25 } else { 1.0 };
        let visits = quiet * (200.0 + 100.0 * ((hour % 24) as f64 / 3.8).sin() + (hour * 7919 % 23) as f64);
        let visits = if day >= 56 { last_day(hour) } else { visits.round().to_string() };
        csv.push_str(&format!("{at},{visits},{}\n", u8::from(day % 10 == 3)));
    }
    std::fs::write(folder.join(name), csv).unwrap();
}

fn medians(csv: &str) -> Vec<f64> {
    csv.lines().skip(1).map(|line| line.split(',').nth(4).unwrap().parse().unwrap()).collect()
}

#[test]
fn a_scenario_is_played_and_reported() {
    let folder = folder();
    let output = foreshadow(folder.path(), "simulate --scenario spike --report out.html");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("foreshadow") && table.contains("hpa") && table.contains("static-peak*"),
        "{table}"
    );
    let page = std::fs::read_to_string(folder.path().join("out.html")).unwrap();
    assert_eq!(page.matches("<figure>").count(), 2);
}

#[test]
fn a_replay_draws_start_times_from_a_file() {
    let folder = folder();
    std::fs::write(folder.path().join("starts.csv"), "kind,ms\nfast,1000\nslow,90000\nslow,150000\n")
        .unwrap();
    let words = "replay good.csv --capacity 5 --promote 1s --cold-from starts.csv:slow --start-failures 0.1 --json out.json";
    let output = foreshadow(folder.path(), words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json = std::fs::read_to_string(folder.path().join("out.json")).unwrap();
    assert!(json.contains("\"cold_seconds\": 120.0") && json.contains("\"start_failures\": 0.1"), "{json}");
}

#[test]
fn nonsense_is_refused_with_a_sentence_and_the_right_code() {
    let folder = folder();
    for (words, code, expected) in REFUSED {
        let output = foreshadow(folder.path(), words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "`foreshadow {words}` said: {stderr}");
        for part in expected.split('|') {
            assert!(stderr.contains(part), "`foreshadow {words}` does not mention `{part}`: {stderr}");
        }
        assert!(!stderr.contains("panicked"), "`foreshadow {words}`: {stderr}");
        assert!(output.stdout.is_empty(), "`foreshadow {words}` printed on stdout");
    }
}

#[test]
fn gzip_is_read_whatever_the_file_is_called() {
    let folder = folder();
    let plain = foreshadow(folder.path(), "forecast good.csv --horizon 3m");
    let packed = foreshadow(folder.path(), "forecast packed.bin --horizon 3m");
    assert_eq!(text(&plain.stdout), text(&packed.stdout));
}

#[test]
fn tables_and_pages_are_complete() {
    let folder = folder();
    let table = text(&foreshadow(folder.path(), "forecast good.csv --horizon 3m --format table").stdout);
    assert!(table.contains("untrusted") && table.lines().all(|line| line.chars().count() <= 110), "{table}");
    let output = foreshadow(folder.path(), "forecast good.csv --horizon 3m --plot page.html");
    assert!(output.status.success());
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("Plotly.newPlot(\"plot1\"") && page.ends_with("</html>\n"));
    assert!(!page.contains("<link") && !page.contains("<script src"), "the page must not need a network");
}

#[test]
fn a_reader_that_goes_away_is_not_an_error() {
    let folder = folder();
    let mut child = Command::new(FORESHADOW)
        .args(["forecast", "good.csv", "--horizon", "4000m"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}
