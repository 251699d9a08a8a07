//! What the cache saves, and what it costs to tell of requests: the same load with and without, and beside the peers.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use proxy::control::{AccessLogSpec, CacheSpec, Observation, Route, SHARE_WHOLE, Template, WorkloadStats};

use super::contender::{BACKENDS, Control, Ground, haproxy_with, nginx_proxy, ours, ours_with};
use super::contest::{KEPT, KINDS, Kind, Rounds, Series, ratio};
use super::load;
use crate::Setting;
use crate::rows::{Better, Rows, median};

/// Hits beside those of both peers' caches, and beside the same response without a cache.
pub(crate) fn cache(ground: &Ground, setting: &Setting, rounds: Rounds, rows: &mut Rows) -> Result<()> {
    let backends = ground.backends(BACKENDS);
    let keep = |route: &mut Route| route.cache = Some(CacheSpec::default());
    let kept = ground.folder.join("kept");
    let nginx = format!(
        "proxy_cache_path {} keys_zone=kept:10m max_size=64m use_temp_path=off; proxy_cache kept;\n\
         open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;",
        kept.display()
    );
    let contenders = [
        ours_with(ground, &setting.foreshadow, &backends, keep)?.0,
        haproxy_with(ground, &backends, load::CONNECTIONS as usize, HAPROXY_CACHE)?,
        // With it, the last packet of a file that comes from the cache waits for a timer.
        nginx_proxy(ground, &backends, &nginx, "tcp_nopush off;")?,
        ours(ground, &setting.foreshadow, &backends)?.0,
    ];
    for kind in KEPT {
        let series = kind.series(&contenders, &ground.upstream, rounds)?;
        for (contender, series) in contenders.iter().zip(&series).take(3) {
            let asked = median(&series.upstream_us);
            ensure!(asked < UPSTREAM_US_MAX, "{} keeps nothing: upstream {asked:.1} us", contender.name);
        }
        report_hits(kind, &series, rows);
    }
    Ok(())
}

fn report_hits(kind: &Kind, series: &[Series], rows: &mut Rows) {
    let name = format!("proxy, cache, {}", kind.name);
    let cpu = |by: usize| ratio(&series[0].cpu_us, &series[by].cpu_us);
    let per_s = |by: usize| ratio(&series[0].per_s, &series[by].per_s);
    let [of_haproxy, of_nginx, of_proxied] = [1, 2, 3].map(cpu);
    let shown = format!("{:.1} us; HAProxy {of_haproxy:.2}, nginx {of_nginx:.2}", median(&series[0].cpu_us));
    let title = format!("{name}: CPU for each hit, of the better peer's");
    rows.note(&title, of_haproxy.max(of_nginx), "ratio", Better::Lower, Some(shown));
    let title = format!("{name}: CPU for each hit, of the same passed on");
    rows.note(&title, of_proxied, "ratio", Better::Lower, None);
    let [of_haproxy, of_nginx, of_proxied] = [1, 2, 3].map(per_s);
    let shown = format!("{:.0}/s; HAProxy {of_haproxy:.2}, nginx {of_nginx:.2}", median(&series[0].per_s));
    let title = format!("{name}: hits per second, of the better peer's");
    rows.note(&title, of_haproxy.min(of_nginx), "ratio", Better::Higher, Some(shown));
    let title = format!("{name}: hits per second, of the same passed on");
    rows.note(&title, of_proxied, "ratio", Better::Higher, None);
}

/// The access log of every request, and the one that is the default, beside none and beside nginx's; and requests counted by endpoint.
pub(crate) fn access_log(ground: &Ground, setting: &Setting, rounds: Rounds, rows: &mut Rows) -> Result<()> {
    let backends = ground.backends(BACKENDS);
    let [every, some, theirs] =
        ["every.json", "some.json", "nginx.json"].map(|name| ground.folder.join(name));
    let with = |observation| {
        ours_with(ground, &setting.foreshadow, &backends, |route| route.observation = observation)
    };
    let log = |spec| Observation { access_log: Some(spec), ..Observation::default() };
    let whole = AccessLogSpec { sample_ppm: SHARE_WHOLE, bytes_max: u64::MAX, ..AccessLogSpec::new(&every) };
    let (logging, control) = with(log(whole))?;
    let to = format!("access_log {} all buffer=64k flush=1s;", theirs.display());
    let contenders = [
        ours(ground, &setting.foreshadow, &backends)?.0,
        logging,
        with(log(AccessLogSpec::new(some)))?.0,
        with(Observation { endpoints: endpoints()?, ..Observation::default() })?.0,
        nginx_proxy(ground, &backends, "", "")?,
        nginx_proxy(ground, &backends, NGINX_LINE, &to)?,
    ];
    let series = KINDS[0].series(&contenders, &ground.upstream, rounds)?;
    ensure!(fs::metadata(&theirs)?.len() > LOGGED_MIN, "nginx logs nothing");
    let left_out = left_out(&control, &every)?;
    let name = "proxy, every request in the access log";
    report(name, &series[1], &series[0], Some(beside(&series[5], &series[4])), rows);
    rows.note(&format!("{name}: share of lines left out"), left_out, "share", Better::Lower, None);
    report("proxy, one request in 100 in the access log", &series[2], &series[0], None, rows);
    let name = format!("proxy, requests counted by {ENDPOINTS} endpoints");
    report(&name, &series[3], &series[0], None, rows);
    Ok(())
}

/// CPU for each request and requests per second, each of that without.
fn beside(with: &Series, without: &Series) -> [f64; 2] {
    [ratio(&with.cpu_us, &without.cpu_us), ratio(&with.per_s, &without.per_s)]
}

fn report(name: &str, with: &Series, without: &Series, of_nginx: Option<[f64; 2]>, rows: &mut Rows) {
    let [cpu, per_s] = beside(with, without);
    let nginx = |place: usize| of_nginx.map_or(String::new(), |of| format!("; nginx {:.2}", of[place]));
    let shown = Some(format!("{:.1} us without{}", median(&without.cpu_us), nginx(0)));
    let title = format!("{name}: CPU for each request, of that without");
    rows.note(&title, cpu, "ratio", Better::Lower, shown);
    let shown = Some(format!("{:.0}/s without{}", median(&without.per_s), nginx(1)));
    let title = format!("{name}: requests per second, of those without");
    rows.note(&title, per_s, "ratio", Better::Higher, shown);
}

/// The last one fits.
fn endpoints() -> Result<Vec<Template>> {
    let others = (1..ENDPOINTS).map(|number| format!("GET /part-{number}/{{id}}"));
    Ok(others.chain(["GET /".to_owned()]).map(|text| text.parse()).collect::<Result<_, _>>()?)
}

/// Lines that the writer could not keep up with, of all.
fn left_out(control: &Control, log: &Path) -> Result<f64> {
    ensure!(fs::metadata(log)?.len() > LOGGED_MIN, "nothing is logged");
    let stats = control.stats()?;
    let of = |count: fn(&WorkloadStats) -> u64| stats.workloads.iter().map(count).sum::<u64>();
    let (written, dropped) = (of(|w| w.log_written), of(|w| w.log_dropped));
    Ok(dropped as f64 / (written + dropped) as f64)
}

/// The rules of HAProxy's backend, and the cache that they name.
const HAPROXY_CACHE: &str = "    http-request cache-use kept\n    http-response cache-store kept\n\
     cache kept\n    total-max-size 64\n    max-object-size 8000000\n    max-age 3600\n";
/// About what a line of ours says.
const NGINX_LINE: &str = r#"log_format all escape=json '{"time":"$time_iso8601","protocol":"$server_protocol",'
'"client":"$remote_addr","method":"$request_method","path":"$uri","status":$status,"bytes_in":$request_length,'
'"bytes_out":$body_bytes_sent,"head_ms":"$upstream_header_time","total_ms":$request_time,"instance":"$upstream_addr"}';"#;
/// Of a processor's time that the upstream has spent for each hit.
const UPSTREAM_US_MAX: f64 = 1.0;
const LOGGED_MIN: u64 = 1_000_000;
const ENDPOINTS: usize = 10;
