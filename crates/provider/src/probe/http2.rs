//! The same question by HTTP/2 without TLS, with prior knowledge (RFC 9113): one stream, and of its answer the status.
//!
//! The connection's table of fields is set to nothing, so that the status stands in the answer as itself (RFC 7541).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ProbeError, not_http};

/// Asks for `path` and returns the status.
pub(super) async fn request(stream: &mut TcpStream, addr: SocketAddr, path: &str) -> Result<u16, ProbeError> {
    let mut bytes = PREFACE.to_vec();
    // SETTINGS_HEADER_TABLE_SIZE 0, SETTINGS_ENABLE_PUSH 0.
    frame(&mut bytes, SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, STREAM, &head(path, &addr.to_string()));
    stream.write_all(&bytes).await.map_err(ProbeError::Broken)?;
    let mut payload = Vec::new();
    for number in 0..FRAMES_MAX {
        let mut begin = [0; 9];
        stream.read_exact(&mut begin).await.map_err(ProbeError::Broken)?;
        let length = u32::from_be_bytes([0, begin[0], begin[1], begin[2]]) as usize;
        let (kind, flags) = (begin[3], begin[4]);
        // A server begins with its settings; what does not is another protocol.
        if length > LENGTH_MAX || (number == 0 && kind != SETTINGS) {
            return Err(not_http(&begin));
        }
        payload.resize(length, 0);
        stream.read_exact(&mut payload).await.map_err(ProbeError::Broken)?;
        let stream_id = u32::from_be_bytes([begin[5], begin[6], begin[7], begin[8]]) & (u32::MAX >> 1);
        match kind {
            SETTINGS if flags & ACK == 0 => {
                let mut bytes = Vec::new();
                frame(&mut bytes, SETTINGS, ACK, 0, &[]);
                stream.write_all(&bytes).await.map_err(ProbeError::Broken)?;
            }
            HEADERS if stream_id == STREAM => {
                let status = status(fields(flags, &payload)).ok_or_else(|| not_http(&payload))?;
                // Others are interim.
                if status >= 200 {
                    return Ok(status);
                }
            }
            RESET if stream_id == STREAM => return Err(ProbeError::Broken(reset())),
            GOAWAY => return Err(ProbeError::Broken(reset())),
            _ => {}
        }
    }
    Err(ProbeError::Broken(reset()))
}

fn reset() -> std::io::Error {
    std::io::ErrorKind::ConnectionReset.into()
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// `GET` and `http` are in the table that all know; the names of the others, too.
fn head(path: &str, authority: &str) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x86, 0x04];
    text(&mut bytes, path);
    bytes.push(0x01);
    text(&mut bytes, authority);
    // Number 58: beyond what fits into the first byte.
    bytes.extend_from_slice(&[0x0f, 58 - 15]);
    text(&mut bytes, "foreshadow-probe");
    bytes
}

/// As it is, after its length: seven bits, and groups of seven for what is beyond.
fn text(bytes: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(short @ ..127) => bytes.push(short),
        _ => {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}

/// What is in a frame of fields, without what may stand before them.
fn fields(flags: u8, payload: &[u8]) -> &[u8] {
    let begin = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    payload.get(begin..).unwrap_or_default()
}

/// The status, which is the first field.
fn status(mut fields: &[u8]) -> Option<u16> {
    // The table's new size may be told first; it is nothing.
    while let Some((0x20, rest)) = fields.split_first() {
        fields = rest;
    }
    let (&first, rest) = fields.split_first()?;
    if let Some(known) = first.checked_sub(0x88).and_then(|at| KNOWN.get(usize::from(at))) {
        return Some(*known);
    }
    // A literal whose name is one of the same seven, to be kept, not kept or never kept.
    if !matches!(first & 0x0f, 8..=14) || !matches!(first & 0xf0, 0x00 | 0x10 | 0x40) {
        return None;
    }
    let (&length, value) = rest.split_first()?;
    let value = value.get(..usize::from(length & 0x7f))?;
    let digits = if length & 0x80 == 0 { value.to_vec() } else { unpacked(value)? };
    let is_status = digits.len() == 3 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(&digits).ok().filter(|_| is_status)?.parse().ok()
}

/// Three digits in Huffman's code: 0 to 2 have five bits, 3 to 9 six.
fn unpacked(value: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<bool> =
        value.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let number = |bits: &[bool]| bits.iter().fold(0_u8, |number, bit| number << 1 | u8::from(*bit));
    let (mut digits, mut rest) = (Vec::new(), bits.as_slice());
    for _ in 0..3 {
        let (digit, taken) = match number(rest.get(..5)?) {
            small @ 0..=2 => (small, 5),
            _ => (number(rest.get(..6)?).checked_sub(0b01_1001 - 3).filter(|digit| *digit < 10)?, 6),
        };
        digits.push(b'0' + digit);
        rest = &rest[taken..];
    }
    // What fills the last byte is all ones.
    (rest.len() < 8 && rest.iter().all(|bit| *bit)).then_some(digits)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const STREAM: u32 = 1;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// Statuses that are numbers 8 to 14 of the table that all know.
const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
/// Longest frame that a server may send unasked.
const LENGTH_MAX: usize = 16 * 1024;
/// Frames that are read for one answer.
const FRAMES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_of_its_forms() {
        for (fields, expected) in [
            (&[0x88][..], Some(200)),
            (&[0x20, 0x8e, 0x40], Some(500)),
            (&[0x08, 3, b'2', b'0', b'1'], Some(201)),
            (&[0x48, 3, b'5', b'0', b'3', 0x88], Some(503)),
            (&[0x1e, 3, b'2', b'9', b'9'], Some(299)),
            // 2, 0, 1: 00010 00000 00001 and a one.
            (&[0x48, 0x82, 0x10, 0x03], Some(201)),
            // 5, 0, 3: 011011 00000 011001 and seven ones.
            (&[0x48, 0x83, 0x6c, 0x0c, 0xff], Some(503)),
            (&[0x48, 0x82, 0x10, 0x02], None),
            (&[0x48, 0x81, 0x10], None),
            (&[0x48, 2, b'2', b'0'], None),
            (&[0x48, 3, b'2', b'0', b'x'], None),
            (&[0x48, 9, b'2'], None),
            (&[0x82], None),
            (&[], None),
        ] {
            assert_eq!(status(fields), expected, "{fields:x?}");
        }
        assert_eq!(fields(PADDED | PRIORITY, &[0, 1, 2, 3, 4, 5, 0x88]), [0x88]);
        assert!(fields(PRIORITY, &[0]).is_empty());
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let length = |count: usize| {
            let mut bytes = Vec::new();
            text(&mut bytes, &"a".repeat(count));
            bytes.truncate(bytes.len() - count);
            bytes
        };
        assert_eq!((length(0), length(126)), (vec![0], vec![126]));
        assert_eq!(
            (length(127), length(255), length(1337)),
            (vec![127, 0], vec![127, 128, 1], vec![127, 186, 9])
        );
    }
}
