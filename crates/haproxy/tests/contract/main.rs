//! One contract, two routers: the built-in proxy and the real HAProxy, each behind real sockets.

mod builtin;
mod external;
mod rules;
#[path = "../../../proxy/tests/support/mod.rs"]
mod support;

use std::fmt::Debug;
use std::net::SocketAddr;

use proxy::control::{Route, RouteTable, Router, Stats};
use support::Backend;

/// A router that runs, and can be made to begin anew.
trait Subject: Sized {
    type Router: Router;

    async fn start() -> Self;
    fn router(&self) -> &Self::Router;
    fn listen(&self) -> SocketAddr;
    /// Ends it at once and starts it again, in the same place.
    async fn restart(&mut self);

    /// The route of the one workload, `web`, over these backends.
    fn route(&self, backends: &[(&Backend, u32)]) -> Route {
        let mut route = Route::new("web", self.listen());
        route.backends = backends.iter().map(|(backend, weight)| backend.spec(*weight)).collect();
        // A request that finds no backend is to fail at once.
        route.hold = std::time::Duration::ZERO;
        route
    }

    async fn try_set(&self, generation: u64, backends: &[(&Backend, u32)]) -> Result<u64, Refused> {
        let table = RouteTable { generation, routes: vec![self.route(backends)] };
        let applied = self.router().set_table(table).await;
        applied.map_err(|error| Refused { newer: Self::Router::newer(&error), text: error.to_string() })
    }

    async fn set(&self, generation: u64, backends: &[(&Backend, u32)]) {
        assert_eq!(self.try_set(generation, backends).await.expect("applied"), generation);
    }

    async fn stats(&self) -> Stats {
        self.router().stats().await.expect("statistics")
    }

    /// Waits until the statistics satisfy `condition`, for ten seconds.
    async fn until(&self, what: &str, condition: impl Fn(&Stats) -> bool) -> Stats {
        for _ in 0..1000 {
            if let Ok(stats) = self.router().stats().await
                && condition(&stats)
            {
                return stats;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never {what}: {:?}", self.router().stats().await);
    }
}

/// Why a table was not put into force.
#[derive(Debug)]
struct Refused {
    newer: Option<u64>,
    text: String,
}

/// One test per rule and router, so that a failure names both.
macro_rules! contract {
    ($($rule:ident)*) => {
        mod with_builtin {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $rule() {
                crate::rules::$rule::<crate::builtin::Builtin>().await;
            })*
        }
        mod with_haproxy {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $rule() {
                if crate::external::is_here(concat!("HAProxy as the router: ", stringify!($rule))) {
                    crate::rules::$rule::<crate::external::External>().await;
                }
            })*
        }
    };
}

contract! {
    a_new_backend_gets_requests_only_once_it_is_in_a_table
    weights_are_shares
    a_drained_backend_gets_no_request_and_finishes_the_one_it_has
    a_removed_backend_finishes_its_request_and_is_gone
    demand_counted_is_requests_sent
    errors_are_counted_where_they_happen
    an_address_that_changes_is_another_backend
    an_older_table_is_refused
    a_restart_is_noticed_and_filled_again
    a_reader_that_comes_later_finds_the_table
}

#[tokio::test(flavor = "multi_thread")]
async fn every_newcomer_gets_requests_whatever_haproxy_balances_by() {
    if external::is_here("HAProxy as the router: its algorithms") {
        for balance in ["random(2)", "random", "leastconn", "roundrobin"] {
            rules::every_newcomer_gets_requests(&external::External::balancing(balance).await).await;
        }
    }
}
