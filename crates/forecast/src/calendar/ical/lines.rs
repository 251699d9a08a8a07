//! The lines of an iCalendar: joined where they were folded, split into name, parameters and value.

use crate::calendar::error::EventsError;
use crate::timestamp::excerpt;

/// `NAME;PARAMETER=x:VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// Where it begins, from 1.
    pub(super) number: u64,
    /// In capitals.
    pub(super) name: String,
    /// Names in capitals.
    parameters: Vec<(String, String)>,
    pub(super) value: String,
}

impl Line {
    /// The first value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(text: &[u8], number: u64) -> Result<Line, EventsError> {
        let text = std::str::from_utf8(text).map_err(|_| EventsError::NotText { line: number })?;
        let broken = || EventsError::NoProperty { line: number, text: excerpt(text) };
        // A colon or semicolon inside quotes belongs to a parameter's value.
        let mut cuts = Vec::new();
        let (mut quoted, mut colon) = (false, None);
        for (at, c) in text.char_indices() {
            match c {
                '"' => quoted = !quoted,
                ';' if !quoted => cuts.push(at),
                ':' if !quoted => {
                    colon = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let colon = colon.ok_or_else(broken)?;
        cuts.push(colon);
        let name = text[..cuts[0]].trim().to_ascii_uppercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            return Err(broken());
        }
        let parameters = cuts
            .windows(2)
            .filter_map(|cut| text[cut[0] + 1..cut[1]].split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_uppercase(), value.trim_matches('"').to_owned()))
            .collect();
        Ok(Line { number, name, parameters, value: text[colon + 1..].trim().to_owned() })
    }
}

/// All lines that are not empty.
pub(super) fn read(bytes: &[u8]) -> impl Iterator<Item = Result<Line, EventsError>> {
    let mut physical = bytes
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .zip(1u64..)
        .peekable();
    std::iter::from_fn(move || {
        let (first, number) = physical.by_ref().find(|(line, _)| !line.trim_ascii().is_empty())?;
        let mut whole = first.to_vec();
        while let Some((more, _)) = physical.next_if(|(line, _)| matches!(line.first(), Some(b' ' | b'\t'))) {
            whole.extend_from_slice(&more[1..]);
        }
        Some(Line::parse(&whole, number))
    })
}

/// Text with `\n`, `\,`, `\;` and `\\` read back.
pub(super) fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => plain.push(' '),
                Some(other) => plain.push(other),
                None => {}
            },
            other => plain.push(other),
        }
    }
    plain
}

/// The first of several values, up to a comma that is not escaped.
pub(super) fn first_of(text: &str) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == ',' && !escaped {
            return &text[..at];
        }
        escaped = c == '\\' && !escaped;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_lines_are_joined_and_quoted_parameters_kept_whole() {
        let text = "SUMM\r\n ARY;X=\"a;b:c\";language=de:Spring\r\n\t sale\\, big\r\n\r\nUID:1";
        let lines: Vec<Line> = read(text.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].number, lines[0].name.as_str()), (1, "SUMMARY"));
        assert_eq!(lines[0].parameter("X"), Some("a;b:c"));
        assert_eq!(lines[0].parameter("LANGUAGE"), Some("de"));
        assert_eq!(unescaped(&lines[0].value), "Spring sale, big");
        assert_eq!((lines[1].number, lines[1].value.as_str()), (5, "1"));
        assert_eq!(first_of(r"a\,b,c"), r"a\,b");
    }

    #[test]
    fn a_line_without_a_colon_is_named() {
        let error = read(b"BEGIN:VCALENDAR\nhello").nth(1).unwrap().unwrap_err();
        assert!(error.to_string().starts_with("line 2: `hello`"), "{error}");
    }
}
