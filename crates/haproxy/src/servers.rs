//! The servers of one backend: which there are, which there should be, and the commands between the two.

use std::collections::BTreeMap;

use proxy::control::{BackendSpec, HealthSpec, Route};

use crate::error::HaproxyError;
use crate::runtime::Runtime;
use crate::stat::Row;

/// The id of a server of ours.
pub(crate) fn id_of(server: &str) -> Option<u64> {
    server.strip_prefix(PREFIX)?.parse().ok()
}

/// HAProxy's weight for each backend of a route, with the name of its server. A full share is HAProxy's largest weight.
pub(crate) fn wanted(route: &Route) -> BTreeMap<String, (BackendSpec, u32)> {
    let full = route.backends.iter().map(|spec| spec.weight).max().unwrap_or(0).max(FULL_SHARE);
    let scaled = |weight: u32| match weight {
        0 => 0,
        weight => {
            let exact = f64::from(weight) * f64::from(WEIGHT_MAX) / f64::from(full);
            (exact.round() as u32).clamp(1, WEIGHT_MAX)
        }
    };
    let named = |spec: &BackendSpec| (format!("{PREFIX}{}", spec.id), (*spec, scaled(spec.weight)));
    route.backends.iter().map(named).collect()
}

/// Back from HAProxy's weight.
pub(crate) fn share(weight: u32) -> u32 {
    (f64::from(weight) * f64::from(FULL_SHARE) / f64::from(WEIGHT_MAX)).round() as u32
}

/// Whether a server takes part: one in maintenance is out, or was never let in.
pub(crate) fn takes_part(row: &Row) -> bool {
    !row.status.starts_with(MAINTENANCE)
}

/// Whether these servers are those of the route.
pub(crate) fn in_force(route: &Route, rows: &[Row]) -> bool {
    let wanted = wanted(route);
    let ours = || rows.iter().filter(|row| id_of(&row.server).is_some() && takes_part(row));
    let as_wanted = |row: &Row| {
        let found = wanted.get(&row.server);
        found.is_some_and(|(spec, weight)| row.addr == Some(spec.addr) && row.weight == *weight)
    };
    ours().all(as_wanted) && ours().count() == wanted.len()
}

/// Makes the servers those of the route: newcomers first, so that there is no moment without a server.
pub(crate) async fn bring(runtime: &Runtime, route: &Route, rows: &[Row]) -> Result<(), HaproxyError> {
    let backend = &route.workload;
    let wanted = wanted(route);
    let mut there: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in rows.iter().filter(|row| id_of(&row.server).is_some()) {
        match wanted.get(&row.server) {
            Some((spec, _)) if row.addr == Some(spec.addr) => {
                there.insert(&row.server, row);
            }
            // Its name is needed for another address.
            Some(_) => remove(runtime, row, true).await?,
            None => {}
        }
    }
    for (name, (spec, weight)) in &wanted {
        match there.get(name.as_str()) {
            None => add(runtime, backend, name, spec, *weight, &route.health).await?,
            Some(row) => {
                if row.weight != *weight {
                    runtime.order(&format!("set server {backend}/{name} weight {weight}"), "").await?;
                }
                if !takes_part(row) {
                    let_in(runtime, backend, name, &route.health).await?;
                }
            }
        }
    }
    for row in rows.iter().filter(|row| id_of(&row.server).is_some() && !wanted.contains_key(&row.server)) {
        remove(runtime, row, false).await?;
    }
    Ok(())
}

async fn add(
    runtime: &Runtime,
    backend: &str,
    name: &str,
    spec: &BackendSpec,
    weight: u32,
    health: &HealthSpec,
) -> Result<(), HaproxyError> {
    // HAProxy 2.6 places a newcomer on its hash ring before it has numbered it, where all newcomers collide and some get nothing
    // from `balance random`. What a server gains in weight later is placed by its number.
    let mut command = format!("add server {backend}/{name} {} weight 1", spec.addr);
    if health.is_active() {
        let (inter, fall, rise) = (health.interval.as_millis().max(1), health.fall, health.rise);
        command += &format!(" check inter {inter}ms fall {fall} rise {rise}");
    }
    runtime.order(&command, "New server registered.").await?;
    runtime.order(&format!("set server {backend}/{name} weight {weight}"), "").await?;
    let_in(runtime, backend, name, health).await
}

/// A server that was added is in maintenance, with its checks off.
async fn let_in(
    runtime: &Runtime,
    backend: &str,
    name: &str,
    health: &HealthSpec,
) -> Result<(), HaproxyError> {
    runtime.order(&format!("set server {backend}/{name} state ready"), "").await?;
    if health.is_active() {
        runtime.order(&format!("enable health {backend}/{name}"), "").await?;
    }
    Ok(())
}

/// Takes a server out of traffic and deletes it. One that still works on requests may finish them and is deleted later,
/// unless its name is needed `now`.
pub(crate) async fn remove(runtime: &Runtime, row: &Row, now: bool) -> Result<(), HaproxyError> {
    let (backend, name) = (&row.backend, &row.server);
    if takes_part(row) {
        runtime.order(&format!("set server {backend}/{name} state maint"), "").await?;
    }
    let command = format!("del server {backend}/{name}");
    let answer = runtime.ask(&command).await?;
    // "Server still has connections attached to it, cannot remove it."
    let busy = !now && answer.contains("connections");
    if busy || answer.trim() == "Server deleted." { Ok(()) } else { Err(runtime.declined(&command, &answer)) }
}

/// Servers with other names are the user's.
const PREFIX: &str = "foreshadow-";
const MAINTENANCE: &str = "MAINT";
/// The weight of a full share in a route table.
const FULL_SHARE: u32 = 1000;
/// HAProxy's largest weight.
const WEIGHT_MAX: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(weights: &[u32]) -> Route {
        let mut route = Route::new("web", "127.0.0.1:80".parse().expect("literal"));
        let spec = |(at, weight): (usize, &u32)| BackendSpec {
            id: at as u64,
            addr: ([127, 0, 0, 1], 9000 + at as u16).into(),
            weight: *weight,
        };
        route.backends = weights.iter().enumerate().map(spec).collect();
        route
    }

    #[test]
    fn weights_keep_their_ratios_and_none_but_0_becomes_0() {
        let weights = |given: &[u32]| wanted(&route(given)).into_values().map(|(_, w)| w).collect::<Vec<_>>();
        assert_eq!(weights(&[1000, 500, 1, 0]), [256, 128, 1, 0]);
        assert_eq!(weights(&[4000, 1000]), [256, 64]);
        assert_eq!((share(256), share(128), share(0)), (1000, 500, 0));
    }

    #[test]
    fn only_the_very_servers_of_the_route_are_in_force() {
        let route = route(&[1000, 0]);
        let row = |at: u16, weight, status: &str| Row {
            server: format!("foreshadow-{at}"),
            addr: Some(([127, 0, 0, 1], 9000 + at).into()),
            weight,
            status: status.to_owned(),
            ..Row::default()
        };
        let theirs = Row { server: "s1".into(), status: "UP".into(), ..Row::default() };
        let rows = |second: Row| vec![theirs.clone(), row(0, 256, "DOWN 1/2"), second];
        assert!(in_force(&route, &rows(row(1, 0, "DRAIN"))));
        assert!(!in_force(&route, &rows(row(1, 0, "MAINT"))), "it is not let in");
        assert!(!in_force(&route, &rows(row(1, 1, "UP"))), "the weight is another");
        assert!(!in_force(&route, &rows(Row { addr: None, ..row(1, 0, "DRAIN") })), "the address is another");
        let mut more = rows(row(1, 0, "DRAIN"));
        more.push(row(2, 0, "MAINT"));
        assert!(in_force(&route, &more), "one that leaves is not routed to");
        more.push(row(3, 1, "UP"));
        assert!(!in_force(&route, &more));
    }
}
