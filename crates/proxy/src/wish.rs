//! What a request says about where it should go: its key, its work, its home. Only read where a route's balancing asks for it.

use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use balance::{Ask, hash};

use crate::control::{KeySource, PolicySpec, StickySpec};
use crate::forwarded::ClientNames;
use crate::state::BackendState;
use crate::view::ShardRoute;

/// It.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) ask: Ask,
    /// What its sticky cookie says.
    pub(crate) home: Option<u64>,
    /// The client speaks TLS, as far as is known.
    is_secure: bool,
}

impl Wish {
    /// Reads a request head that is ready for a backend; None where nothing is to be read. Boxed because most routes have none.
    pub(crate) fn read(route: &ShardRoute, parts: &Parts, client: &ClientNames) -> Option<Box<Self>> {
        let balancing = &route.spec.balancing;
        let sticky = balancing.sticky.as_ref();
        let ask = match &balancing.policy {
            PolicySpec::Hash { key, .. } => Ask { key: key_of(key, parts, client), work: 0.0 },
            PolicySpec::LeastWork { header } => {
                let named = header.as_ref().map(|name| parts.headers.get(name.as_str()).and_then(work_of));
                Ask { key: None, work: route.expected_work(named) }
            }
            PolicySpec::P2c | PolicySpec::RoundRobin | PolicySpec::LeastConnections if sticky.is_none() => {
                return None;
            }
            PolicySpec::P2c | PolicySpec::RoundRobin | PolicySpec::LeastConnections => Ask::default(),
        };
        let home = sticky.and_then(|sticky| cookie(&parts.headers, &sticky.cookie)).and_then(token_of);
        let is_secure = sticky.is_some()
            && parts.headers.get("x-forwarded-proto").is_some_and(|protocol| protocol.as_bytes() == b"https");
        Some(Box::new(Self { ask, home, is_secure }))
    }

    /// What a connection says that is passed on as bytes: its address, where that is the key.
    pub(crate) fn of_connection(route: &ShardRoute, client: &ClientNames) -> Option<Self> {
        let by_address =
            matches!(&route.spec.balancing.policy, PolicySpec::Hash { key: KeySource::Address, .. });
        let key = Some(hash(client.ip.as_bytes()));
        by_address.then(|| Self { ask: Ask { key, work: 0.0 }, ..Self::default() })
    }

    /// Tells the client about its new home, if the answer is not from the one that it knows.
    pub(crate) fn settle(&self, sticky: &StickySpec, backend: &BackendState, headers: &mut HeaderMap) {
        let token = sticky.token(backend.id, backend.addr);
        if self.home == Some(token) {
            return;
        }
        let secure = if self.is_secure { "; Secure" } else { "" };
        let (name, seconds) = (&sticky.cookie, sticky.lasts.as_secs().max(1));
        let text = format!("{name}={token:016x}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}");
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(SET_COOKIE, value);
        }
    }
}

fn key_of(source: &KeySource, parts: &Parts, client: &ClientNames) -> Option<u64> {
    let key = match source {
        KeySource::Header(name) => parts.headers.get(name.as_str())?.as_bytes(),
        KeySource::Cookie(name) => cookie(&parts.headers, name)?,
        KeySource::Path => parts.uri.path().as_bytes(),
        KeySource::Address => client.ip.as_bytes(),
    };
    Some(hash(key))
}

/// The value of a cookie; the first of several.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn token_of(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() == 16)?;
    u64::from_str_radix(text, 16).ok()
}

/// A finite amount of work, at least 0 and at most a million million.
fn work_of(value: &HeaderValue) -> Option<f32> {
    let work: f32 = value.to_str().ok()?.trim().parse().ok()?;
    (0.0..=WORK_MAX).contains(&work).then_some(work)
}

const WORK_MAX: f32 = 1e12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("xhome=1; home2=2;home=3; home=4"));
        assert_eq!(cookie(&headers, "home"), Some(b"3".as_slice()));
        assert_eq!(cookie(&headers, "hom"), None);
    }

    #[test]
    fn work_is_a_sane_number() {
        let work = |text| work_of(&HeaderValue::from_static(text));
        assert_eq!((work("12.5"), work(" 3 ")), (Some(12.5), Some(3.0)));
        assert_eq!(
            (work("-1"), work("nan"), work("inf"), work("1e30"), work("many")),
            (None, None, None, None, None)
        );
    }

    #[test]
    fn only_whole_tokens_are_tokens() {
        assert_eq!(token_of(b"00000000000000ff"), Some(255));
        assert_eq!((token_of(b"ff"), token_of(b"zz000000000000ff")), (None, None));
    }
}
