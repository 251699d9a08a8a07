//! `[[node]]` and `[[tenant]]`: what instances run on, and who shares it.

use planner::{NodePolicy, Resources, TenantPolicy};
use toml::de::DeValue;

use super::engine::{self, EngineConfig};
use super::entry::Entry;
use super::model::{Config, NeedsConfig};
use super::section::{Context, Section};
use super::workload::name;

/// `[[node]]`. There can be one, this machine; or several, each with an engine, where all workloads are containers.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// `name`: as for workloads. Required, unique.
    pub name: String,
    /// `cores`: cores that instances may have together. Default: all that its engine says there are, or this machine has.
    pub cores: Option<f64>,
    /// `memory`: memory that they may have together, such as `"16GiB"`. Default as for cores: less than all is wise, as the
    /// system needs some.
    pub memory: Option<u64>,
    /// `kind`: what sort of machine it is, for display. Default empty.
    pub kind: String,
    /// `price`: per hour, relative to other nodes. Default 0.
    pub price: f64,
    /// `place`: a rack or zone that fails as a whole. Default empty.
    pub place: String,
    /// `spare`: kept free for bottlenecks. Default `false`.
    pub spare: bool,
    /// `overcommit`: how many times over cores may be promised, because peaks seldom meet. Default `1`. Higher uses the
    /// machine better; forecast peaks still stay within its cores.
    pub overcommit: f64,
    /// `docker`: its engine of containers. Default: that of `[server]`.
    pub docker: Option<EngineConfig>,
}

/// `[[tenant]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantConfig {
    /// `name`: what workloads give as their `tenant`. Required, unique.
    pub name: String,
    /// `weight`: share of what is scarce, relative to other tenants. Default `1`.
    pub weight: f64,
    /// `quota = { cpu, memory }`: the most that its instances may have together. Default none.
    pub quota: Option<NeedsConfig>,
}

/// Reads every `[[KEY]]` section, with the line that it begins on.
pub(super) fn sections<T>(
    entry: &Entry<'_>,
    key: &'static str,
    read: impl Fn(Section<'_>) -> Option<T>,
) -> Vec<(usize, T)> {
    let hint = format!("write each as its own [[{key}]] section");
    let Some(array) = entry.value.as_array() else {
        entry.refuse::<()>(format!("is a {}", entry.value.type_str()), hint);
        return Vec::new();
    };
    if array.len() > SECTIONS_MAX {
        entry.refuse::<()>(format!("has {} entries", array.len()), format!("write at most {SECTIONS_MAX}"));
    }
    let read = array.iter().take(SECTIONS_MAX).enumerate().filter_map(|(i, item)| {
        let line = entry.context.line_at(item.span().start);
        let path = format!("{key}[{i}]");
        let DeValue::Table(table) = item.get_ref() else {
            entry.context.report(line, &path, format!("is a {}", item.get_ref().type_str()), hint.as_str());
            return None;
        };
        read(Section::new(entry.context, path, line, table)).map(|section| (line, section))
    });
    read.collect()
}

pub(super) fn node(mut s: Section<'_>) -> Option<NodeConfig> {
    let id = s.required("name", "\"local\"", name);
    let mut node = NodeConfig {
        name: id.clone().unwrap_or_default(),
        cores: None,
        memory: None,
        kind: String::new(),
        price: 0.0,
        place: String::new(),
        spare: false,
        overcommit: 1.0,
        docker: None,
    };
    s.read("cores", &mut node.cores, |e| e.number(CORES).map(Some));
    s.read("memory", &mut node.memory, |e| e.bytes(MEMORY).map(Some));
    s.read("kind", &mut node.kind, |e| e.text().map(str::to_owned));
    s.read("price", &mut node.price, |e| e.number(0.0..=1e12));
    s.read("place", &mut node.place, |e| e.text().map(str::to_owned));
    s.read("spare", &mut node.spare, Entry::flag);
    s.read("overcommit", &mut node.overcommit, |e| e.number(1.0..=16.0));
    s.read("docker", &mut node.docker, |e| engine::engine(e).map(Some));
    s.finish();
    id.map(|_| node)
}

pub(super) fn tenant(mut s: Section<'_>) -> Option<TenantConfig> {
    let id = s.required("name", "\"team-a\"", name);
    let mut tenant = TenantConfig { name: id.clone().unwrap_or_default(), weight: 1.0, quota: None };
    s.read("weight", &mut tenant.weight, |e| e.number(1e-3..=1e6));
    s.read("quota", &mut tenant.quota, |e| needs(e).map(Some));
    s.finish();
    id.map(|_| tenant)
}

/// `{ cpu, memory }`, both of them.
pub(super) fn needs(e: &Entry<'_>) -> Option<NeedsConfig> {
    let mut s = e.section("{ cpu = 0.5, memory = \"512MiB\" }")?;
    let cpu = s.required("cpu", "0.5", |e| e.number(CORES));
    let memory = s.required("memory", "\"512MiB\"", |e| e.bytes(MEMORY));
    s.finish();
    Some(NeedsConfig { cpu: cpu?, memory: memory? })
}

/// Refuses quotas that nobody could keep: claims are weighed only where there is a node.
pub(super) fn check_quotas(context: &Context<'_>, tenants: &[(usize, TenantConfig)], without_nodes: bool) {
    for (line, tenant) in tenants {
        if without_nodes && tenant.quota.is_some() {
            let hint = "add a [[node]] for this machine, and `needs` to each [[workload]]";
            context.report(
                *line,
                &format!("tenant.{}.quota", tenant.name),
                "is kept only where there is a [[node]]",
                hint,
            );
        }
    }
}

/// Whether what is promised is there. `lines`: where each node begins.
pub(super) fn check(context: &Context<'_>, config: &Config, lines: &[usize]) {
    let are_engines = config.nodes.iter().all(|node| node.docker.is_some())
        && config.workloads.iter().all(|w| w.container.is_some());
    if let [_, second, ..] = lines
        && !are_engines
    {
        context.report(
            *second,
            "node[1]",
            "is a second node, and this provider runs on one node: only containers run elsewhere",
            "leave one [[node]] section, for this machine; or give each node a `docker` and each workload a `container`",
        );
    }
    // What is missing or wrong would be reported twice.
    if context.has_errors() {
        return;
    }
    for w in &config.workloads {
        if !config.nodes.is_empty() && w.needs().is_none() {
            context.report(
                lines[0],
                &format!("workload.{}.needs", w.name),
                "is missing, and there is a [[node]]",
                "add `needs = { cpu = 0.5, memory = \"512MiB\" }`, or `limits` with both",
            );
            return;
        }
    }
    let broken = crate::policy::policy(config).validate_sharing();
    for error in broken.err().into_iter().flat_map(|errors| errors.0) {
        let line = lines.first().copied().unwrap_or(1);
        let hint = "give the nodes more, ask for less, or name a [[tenant]] that there is";
        context.report(line, "", format!("{error}"), hint);
    }
}

impl NodeConfig {
    /// What the planner is told. A size that is not known yet is taken for very large.
    pub(crate) fn policy(&self) -> NodePolicy {
        let (cores, memory) = (self.cores.unwrap_or(*CORES.end()), self.memory.unwrap_or(*MEMORY.end()));
        NodePolicy {
            kind: self.kind.clone(),
            price: self.price,
            place: self.place.clone(),
            spare: self.spare,
            overcommit: self.overcommit,
            ..NodePolicy::new(self.name.as_str(), cores, memory)
        }
    }
}

impl TenantConfig {
    pub(crate) fn policy(&self) -> TenantPolicy {
        TenantPolicy {
            weight: self.weight,
            quota: self.quota.map(NeedsConfig::size),
            ..TenantPolicy::new(self.name.as_str())
        }
    }
}

impl NeedsConfig {
    pub(crate) fn size(self) -> Resources {
        Resources::new(self.cpu, self.memory)
    }
}

const CORES: std::ops::RangeInclusive<f64> = 0.001..=1e6;
const MEMORY: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 50;
const SECTIONS_MAX: usize = 256;
