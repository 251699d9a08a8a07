//! The cache through real sockets: what RFC 9111 asks of a shared cache, RFC 5861 (stale responses), conditional and partial
//! requests from what is kept, and what a cache must not do to a proxy (delay, grow, mix up).

#[path = "../support/mod.rs"]
mod support;

mod keeping;
mod poison;
mod rules;
mod sharing;
mod skewed;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use proxy::control::{CacheSpec, CacheStats, Route};
use support::{Backend, Http, Proxy};

/// A proxy with a cache over one backend.
async fn caching(backend: &Backend) -> Proxy {
    caching_with(backend, CacheSpec::default()).await
}

async fn caching_with(backend: &Backend, cache: CacheSpec) -> Proxy {
    let proxy = Proxy::start().await;
    let route = Route { cache: Some(cache), ..proxy.route(&[backend.spec(1000)]) };
    proxy.set(1, route).await;
    proxy
}

/// A response with these fields, separated by `|`.
fn respond(fields: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    for field in fields.split('|').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':').expect("name: value");
        let name: http::HeaderName = name.trim().parse().expect("a name");
        response.headers_mut().append(name, value.trim().parse().expect("a value"));
    }
    response
}

/// A request with these fields, as above.
fn ask(method: Method, path: &str, fields: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    request.headers_mut().insert("host", "test".parse().expect("a host"));
    for field in fields.split('|').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':').expect("name: value");
        let name: http::HeaderName = name.trim().parse().expect("a name");
        if name == "host" {
            request.headers_mut().remove("host");
        }
        request.headers_mut().append(name, value.trim().parse().expect("a value"));
    }
    request
}

/// A GET on a connection of its own, so that any shard may have it.
async fn get(proxy: &Proxy, path: &str, fields: &str) -> Response<Bytes> {
    send(proxy, Method::GET, path, fields).await
}

async fn send(proxy: &Proxy, method: Method, path: &str, fields: &str) -> Response<Bytes> {
    let request = ask(method, path, fields);
    Http::connect(proxy.listen).await.send(request).await.expect("an answer")
}

fn field<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

fn body(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).expect("text")
}

async fn counted(proxy: &Proxy) -> CacheStats {
    proxy.stats().await.workload("web").expect("the route").cache
}

/// Waits until the backend has had so many requests.
async fn asked(backend: &Backend, count: usize) {
    for _ in 0..1000 {
        if backend.requests() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} requests instead of {count}", backend.requests());
}
