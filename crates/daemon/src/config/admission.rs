//! `[workload.admission]`: requests are admitted and placed by what their parameters say they will cost.

use std::time::Duration;

use proxy::control::{
    Admission, Amount, CLASSES_MAX, COSTS_MAX, Class, CostSpec, Endpoint, Measure, Priority, Protocol,
    SOURCES_MAX, Source, Template,
};
use toml::de::DeValue;

use super::entry::Entry;
use super::model::{CapacityConfig, DemandSource, WorkloadConfig};
use super::quantity::{format_bytes, format_duration};
use super::section::Section;

/// Reads it.
pub(super) fn admission(e: &Entry<'_>) -> Option<Admission> {
    let mut s = e.section(EXAMPLE)?;
    let mut admission = Admission::new();
    let costs = s.required("costs", COSTS_EXAMPLE, |e| items(e, COSTS_EXAMPLE, COSTS_MAX, cost));
    s.read("numbers", &mut admission.numbers, sources);
    s.read("names", &mut admission.names, sources);
    (admission.priority, admission.endpoints) = priority(&mut s);
    s.read("body_max", &mut admission.body_bytes_max, |e| {
        e.bytes(0..=1 << 20).and_then(|bytes| usize::try_from(bytes).ok())
    });
    s.read("samples", &mut admission.samples_per_second, |e| e.count(0..=1_000));
    s.finish();
    admission.costs = costs?;
    Some(admission)
}

/// Who goes first, and the kinds of requests that have a class of their own.
pub(super) fn priority(s: &mut Section<'_>) -> (Priority, Vec<Endpoint>) {
    let (mut priority, mut endpoints) = (Priority::default(), Vec::new());
    s.read("classes", &mut priority.classes, |e| items(e, CLASSES_EXAMPLE, CLASSES_MAX, class));
    let classes = priority.classes.clone();
    s.read("class_header", &mut priority.header, header);
    s.read("class_default", &mut priority.default, |e| class_index(e, e.text()?, &classes));
    s.read("endpoints", &mut endpoints, |e| {
        items(e, ENDPOINTS_EXAMPLE, ENDPOINTS_MAX, |e| endpoint(e, &classes))
    });
    if priority.header.is_empty() != classes.is_empty() && endpoints.iter().all(|e| e.class.is_none()) {
        s.report(
            "class_header",
            "and `classes` only make sense together",
            "write both, such as class_header = \"x-priority\" and classes = [\"high\", \"low\"]",
        );
    }
    (priority, endpoints)
}

/// A list whose items are read one by one, every mistake noted.
fn items<T>(
    e: &Entry<'_>,
    example: &str,
    max: usize,
    read: impl Fn(&Entry<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(array) = e.value.as_array() else {
        return e.refuse(format!("is a {}", e.value.type_str()), format!("write a list such as {example}"));
    };
    if array.is_empty() || array.len() > max {
        return e
            .refuse(format!("has {} entries", array.len()), format!("write 1 to {max}, such as {example}"));
    }
    let read: Vec<Option<T>> = array
        .iter()
        .enumerate()
        .map(|(place, item)| {
            let line = e.context.line_at(item.span().start);
            read(&Entry {
                context: e.context,
                path: format!("{}[{place}]", e.path),
                line,
                value: item.get_ref(),
            })
        })
        .collect();
    read.into_iter().collect()
}

fn sources(e: &Entry<'_>) -> Option<Vec<Source>> {
    items(e, "[\"json:/max_tokens\", \"query:items\", \"length\"]", SOURCES_MAX, |e| {
        e.text()?
            .parse()
            .map_err(|error| e.refuse::<()>(format!("{error}"), "write such a place in a request"))
            .ok()
    })
}

fn header(e: &Entry<'_>) -> Option<String> {
    match format!("header:{}", e.text()?).parse() {
        Ok(Source::Header(name)) => Some(name),
        Ok(_) | Err(_) => e.refuse("is not the name of a header field", "write one such as \"x-priority\""),
    }
}

fn cost(e: &Entry<'_>) -> Option<CostSpec> {
    let mut s = e.section(COSTS_EXAMPLE)?;
    let name = s.required("name", "\"tokens\"", |e| {
        let text = e.text()?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if text.is_empty() || text.len() > NAME_LENGTH_MAX || !text.chars().all(allowed) {
            return e.refuse(
                format!("{text:?} cannot be the name of a cost"),
                format!("use lower case letters, digits and `_`, at most {NAME_LENGTH_MAX}"),
            );
        }
        Some(text.to_owned())
    });
    let measure = s.required("measure", "\"duration\"", measure);
    let per_instance = s.required("per_instance", "100", |e| e.number(1e-6..=AMOUNT_MAX));
    let mut quantile = 0.9;
    s.read("quantile", &mut quantile, |e| e.number(0.001..=0.999));
    let mut initial = per_instance.unwrap_or(1.0) / 10.0;
    s.read("initial", &mut initial, |e| e.number(0.0..=AMOUNT_MAX));
    let mut is_spent = false;
    s.read("spent", &mut is_spent, Entry::flag);
    s.finish();
    Some(CostSpec {
        name: name?,
        measure: measure?,
        per_instance: Amount::from_f64(per_instance?),
        quantile_milli: (quantile * 1000.0).round() as u16,
        is_spent,
        initial: Amount::from_f64(initial),
    })
}

fn measure(e: &Entry<'_>) -> Option<Measure> {
    let text = e.text()?;
    match text {
        "one" => Some(Measure::One),
        "duration" => Some(Measure::Duration),
        "response_bytes" => Some(Measure::ResponseBytes),
        _ => match text.parse() {
            Ok(Source::Header(name)) => Some(Measure::Header(name)),
            Ok(_) | Err(_) => e.refuse(
                format!("{text:?} is no way to measure a cost"),
                "write \"duration\", \"response_bytes\", \"one\" or \"header:NAME\" (a field of the response)",
            ),
        },
    }
}

fn class(e: &Entry<'_>) -> Option<Class> {
    if let DeValue::String(_) = e.value {
        return Some(Class { name: class_name(e, e.text()?)?, deadline: None });
    }
    let mut s = e.section(CLASSES_EXAMPLE)?;
    let name = s.required("name", "\"high\"", |e| class_name(e, e.text()?));
    let mut deadline = None;
    s.read("deadline", &mut deadline, |e| e.duration(Duration::ZERO..=HOUR).map(Some));
    s.finish();
    Some(Class { name: name?, deadline })
}

fn class_name(e: &Entry<'_>, text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > NAME_LENGTH_MAX || !text.chars().all(allowed) {
        return e.refuse(
            format!("{text:?} cannot be the name of a class"),
            format!("use letters, digits, `-` and `_`, at most {NAME_LENGTH_MAX}"),
        );
    }
    Some(text.to_owned())
}

fn class_index(e: &Entry<'_>, name: &str, classes: &[Class]) -> Option<u8> {
    match classes.iter().position(|class| class.name == name) {
        Some(index) => u8::try_from(index).ok(),
        None => e.refuse(format!("{name:?} is not among `classes`"), "name one of them"),
    }
}

fn endpoint(e: &Entry<'_>, classes: &[Class]) -> Option<Endpoint> {
    if let DeValue::String(_) = e.value {
        return Some(Endpoint { template: template(e)?, class: None });
    }
    let mut s = e.section(ENDPOINTS_EXAMPLE)?;
    let path = s.required("path", "\"POST /v1/{model}/chat\"", template);
    let mut class = None;
    s.read("class", &mut class, |e| class_index(e, e.text()?, classes).map(Some));
    s.finish();
    Some(Endpoint { template: path?, class })
}

fn template(e: &Entry<'_>) -> Option<Template> {
    let parsed = e.text()?.parse();
    parsed
        .map_err(|error| e.refuse::<()>(format!("{error}"), "write a path, with a method before it or none"))
        .ok()
}

/// What does not fit the rest of the workload.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    let Some(admission) = &w.admission else {
        if w.demand == DemandSource::Cost && s.entry("admission").is_none() {
            let hint = "add a section [workload.admission], or remove `demand`";
            s.report("demand", "is \"cost\", and requests are not admitted by cost", hint);
        }
        return;
    };
    if w.listen.is_none() {
        s.report("admission", "needs `listen`: requests are admitted by the proxy", "add `listen`");
    }
    if w.protocols.protocols.protocol == Protocol::Tcp {
        s.report("admission", "needs requests, and the protocol is \"tcp\"", "remove one of both");
    }
    let names: Vec<_> = admission.costs.iter().map(|cost| cost.name.as_str()).collect();
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        s.report("admission", format!("has the cost {:?} twice", twice.1), "name each cost once");
    }
    if w.demand == DemandSource::Cost && matches!(w.capacity, CapacityConfig::LearnFrom(_)) {
        let hint = "write what one instance does in a second, in the unit of the first cost";
        s.report("capacity", "is to be learned, which does not go with `demand = \"cost\"`", hint);
    }
}

/// The value as it is written in TOML.
pub(super) fn write(admission: &Admission) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let cost = |cost: &CostSpec| {
        let measure = match &cost.measure {
            Measure::One => "one".to_owned(),
            Measure::Duration => "duration".to_owned(),
            Measure::ResponseBytes => "response_bytes".to_owned(),
            Measure::Header(name) => format!("header:{name}"),
        };
        format!(
            "{{ name = {}, measure = {}, per_instance = {:?}, quantile = {:?}, initial = {:?}, \
             spent = {} }}",
            quoted(&cost.name),
            quoted(&measure),
            cost.per_instance.as_f64(),
            f64::from(cost.quantile_milli) / 1000.0,
            cost.initial.as_f64(),
            cost.is_spent
        )
    };
    let mut parts = vec![format!("costs = {}", list(admission.costs.iter().map(cost).collect()))];
    let mut add = |key: &str, items: Vec<String>| {
        if !items.is_empty() {
            parts.push(format!("{key} = {}", list(items)));
        }
    };
    add("numbers", admission.numbers.iter().map(|source| quoted(&source.to_string())).collect());
    add("names", admission.names.iter().map(|source| quoted(&source.to_string())).collect());
    parts.extend(write_priority(&admission.priority, &admission.endpoints));
    parts.push(format!("body_max = {}", quoted(&format_bytes(admission.body_bytes_max as u64))));
    parts.push(format!("samples = {}", admission.samples_per_second));
    format!("{{ {} }}", parts.join(", "))
}

/// The keys of [`priority`] as they are written in TOML.
pub(super) fn write_priority(priority: &Priority, endpoints: &[Endpoint]) -> Vec<String> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let classes = &priority.classes;
    let name_of = |index: u8| classes.get(usize::from(index)).map_or("", |class| class.name.as_str());
    let class = |class: &Class| match class.deadline {
        Some(deadline) => {
            format!("{{ name = {}, deadline = \"{}\" }}", quoted(&class.name), format_duration(deadline))
        }
        None => quoted(&class.name),
    };
    let endpoint = |endpoint: &Endpoint| match endpoint.class {
        Some(class) => {
            format!("{{ path = {}, class = {} }}", quoted(endpoint.template.as_str()), quoted(name_of(class)))
        }
        None => quoted(endpoint.template.as_str()),
    };
    let mut parts = Vec::new();
    let mut add = |key: &str, items: Vec<String>| {
        if !items.is_empty() {
            parts.push(format!("{key} = [{}]", items.join(", ")));
        }
    };
    add("classes", classes.iter().map(class).collect());
    add("endpoints", endpoints.iter().map(endpoint).collect());
    if !priority.header.is_empty() {
        parts.push(format!("class_header = {}", quoted(&priority.header)));
    }
    if !classes.is_empty() {
        parts.push(format!("class_default = {}", quoted(name_of(priority.default))));
    }
    parts
}

const EXAMPLE: &str = "{ numbers = [\"json:/max_tokens\"], costs = [{ name = \"tokens\", measure = \"header:x-tokens\", per_instance = 4000 }] }";
const COSTS_EXAMPLE: &str = "[{ name = \"seconds\", measure = \"duration\", per_instance = 4 }]";
const CLASSES_EXAMPLE: &str = "[\"high\", { name = \"low\", deadline = \"2s\" }]";
const ENDPOINTS_EXAMPLE: &str = "[\"GET /items/{id}\", { path = \"/pay/*\", class = \"high\" }]";
const ENDPOINTS_MAX: usize = 256;
const NAME_LENGTH_MAX: usize = 40;
const AMOUNT_MAX: f64 = 1e12;
const HOUR: Duration = Duration::from_secs(3_600);
