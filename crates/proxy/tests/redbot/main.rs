//! What REDbot, which knows how caches and clients read answers, says of answers that come through the proxy.
//!
//! It looks at an origin's pages four ways: directly, by a plain route, by a route with a cache that has nothing yet, and by the
//! same that has. Whatever it warns of must be in [`ACCEPTED`], with the reason; what is there and no longer said must go.

mod origin;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use proxy::control::{CacheSpec, Route, RouteTable};
use serde::Deserialize;
use support::Proxy;
use tokio::process::Command;

/// Where `cargo xtask test` has put it.
const REDBOT_VARIABLE: &str = "FORESHADOW_REDBOT";

/// What REDbot says of one page.
#[derive(Debug, Deserialize)]
struct Report {
    url: String,
    error: Option<String>,
    status: Option<u16>,
    notes: Vec<Note>,
}

#[derive(Debug, Deserialize)]
struct Note {
    level: String,
    name: String,
    says: String,
}

impl Report {
    fn path(&self) -> &str {
        self.url.splitn(4, '/').nth(3).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.notes.iter().any(|note| note.name == name)
    }
}

/// Asks REDbot for all of these pages, one after the other.
async fn look(redbot: &Path, address: SocketAddr, paths: &[&str]) -> Vec<Report> {
    let urls = paths.iter().map(|path| format!("http://{address}{path}"));
    let run = Command::new(redbot.join("bin/python"))
        .args(["-c", include_str!("notes.py")])
        .args(urls)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(120), run).await.expect("it ends").expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let reports: Vec<Report> =
        said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(reports.len(), paths.len());
    reports
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_warns_of_is_known_and_argued() {
    let Some(redbot) = std::env::var_os(REDBOT_VARIABLE) else {
        return skips::skip(
            "headers and caching by REDbot",
            "it needs Python 3.11; `cargo xtask test` installs it",
        );
    };
    let redbot = Path::new(&redbot);
    let origin = origin::start().await;
    let proxy = Proxy::start().await;
    let plain = proxy.route(&[origin.spec(1000)]);
    let other =
        |name: &str| Route { workload: name.into(), listen: loopback::free_address(), ..plain.clone() };
    let cached = Route { cache: Some(CacheSpec::default()), ..other("cached") };
    let none = Route { backends: Vec::new(), hold: Duration::ZERO, ..other("none") };
    let (cached_at, none_at) = (cached.listen, none.listen);
    let table = RouteTable { generation: 1, routes: vec![plain, cached, none] };
    proxy.client.set_table(table).await.expect("applied");
    let paths: Vec<&str> = origin::PAGES.iter().map(|(path, _)| *path).collect();
    let (direct, plain, (first, again), own) = tokio::join!(
        look(redbot, origin.addr, &paths),
        look(redbot, proxy.listen, &paths),
        async { (look(redbot, cached_at, &paths).await, look(redbot, cached_at, &paths).await) },
        look(redbot, none_at, &["/own"]),
    );
    let views = [("direct", direct), ("plain", plain), ("cached", first), ("kept", again), ("own", own)];
    let (mut faults, mut used) = (Vec::new(), BTreeSet::new());
    for (view, report) in views.iter().flat_map(|(view, reports)| reports.iter().map(move |one| (*view, one)))
    {
        if report.error.is_some() {
            faults.push(format!("{view} {}: {:?}", report.url, report.error));
        }
        for note in report.notes.iter().filter(|note| is_warning(note)) {
            let found = ACCEPTED.iter().position(|accepted| accepted.is_it(view, report.path(), &note.name));
            match found {
                Some(index) => drop(used.insert(index)),
                None => faults.push(format!("{view} {}: {} ({})", report.path(), note.name, note.says)),
            }
        }
        faults.extend(missing(view, report));
    }
    let unused = ACCEPTED.iter().enumerate().filter(|(index, _)| !used.contains(index));
    faults.extend(unused.map(|(_, accepted)| format!("no longer said: {accepted:?}")));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Bad, a warning, or a question that came to nothing.
fn is_warning(note: &Note) -> bool {
    matches!(note.level.as_str(), "bad" | "warning") || note.name.ends_with("SUBREQ_PROBLEM")
}

/// What REDbot must have found to work, so that it is seen to have looked.
fn missing(view: &str, report: &Report) -> Vec<String> {
    let wanted: &[&str] = match (report.status, report.path()) {
        (Some(200), "variants") => &["INM_304", "IMS_304", "RANGE_CORRECT", "CL_CORRECT", "CONNEG_GZIP_GOOD"],
        (Some(200), _) => &["INM_304", "IMS_304", "RANGE_CORRECT", "CL_CORRECT"],
        _ => &[],
    };
    let lacks = wanted.iter().filter(|name| !report.has(name));
    lacks.map(|name| format!("{view} {}: {name} is missing", report.path())).collect()
}

/// A warning that stands.
#[derive(Debug)]
struct Accepted {
    /// How the page was looked at; empty: any.
    view: &'static str,
    /// Without its first slash; empty: any.
    page: &'static str,
    note: &'static str,
    /// Why it is right as it is.
    #[expect(dead_code, reason = "for the reader")]
    because: &'static str,
}

impl Accepted {
    fn is_it(&self, view: &str, page: &str, note: &str) -> bool {
        (self.view.is_empty() || self.view == view)
            && (self.page.is_empty() || self.page == page)
            && self.note == note
    }
}

const ACCEPTED: &[Accepted] = &[Accepted {
    view: "direct",
    page: "hops",
    note: "FIELD_DEPRECATED",
    because: "the origin says Keep-Alive on purpose; through the proxy it must not arrive",
}];
