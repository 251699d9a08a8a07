//! A request that may have to be sent a second time.
//!
//! Nearly none is, but each is kept until it is answered. So its fields lie in one piece of memory, for which a map would need
//! two and a counted reference for each field.

use http::header::{HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Uri};

use crate::body::RequestBody;
use crate::headers::is_idempotent;

/// The head of a request without a body, to be sent again.
#[derive(Debug)]
pub(crate) struct Replay {
    method: Method,
    uri: Uri,
    /// Names and values in turn, each after its length.
    fields: Vec<u8>,
}

impl Replay {
    /// Of one that may be repeated even if it was processed.
    pub(crate) fn of(request: &Request<RequestBody>) -> Option<Self> {
        if is_idempotent(request.method()) { Self::of_any(request) } else { None }
    }

    /// Of one that may be repeated if it was not.
    pub(crate) fn of_any(request: &Request<RequestBody>) -> Option<Self> {
        if matches!(request.body(), RequestBody::Empty) { Self::copy(request) } else { None }
    }

    /// None of one that asks for another protocol.
    fn copy(request: &Request<RequestBody>) -> Option<Self> {
        let headers = request.headers();
        let mut fields = Vec::with_capacity(headers.len() * FIELD_BYTES);
        for (name, value) in headers {
            if *name == UPGRADE {
                return None;
            }
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                // Heads are limited to far less than four gigabytes.
                fields.extend_from_slice(&(part.len() as u32).to_le_bytes());
                fields.extend_from_slice(part);
            }
        }
        Some(Self { method: request.method().clone(), uri: request.uri().clone(), fields })
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        is_idempotent(&self.method)
    }

    /// The request once more.
    pub(crate) fn request(&self) -> Option<Request<RequestBody>> {
        let mut request = Request::new(RequestBody::Empty);
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        let mut rest = self.fields.as_slice();
        while !rest.is_empty() {
            let name = HeaderName::from_bytes(part(&mut rest)?).ok()?;
            let value = HeaderValue::from_bytes(part(&mut rest)?).ok()?;
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

/// Takes the first part off.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk()?;
    let (part, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = tail;
    Some(part)
}

/// What a field takes, lengths included, more often than not.
const FIELD_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(builder: http::request::Builder) -> Request<RequestBody> {
        builder.body(RequestBody::Empty).expect("a sound request")
    }

    #[test]
    fn it_is_the_same_request() {
        let original = request(
            Request::builder()
                .method("OPTIONS")
                .uri("/a?b=c")
                .header("host", "a")
                .header("x-empty", "")
                .header("x-twice", "1")
                .header("x-twice", HeaderValue::from_bytes(b"\xff").expect("opaque bytes are allowed")),
        );
        let replayed = Replay::of(&original).and_then(|replay| replay.request()).expect("a repeatable one");
        assert_eq!(replayed.method(), original.method());
        assert_eq!(replayed.uri(), original.uri());
        assert_eq!(replayed.headers(), original.headers());
        assert_eq!(replayed.headers().get_all("x-twice").iter().count(), 2);
    }

    #[test]
    fn only_what_may_be_processed_twice_is_kept_for_it() {
        let post = request(Request::post("/"));
        assert!(Replay::of(&post).is_none());
        assert!(!Replay::of_any(&post).expect("without a body").is_idempotent());
        assert!(Replay::of(&request(Request::get("/").header("upgrade", "websocket"))).is_none());
    }
}
