//! What a response is kept under: the question in full, as the backend is asked it.
//!
//! A key has all that a backend may build its answer from, whatever `Vary` says: scheme, authority, path and query, and the
//! forwarding fields, with which a client could otherwise have its own host name written into everybody's page. Nothing is
//! normalised: two spellings of one address are kept twice, which costs room and is never wrong. The method is always GET.

use std::sync::Arc;

use http::header::{FORWARDED, HOST, HeaderName};
use http::{HeaderMap, Uri};

/// Scheme, authority, path and query.
pub(super) type Key = Arc<[u8]>;

/// Whether a request may be another question than its address and `Vary` say.
pub(super) fn rewrites_itself(headers: &HeaderMap) -> bool {
    REWRITING.iter().any(|name| headers.contains_key(name))
}

/// The key of a request that is ready for a backend.
pub(super) fn key(uri: &Uri, headers: &HeaderMap) -> Option<Key> {
    let path = uri.path_and_query()?.as_str();
    // A target in full is how HTTP/2 backends are asked; it has no Host then.
    let authority = match uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => headers.get(HOST)?.as_bytes(),
    };
    let mut key = Vec::with_capacity(path.len() + authority.len() + 64);
    for name in &FORWARDING {
        append(&mut key, headers, name);
    }
    part(&mut key, authority);
    part(&mut key, path.as_bytes());
    Some(key.into())
}

/// What tells the variants of one response apart: the fields of the request that its `Vary` names.
pub(super) fn secondary(vary: &[HeaderName], headers: &HeaderMap) -> Box<[u8]> {
    let mut key = Vec::new();
    for name in vary {
        append(&mut key, headers, name);
    }
    key.into()
}

/// All values of a field. Their number and lengths are written, too, so that no two lists look the same.
fn append(key: &mut Vec<u8>, headers: &HeaderMap, name: &HeaderName) {
    let values = headers.get_all(name);
    key.extend_from_slice(&(values.iter().count() as u32).to_le_bytes());
    for value in values {
        part(key, value.as_bytes());
    }
}

fn part(key: &mut Vec<u8>, bytes: &[u8]) {
    key.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    key.extend_from_slice(bytes);
}

/// Set by this proxy (the scheme among them) or passed on by it.
const FORWARDING: [HeaderName; 6] = [
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    // How some proxies in front tell of TLS, for all requests: kept apart rather than not kept.
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-url-scheme"),
    HeaderName::from_static("front-end-https"),
];

/// Fields by which some frameworks take another target, method or name than the request's. `Forwarded` names the client, too,
/// so that its requests would have nothing in common.
const REWRITING: [HeaderName; 12] = [
    FORWARDED,
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-forwarded-path"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-original-host"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a key must tell apart.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Question {
        scheme: String,
        host: String,
        forwarded_host: Vec<String>,
        path: String,
        is_http2: bool,
    }

    impl Question {
        fn key(&self) -> Option<Key> {
            let mut headers = HeaderMap::new();
            let value = |text: &str| HeaderValue::from_str(text).ok();
            headers.insert(&FORWARDING[0], value(&self.scheme)?);
            for host in &self.forwarded_host {
                headers.append(&FORWARDING[1], value(host)?);
            }
            if self.is_http2 {
                let uri = format!("http://{}{}", self.host, self.path).parse().ok()?;
                return key(&uri, &headers);
            }
            headers.insert(HOST, value(&self.host)?);
            key(&self.path.parse().ok()?, &headers)
        }
    }

    fn question() -> impl Strategy<Value = Question> {
        let host = "[a-c.:0-9]{1,4}";
        let path = "/[ab/?&=%0-9.]{0,6}";
        ("https?", host, vec(host, 0..3), path, any::<bool>()).prop_map(
            |(scheme, host, forwarded_host, path, is_http2)| Question {
                scheme,
                host,
                forwarded_host,
                path,
                is_http2,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn two_questions_share_a_key_only_if_they_are_the_same(one in question(), other in question()) {
            let (Some(a), Some(b)) = (one.key(), other.key()) else { return Ok(()) };
            // However the backend is asked, the question is the same.
            let is_same = Question { is_http2: false, ..one.clone() } == Question { is_http2: false, ..other.clone() };
            prop_assert_eq!(a == b, is_same, "{:?} {:?}", one, other);
        }

        #[test]
        fn what_is_moved_from_one_part_to_the_next_is_another_question(
            text in "[a-z0-9.]{2,12}", first in 0usize..12, second in 0usize..12,
        ) {
            let split = |at: usize| {
                let (host, rest) = text.split_at(at.min(text.len()));
                Question {
                    scheme: "http".into(), host: host.into(), forwarded_host: vec![host.into()], path: format!("/{rest}"),
                    is_http2: false,
                }
            };
            let (one, other) = (split(first), split(second));
            prop_assert_eq!(one.key() == other.key(), one == other);
        }

        #[test]
        fn variants_are_told_apart_by_every_value_in_its_place(
            one in vec(vec(vec(any::<u8>(), 0..4), 0..3), 2), other in vec(vec(vec(any::<u8>(), 0..4), 0..3), 2),
        ) {
            let vary = [HeaderName::from_static("accept"), HeaderName::from_static("cookie")];
            let headers = |fields: &[Vec<Vec<u8>>]| {
                let mut headers = HeaderMap::new();
                for (name, values) in vary.iter().zip(fields) {
                    for value in values {
                        headers.append(name, HeaderValue::from_bytes(value).ok()?);
                    }
                }
                Some(headers)
            };
            let (Some(a), Some(b)) = (headers(&one), headers(&other)) else { return Ok(()) };
            prop_assert_eq!(secondary(&vary, &a) == secondary(&vary, &b), one == other);
        }

        #[test]
        fn no_bytes_that_a_client_can_send_upset_it(path in vec(any::<u8>(), 0..40), host in vec(any::<u8>(), 0..20)) {
            let mut headers = HeaderMap::new();
            if let Ok(host) = HeaderValue::from_bytes(&host) {
                headers.insert(HOST, host);
            }
            if let Ok(uri) = Uri::try_from(path) {
                let found = key(&uri, &headers);
                prop_assert_eq!(&found, &key(&uri, &headers));
            }
        }
    }

    #[test]
    fn scheme_and_host_are_part_of_it() {
        let question = |scheme: &str, host: &str| Question {
            scheme: scheme.into(),
            host: host.into(),
            forwarded_host: Vec::new(),
            path: "/".into(),
            is_http2: false,
        };
        let keys =
            [("http", "a"), ("https", "a"), ("http", "b")].map(|(s, h)| question(s, h).key().expect("one"));
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    }

    #[test]
    fn a_request_that_rewrites_itself_is_noticed() {
        assert!(!rewrites_itself(&HeaderMap::new()));
        for name in REWRITING {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("/other"));
            assert!(rewrites_itself(&headers));
        }
    }
}
