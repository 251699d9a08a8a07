//! Forecasts on the command line: by every model, with what is known beside the series, of steps alone and together.

use super::*;

#[test]
fn forecasts_are_csv_in_the_files_own_clock() {
    let folder = folder();
    let output = foreshadow(folder.path(), "forecast good.csv --horizon 2m --as-of 240 --quantiles 0.9,0.5");
    assert!(output.status.success());
    let csv = text(&output.stdout);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "as_of,series,timestamp,0.5,0.9,trusted,coverage,skill,reason");
    assert!(lines[1].contains(",false,,,only "), "why it is not trusted: {csv}");
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("240,,240,"), "{csv}");
    assert!(lines[2].starts_with("240,,300,"), "{csv}");
}

#[test]
fn levels_come_with_the_probability_that_they_are_crossed_and_trust_with_its_numbers() {
    let folder = folder();
    shop(folder.path(), "shop.csv", |_| "100".to_owned());
    let command = "forecast shop.csv --column visits --horizon 6h --levels 1e6,1";
    let output = foreshadow(folder.path(), command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let csv = text(&output.stdout);
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert_eq!(header[6..], ["above_1", "above_1000000", "trusted", "coverage", "skill", "reason"]);
    let cells: Vec<&str> = csv.lines().nth(6).unwrap().split(',').collect();
    let number = |cell: usize| -> f64 { cells[cell].parse().unwrap() };
    assert!(number(6) > 0.99 && number(7) < 0.01, "{csv}");
    assert!((0.5..=1.0).contains(&number(9)), "coverage: {csv}");
    let output = foreshadow(folder.path(), &format!("{command} --format json"));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let one = &json["forecasts"][0];
    assert_eq!((one["levels"][0]["crossed"].as_array().unwrap().len(), &one["step_s"]), (6, &3600.0.into()));
    assert!(one["trust"]["coverage"].as_f64().is_some_and(|share| (share - number(9)).abs() < 1e-4), "{one}");
    let output = foreshadow(folder.path(), &format!("{command} --model smoothing"));
    let csv = text(&output.stdout);
    let cells: Vec<&str> = csv.lines().nth(6).unwrap().split(',').collect();
    assert_eq!((cells[6], cells[7]), ("1.000000", "0.000000"), "any model tells of levels: {csv}");
}

#[test]
fn windows_and_paths_say_what_single_steps_do_not() {
    let folder = folder();
    shop(folder.path(), "shop.csv", |hour| {
        (200.0 + 100.0 * ((hour % 24) as f64 / 3.8).sin() + (hour * 7919 % 23) as f64).to_string()
    });
    for model in ["online", "rls", "profile", "smoothing"] {
        let command = format!(
            "forecast shop.csv --column visits --horizon 6h --model {model} --window max,sum --paths 3 --seed 7"
        );
        let output = foreshadow(folder.path(), &format!("{command} --format json"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let one = &json["forecasts"][0];
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let (max, sum) = (&one["windows"][0]["values"][1], &one["windows"][1]["values"][1]);
        let medians: f64 = (0..6).map(|h| number(&one["values"][1][h])).sum();
        assert!((number(&sum[5]) / medians - 1.0).abs() < 0.2, "{model}: {one}");
        assert!((0..5).all(|h| number(&max[h]) <= number(&max[h + 1])), "{model}: {one}");
        assert!(number(&max[5]) > number(&one["values"][1][0]), "{model}: {one}");
        assert_eq!(one["paths"].as_array().map(Vec::len), Some(3), "{model}");
        let again = foreshadow(folder.path(), &format!("{command} --format json"));
        assert_eq!(again.stdout, output.stdout, "the same seed draws the same paths");
        let csv = text(&foreshadow(folder.path(), &command).stdout);
        let header = "as_of,series,timestamp,0.05,0.5,0.95,max_0.05,max_0.5,max_0.95,sum_0.05,sum_0.5,sum_0.95,path_1,path_2,path_3,";
        assert!(csv.starts_with(header), "{csv}");
    }
}

#[test]
fn what_auto_combines_can_be_chosen() {
    let folder = folder();
    shop(folder.path(), "shop.csv", |day| (100 + day % 7).to_string());
    let command = "forecast shop.csv --column visits --horizon 6h";
    let of = |more: &str| text(&foreshadow(folder.path(), &format!("{command} {more}")).stdout);
    assert_ne!(of("--combine week,drift"), of(""));
    let json = foreshadow(folder.path(), &format!("{command} --format json"));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let weights = json["forecasts"][0]["weights"].as_array().unwrap();
    let tried: Vec<&str> = weights.iter().map(|part| part["model"].as_str().unwrap()).collect();
    for model in ["online", "boosted", "rls", "drift", "additive", "pooled"] {
        assert!(tried.contains(&model), "all compete: {tried:?}");
    }
    for when in ["first", "last"] {
        let sum: f64 = weights.iter().map(|part| part[when].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{weights:?}");
    }
    let table = of("--format table");
    assert!(table.contains("weights at the first/last step, %: online "), "{table}");
    let refused = foreshadow(folder.path(), &format!("{command} --combine online"));
    assert!(text(&refused.stderr).contains("always takes part"), "{}", text(&refused.stderr));
    let refused = foreshadow(folder.path(), &format!("{command} --model online --combine all"));
    assert!(text(&refused.stderr).contains("--model online is asked alone"), "{}", text(&refused.stderr));
    let evaluate = "evaluate shop.csv --column visits --horizon 6h --models online";
    for (command, told) in [
        (format!("{command} --window max,sum,max"), "--window names max twice"),
        (format!("{evaluate},online"), "--models names online twice"),
        (format!("{evaluate} --combine week"), "--models does not name `auto`"),
    ] {
        let refused = foreshadow(folder.path(), &command);
        assert!(
            !refused.status.success() && text(&refused.stderr).contains(told),
            "{}",
            text(&refused.stderr)
        );
    }
}

#[test]
fn rows_of_the_future_bring_covariates_and_their_end_is_told() {
    let folder = folder();
    let output = foreshadow(folder.path(), "forecast weather.csv --horizon 4m --covariates rain");
    let (csv, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with("180,,180,")), "{csv}");
    assert_eq!(csv.lines().count(), 5);
    assert!(said.contains("covariate `rain` is not known for 2 steps"), "{said}");
}

#[test]
fn every_model_tells_what_it_makes_of_covariates_that_end_before_the_horizon() {
    let folder = folder();
    let rows: Vec<String> = (0..24 * 14 + 24)
        .map(|hour| {
            let demand = if hour < 24 * 14 {
                (100 + 40 * (hour % 24 / 12) + hour % 5).to_string()
            } else {
                String::new()
            };
            let rain = if hour < 24 * 14 + 20 { (hour * 7 % 3).to_string() } else { String::new() };
            format!("{},{demand},{rain}\n", hour * 3600)
        })
        .collect();
    std::fs::write(folder.path().join("rain.csv"), format!("timestamp,v,rain\n{}", rows.concat())).unwrap();
    for (model, words) in [
        ("online", "covariate `rain` is not known for 4 steps, the first at 1281600: taken as usual there"),
        ("additive", "for 4 steps, the first at 1281600: taken as its average there"),
        ("boosted", "for 4 steps, the first at 1281600: taken as in most of the history there"),
        ("smoothing", "the model `smoothing` makes nothing of events and covariates"),
        ("week", "the model `week` makes nothing of events and covariates"),
    ] {
        let command =
            format!("forecast rain.csv --horizon 1d --model {model} --covariates rain --format json");
        let output = foreshadow(folder.path(), &command);
        let said = text(&output.stderr);
        assert!(
            output.status.success() && said.starts_with("note: ") && said.contains(words),
            "{model}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let note = json["forecasts"][0]["notes"][0].as_str().unwrap_or_default();
        assert!(note.contains(words), "{model}: {json}");
        let known = foreshadow(folder.path(), &command.replace("1d", "20h").replace("smoothing", "online"));
        assert!(model == "week" || !text(&known.stderr).contains("not known"), "{}", text(&known.stderr));
    }
}

#[test]
fn a_moment_after_the_end_of_the_data_is_told_as_such() {
    let folder = folder();
    let output = foreshadow(folder.path(), "forecast good.csv --horizon 2m --as-of 1000 --format json");
    let said = text(&output.stderr);
    assert!(said.contains("the data ends with the step of 420, 9 steps before --as-of 1000"), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["forecasts"][0]["notes"][0].as_str().is_some_and(|note| said.contains(note)), "{json}");
    let at_once = foreshadow(folder.path(), "forecast good.csv --horizon 2m --as-of 480");
    assert_eq!(text(&at_once.stderr), "");
}

#[test]
fn a_value_taken_for_an_anomaly_is_told_and_the_forecast_is_what_it_would_be_without() {
    let folder = folder();
    let write = |name: &str, wild: &str| {
        let rows: String = (0..24 * 30)
            .map(|hour| {
                let usual = 100.0
                    + 50.0 * (f64::from(hour) / 24.0 * std::f64::consts::TAU).sin()
                    + f64::from(hour * 37 % 11);
                let value = if hour == 24 * 20 { wild.to_owned() } else { usual.to_string() };
                format!("{},{value}\n", 3600 * hour)
            })
            .collect();
        std::fs::write(folder.path().join(name), format!("timestamp,v\n{rows}")).unwrap();
    };
    write("wild.csv", "1000000");
    write("calm.csv", "104");
    let median = |json: &serde_json::Value, h: usize| json["forecasts"][0]["values"][1][h].as_f64().unwrap();
    for model in ["online", "additive", "pooled"] {
        let run = |file: &str| {
            let words = format!("forecast {file} --model {model} --horizon 1d --format json");
            let output = foreshadow(folder.path(), &words);
            assert!(output.status.success(), "{}", text(&output.stderr));
            (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), text(&output.stderr))
        };
        let ((wild, told), (calm, untold)) = (run("wild.csv"), run("calm.csv"));
        assert!(told.contains("the last was 1000000 at 1728000, expected was at most"), "{told}");
        assert!(wild["forecasts"][0]["notes"][0].as_str().is_some_and(|note| told.contains(note)), "{wild}");
        assert!(!untold.contains("1000000"), "{untold}");
        for h in 0..24 {
            let (with, without) = (median(&wild, h), median(&calm, h));
            assert!((with / without - 1.0).abs() < 0.1, "{model} {h}: {with} {without}");
        }
    }
    let loss = |file: &str| -> f64 {
        let words = format!("evaluate {file} --models additive --horizon 1d --origins 2 --format csv");
        let csv = text(&foreshadow(folder.path(), &words).stdout);
        csv.lines()
            .nth(1)
            .and_then(|line| line.split(',').nth(2))
            .and_then(|cell| cell.parse().ok())
            .expect(&csv)
    };
    let (wild, calm) = (loss("wild.csv"), loss("calm.csv"));
    assert!(wild < 1.5 * calm, "{wild} {calm}");
}

#[test]
fn steps_of_events_are_no_anomalies_beside_covariates_and_trees_that_saw_few_say_so() {
    let folder = folder();
    let sales: Vec<u32> = (12..=40).step_by(7).collect();
    let rows: String = (0..24 * 45 + 24)
        .map(|hour| {
            let usual = 100.0 + 30.0 * (f64::from(hour) / 24.0 * std::f64::consts::TAU).sin();
            let is_on = sales.contains(&(hour / 24)) && (8..12).contains(&(hour % 24));
            let demand = (usual + f64::from(hour * 37 % 11)) * if is_on { 6.0 } else { 1.0 };
            let demand = if hour < 24 * 45 { demand.to_string() } else { String::new() };
            format!("{},{demand},0\n", 3600 * hour)
        })
        .collect();
    std::fs::write(folder.path().join("sales.csv"), format!("timestamp,v,rain\n{rows}")).unwrap();
    let event = |day: &u32| format!("{},{},sale,1,sale\n", (day * 24 + 8) * 3600, (day * 24 + 12) * 3600);
    let events: String = sales.iter().chain([&45]).map(event).collect();
    std::fs::write(folder.path().join("events.csv"), format!("start,end,name,magnitude,kind\n{events}"))
        .unwrap();
    let run = |model: &str| {
        let known = "--events events.csv --covariates rain --format json";
        let output =
            foreshadow(folder.path(), &format!("forecast sales.csv --horizon 1d --model {model} {known}"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), text(&output.stderr))
    };
    let (additive, _) = run("additive");
    let said = additive["forecasts"][0]["values"][1][9].as_f64().unwrap();
    assert!(said > 400.0, "six times 130 is due: {said}");
    let (_, told) = run("boosted");
    assert!(told.contains("`boosted` has seen 5 events of kind `sale` and may miss what they do"), "{told}");
    let (_, told) = run("online");
    assert!(!told.contains("may miss") && !told.contains("anomalies"), "the sales were announced: {told}");
    let page = "forecast sales.csv --column v --horizon 1d --model online --format html";
    let page = text(&foreshadow(folder.path(), page).stdout);
    let caption = page.split(", 24 steps; ").nth(1).expect("a caption");
    assert!(
        caption.starts_with("untrusted: no value for the last 24 steps"),
        "{}",
        &caption[..200.min(caption.len())]
    );
}

#[test]
fn values_below_zero_are_forecast_where_that_is_asked_for() {
    let folder = folder();
    let rows: String = (0..24 * 20)
        .map(|hour| {
            let usual = -5.0
                + 8.0 * (f64::from(hour) / 24.0 * std::f64::consts::TAU).sin()
                + f64::from(hour * 37 % 11) / 20.0;
            format!("{},{usual:.2}\n", 3600 * hour)
        })
        .collect();
    std::fs::write(folder.path().join("cold.csv"), format!("timestamp,degrees\n{rows}")).unwrap();
    let refused = text(&foreshadow(folder.path(), "forecast cold.csv --horizon 1d").stderr);
    assert!(refused.contains("below zero") && refused.contains("--allow-negative"), "{refused}");
    let crossed = foreshadow(
        folder.path(),
        "forecast cold.csv --allow-negative --horizon 1d --levels -3,0 --model online",
    );
    assert!(
        text(&crossed.stdout).contains("above_-3,above_0"),
        "{}{}",
        text(&crossed.stdout),
        text(&crossed.stderr)
    );
    for model in ["online", "additive", "pooled"] {
        let words = format!("forecast cold.csv --allow-negative --model {model} --horizon 1d --format json");
        let output = foreshadow(folder.path(), &words);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let medians = json["forecasts"][0]["values"][1].as_array().unwrap();
        let medians: Vec<f64> = medians.iter().filter_map(serde_json::Value::as_f64).collect();
        let least = medians.iter().copied().fold(f64::MAX, f64::min);
        assert!((-14.5..-11.0).contains(&least) && medians.iter().any(|m| *m > 1.0), "{model}: {medians:?}");
    }
    let evaluated = "evaluate cold.csv --allow-negative --models online,additive --origins 2 --format csv";
    let csv = text(&foreshadow(folder.path(), evaluated).stdout);
    assert!(csv.lines().count() == 3 && !csv.contains("NaN"), "{csv}");
}

#[test]
fn what_cannot_be_evaluated_is_left_out_with_the_true_reason() {
    let folder = folder();
    let rows: String = (0..500).map(|hour| format!("{},\n", 3600 * hour)).collect();
    std::fs::write(folder.path().join("missing.csv"), format!("timestamp,v\n{rows}")).unwrap();
    let output = foreshadow(folder.path(), "evaluate missing.csv --models online,week --horizon 2h");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("left out the series: all its values are missing"), "{said}");
    let output = foreshadow(folder.path(), "evaluate good.csv --models online --horizon 1d");
    assert!(text(&output.stderr).contains("give a shorter --horizon"), "{}", text(&output.stderr));
}

#[test]
fn of_many_series_those_that_cannot_be_forecast_are_left_out_by_name() {
    let folder = folder();
    let rows = "timestamp,series,v\n0,a,1\n0,b,\n60,a,1\n60,b,\n120,a,2\n120,b,\n";
    std::fs::write(folder.path().join("half.csv"), rows).unwrap();
    let output = foreshadow(folder.path(), "forecast half.csv --all-series --horizon 1m");
    let (csv, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && csv.contains("180,a,180,") && !csv.contains(",b,"), "{csv}{said}");
    assert!(said.contains("left out b: half.csv: b has no value before 180"), "{said}");
    let none = foreshadow(folder.path(), "forecast half.csv --all-series --horizon 1m --model arima");
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
}

/// Two months of hours on which Sundays, and holidays, have a quarter of the demand.
#[test]
fn holidays_events_and_covariates_change_the_forecast_and_what_comes_after_does_not() {
    let folder = folder();
    shop(folder.path(), "shop.csv", |_| String::new());
    shop(folder.path(), "peek.csv", |hour| (hour * 1000).to_string());
    std::fs::write(
        folder.path().join("events.ics"),
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Fair\nDTSTART;VALUE=DATE:20240410\nRRULE:FREQ=WEEKLY;COUNT=8\n\
         END:VEVENT\nEND:VCALENDAR\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("events.csv"), "start,end,name\n2024-05-27,,Memorial holiday\n")
        .unwrap();
    let ask = |words: &str| {
        let output = foreshadow(
            folder.path(),
            &format!("forecast {words} --as-of 2024-05-27T00:00:00Z --horizon 1d --column visits"),
        );
        assert!(output.status.success(), "{words}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let plain = medians(&ask("shop.csv"));
    for known in ["--holidays US", "--events events.csv"] {
        let informed = medians(&ask(&format!("shop.csv {known}")));
        let ratio = informed.iter().sum::<f64>() / plain.iter().sum::<f64>();
        assert!(ratio < 0.6, "{known}: {ratio}");
    }
    let all = "--holidays US --events events.ics --covariates sale";
    assert_eq!(ask(&format!("shop.csv {all}")), ask(&format!("peek.csv {all}")));
    let table = ask(&format!("shop.csv {all} --format table"));
    assert!(table.contains("holiday") && table.contains("fair") && table.contains("7 times"), "{table}");
}

#[test]
fn the_default_model_is_the_combination_that_knows_holidays_and_the_evaluation_has_them() {
    let folder = folder();
    shop(folder.path(), "shop.csv", |hour| (50 + hour % 7).to_string());
    let words = "evaluate shop.csv --column visits --models auto,online,additive --horizon 1d --origins 4 --format csv";
    let wpl = |words: &str| {
        let output = foreshadow(folder.path(), words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let csv = text(&output.stdout);
        let column = csv.lines().next().unwrap().split(',').position(|name| name == "pinball").unwrap();
        let losses: Vec<f64> =
            csv.lines().skip(1).map(|line| line.split(',').nth(column).unwrap().parse().unwrap()).collect();
        assert_eq!(losses.len(), 3, "{csv}");
        losses
    };
    let (plain, informed) = (wpl(words), wpl(&format!("{words} --holidays US")));
    for place in [0, 1] {
        assert_ne!(plain[place], informed[place], "{plain:?} {informed:?}");
    }
}

#[test]
fn times_without_a_zone_are_those_of_the_place_that_is_named() {
    let folder = folder();
    let output = foreshadow(folder.path(), "forecast nozone.csv --horizon 1m --time-zone Europe/Berlin");
    let csv = text(&output.stdout);
    assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with("2019-12-31T23:02:00Z,")), "{csv}");
}

#[test]
fn every_series_is_forecast_when_asked_for() {
    let folder = folder();
    let output = foreshadow(folder.path(), "forecast two.csv --all-series --horizon 1m");
    let csv = text(&output.stdout);
    assert!(csv.lines().any(|line| line.starts_with("180,a,180,")), "{csv}");
    assert!(csv.lines().any(|line| line.starts_with("180,b,180,")), "{csv}");
}

#[test]
fn where_a_file_has_several_series_models_that_can_learn_from_all_are_evaluated_alone_and_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = String::from("timestamp,series,load\n");
    for name in 1..=3u32 {
        for hour in 0..24 * 12u32 {
            let wave = (f64::from(hour % 24) / 24.0 * std::f64::consts::TAU).sin();
            let noise = f64::from((hour * hour * name * 7_919) % 101) / 20.0;
            let (day, hour) = (hour / 24 + 1, hour % 24);
            let load = f64::from(name) * (50.0 + 20.0 * wave) + noise;
            file.push_str(&format!("2026-03-{day:02}T{hour:02}:00:00Z,s{name},{load}\n"));
        }
    }
    std::fs::write(folder.path().join("three.csv"), file).expect("written");
    let rows = |words: &str| {
        let output = foreshadow(folder.path(), words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let csv = text(&output.stdout);
        let names = csv.lines().skip(1).map(|line| line.split(',').take(2).collect::<Vec<_>>().join(" "));
        (names.collect::<Vec<_>>(), csv.clone())
    };
    let words = "evaluate three.csv --models day,pooled --origins 2 --format csv";
    let (names, csv) = rows(words);
    let each = ["s1", "s2", "s3"].map(|of| ["day", "pooled", "pooled+others"].map(|m| format!("{of} {m}")));
    assert_eq!(names, each.concat());
    let loss =
        |name: &str| csv.lines().find(|line| line.starts_with(name)).unwrap().split(',').nth(2).unwrap();
    assert_ne!(loss("s2,pooled,"), loss("s2,pooled+others,"));
    let table = foreshadow(folder.path(), words.trim_end_matches(" --format csv"));
    let table = text(&table.stdout);
    assert!(table.contains(" pooled+others "), "{table}");
    let (alone, _) = rows(&format!("{words} --series s2"));
    assert_eq!(alone, ["s2 day", "s2 pooled"]);
}
