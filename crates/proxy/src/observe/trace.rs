//! Trace context in request heads (W3C Trace Context): read, passed on as it is, or made where there is none.
//!
//! The proxy makes no spans. It is no participant but passes a sound context on unchanged, as the specification allows.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What is known of a request's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) id: u128,
    pub(crate) is_sampled: bool,
}

impl Trace {
    /// The context of a request; none where it has none, or several, or one that is not sound.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = headers.get_all(&TRACEPARENT).iter();
        let (first, second) = (found.next()?, found.next());
        if second.is_some() { None } else { parse(first.as_bytes()) }
    }

    /// Gives a request a new context, in place of what it has. `random` are random numbers.
    pub(crate) fn begin(
        headers: &mut HeaderMap,
        is_sampled: bool,
        mut random: impl FnMut() -> u64,
    ) -> Option<Self> {
        let id = (u128::from(random()) << 64 | u128::from(random())).max(1);
        let text = format!("00-{id:032x}-{:016x}-{:02x}", random().max(1), u8::from(is_sampled));
        let value = HeaderValue::try_from(text).ok()?;
        // What others keep there belongs to the context that is replaced.
        headers.remove(&TRACESTATE);
        headers.insert(TRACEPARENT, value);
        Some(Self { id, is_sampled })
    }
}

/// `version-trace-parent-flags`; of a later version the part that this one knows.
fn parse(value: &[u8]) -> Option<Trace> {
    let field = |from: usize, to: usize| {
        let digits = value.get(from..to)?;
        let is_hex = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let text = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
        u128::from_str_radix(text, 16).ok()
    };
    let dashes_at = |places: &[usize]| places.iter().all(|&place| value.get(place) == Some(&b'-'));
    let (version, id, parent, flags) = (field(0, 2)?, field(3, 35)?, field(36, 52)?, field(53, 55)?);
    let is_whole = value.len() == LENGTH || (version > 0 && dashes_at(&[LENGTH]));
    let is_sound = is_whole && dashes_at(&[2, 35, 52]) && version != 0xff && id != 0 && parent != 0;
    is_sound.then_some(Trace { id, is_sampled: flags & 1 == 1 })
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Of version 00.
const LENGTH: usize = 55;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_sound_context_is_read() {
        let trace = parse(SOUND.as_bytes()).expect("sound");
        assert_eq!(format!("{:032x}", trace.id), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.is_sampled);
        assert!(!parse(SOUND.replace("-01", "-02").as_bytes()).expect("sound").is_sampled);
        assert!(parse(SOUND.replacen("00", "cc", 1).as_bytes()).is_some(), "a later version");
        assert!(parse(format!("cc{}-what-comes", &SOUND[2..]).as_bytes()).is_some());
    }

    #[test]
    fn a_broken_context_is_none() {
        let zeros =
            |from: usize, to: usize| format!("{}{}{}", &SOUND[..from], "0".repeat(to - from), &SOUND[to..]);
        let broken = [
            String::new(),
            zeros(3, 35),
            zeros(36, 52),
            SOUND.replacen("00", "ff", 1),
            SOUND.to_uppercase(),
            format!("{SOUND}-00"),
            format!("cc{}x", &SOUND[2..]),
            SOUND.replace('-', "_"),
            SOUND.replace("0af", "+af"),
            SOUND[..54].to_owned(),
        ];
        for text in broken {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn of_two_contexts_none_counts_and_a_new_one_replaces_them() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(TRACEPARENT, HeaderValue::from_static(SOUND));
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        assert_eq!(Trace::of(&headers), None);
        let begun = Trace::begin(&mut headers, true, || 0).expect("made");
        assert_eq!(Trace::of(&headers), Some(begun), "even where all that is random is 0");
        assert!(begun.is_sampled && !headers.contains_key(TRACESTATE));
    }

    proptest! {
        #[test]
        fn no_value_panics(value in prop::collection::vec(any::<u8>(), 0..80)) {
            parse(&value);
        }
    }
}
