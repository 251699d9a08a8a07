//! Path templates: which requests are of one kind.

use std::fmt;
use std::str::FromStr;

use http::Method;
use serde::{Deserialize, Serialize};

/// `[METHOD ]/path/{variable}/more`, or with `*` as the last segment for whatever follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    method: Option<Method>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable(String),
    Rest,
}

impl Template {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a request is of this kind. A slash at the end does not count.
    pub fn fits(&self, method: &Method, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|wanted| wanted != method) {
            return false;
        }
        let mut found = segments(path);
        for segment in &self.segments {
            match segment {
                Segment::Rest => return true,
                Segment::Literal(text) if found.next() == Some(text) => {}
                Segment::Variable(_) if found.next().is_some_and(|text| !text.is_empty()) => {}
                Segment::Literal(_) | Segment::Variable(_) => return false,
            }
        }
        found.next().is_none()
    }

    /// What stands for `{name}` in a path that fits, as it is in the path.
    pub fn variable<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        let place = self.segments.iter().position(|s| matches!(s, Segment::Variable(n) if n == name))?;
        segments(path).nth(place)
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/')
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let refused = || TemplateError(text.to_owned());
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(Method::from_str(method).map_err(|_| refused())?), path),
            None => (None, text),
        };
        if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
            return Err(refused());
        }
        let parsed: Option<Vec<_>> = segments(path).map(segment).collect();
        let parsed = parsed.ok_or_else(refused)?;
        let rest = parsed.iter().position(|segment| *segment == Segment::Rest);
        if rest.is_some_and(|place| place + 1 < parsed.len()) {
            return Err(refused());
        }
        Ok(Self { text: text.to_owned(), method, segments: parsed })
    }
}

fn segment(text: &str) -> Option<Segment> {
    if text == "*" {
        return Some(Segment::Rest);
    }
    match text.strip_prefix('{') {
        Some(open) => {
            let name = open.strip_suffix('}')?;
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            is_name.then(|| Segment::Variable(name.to_owned()))
        }
        None => (!text.contains(['{', '}', '*'])).then(|| Segment::Literal(text.to_owned())),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.text
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no path template such as `GET /items/{{id}}` or `/static/*`")]
pub struct TemplateError(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        text.parse().expect(text)
    }

    #[test]
    fn literals_variables_and_the_rest_fit() {
        let items = template("GET /items/{id}/parts");
        assert!(items.fits(&Method::GET, "/items/7/parts") && items.fits(&Method::GET, "/items/7/parts/"));
        assert!(!items.fits(&Method::POST, "/items/7/parts") && !items.fits(&Method::GET, "/items//parts"));
        assert!(!items.fits(&Method::GET, "/items/7") && !items.fits(&Method::GET, "/items/7/parts/1"));
        assert_eq!(items.variable("id", "/items/7/parts"), Some("7"));
        assert!(template("/static/*").fits(&Method::PUT, "/static/a/b.css"));
        assert!(template("/").fits(&Method::GET, "/") && !template("/").fits(&Method::GET, "/a"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "items", "GET", "G T /x", "/a/{", "/a/{}", "/a/{b c}", "/*/a", "/a*", "/a?b=c"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_path_panics(text in ".{0,40}", path in ".{0,40}") {
            if let Ok(template) = text.parse::<Template>() {
                template.fits(&Method::GET, &path);
                template.variable("id", &path);
                prop_assert_eq!(template.to_string().parse(), Ok(template));
            }
        }
    }
}
