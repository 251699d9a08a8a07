//! Which targets do so much worse than their peers that they are better left out for a while.

/// What counts as doing worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierPolicy {
    /// Requests within the window that a target must have had.
    pub requests_min: u64,
    /// How much more of its requests must fail than of its peers', as a difference of shares.
    pub error_margin: f64,
    /// How many times its peers' mean latency is too slow. None: latency does not matter.
    pub latency_factor: Option<f64>,
    /// At most one in so many targets is left out, for whatever reason.
    pub one_in: usize,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self { requests_min: 20, error_margin: 0.2, latency_factor: None, one_in: 3 }
    }
}

/// What a target did within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Requests that ended.
    pub requests: u64,
    /// The part of them that failed.
    pub errors: u64,
    /// How many were answered, well or badly.
    pub answers: u64,
    /// Sum of the answers' latencies, in seconds.
    pub latency_sum_s: f64,
}

/// The targets to leave out, the worst first. `windows` has None for those that are left out already, by this or otherwise.
///
/// A target is compared with the sum of all others, so that when all fail alike (what is behind them is down) nobody is an
/// outlier, and a difference must be more than chance ([`DEVIATIONS`]) makes in so few requests.
pub fn outliers(policy: &OutlierPolicy, windows: &[Option<Window>]) -> Vec<usize> {
    let out = windows.iter().filter(|window| window.is_none()).count();
    let most = windows.len() / policy.one_in.max(1);
    let all = windows.iter().flatten().fold(Window::default(), |sum, window| sum.plus(window, 1.0));
    let mut found: Vec<(f64, usize)> = windows
        .iter()
        .enumerate()
        .filter_map(|(index, window)| {
            let window = window.as_ref().filter(|window| window.requests >= policy.requests_min.max(1))?;
            Some((excess(policy, window, &all.plus(window, -1.0))?, index))
        })
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found.into_iter().take(most.saturating_sub(out)).map(|(_, index)| index).collect()
}

/// By how much a target is beyond what is allowed, relative to that; None if it is not.
fn excess(policy: &OutlierPolicy, window: &Window, peers: &Window) -> Option<f64> {
    if peers.requests == 0 {
        return None;
    }
    let (own, usual) = (window.error_share(), peers.error_share());
    let pooled = (window.errors + peers.errors) as f64 / (window.requests + peers.requests) as f64;
    let spread = pooled * (1.0 - pooled) * (1.0 / window.requests as f64 + 1.0 / peers.requests as f64);
    let allowed = policy.error_margin.max(DEVIATIONS * spread.sqrt());
    let failing = (own - usual) / allowed.max(f64::MIN_POSITIVE);
    let slow = policy.latency_factor.and_then(|factor| {
        let (own, usual) = (window.latency_mean_s()?, peers.latency_mean_s()?);
        Some(own / (usual.max(LATENCY_FLOOR_S) * factor))
    });
    let worst = failing.max(slow.unwrap_or(0.0));
    (worst > 1.0).then_some(worst)
}

impl Window {
    fn plus(&self, other: &Window, sign: f64) -> Window {
        let add = |a: u64, b: u64| if sign > 0.0 { a.saturating_add(b) } else { a.saturating_sub(b) };
        Window {
            requests: add(self.requests, other.requests),
            errors: add(self.errors, other.errors),
            answers: add(self.answers, other.answers),
            latency_sum_s: self.latency_sum_s + sign * other.latency_sum_s,
        }
    }

    fn error_share(&self) -> f64 {
        self.errors.min(self.requests) as f64 / self.requests.max(1) as f64
    }

    fn latency_mean_s(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.latency_sum_s.max(0.0) / self.answers as f64)
    }
}

/// Standard deviations between a target and its peers that chance is not believed to make.
const DEVIATIONS: f64 = 4.0;
/// As in [`p2c`](crate::p2c): latencies below a millisecond are not told apart.
const LATENCY_FLOOR_S: f64 = crate::p2c::LATENCY_FLOOR_S;

#[cfg(test)]
mod tests {
    use super::*;

    fn window(requests: u64, errors: u64) -> Option<Window> {
        Some(Window { requests, errors, answers: requests, latency_sum_s: 0.01 * requests as f64 })
    }

    #[test]
    fn one_that_fails_while_its_peers_do_not_is_left_out() {
        let policy = OutlierPolicy::default();
        assert_eq!(outliers(&policy, &[window(100, 1), window(100, 40), window(100, 0)]), [1]);
        assert_eq!(outliers(&policy, &[window(100, 1), window(100, 15), window(100, 0)]), []);
        assert_eq!(outliers(&policy, &[window(100, 1), window(19, 19), window(100, 0)]), [], "too few");
    }

    #[test]
    fn when_all_fail_nobody_is_an_outlier() {
        assert_eq!(
            outliers(&OutlierPolicy::default(), &[window(100, 90), window(100, 95), window(100, 100)]),
            []
        );
        assert_eq!(outliers(&OutlierPolicy::default(), &[window(100, 100), window(0, 0), window(0, 0)]), []);
    }

    #[test]
    fn at_most_the_share_is_left_out_worst_first_and_others_count() {
        let policy = OutlierPolicy { error_margin: 0.1, ..OutlierPolicy::default() };
        let bad = [window(900, 300), window(900, 800), window(900, 0), window(900, 0), window(900, 0)];
        assert_eq!(outliers(&policy, &bad), [1]);
        let worse = [[window(9000, 0); 4].as_slice(), &[window(100, 60), window(100, 90)]].concat();
        assert_eq!(outliers(&policy, &worse), [5, 4]);
        let some_out = [[window(9000, 0); 4].as_slice(), &[window(100, 60), None]].concat();
        assert_eq!(outliers(&policy, &some_out), [4]);
        assert_eq!(outliers(&policy, &[window(900, 800), window(900, 0)]), [], "a third of two is none");
    }

    #[test]
    fn a_slow_one_is_left_out_only_when_asked() {
        let slow = Some(Window { requests: 100, errors: 0, answers: 100, latency_sum_s: 10.0 });
        let windows = [window(100, 0), slow, window(100, 0)];
        assert_eq!(outliers(&OutlierPolicy::default(), &windows), []);
        let policy = OutlierPolicy { latency_factor: Some(3.0), ..OutlierPolicy::default() };
        assert_eq!(outliers(&policy, &windows), [1]);
    }
}
