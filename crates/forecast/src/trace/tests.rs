//! What the reader accepts, and what it says of what it refuses.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Trace, TraceError> {
    parse(text.as_bytes(), &Options::default())
}

fn complaint(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn a_plain_file_gives_points_missing_values_and_the_median_step() {
    let trace = read("timestamp,a,b\n0,1,9\n60,,9\n120,3.5,9\n300,4,9\n").unwrap();
    assert_eq!(trace.column, "a");
    assert_eq!(trace.step, Duration::from_secs(60));
    assert_eq!(trace.series.len(), 1);
    assert_eq!(trace.series[0].name, None);
    let values: Vec<_> = trace.series[0].points.iter().map(|&(_, value)| value).collect();
    assert_eq!(values, [Some(1.0), None, Some(3.5), Some(4.0)]);
}

#[test]
fn a_series_column_splits_rows_and_one_series_can_be_chosen() {
    let text = "timestamp,series,v\n0,x,1\n0,y,5\n10,x,2\n10,y,6\n";
    let all = read(text).unwrap();
    assert_eq!(all.series.iter().map(|s| s.name.as_deref().unwrap()).collect::<Vec<_>>(), ["x", "y"]);
    let options = Options { series: Some("y".into()), ..Options::default() };
    let one = parse(text.as_bytes(), &options).unwrap();
    assert_eq!(one.series[0].points[1], (Timestamp::from_secs(10), Some(6.0)));
    let options = Options { series: Some("z".into()), ..Options::default() };
    assert!(matches!(parse(text.as_bytes(), &options), Err(TraceError::UnknownSeries { .. })));
}

#[test]
fn a_byte_order_mark_windows_line_ends_and_spaces_are_no_obstacle() {
    let trace = read("\u{feff}timestamp, v \r\n0, 1\r\n1, 2\r\n").unwrap();
    assert_eq!((trace.column.as_str(), trace.series[0].points.len()), ("v", 2));
}

#[test]
fn the_time_may_be_named_as_other_tools_name_it() {
    for name in ["time", "Time", "ds", "DateTime", "date"] {
        assert_eq!(read(&format!("{name},v\n0,1\n60,2\n")).unwrap().series[0].points.len(), 2, "{name}");
    }
}

#[test]
fn each_fault_names_its_line_and_column_and_the_remedy() {
    assert!(complaint("").contains("empty"));
    assert!(complaint("2020-01-01T00:00:00Z,5\n").contains("no header"));
    assert!(complaint("when,v\n0,1\n").contains("be named `timestamp`"));
    assert!(complaint("timestamp\n0\n").contains("no value column"));
    assert!(complaint("timestamp,v\n").contains("no row"));
    assert!(complaint("timestamp,v\n0,1\n").contains("two are needed"));
    assert!(complaint("timestamp,v\n0,1\n5,1,1\n").contains("line 3: 3 cells"));
    assert!(
        complaint("timestamp,v\n0,1\n0,2\n")
            .contains("line 3, column timestamp: 1970-01-01T00:00:00Z occurs twice")
    );
    assert!(complaint("timestamp,v\n5,1\n0,2\n").contains("line 3, column timestamp"));
    assert!(complaint("timestamp,v\n5,1\n0,2\n").contains("sort the rows"));
    assert!(complaint("timestamp,v\n0,1\n1,nan\n").contains("line 3, column v: `nan` is not a finite"));
    assert!(complaint("timestamp,v\n0,inf\n").contains("line 2, column v: `inf`"));
    assert!(complaint("timestamp,v\n0,-1\n").contains("line 2, column v: -1 is below zero"));
    assert!(complaint("timestamp,v\n0,1x\n").contains("line 2, column v: `1x` is not a number"));
    assert!(complaint("timestamp,v\nnow,1\n").contains("line 2, column timestamp"));
    let tiny = complaint("timestamp,series,v\n0,a,1e-10\n1,a,1e-300\n0,b,2\n1,b,0\n");
    assert!(tiny.contains("column v: no value in series `a` is larger than 1e-10"), "{tiny}");
    assert!(read("timestamp,v\n0,1e-300\n1,1\n").is_ok() && read("timestamp,v\n0,0\n1,0\n").is_ok());
}

#[test]
fn rows_out_of_order_because_clocks_are_changed_are_told_so() {
    let zone = TimeZone::get("Europe/Berlin").ok();
    let options = Options { zone, ..Options::default() };
    let fault = |rows: &str| {
        let text = format!("timestamp,v\n{}", rows.replace(' ', "\n"));
        parse(text.as_bytes(), &options).unwrap_err().to_string()
    };
    let spring = fault("2024-03-31T01:00:00,1 2024-03-31T02:00:00,2 2024-03-31T03:00:00,3");
    assert!(
        spring.starts_with("line 3, ") && spring.contains("never show `2024-03-31T02:00:00`"),
        "{spring}"
    );
    assert!(spring.contains("Europe/Berlin") && spring.contains("the offset +01"), "{spring}");
    let halves = fault("2024-03-31T02:00:00,1 2024-03-31T02:30:00,1 2024-03-31T03:00:00,1");
    assert!(halves.starts_with("line 3, ") && halves.contains("`2024-03-31T02:30:00`"), "{halves}");
    let autumn = fault("2024-10-27T02:00:00,1 2024-10-27T02:00:00,2 2024-10-27T02:00:00,3");
    assert!(
        autumn.starts_with("line 4, ") && autumn.contains("show `2024-10-27T02:00:00` twice"),
        "{autumn}"
    );
    assert!(autumn.contains("`+02`") && autumn.contains("`+01`"), "{autumn}");
    let plain = fault("2024-06-01T02:00:00,1 2024-06-01T02:00:00,2");
    assert!(plain.contains("occurs twice; keep one row per time"), "{plain}");
}

#[test]
fn an_unknown_column_is_answered_with_the_known_ones() {
    let options = Options { column: Some("cpu".into()), ..Options::default() };
    let error = parse("timestamp,series,a,b\n".as_bytes(), &options).unwrap_err().to_string();
    assert!(error.contains("no column `cpu`") && error.contains("a, b"), "{error}");
    let options = Options { series: Some("s".into()), ..Options::default() };
    assert!(matches!(parse("timestamp,a\n0,1\n".as_bytes(), &options), Err(TraceError::NoSeriesColumn)));
}

#[test]
fn times_without_a_zone_need_one_that_is_given() {
    let text = "timestamp,v\n2011-03-13T01:00:00,1\n2011-03-13T03:00:00,2\n";
    let refused = read(text).unwrap_err();
    assert!(
        matches!(refused, TraceError::Timestamp { line: 2, source: TimestampError::NoZone(_) }),
        "{refused}"
    );
    let zone = TimeZone::get("America/New_York").ok();
    let read = parse(text.as_bytes(), &Options { zone, ..Options::default() }).unwrap();
    assert_eq!(read.step, Duration::from_secs(3600), "an hour is skipped in that night");
}

#[test]
fn jitter_is_snapped_to_the_grid_and_gaps_stay() {
    let at = |secs| Timestamp::from_secs(secs);
    let series = Series {
        name: None,
        points: vec![
            (at(22), Some(1.0)),
            (at(303), Some(2.0)),
            (at(640), Some(3.0)),
            (at(700), Some(5.0)),
            (at(1522), None),
        ],
    };
    let grid = series.on_grid(Duration::from_secs(300));
    assert_eq!(grid, [(at(22), Some(1.0)), (at(322), Some(2.0)), (at(622), Some(4.0)), (at(1522), None)]);
}

#[test]
fn columns_beside_are_read_by_name_and_may_be_negative_or_go_on_alone() {
    let text = "timestamp,series,v,heat,rain\n0,a,1,-3.5,0\n0,b,2,4,1\n60,a,,-2,\n60,b,3,,1\n";
    let wanted = ["rain".to_owned(), "heat".to_owned()];
    let read = parse_beside(text.as_bytes(), &Options::default(), &wanted).unwrap();
    assert_eq!(read.trace, parse(text.as_bytes(), &Options::default()).unwrap());
    assert_eq!(read.trace.series[0].points[1].1, None);
    assert_eq!(read.beside[0][1], [-3.5, -2.0]);
    assert!(read.beside[0][0][0] == 0.0 && read.beside[0][0][1].is_nan() && read.beside[1][1][1].is_nan());
    let error = parse_beside(text.as_bytes(), &Options::default(), &["snow".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("`snow`") && error.to_string().contains("heat, rain"), "{error}");
    let text = "timestamp,v,heat\n0,1,warm\n60,1,2\n";
    let error = parse_beside(text.as_bytes(), &Options::default(), &["heat".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("line 2, column heat"), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(bytes.as_slice(), &Options::default());
    }

    #[test]
    fn arbitrary_cells_under_a_good_header_never_panic(
        rows in proptest::collection::vec((".{0,24}", ".{0,24}", "[-0-9.e+]{0,12}"), 0..12),
        allow_negative: bool,
    ) {
        let mut text = String::from("timestamp,series,v\n");
        for (at, name, value) in rows {
            text.push_str(&format!("{at},{name},{value}\n"));
        }
        let _ = parse(text.as_bytes(), &Options { allow_negative, ..Options::default() });
    }

    #[test]
    fn every_well_formed_file_is_read_back_exactly(
        values in proptest::collection::vec(proptest::option::of(0.0f64..1e12), 2..50),
        step in 1i64..100_000,
    ) {
        let mut text = String::from("timestamp,v\n");
        for (i, value) in values.iter().enumerate() {
            let cell = value.map_or(String::new(), |v| v.to_string());
            text.push_str(&format!("{},{cell}\n", i as i64 * step));
        }
        let trace = read(&text).unwrap();
        prop_assert_eq!(trace.step, Duration::from_secs(step as u64));
        let got: Vec<_> = trace.series[0].points.iter().map(|&(_, v)| v).collect();
        prop_assert_eq!(got, values);
    }
}

#[test]
fn the_hour_that_comes_twice_on_a_wall_clock_is_read_in_order() {
    let zone = TimeZone::get("Europe/Berlin").ok();
    let options = Options { zone, ..Options::default() };
    let times = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"];
    let rows: String = times.iter().map(|time| format!("2025-10-26T{time}:00,1\n")).collect();
    let trace = parse(format!("timestamp,v\n{rows}").as_bytes(), &options).unwrap();
    let half_hours =
        trace.series[0].points.windows(2).all(|pair| pair[1].0 - Duration::from_secs(1800) == pair[0].0);
    assert!(half_hours, "{:?}", trace.series[0].points);
    let again = format!("timestamp,v\n{rows}2025-10-26T02:30:00,1\n");
    assert!(matches!(parse(again.as_bytes(), &options), Err(TraceError::Unsorted { .. })));
}
