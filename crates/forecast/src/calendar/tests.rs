//! What is promised of reading calendars as a whole.

use jiff::civil::{Date, date};
use proptest::prelude::*;

use super::*;

fn options(zone: &str) -> ReadOptions {
    ReadOptions { zone: TimeZone::get(zone).ok(), until: Timestamp::parse("2030-01-01T00:00:00Z").unwrap() }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn complaint(text: &str) -> String {
    read(text.as_bytes(), &options("UTC")).unwrap_err().to_string()
}

/// The beginnings of the occurrences of one event.
fn starts(lines: &str) -> Vec<String> {
    let text =
        format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:x\r\n{lines}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
    let events = read(text.as_bytes(), &options("Europe/Berlin")).unwrap();
    events.iter().map(|event| event.start.to_string()).collect()
}

#[test]
fn a_table_of_events_is_read_with_days_of_the_place() {
    let text = "start,end,name,magnitude,kind\n\
        2024-03-31,,Easter 2024,,\n\
        2024-11-29,2024-12-02,\"Sale, big\",2.5,campaign\n\
        1711843200,1711850400,Match 7,,\n\
        2024-03-10T18:00,2024-03-10T20:00:00+02:00,Match 8,,\n";
    let events = read(text.as_bytes(), &options("Europe/Berlin")).unwrap();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["Match 8", "Easter 2024", "Match 7", "Sale, big"]);
    // The day on which Berlin turns its clocks forward.
    assert_eq!(events[1].end.since(events[1].start).as_secs(), 23 * 3600);
    assert_eq!((events[0].start, events[0].end), (at("2024-03-10T17:00:00Z"), at("2024-03-10T18:00:00Z")));
    assert_eq!((events[3].kind.as_str(), events[3].magnitude), ("campaign", 2.5));
    assert_eq!((events[3].start, events[3].end), (at("2024-11-28T23:00:00Z"), at("2024-12-02T23:00:00Z")));
    assert_eq!((events[0].kind.as_str(), events[2].kind.as_str()), ("match", "match"));
}

#[test]
fn each_mistake_in_a_table_is_named_with_its_line_and_remedy() {
    assert!(complaint(" \n").contains("is empty"));
    assert!(complaint("2024-01-01,2024-01-02,x\n").contains("no column `start`"));
    assert!(complaint("start,end,name\n2024-01-01\n").contains("line 2: 1 cells"));
    assert!(complaint("start,end,name\n2024-01-01,,a\nsoon,,b\n").starts_with("line 3, column start"));
    assert!(complaint("start,end,name\n2024-01-01T10:00,,a\n").contains("line 2: the event has no end"));
    assert!(complaint("start,end,name\n2024-01-05,2024-01-01,a\n").contains("before its start"));
    assert!(complaint("start,end,name\n2024-01-05,,\n").contains("has no name"));
    assert!(
        complaint("start,end,name,magnitude\n2024-01-05,,a,-2\n").contains("`-2` is not a number above zero")
    );
}

#[test]
fn each_mistake_in_a_calendar_is_named_with_its_line_and_remedy() {
    let event = |lines: &str| {
        complaint(&format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\n{lines}\nEND:VEVENT\nEND:VCALENDAR"))
    };
    assert!(event("SUMMARY:x").contains("line 2: the VEVENT that begins here has no DTSTART"));
    assert!(event("DTSTART:20240101").contains("has no SUMMARY"));
    assert!(event("SUMMARY:x\nDTSTART:January").contains("line 4: DTSTART cannot be read: `January`"));
    assert!(event("SUMMARY:x\nDTSTART;TZID=Mars/Base:20240101T000000").contains("no time zone `Mars/Base`"));
    assert!(event("SUMMARY:x\nDTSTART:20240102\nDTEND:20240101").contains("line 5: DTEND cannot be read"));
    assert!(event("SUMMARY:x\nDTSTART:20240102\nDURATION:long").contains("`long` is not a length"));
    assert!(event("SUMMARY:x\nDTSTART:20240102\nRRULE:FREQ=HOURLY").contains("`HOURLY` is not one of"));
    assert!(
        event("SUMMARY:x\nDTSTART:20240102\nRRULE:FREQ=YEARLY;BYWEEKNO=3")
            .contains("`BYWEEKNO` is not supported")
    );
    assert!(complaint("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR").contains("line 3: `VCALENDAR`"));
    assert!(complaint("BEGIN:VCALENDAR\n").contains("is the file cut off?"));
}

#[test]
fn whole_days_zones_and_lengths_of_a_calendar_become_moments() {
    let text = "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:x\nEND:VTIMEZONE\n\
        BEGIN:VEVENT\nUID:1\nSUMMARY:Fair 2024\nDTSTART;VALUE=DATE:20240601\nDTEND;VALUE=DATE:20240603\nEND:VEVENT\n\
        BEGIN:VEVENT\nUID:2\nSUMMARY:Launch\nCATEGORIES:Campaign,other\nX-MAGNITUDE:3\n\
        DTSTART;TZID=America/New_York:20240603T090000\nDURATION:PT1H30M\n\
        BEGIN:VALARM\nDURATION:PT5M\nEND:VALARM\nEND:VEVENT\n\
        BEGIN:VEVENT\nUID:3\nSUMMARY:Gone\nSTATUS:CANCELLED\nDTSTART:20240604\nEND:VEVENT\nEND:VCALENDAR\n";
    let events = read(text.as_bytes(), &options("Europe/Berlin")).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].start, events[0].end), (at("2024-05-31T22:00:00Z"), at("2024-06-02T22:00:00Z")));
    assert_eq!((events[0].kind.as_str(), events[1].kind.as_str()), ("fair", "campaign"));
    assert_eq!((events[1].start, events[1].end), (at("2024-06-03T13:00:00Z"), at("2024-06-03T14:30:00Z")));
    assert_eq!(events[1].magnitude, 3.0);
}

#[test]
fn a_repeating_event_keeps_its_wall_clock_time() {
    let found = starts(
        "DTSTART;TZID=Europe/Berlin:20240329T200000\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE;TZID=Europe/Berlin:20240330T200000",
    );
    assert_eq!(found, ["2024-03-29T19:00:00Z", "2024-03-31T18:00:00Z", "2024-04-01T18:00:00Z"]);
}

#[test]
fn repetitions_by_week_month_and_year_are_those_of_the_standard() {
    let days = |rule: &str| -> Vec<String> {
        starts(&format!("DTSTART:19970902T090000Z\nRRULE:{rule}"))
            .iter()
            .map(|text| text[..10].to_owned())
            .collect()
    };
    // Examples of RFC 5545, section 3.8.5.3.
    assert_eq!(
        days("FREQ=WEEKLY;INTERVAL=2;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH"),
        ["1997-09-02", "1997-09-04", "1997-09-16", "1997-09-18", "1997-09-30", "1997-10-02"]
    );
    assert_eq!(
        days("FREQ=MONTHLY;COUNT=4;BYMONTHDAY=2,15"),
        ["1997-09-02", "1997-09-15", "1997-10-02", "1997-10-15"]
    );
    assert_eq!(days("FREQ=MONTHLY;COUNT=3;BYDAY=-2MO"), ["1997-09-22", "1997-10-20", "1997-11-17"]);
    assert_eq!(
        days("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3"),
        ["1997-09-04", "1997-10-07", "1997-11-06"]
    );
    assert_eq!(days("FREQ=YEARLY;COUNT=3;BYDAY=20MO"), ["1998-05-18", "1999-05-17", "2000-05-15"]);
    assert_eq!(days("FREQ=YEARLY;COUNT=2;BYMONTH=11;BYDAY=4TH"), ["1997-11-27", "1998-11-26"]);
    assert_eq!(
        days("FREQ=MONTHLY;COUNT=3;BYDAY=FR;BYMONTHDAY=13"),
        ["1998-02-13", "1998-03-13", "1998-11-13"]
    );
    let leap = starts("DTSTART;VALUE=DATE:20240229\nRRULE:FREQ=YEARLY;COUNT=2");
    assert_eq!(leap, ["2024-02-28T23:00:00Z", "2028-02-28T23:00:00Z"]);
    // Without an end, up to the end of what was asked for.
    assert_eq!(days("FREQ=YEARLY").len(), 33);
}

#[test]
fn a_moved_occurrence_replaces_the_original() {
    let text = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:a\nSUMMARY:Match\nDTSTART:20240601T180000Z\nDURATION:PT2H\n\
        RRULE:FREQ=WEEKLY;COUNT=3\nEND:VEVENT\n\
        BEGIN:VEVENT\nUID:a\nRECURRENCE-ID:20240608T180000Z\nSUMMARY:Match\nDTSTART:20240609T150000Z\nDURATION:PT2H\n\
        END:VEVENT\nEND:VCALENDAR";
    let events = read(text.as_bytes(), &options("UTC")).unwrap();
    let found: Vec<String> = events.iter().map(|event| event.start.to_string()).collect();
    assert_eq!(found, ["2024-06-01T18:00:00Z", "2024-06-09T15:00:00Z", "2024-06-15T18:00:00Z"]);
}

#[test]
fn repetition_without_end_is_bounded() {
    let mut text = String::from("BEGIN:VCALENDAR\n");
    for _ in 0..10 {
        text.push_str("BEGIN:VEVENT\nSUMMARY:x\nDTSTART:19500101\nRRULE:FREQ=DAILY\nEND:VEVENT\n");
    }
    text.push_str("END:VCALENDAR\n");
    assert!(complaint(&text).contains("more than 200000 events"));
}

fn dates(code: &str, year: i16) -> Vec<(Date, String)> {
    holidays(code, year..=year).unwrap().into_iter().map(|holiday| (holiday.date, holiday.name)).collect()
}

#[test]
fn easter_falls_where_the_church_says() {
    for (year, month, day) in [
        (1583, 4, 10),
        (1818, 3, 22),
        (1943, 4, 25),
        (2000, 4, 23),
        (2024, 3, 31),
        (2025, 4, 20),
        (2038, 4, 25),
    ] {
        assert_eq!(easter(year), Some(date(year, month, day)));
    }
    assert_eq!(easter(1500), None);
}

#[test]
fn federal_holidays_on_weekends_are_observed_on_the_nearest_weekday() {
    let found: Vec<Date> = dates("US", 2021).into_iter().map(|(date, _)| date).collect();
    let expected = [
        (1, 1),
        (1, 18),
        (2, 15),
        (5, 31),
        (6, 18),
        (7, 5),
        (9, 6),
        (10, 11),
        (11, 11),
        (11, 25),
        (12, 24),
        (12, 31),
    ];
    // The last is New Year's Day of 2022, a Saturday.
    assert_eq!(found, expected.map(|(month, day)| date(2021, month, day)));
    assert_eq!(dates("us-dc", 2012).len(), dates("US", 2012).len() + 1);
}

#[test]
fn holidays_of_a_german_state_are_those_of_the_country_and_its_own() {
    let found = dates("DE", 2024);
    assert_eq!(found.len(), 9);
    assert!(found.contains(&(date(2024, 5, 9), "Christi Himmelfahrt".to_owned())));
    let saxony = dates("DE-SN", 2024);
    assert!(saxony.contains(&(date(2024, 11, 20), "Buß- und Bettag".to_owned())));
    assert!(saxony.contains(&(date(2024, 10, 31), "Reformationstag".to_owned())));
    assert_eq!(dates("DE-BY", 2024).len(), 13);
    assert_eq!(dates("DE-SN", 2017).iter().filter(|(_, name)| name == "Reformationstag").count(), 1);
}

#[test]
fn substitute_days_of_christmas_do_not_collide() {
    let days = |year| -> Vec<(i8, i8)> {
        dates("GB", year)
            .iter()
            .map(|(date, _)| (date.month(), date.day()))
            .filter(|(month, _)| *month == 12)
            .collect()
    };
    assert_eq!(days(2021), [(12, 27), (12, 28)]);
    assert_eq!(days(2022), [(12, 26), (12, 27)]);
    assert_eq!(days(2020), [(12, 25), (12, 28)]);
    assert!(dates("GB", 2022).contains(&(date(2022, 1, 3), "New Year's Day".to_owned())));
    for (code, count) in [("FR", 11), ("AT", 13), ("IT", 12), ("PL", 13), ("CA", 10)] {
        assert_eq!(dates(code, 2024).len(), count, "{code}");
    }
    assert!(dates("CA", 2024).contains(&(date(2024, 5, 20), "Victoria Day".to_owned())));
    assert!(dates("PL", 2024).contains(&(date(2024, 5, 30), "Boże Ciało".to_owned())));
}

#[test]
fn an_unknown_country_is_answered_with_the_known_ones() {
    let error = holidays("XX", 2024..=2024).unwrap_err().to_string();
    assert!(error.contains("`XX`") && error.contains("US") && error.contains("DE-BY"), "{error}");
    assert!(holidays("US-TX", 2024..=2024).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, &options("Europe/Berlin"));
    }

    #[test]
    fn arbitrary_cells_under_a_good_header_never_panic(
        rows in proptest::collection::vec(("[-0-9T:.Zz+]{0,24}", "[-0-9T:.Zz+]{0,24}", ".{0,12}", "[-0-9.e]{0,8}"), 0..8),
    ) {
        let mut text = String::from("start,end,name,magnitude\n");
        for (start, end, name, magnitude) in rows {
            text.push_str(&format!("{start},{end},{name},{magnitude}\n"));
        }
        let _ = read(text.as_bytes(), &options("Europe/Berlin"));
    }

    #[test]
    fn arbitrary_calendar_lines_never_panic(
        start in "[0-9]{8}(T[0-9]{6}Z?)?",
        end in "[0-9]{8}(T[0-9]{6}Z?)?|",
        duration in "[-+]?P([0-9]{1,19}[WD])?(T([0-9]{1,19}[HMS])*)?",
        frequency in "DAILY|WEEKLY|MONTHLY|YEARLY|X",
        parts in proptest::collection::vec(
            "(INTERVAL|COUNT|BYMONTH|BYMONTHDAY|BYSETPOS)=-?[0-9]{1,11}|BYDAY=-?[0-9]{0,3}(MO|FR|XX)|UNTIL=[0-9]{8}|WKST=SU",
            0..4,
        ),
        noise in ".{0,60}",
    ) {
        let end = if end.is_empty() { format!("DURATION:{duration}") } else { format!("DTEND:{end}") };
        let text = format!(
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:x\nDTSTART:{start}\n{end}\nRRULE:FREQ={frequency};{}\n\
             EXDATE:{start}\nEND:VEVENT\n{noise}\nEND:VCALENDAR",
            parts.join(";"),
        );
        let _ = read(text.as_bytes(), &options("Europe/Berlin"));
    }

    #[test]
    fn every_observed_holiday_is_inside_the_years_asked_for(year in 1000i16..9000, span in 0i16..4) {
        for code in ["US", "GB", "DE-BY", "FR-67"] {
            let found = holidays(code, year..=year + span).unwrap();
            prop_assert!(found.iter().all(|holiday| (year..=year + span).contains(&holiday.date.year())));
            prop_assert!(found.windows(2).all(|pair| pair[0].date <= pair[1].date));
        }
    }
}
