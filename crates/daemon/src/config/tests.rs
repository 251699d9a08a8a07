//! Behaviour of the configuration as a user meets it.

use std::path::Path;
use std::time::Duration;

use forecast::models::Kind;
use forecast::watch::{RefitSchedule, RetrainConfig};

use super::{CapacityConfig, Config, ConfigErrors, MarginConfig, ProbeConfig, RetrainSchedule, Surroundings};

mod admission;
mod cache;
mod fuzz;
mod kinds;
mod observation;
mod overload;
mod protocols;
mod router;
mod sessions;
mod training;

fn surroundings() -> Surroundings {
    Surroundings { current_dir: "/etc/foreshadow".into(), search_path: "/usr/bin:/bin".into() }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse_in(text, Path::new("web.toml"), &surroundings())
}

fn workload(more: &str) -> String {
    format!(
        "[[workload]]\nname = \"web\"\ncommand = [\"sh\", \"{{port}}\"]\nlisten = \"127.0.0.1:8080\"\n{}{more}\n",
        if more.contains("capacity") { "" } else { "capacity = 50\n" }
    )
}

/// The one mistake in a workload with these further lines.
fn mistake(more: &str) -> String {
    let errors = parse(&workload(more)).expect_err(more);
    assert_eq!(errors.errors().len(), 1, "{errors}");
    errors.to_string()
}

#[test]
fn a_small_file_gets_sane_defaults() {
    let config = parse(&workload("")).expect("valid");
    assert_eq!(config.server.listen, "127.0.0.1:7878".parse().expect("an address"));
    assert_eq!(config.server.state_dir, Path::new("/etc/foreshadow/foreshadow-state"));
    let web = &config.workloads[0];
    assert_eq!((web.step, web.tick), (Duration::from_secs(60), Duration::from_secs(1)));
    assert_eq!(web.capacity, CapacityConfig::Pinned(50.0));
    assert_eq!((web.standby.max, web.replicas.max), (10, 10));
}

#[test]
fn bounds_of_the_calendar_are_read_named_and_written() {
    let text = workload(
        r#"
time_zone = "Europe/Berlin"
holidays = ["DE"]
replicas = { min = 1, max = 10 }
standby = { max = 4 }
[[workload.scope]]
days = ["mon-fri", "2026-12-24..2026-12-26"]
except = ["holiday"]
from = "08:00"
to = "18:00"
replicas_min = 5
replicas_max = 50
standby_min = 2
[[workload.scope]]
name = "night"
days = ["sat-mon"]
from = "22:00"
to = "24:00"
replicas_min = 0
"#,
    );
    let config = parse(&text).expect("valid");
    let scopes = &config.workloads[0].scopes;
    assert_eq!(scopes[0].name, "mon-fri,2026-12-24..2026-12-26 08:00-18:00");
    assert_eq!(scopes[1].days.weekdays, [true, false, false, false, false, true, true]);
    assert_eq!((scopes[1].from.hour(), scopes[1].to), (22, jiff::civil::Time::midnight()));
    let policy = crate::workload_policy(&config.workloads[0]);
    assert_eq!((policy.replicas_min, policy.replicas_max, policy.standby_min), (0, 50, 0), "the widest");
    assert!(policy.validate().is_ok());
    assert_eq!(parse(&config.to_toml()).expect("valid").workloads[0].scopes, *scopes);
}

#[test]
fn bounds_of_the_calendar_that_make_no_sense_are_refused() {
    let scope =
        |more: &str| format!("time_zone = \"UTC\"\nstandby = {{ max = 4 }}\n[[workload.scope]]\n{more}");
    for (more, part) in [
        (scope("from = \"08:00\""), "so are all other bounds"),
        (scope("replicas_min = 5\nreplicas_max = 4"), "more than replicas_max"),
        (scope("replicas_min = 11"), "above the maximum, which is 10"),
        (scope("standby_min = 5"), "above standby.max, which is 4"),
        (scope("replicas_min = 2\ndays = [\"funday\"]"), "not a day"),
        (scope("replicas_min = 2\ndays = []"), "names no day"),
        (scope("replicas_min = 2\ndays = [\"holiday\"]"), "needs to know the holidays"),
        (scope("replicas_min = 2\ndays = [\"2026-12-26..2026-12-24\"]"), "not a day"),
        (scope("replicas_min = 2\nto = \"25:00\""), "not a time of day"),
        (scope("replicas_min = 2\nfro = \"08:00\""), "did you mean `from`?"),
        ("[[workload.scope]]\nreplicas_min = 2".to_owned(), "whose time of day"),
        ("scope = 5".to_owned(), "[[workload.scope]]"),
    ] {
        let said = mistake(&more);
        assert!(said.contains(part), "{more}: {said}");
    }
}

#[test]
fn margins_and_thresholds_are_fixed_or_learned() {
    let config = |more: &str| parse(&workload(more)).expect(more).workloads.remove(0);
    assert_eq!(config("margin = { fixed = 0.2 }").margin, MarginConfig::Fixed(0.2));
    let threshold = |more: &str| crate::workload_policy(&config(more)).clone_threshold;
    assert_eq!(threshold("clone_threshold = 0.8"), Some(planner::CloneThreshold::Fixed(0.8)));
    assert_eq!(threshold("clone_threshold = \"learned\""), Some(planner::CloneThreshold::Learned));
    assert_eq!(threshold(""), None);
    for (more, part) in [
        ("margin = { fixed = -1 }", "out of range"),
        ("margin = { learned = 1 }", "fixed"),
        ("clone_threshold = 1.2", "out of range"),
        ("clone_threshold = \"guessed\"", "learned"),
    ] {
        let said = parse(&workload(more)).expect_err(more).to_string();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn every_setting_is_understood() {
    let text = workload(
        r#"
unit = "sessions"
demand = "push"
step = "10s"
tick = "250ms"
time_zone = "Europe/Berlin"
holidays = ["DE-BY", "AT"]
covariates = ["temperature", "rain"]
capacity = { learn_from = 12.5 }
error_budget = 0.01
latency_bound = "250ms"
replicas = { min = 2, max = 20 }
standby = { min = 1, max = 5, price = 0.3 }
start_cost = "2m"
lead_cold = "8s"
lead_promote = "20ms"
hold = "5m"
margin = 0.25
mode = "observe"
probe = "/healthz"
probe_interval = "50ms"
probe_timeout = "2s"
health = { interval = "500ms", timeout = "250ms", fall = 2, rise = 2 }
listen_mode = "socket"
shift = { first_share = 0.5, step_every = "1s" }
deadlines = { start = "30s", promote = "1s", park = "2s", drain = "10s", stop = "5s" }
wait = "3s"
wait_max = 50
models = ["boosted", "smoothing"]
retrain = { schedule = "6h", growth = 0, gap = "2h", deploy_settles = "3h", coverage_min = 0.8, mae_max = 12 }
log_limit = "64KiB"
limits = { cpu = 0.5, cpu_weight = 50, memory = "512MiB", memory_high = "256MiB", pids = 100, disk_read = "9MiB", disk_write = "5MiB" }
user = "www-data"
reclaim = true
fork = true
sizing = { mode = "bandit", cpu_min = 0.1, cpu_max = 4, memory_max = "4GiB", every = "1h", cpu_bound = true }
priority = 200
needs = { cpu = 0.25, memory = "256MiB" }
env = { MODE = "fast" }
working_dir = "/"
"#,
    );
    let config = parse(&text).expect("valid");
    let web = &config.workloads[0];
    assert_eq!(web.margin, MarginConfig::Fixed(0.25));
    assert_eq!(web.probe, ProbeConfig::Http("/healthz".into()));
    assert_eq!((web.limits.memory, web.limits.disk_write), (Some(512 << 20), Some(5 << 20)));
    assert_eq!((web.user.as_deref(), web.reclaim, web.fork), (Some("www-data"), true, true));
    let sizing = crate::workload_policy(web).sizing.expect("as configured");
    assert_eq!((sizing.mode, sizing.cpu_bound), (planner::SizingMode::Bandit, Some(true)));
    assert_eq!(sizing.initial, planner::Size { cpu_cores: 0.5, memory_bytes: 512 << 20 });
    assert_eq!((sizing.most.cpu_cores, sizing.least.memory_bytes), (4.0, 32 << 20));
    assert_eq!(web.deadlines.stop, Duration::from_secs(5));
    assert_eq!(web.health.fall, 2);
    assert_eq!(
        (&web.holidays[..], &web.covariates[..]),
        (&["DE-BY".to_owned(), "AT".to_owned()][..], &["temperature".to_owned(), "rain".to_owned()][..])
    );
    assert_eq!(web.models, [Kind::Boosted, Kind::Smoothing]);
    assert_eq!(crate::workload_policy(web).models, web.models);
    let retraining = crate::workload_policy(web).retraining.expect("settings over what suits the step");
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    assert_eq!(retraining.schedule, RefitSchedule::Every(hours(6)));
    assert_eq!((retraining.refit_gap, retraining.deploy_settles), (hours(2), hours(3)));
    assert_eq!(
        (retraining.growth, retraining.coverage_min, retraining.mae_max),
        (None, Some(0.8), Some(12.0))
    );
    assert_eq!(retraining.patience, RetrainConfig::for_step(web.step).patience, "not given");
    let auto = parse(&workload("models = \"auto\"")).expect("valid");
    assert_eq!(auto.workloads[0].models, Kind::BATCH);
    let own = "models = [\"auto\", \"external:mine\"]\n[model.mine]\ncommand = [\"sh\", \"-c\", \"exit\"]\n\
               working_dir = \"/\"\nanswer_within = \"2s\"\nenv = { A = \"b\" }";
    let own = parse(&workload(own)).expect("valid");
    assert_eq!(own.workloads[0].models, Kind::BATCH);
    assert_eq!(own.workloads[0].external, ["mine"]);
    assert_eq!(own.models["mine"].answer_within, Duration::from_secs(2));
    assert_eq!(crate::workload_policy(&own.workloads[0]).guests, ["external:mine"]);
    assert_eq!(parse(&own.to_toml()), Ok(own));
}

#[test]
fn a_stopped_level_reaches_the_planner() {
    let config = parse(&workload("stopped = { price = 0.04, lead = \"1500ms\" }")).expect("valid");
    let level = planner::StoppedLevel { price: 0.04, lead: Duration::from_millis(1_500) };
    assert_eq!(crate::workload_policy(&config.workloads[0]).stopped, Some(level));
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn one_node_is_shared_by_workloads_of_tenants() {
    let shared = "limits = { cpu = 0.5, memory = \"512MiB\" }\ntenant = \"team\"\npriority = 200\n\
                  [[tenant]]\nname = \"team\"\nweight = 2.5\nquota = { cpu = 3, memory = \"6GiB\" }\n\
                  [[node]]\nname = \"local\"\ncores = 4\nmemory = \"8GiB\"\nkind = \"vm\"\nprice = 0.25\n\
                  place = \"cellar\"\novercommit = 1.5";
    let config = parse(&workload(shared)).expect("valid");
    let policy = crate::policy::policy(&config);
    assert_eq!(policy.workloads[0].priority, 200);
    assert_eq!(policy.workloads[0].needs, planner::Resources::new(0.5, 512 << 20), "as much as it may use");
    assert_eq!(
        (policy.nodes[0].size, policy.nodes[0].overcommit),
        (planner::Resources::new(4.0, 8 << 30), 1.5)
    );
    assert_eq!(policy.tenants[0].quota, Some(planner::Resources::new(3.0, 6 << 30)));
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn a_node_may_leave_out_its_size_and_is_large_until_that_is_known() {
    let open = "needs = { cpu = 500, memory = \"1GiB\" }\n[[node]]\nname = \"local\"\nmemory = \"8GiB\"";
    let config = parse(&workload(open)).expect("valid");
    assert_eq!((config.nodes[0].cores, config.nodes[0].memory), (None, Some(8 << 30)));
    assert_eq!(crate::policy::policy(&config).nodes[0].size, planner::Resources::new(1e6, 8 << 30));
    let filled = crate::inventory::filled(&config.nodes[0], (4.0, 1 << 30));
    assert_eq!(filled.size, planner::Resources::new(4.0, 8 << 30), "what is given holds");
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn sharing_that_cannot_be_is_refused() {
    const NODE: &str = "[[node]]\nname = \"local\"\ncores = 4\nmemory = \"8GiB\"";
    const NEEDS: &str = "needs = { cpu = 1, memory = \"1GiB\" }";
    for (lines, part) in [
        (format!("{NEEDS}\n{NODE}\n{NODE}"), "node[1]: is a second node, and this provider runs on one node"),
        (NODE.to_owned(), "workload.web.needs: is missing, and there is a [[node]]; add `needs = "),
        (format!("needs = {{ cpu = 1 }}\n{NODE}"), "workload.web.needs.memory: is missing"),
        (
            format!("needs = {{ cpu = 5, memory = \"1GiB\" }}\nreplicas = {{ min = 0 }}\n{NODE}"),
            "must fit on one",
        ),
        (format!("{NEEDS}\nreplicas = {{ min = 5 }}\n{NODE}"), "must hold replicas_min of every workload"),
        ("tenant = \"team\"".to_owned(), "workload `web`: `tenant` must be one of the tenants"),
        ("priority = 256".to_owned(), "workload.web.priority: 256 is out of range"),
        (format!("{NEEDS}\n[[node]]\nname = \"local\"\ncores = 4\nmemory = 4"), "node[0].memory: "),
        (format!("{NEEDS}\n{NODE}\ncpu = 3"), "node[0].cpu: is not a known key"),
        (format!("{NEEDS}\n[node]\ncores = 1"), "write each as its own [[node]] section"),
        ("[[tenant]]\nname = \"team\"\nweight = 0".to_owned(), "tenant[0].weight: 0 is out of range"),
        (
            "[[tenant]]\nname = \"team\"\nquota = { cpu = 1, memory = \"1GiB\" }".to_owned(),
            "tenant.team.quota: is kept only where there is a [[node]]",
        ),
    ] {
        let text = mistake(&lines);
        assert!(text.contains(part), "{lines}: {text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_line_key_and_remedy() {
    let text = "[server]\nlisten = \"0.0.0.0:7878\"\nlissten = 1\n[[workload]]\nname = \"web\"\ncommand = [\"sh\"]\n\
                listen = \"127.0.0.1:8080\"\ncapacity = -1\nstep = \"30 parsecs\"\nreplicas = { min = 5, max = 2 }\n";
    let errors = parse(text).expect_err("refused");
    let expected = [
        "web.toml:2: server.listen: 0.0.0.0:7878 can be reached from other machines",
        "web.toml:3: server.lissten: is not a known key; did you mean `listen`?",
        "web.toml:8: workload.web.capacity: -1 is out of range; write at least",
        "web.toml:9: workload.web.step: \"30 parsecs\" is not a duration; write a number with a unit",
        "web.toml:10: workload.web.replicas.min: 5 is more than max, which is 2; make min at most max",
    ];
    let text = errors.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\ndoes not begin with\n{expected}");
    }
}

#[test]
fn numbers_that_are_none_or_out_of_range_are_refused() {
    for (line, part) in [
        ("capacity = nan", "workload.web.capacity: nan is out of range"),
        ("capacity = inf", "inf is out of range"),
        ("capacity = 0", "0 is out of range"),
        ("capacity = \"fast\"", "is a string; write a number"),
        ("capacity = { learn_from = -3 }", "workload.web.capacity.learn_from"),
        ("error_budget = 1.5", "1.5 is out of range; write at least 0.000001 and at most 0.5"),
        ("error_budget = -0.1", "out of range"),
        ("standby = { price = 2 }", "workload.web.standby.price"),
        ("replicas = { max = 0 }", "workload.web.replicas.max"),
        ("replicas = { max = 1.5 }", "is a float; write a whole number"),
        ("replicas = { max = 99999999999999999999 }", "out of range"),
        ("wait_max = -1", "-1 is out of range"),
        ("step = 30", "is an integer; write a number with a unit"),
        ("step = \"-5s\"", "is not a duration"),
        ("step = \"1ms\"", "write at least 1s"),
        ("log_limit = \"12 stone\"", "is not a size"),
    ] {
        let text = mistake(line);
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn contradictions_are_refused() {
    for (line, part) in [
        ("step = \"1s\"\ntick = \"2s\"", "workload.web.tick: is longer than step"),
        ("standby = { min = 3, max = 2 }", "3 is more than max, which is 2"),
        (
            "stopped = { price = 0.3, lead = \"1s\" }",
            "workload.web.stopped: price 0.3 is no less than that of a standby, 0.2",
        ),
        ("stopped = { lead = \"1h\" }", "workload.web.stopped: lead is no less than lead_cold"),
        ("stopped = { price = 0.1 }", "workload.web.stopped.lead: is missing"),
        ("template = \"base\"", "workload.web.template: shares spares between workloads"),
        ("replicas = { max = 3 }\nstandby = { max = 5 }", "more than replicas max, which is 3"),
        ("listen_mode = \"socket\"", "a passed socket always answers"),
        ("mode = \"dream\"", "write \"act\" or \"observe\""),
        ("probe = \"healthz\"", "write \"tcp\" or an HTTP path"),
        ("user = \"nobody here\"", "workload.web.user: there is no user"),
        ("time_zone = \"Mars/Olympus\"", "is not a time zone"),
        ("holidays = [\"DE\"]", "workload.web.holidays: need to know where days begin; add the place"),
        ("time_zone = \"UTC\"\nholidays = [\"XX\"]", "workload.web.holidays"),
        ("time_zone = \"UTC\"\nholidays = \"DE\"", "write a list such as"),
        ("covariates = [\"demand\"]", "workload.web.covariates: \"demand\" is measured by the daemon itself"),
        ("covariates = [\"rain\", \"rain\"]", "is there twice; name each metric once"),
        ("history = \"nowhere.csv\"", "there is no file `/etc/foreshadow/nowhere.csv`"),
        ("working_dir = \"/nowhere\"", "is not a folder"),
        ("margin = \"wide\"", "write \"controlled\""),
        ("models = [\"oracle\"]", "there is no model `oracle`; there are auto, online, profile"),
        ("models = \"boosted\"", "\"boosted\" is not known; write \"auto\""),
        ("models = [\"online\"]", "is not trained in the background"),
        ("models = [\"lstm\", \"lstm\"]", "is there twice"),
        ("models = [\"auto\", \"boosted\"]", "\"boosted\" is there twice"),
        ("models = [\"external:a\", \"external:a\"]", "\"external:a\" is there twice"),
        ("models = [\"external:mine\"]", "there is no section [model.mine]; add [model.mine] with `command"),
        ("[model.mine]", "model.mine.command: is missing; add `command = [\"python3\""),
        ("[model.mine]\ncommand = [\"no-such-program\"]", "model.mine.command: no program `no-such-program`"),
        ("[model.mine]\ncommand = [\"sh\"]\nanswer_in = 5", "model.mine.answer_in: is not a known key"),
        ("[model]\nmine = \"sh\"", "write each model as its own [model.NAME] section"),
    ] {
        let text = mistake(line);
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn a_command_that_does_not_exist_is_refused() {
    for (command, part) in [
        ("[\"no-such-program\"]", "no program `no-such-program` in any folder of PATH"),
        ("[\"./server\"]", "`/etc/foreshadow/./server`: No such file"),
        ("[\"/etc/passwd\"]", "is not executable"),
        ("[\"/\"]", "is not a file"),
        ("[]", "write the program first"),
        ("\"sh\"", "write a list such as"),
        ("[1]", "not text"),
    ] {
        let text = format!(
            "[[workload]]\nname = \"web\"\ncommand = {command}\nlisten = \"[::1]:80\"\ncapacity = 1\n"
        );
        let errors = parse(&text).expect_err("refused").to_string();
        assert!(errors.contains(part), "{command}: {errors}");
    }
}

#[test]
fn workloads_must_not_share_a_name_or_an_address() {
    let errors = parse(&format!("{}{}", workload(""), workload(""))).expect_err("refused").to_string();
    assert!(errors.contains("is already the name of the workload at line 1"), "{errors}");
    assert!(errors.contains("127.0.0.1:8080 is already taken by workload.web.listen"), "{errors}");
    let own = workload("").replace("127.0.0.1:8080", "0.0.0.0:7878");
    let errors = parse(&own).expect_err("refused").to_string();
    assert!(errors.contains("already taken by server.listen"), "{errors}");
}

#[test]
fn what_is_missing_is_named_with_an_example() {
    let errors = parse("[[workload]]\n").expect_err("refused").to_string();
    for part in [
        "name: is missing; add `name = \"web\"`",
        "command: is missing",
        "capacity: is missing",
        "listen: is missing",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(parse("").expect_err("refused").to_string().contains("add at least one [[workload]] section"));
    assert!(parse("workload = 3").expect_err("refused").to_string().contains("own [[workload]] section"));
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let errors = parse("[server]\nlisten = \n").expect_err("refused").to_string();
    assert!(errors.starts_with("web.toml:2: not valid TOML"), "{errors}");
}

#[test]
fn a_name_that_would_escape_a_folder_is_refused() {
    for name in ["../x", "", "Web", "a b", "-x", "ä"] {
        let text = workload("").replace("\"web\"", &format!("\"{name}\""));
        assert!(parse(&text).is_err(), "{name}");
    }
}

mod properties {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    /// Lines as a careless user might write them.
    fn line() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            "step|tick|hold|scope|clone_threshold|capacity|replicas|standby|margin|probe|env|limits|listen|name|command|workload|mode",
            "[a-z_]{1,12}",
        ];
        let value = prop_oneof![
            "[0-9]{1,6}(ms|s|m|h)?".prop_map(|text| format!("{text:?}")),
            any::<f64>().prop_map(|number| number.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            "\\{ (min|max|price|cpu) = [0-9]{1,4} \\}",
            "\\[\"sh\"\\]",
            ".{0,12}",
        ];
        prop_oneof![
            (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
            "\\[\\[workload\\]\\]|\\[server\\]|\\[workload\\]|.{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn careless_text_never_panics_and_a_refusal_says_something(lines in proptest::collection::vec(line(), 0..12)) {
            if let Err(errors) = parse(&lines.join("\n")) {
                prop_assert!(!errors.to_string().is_empty());
            }
        }

        #[test]
        fn a_valid_configuration_survives_being_written(
            step_s in 1_u64..86_400, tick_ms in 10_u64..1_000, capacity in 1e-6..1e9_f64, learned: bool,
            (min, more) in (0_u32..50, 1_u32..50), budget in 1e-6..0.5_f64, price in 0.0..1.0_f64,
            margin in proptest::option::of(0.0..10.0_f64), value in "\\PC*", hold_ns in 0_u64..1_000_000_000_000,
            days in proptest::collection::vec("(mon|tue-thu|sat-sun|holiday|2026-12-2[1-5]|2026-01-01\\.\\.2026-02-03)", 1..4),
            (hour, until) in (0_i8..24, 0_i8..24),
            models in proptest::sample::subsequence(vec![Kind::Boosted, Kind::Smoothing, Kind::Lstm], 0..=3),
        ) {
            let mut config = parse(&workload("")).expect("valid");
            (config.training.cpu_max, config.training.size_max) = (price.max(0.01), (1 << 20) + hold_ns);
            let web = &mut config.workloads[0];
            (web.step, web.tick) = (Duration::from_secs(step_s), Duration::from_millis(tick_ms));
            web.capacity = if learned { CapacityConfig::LearnFrom(capacity) } else { CapacityConfig::Pinned(capacity) };
            (web.replicas.min, web.replicas.max, web.standby.max) = (min, min + more, min + more);
            (web.error_budget, web.standby.price) = (budget, price);
            web.margin = margin.map_or(MarginConfig::Controlled, MarginConfig::Fixed);
            web.env.insert("VALUE".into(), value);
            web.hold = Duration::from_nanos(hold_ns);
            web.models = models;
            let scope = format!(
                "time_zone = \"Europe/Berlin\"\nholidays = [\"DE\"]\nclone_threshold = 0.5\n[[workload.scope]]\ndays = {days:?}\n\
                 except = {days:?}\nfrom = \"{hour:02}:30\"\nto = \"{until:02}:00\"\nreplicas_min = {}\nreplicas_max = 50", min % 9
            );
            let other = parse(&workload(&scope)).expect("valid").workloads.remove(0);
            (web.scopes, web.clone_threshold, web.time_zone) = (other.scopes, other.clone_threshold, other.time_zone);
            web.holidays = other.holidays;
            web.retrain.schedule = [None, Some(RetrainSchedule::Never), Some(RetrainSchedule::Every(web.step.max(Duration::from_secs(60))))][min as usize % 3];
            (web.retrain.gap, web.retrain.mae_max) = (Some(Duration::from_secs(step_s)), margin.map(|share| share + 0.1));
            let written = config.to_toml();
            prop_assert_eq!(parse(&written).map_err(|errors| errors.to_string()), Ok(config), "{}", written);
        }
    }
}
