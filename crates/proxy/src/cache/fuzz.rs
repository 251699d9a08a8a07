//! Mutated inputs for the cache: what it reads from heads, and what it keeps answers under.

use std::time::{Duration, SystemTime};

use fuzzing::{Target, did};
use http::header::{CACHE_CONTROL, HOST, HeaderName, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::directives::Directives;
use super::key::{key, secondary};
use super::policy::terms;

/// The lines that are fields.
fn fields(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}

/// The names of directives, read in another way: what is in closed quotes is taken out first. What is left in open ones might be
/// either, and counts.
fn names(headers: &HeaderMap) -> Vec<String> {
    let mut names = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        let mut plain = String::new();
        let text: String = value.as_bytes().iter().map(|&byte| char::from(byte)).collect();
        let mut rest = text.as_str();
        while let Some((before, quoted)) = rest.split_once('"') {
            plain.push_str(before);
            let mut is_escaped = false;
            let end = quoted.find(|c| {
                let ends = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            });
            rest = match end {
                Some(end) => &quoted[end + 1..],
                None => {
                    plain.push_str(quoted);
                    ""
                }
            };
        }
        plain.push_str(rest);
        let name = |part: &str| part.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        names.extend(plain.split(',').map(name));
    }
    names
}

#[test]
fn cache_terms() {
    let seeds = [
        "cache-control: max-age=60, s-maxage=\"30\", stale-while-revalidate=5\netag: \"a\"\nvary: accept, Cookie\nage: 5",
        "cache-control: private=\"set-cookie, x\", max-age=1\nset-cookie: a=1\nexpires: Thu, 01 Jan 2099 00:00:00 GMT",
        "cache-control: public, No-Store\nlast-modified: Thu, 01 Jan 1998 00:00:00 GMT\ndate: Thu, 01 Jan 2026 00:00:00 GMT",
        "pragma: no-cache\nexpires: 0\nvary: *",
    ];
    let words = &[
        "cache-control: ",
        "no-store",
        "private",
        "public",
        "no-cache",
        "max-age=",
        "s-maxage=",
        "must-revalidate",
        "stale-if-error=",
        "immutable",
        "vary: ",
        "*",
        "set-cookie: a=1",
        "age: ",
        "expires: ",
        "date: ",
        "Thu, 01 Jan 2026 00:00:00 GMT",
        "\"",
        "\\",
        ", ",
        "=",
        "\n",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).to_vec();
    Target { name: "cache-terms", seeds, words, inputs: 20_000 }.run(|input| {
        let headers = fields(input);
        let directives = Directives::of(&headers);
        let mut again = HeaderMap::new();
        let text = HeaderValue::try_from(directives.normalised()).map_err(|error| error.to_string())?;
        again.insert(CACHE_CONTROL, text);
        let again = Directives::of(&again);
        for name in ["no-store", "private", "no-cache", "public", "max-age", "s-maxage"] {
            if again.has(name) != directives.has(name) {
                return Err(format!("{name} is lost or made in {:?}", directives.normalised()));
            }
        }
        let names = names(&headers);
        let says = |name: &str| names.iter().any(|found| found == name);
        let mut seen = Vec::new();
        for (is_authorised, heuristic_percent) in [(false, 0), (true, 0), (false, 100)] {
            let terms = terms(StatusCode::OK, &headers, is_authorised, heuristic_percent, SystemTime::now());
            let Some(terms) = terms else { continue };
            let is_star = |value: &HeaderValue| {
                value.as_bytes().split(|&byte| byte == b',').any(|name| name.trim_ascii() == b"*")
            };
            let is_everything = headers.get_all(VARY).iter().any(is_star);
            let is_own = headers.contains_key(SET_COOKIE) && !directives.has("public");
            let is_for_all =
                ["public", "must-revalidate", "s-maxage"].iter().any(|name| directives.has(name));
            if says("no-store")
                || says("private")
                || is_everything
                || is_own
                || (is_authorised && !is_for_all)
            {
                return Err(format!("kept: {terms:?}"));
            }
            let longest = Duration::from_secs(1 << 31);
            if terms.age > longest || terms.while_revalidating > longest || terms.if_error > longest {
                return Err(format!("for ever: {terms:?}"));
            }
            seen.push((
                terms.for_all,
                terms.vary.len(),
                terms.fresh_for.is_zero(),
                terms.age.is_zero(),
                heuristic_percent,
            ));
        }
        Ok(did(&(seen, names.len().min(8))))
    });
}

/// What a backend is asked: everything that it may build its answer from.
fn question(text: &[u8]) -> Option<(Uri, HeaderMap)> {
    let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    let mut headers = fields(&text[end..]);
    // The proxy has seen to it that there is one.
    let host = headers.get(HOST).cloned().unwrap_or(HeaderValue::from_static("h"));
    headers.insert(HOST, host);
    Some((Uri::try_from(&text[..end]).ok().filter(|uri| uri.authority().is_none())?, headers))
}

#[test]
fn cache_keys() {
    let seeds = [
        "/a?b=c\nhost: a\nx-forwarded-proto: https\naccept: x\x01/a?b=c\nhost: a\nx-forwarded-proto: https\naccept: y",
        "/a\nhost: ab\nx-forwarded-host: c\nx-forwarded-host: d\x01/a\nhost: ab\nx-forwarded-host: c, d",
        "//a\nhost: a:80\nx-forwarded-port: 80\x01/a\nhost: a\nx-forwarded-port: 80\nfront-end-https: on",
    ];
    let words = &[
        "host: ",
        "x-forwarded-host: ",
        "x-forwarded-proto: ",
        "x-forwarded-port: ",
        "x-forwarded-ssl: ",
        "accept: ",
        "/",
        "?",
        "..",
        "%2f",
        "a",
        "\n",
        "\x01",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).to_vec();
    Target { name: "cache-keys", seeds, words, inputs: 20_000 }.run(|input| {
        let mut both = input.splitn(2, |&byte| byte == 1).map(question);
        let (Some(Some((one, its))), Some(Some((other, others)))) = (both.next(), both.next()) else {
            return Ok(0);
        };
        let (Some(a), Some(b)) = (key(&one, &its), key(&other, &others)) else { return Ok(1) };
        let asked = |headers: &HeaderMap| {
            let names = [
                "host",
                "x-forwarded-proto",
                "x-forwarded-host",
                "x-forwarded-port",
                "x-forwarded-ssl",
                "x-url-scheme",
                "front-end-https",
            ];
            names.map(|name| headers.get_all(name).iter().cloned().collect::<Vec<_>>())
        };
        let path = |uri: &Uri| uri.path_and_query().map(|path| path.as_str().to_owned());
        let is_same = path(&one) == path(&other) && asked(&its) == asked(&others);
        if (a == b) != is_same {
            return Err(format!("{one} {its:?} and {other} {others:?} share a key: {}", a == b));
        }
        let vary = [HeaderName::from_static("accept"), HeaderName::from_static("cookie")];
        let values = |headers: &HeaderMap| {
            vary.clone().map(|name| headers.get_all(name).iter().cloned().collect::<Vec<_>>())
        };
        if (secondary(&vary, &its) == secondary(&vary, &others)) != (values(&its) == values(&others)) {
            return Err(format!("{its:?} and {others:?} are not told apart"));
        }
        Ok(did(&(is_same, values(&its) == values(&others), its.len().min(8), others.len().min(8))))
    });
}
