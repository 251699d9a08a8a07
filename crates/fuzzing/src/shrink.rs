//! A smaller input that fails, too.

/// Takes away what is not needed for a failure, and makes plain what is. The input and why it fails.
pub(crate) fn shrink(
    input: &[u8],
    why: String,
    mut fault: impl FnMut(&[u8]) -> Option<String>,
) -> (Vec<u8>, String) {
    let (mut small, mut why, mut left) = (input.to_vec(), why, TRIES_MAX);
    let mut attempt = |candidate: Vec<u8>, small: &mut Vec<u8>, why: &mut String| {
        left = left.checked_sub(1)?;
        *why = fault(&candidate)?;
        *small = candidate;
        Some(())
    };
    let mut size = small.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < small.len() {
            let end = (at + size).min(small.len());
            let candidate = [&small[..at], &small[end..]].concat();
            if attempt(candidate, &mut small, &mut why).is_none() {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..small.len() {
        if small[at] != PLAIN {
            let mut candidate = small.clone();
            candidate[at] = PLAIN;
            let _ = attempt(candidate, &mut small, &mut why);
        }
    }
    (small, why)
}

const TRIES_MAX: usize = 2000;
const PLAIN: u8 = b'a';
