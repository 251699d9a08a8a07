//! `[[workload.scope]]`: bounds that hold at some times only. And `clone_threshold`.

use jiff::civil::{Date, Time};
use planner::{CloneThreshold, Days, Scope};
use toml::de::DeValue;

use super::entry::Entry;
use super::section::Section;

/// Reads all scopes of a workload.
pub(super) fn scopes(e: &Entry<'_>) -> Option<Vec<Scope>> {
    let hint = "write each scope as its own [[workload.scope]] section";
    let Some(array) = e.value.as_array() else {
        return e.refuse(format!("is a {}", e.value.type_str()), hint);
    };
    if array.len() > SCOPES_MAX {
        return e.refuse(format!("has {} entries", array.len()), format!("write at most {SCOPES_MAX}"));
    }
    let scope = |(place, item): (usize, &toml::Spanned<DeValue<'_>>)| {
        let line = e.context.line_at(item.span().start);
        let path = format!("{}[{place}]", e.path);
        match item.get_ref().as_table() {
            Some(table) => scope(Section::new(e.context, path, line, table)),
            None => {
                e.context.report(line, &path, format!("is a {}", item.get_ref().type_str()), hint);
                None
            }
        }
    };
    array.iter().enumerate().map(scope).collect()
}

fn scope(mut s: Section<'_>) -> Option<Scope> {
    let mut scope = Scope {
        name: String::new(),
        days: Days::all(),
        except: Days::NONE,
        from: Time::midnight(),
        to: Time::midnight(),
        replicas_min: None,
        replicas_max: None,
        standby_min: None,
    };
    s.read("name", &mut scope.name, |e| name(e));
    s.read("days", &mut scope.days, some_days);
    s.read("except", &mut scope.except, days);
    s.read("from", &mut scope.from, time);
    s.read("to", &mut scope.to, time);
    s.read("replicas_min", &mut scope.replicas_min, |e| e.count(0..=REPLICAS_MAX).map(Some));
    s.read("replicas_max", &mut scope.replicas_max, |e| e.count(1..=REPLICAS_MAX).map(Some));
    s.read("standby_min", &mut scope.standby_min, |e| e.count(0..=REPLICAS_MAX).map(Some));
    let bounds = [scope.replicas_min, scope.replicas_max, scope.standby_min];
    if bounds.iter().all(Option::is_none) {
        s.report("replicas_min", "is missing, and so are all other bounds", "add `replicas_min = 5`");
    }
    if let (Some(min), Some(max)) = (scope.replicas_min, scope.replicas_max)
        && min > max
    {
        let problem = format!("{min} is more than replicas_max, which is {max}");
        s.report("replicas_min", problem, "make replicas_min at most replicas_max");
    }
    s.finish();
    if scope.name.is_empty() {
        scope.name = described(&scope);
    }
    Some(scope)
}

fn name(e: &Entry<'_>) -> Option<String> {
    match e.text()? {
        text if !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control) => {
            Some(text.to_owned())
        }
        _ => e.refuse("is empty, too long or has control characters", "write a short name"),
    }
}

/// Where it has no name of its own.
fn described(scope: &Scope) -> String {
    let mut text = day_words(&scope.days).join(",");
    if text.len() > NAME_BYTES_MAX / 2 {
        text = "some days".to_owned();
    }
    if scope.from != scope.to {
        text += &format!(" {}-{}", clock(scope.from), clock(scope.to));
    }
    text
}

/// The time of day in hours and minutes; the end of a day is written as 24:00.
fn time(e: &Entry<'_>) -> Option<Time> {
    let text = e.text()?;
    let parsed = text.split_once(':').and_then(|(hours, minutes)| {
        let part = |text: &str| (text.len() == 2).then(|| text.parse::<i8>().ok()).flatten();
        match (part(hours)?, part(minutes)?) {
            (24, 0) => Some(Time::midnight()),
            (hours, minutes) => Time::new(hours, minutes, 0, 0).ok(),
        }
    });
    parsed.or_else(|| {
        e.refuse(format!("{text:?} is not a time of day"), "write for example \"08:00\" or \"24:00\"")
    })
}

fn some_days(e: &Entry<'_>) -> Option<Days> {
    match days(e)? {
        days if days == Days::NONE => {
            e.refuse("names no day, so the scope would never be in force", "leave it out for all days")
        }
        days => Some(days),
    }
}

fn days(e: &Entry<'_>) -> Option<Days> {
    let mut days = Days::NONE;
    for text in e.texts()? {
        if add(&mut days, &text).is_none() {
            return e.refuse(
                format!("{text:?} is not a day"),
                "write days such as \"mon\", \"mon-fri\", \"holiday\", \"2026-12-24\" or \"2026-12-24..2026-12-26\"",
            );
        }
    }
    Some(days)
}

fn add(days: &mut Days, text: &str) -> Option<()> {
    if text == HOLIDAY {
        days.holidays = true;
        return Some(());
    }
    let weekday = |text: &str| WEEKDAYS.iter().position(|day| *day == text);
    if let Some(day) = weekday(text) {
        days.weekdays[day] = true;
    } else if let Some((first, last)) =
        text.split_once('-').and_then(|(a, b)| Some((weekday(a)?, weekday(b)?)))
    {
        let length = (last + 7 - first) % 7;
        (first..=first + length).for_each(|day| days.weekdays[day % 7] = true);
    } else {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let (first, last): (Date, Date) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || days.dates.len() >= DATES_MAX {
            return None;
        }
        days.dates.push((first, last));
    }
    Some(())
}

fn day_words(days: &Days) -> Vec<String> {
    let mut words = Vec::new();
    let mut day = 0;
    while day < 7 {
        let length = days.weekdays[day..].iter().take_while(|is| **is).count();
        match length {
            0 => {}
            1 => words.push(WEEKDAYS[day].to_owned()),
            _ => words.push(format!("{}-{}", WEEKDAYS[day], WEEKDAYS[day + length - 1])),
        }
        day += length.max(1);
    }
    words.extend(days.holidays.then(|| HOLIDAY.to_owned()));
    words.extend(
        days.dates.iter().map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}..{last}") }
            },
        ),
    );
    words
}

fn clock(time: Time) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// The scopes as they are written in TOML.
pub(super) fn write(scopes: &[Scope]) -> String {
    let list = |days: &Days| {
        let words: Vec<String> = day_words(days).iter().map(|word| format!("\"{word}\"")).collect();
        format!("[{}]", words.join(", "))
    };
    let one = |scope: &Scope| {
        let mut parts = vec![
            format!("name = {}", toml::Value::from(scope.name.as_str())),
            format!("days = {}", list(&scope.days)),
            format!("except = {}", list(&scope.except)),
            format!("from = \"{}\"", clock(scope.from)),
            format!("to = \"{}\"", clock(scope.to)),
        ];
        for (key, bound) in [
            ("replicas_min", scope.replicas_min),
            ("replicas_max", scope.replicas_max),
            ("standby_min", scope.standby_min),
        ] {
            parts.extend(bound.map(|bound| format!("{key} = {bound}")));
        }
        format!("{{ {} }}", parts.join(", "))
    };
    format!("[{}]", scopes.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A share of capacity, or `"learned"`.
pub(super) fn clone_threshold(e: &Entry<'_>) -> Option<CloneThreshold> {
    match e.value {
        DeValue::String(_) => e.word(&[("learned", CloneThreshold::Learned)]),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => e.number(0.01..=1.0).map(CloneThreshold::Fixed),
    }
}

/// The threshold as it is written in TOML.
pub(super) fn write_threshold(threshold: CloneThreshold) -> String {
    match threshold {
        CloneThreshold::Fixed(share) => format!("{share:?}"),
        CloneThreshold::Learned => "\"learned\"".to_owned(),
    }
}

const HOLIDAY: &str = "holiday";
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const REPLICAS_MAX: u32 = 1000;
const SCOPES_MAX: usize = 64;
const DATES_MAX: usize = 366;
const NAME_BYTES_MAX: usize = 80;
