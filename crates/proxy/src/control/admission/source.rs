//! Where in a request a parameter is found.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use serde::{Deserialize, Serialize};

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// `method`.
    Method,
    /// `path:NAME`: what stands for `{NAME}` in the endpoint's template.
    Path(String),
    /// `query:NAME`: the first value of this name in the query.
    Query(String),
    /// `header:NAME`: the first field of this name.
    Header(String),
    /// `length`: bytes of the body, where they are known beforehand.
    Length,
    /// `json:/a/b`: the value at this pointer (RFC 6901) in a JSON body; of an array or object, how many it holds; of a
    /// text where a number is wanted, its length.
    Json(String),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let named =
            || if name.is_empty() { Err(SourceError::Unnamed(text.to_owned())) } else { Ok(name.to_owned()) };
        match kind {
            "method" if name.is_empty() => Ok(Self::Method),
            "length" if name.is_empty() => Ok(Self::Length),
            "path" => named().map(Self::Path),
            "query" => named().map(Self::Query),
            "header" => {
                let name = HeaderName::from_str(&named()?);
                let name = name.map_err(|_| SourceError::Header(text.to_owned()))?;
                Ok(Self::Header(name.as_str().to_owned()))
            }
            "json" if name.starts_with('/') => Ok(Self::Json(name.to_owned())),
            "json" => Err(SourceError::Pointer(text.to_owned())),
            _ => Err(SourceError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Length => f.write_str("length"),
            Self::Path(name) => write!(f, "path:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
        }
    }
}

/// Why a text names no place in a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Another kind.
    #[error("`{0}` is not one of method, length, path:NAME, query:NAME, header:NAME, json:/POINTER")]
    Unknown(String),
    /// A kind that needs a name.
    #[error("`{0}` lacks a name after the colon")]
    Unnamed(String),
    /// Not a field name.
    #[error("`{0}` is not the name of a header field")]
    Header(String),
    /// Not a pointer.
    #[error("`{0}`: a JSON pointer begins with `/`")]
    Pointer(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_is_written() {
        for text in ["method", "length", "path:id", "query:q", "header:x-kind", "json:/a/0/b"] {
            assert_eq!(text.parse::<Source>().map(|source| source.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("header:X-Kind".parse(), Ok(Source::Header("x-kind".into())));
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        for text in ["", "body", "path", "path:", "header:a b", "json:a", "method:x", "length:1"] {
            let error = text.parse::<Source>().expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
