//! From TOML text to a [`Config`], noting every mistake on the way.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::check;
use super::command::Surroundings;
use super::entry::Entry;
use super::error::ConfigErrors;
use super::model::{Config, ModelConfig, ServerConfig, WorkloadConfig};
use super::section::{Context, Section};
use super::sharing::NodeConfig;
use super::workload::{read_model, read_workload};
use super::{engine, qemu, router, sharing, training};

pub(super) fn config(text: &str, path: &Path, surroundings: &Surroundings) -> Result<Config, ConfigErrors> {
    let context = Context::new(text, path, surroundings);
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let line = error.span().map_or(1, |span| context.line_at(span.start));
        context.report(
            line,
            "",
            format!("not valid TOML: {}", error.message()),
            "see https://toml.io for the notation",
        );
    }
    // After a syntax error the recovered table has holes that would be reported as further mistakes.
    let config = if syntax.is_empty() { file(&context, table.get_ref()) } else { None };
    let errors = context.into_errors();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        Some(_) | None => Err(ConfigErrors::new(path, errors)),
    }
}

fn file<'a>(context: &'a Context<'a>, table: &'a DeTable<'a>) -> Option<Config> {
    let mut root = Section::new(context, String::new(), 1, table);
    let mut server = ServerConfig::new(context.base.join(STATE_DIR));
    if let Some(section) = root.entry("server").and_then(|entry| entry.section("[server]")) {
        read_server(section, &mut server);
    }
    let workloads = match root.entry("workload") {
        Some(entry) => read_workloads(&entry),
        None => {
            context.report(1, "workload", "is missing", "add at least one [[workload]] section");
            Vec::new()
        }
    };
    let models = root.entry("model").map(|entry| read_models(&entry)).unwrap_or_default();
    let training = root.entry("training").and_then(|entry| training::training(&entry, &workloads));
    let nodes = root.entry("node").map(|e| sharing::sections(&e, "node", sharing::node)).unwrap_or_default();
    let tenants =
        root.entry("tenant").map(|e| sharing::sections(&e, "tenant", sharing::tenant)).unwrap_or_default();
    root.finish();
    check::across(context, &server, &workloads);
    router::check(context, &server.router, &workloads);
    check::externals(context, &models, &workloads);
    let workloads: Option<Vec<WorkloadConfig>> =
        workloads.into_iter().map(|(_, workload)| workload).collect();
    let models: Option<BTreeMap<String, ModelConfig>> =
        models.into_iter().map(|(name, model)| Some((name, model?))).collect();
    let (lines, nodes): (Vec<usize>, Vec<NodeConfig>) = nodes.into_iter().unzip();
    sharing::check_quotas(context, &tenants, nodes.is_empty());
    let tenants = tenants.into_iter().map(|(_, tenant)| tenant).collect();
    let training = training.unwrap_or_default();
    let config = Config { server, workloads: workloads?, models: models?, training, nodes, tenants };
    sharing::check(context, &config, &lines);
    Some(config)
}

fn read_server(mut section: Section<'_>, server: &mut ServerConfig) {
    section.read("listen", &mut server.listen, Entry::address);
    section.read("allow_remote", &mut server.allow_remote, Entry::flag);
    section.read("state_dir", &mut server.state_dir, Entry::path);
    section.read("router", &mut server.router, router::router);
    section.read("docker", &mut server.docker, engine::engine);
    section.read("qemu", &mut server.qemu, qemu::qemu);
    if !server.listen.ip().is_loopback() && !server.allow_remote {
        section.report(
            "listen",
            format!("{} can be reached from other machines, and the API has no login", server.listen),
            "listen on 127.0.0.1, or add `allow_remote = true` if the network in front of it is trusted",
        );
    }
    section.finish();
}

/// Models by name; `None` where a required key is missing or wrong.
pub(super) type Models = BTreeMap<String, Option<ModelConfig>>;

fn read_models(entry: &Entry<'_>) -> Models {
    let hint = "write each model as its own [model.NAME] section";
    let Some(table) = entry.value.as_table() else {
        entry.refuse::<()>(format!("is a {}", entry.value.type_str()), hint);
        return Models::new();
    };
    let read = table.iter().map(|(name, value)| {
        let line = entry.context.line_at(name.span().start);
        let named: &str = name.get_ref();
        let path = format!("model.{named}");
        let Some(table) = value.get_ref().as_table() else {
            entry.context.report(line, &path, format!("is a {}", value.get_ref().type_str()), hint);
            return (named.to_owned(), None);
        };
        let section = Section::new(entry.context, path, line, table);
        (named.to_owned(), read_model(section, &entry.context.base))
    });
    read.collect()
}

/// Each workload with the line it begins on; `None` where a required key is missing or wrong.
pub(super) type Workloads = Vec<(usize, Option<WorkloadConfig>)>;

fn read_workloads(entry: &Entry<'_>) -> Workloads {
    let context = entry.context;
    let hint = "write each workload as its own [[workload]] section";
    let Some(array) = entry.value.as_array() else {
        entry.refuse::<()>(format!("is a {}", entry.value.type_str()), hint);
        return Vec::new();
    };
    if array.is_empty() {
        entry.refuse::<()>("is empty", "add at least one [[workload]] section");
    }
    if array.len() > WORKLOADS_MAX {
        entry.refuse::<()>(format!("has {} entries", array.len()), format!("write at most {WORKLOADS_MAX}"));
    }
    let read = array.iter().take(WORKLOADS_MAX).enumerate().map(|(i, item)| {
        let line = context.line_at(item.span().start);
        match item.get_ref() {
            DeValue::Table(table) => {
                let name = table
                    .iter()
                    .find(|(key, _)| key.get_ref() == "name")
                    .and_then(|(_, v)| v.get_ref().as_str());
                let path = name.map_or(format!("workload[{i}]"), |name| format!("workload.{name}"));
                (line, read_workload(Section::new(context, path, line, table)))
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                context.report(
                    line,
                    &format!("workload[{i}]"),
                    format!("is a {}", item.get_ref().type_str()),
                    hint,
                );
                (line, None)
            }
        }
    });
    read.collect()
}

const STATE_DIR: &str = "foreshadow-state";
const WORKLOADS_MAX: usize = 256;
