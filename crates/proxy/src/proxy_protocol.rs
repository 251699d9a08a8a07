//! The PROXY protocol, versions 1 and 2: who the client is, told by a proxy in front before the first byte.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::control::ProxyVersion;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The connection is the proxy's own, or of a kind that has no addresses.
    Local,
    /// It is made for a client.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
}

/// Reads the header that a connection must begin with, and not a byte more.
///
/// # Errors
/// When there is none, it is not complete in time, or it is nonsense.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Header> {
    let header = timeout(HEADER_LIMIT, read_either(stream)).await??;
    header.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol"))
}

async fn read_either(stream: &mut TcpStream) -> io::Result<Option<Header>> {
    let mut head = [0; V2_HEAD];
    // The shortest of version 1 is a byte shorter than the head of version 2.
    let (signature, rest) = head.split_at_mut(V2_SIGNATURE.len());
    stream.read_exact(signature).await?;
    if signature == V2_SIGNATURE {
        stream.read_exact(rest).await?;
        let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
        if length > V2_BODY_MAX {
            return Ok(None);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        return Ok(parse_v2(head[12], head[13], &body));
    }
    if !signature.starts_with(V1_BEGINS) {
        return Ok(None);
    }
    let line = signature.to_vec();
    read_line(stream, line).await.map(|line| parse_v1(&line?))
}

/// Reads on until the end of the line. What is looked at and belongs to the line is taken; what follows it stays.
async fn read_line(stream: &mut TcpStream, mut line: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut ahead = [0; V1_MAX];
    while line.len() < V1_MAX {
        let room = V1_MAX - line.len();
        let seen = stream.peek(&mut ahead[..room]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = ahead[..seen].iter().position(|&byte| byte == b'\n');
        let take = end.map_or(seen, |end| end + 1);
        stream.read_exact(&mut ahead[..take]).await?;
        line.extend_from_slice(&ahead[..take]);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// A line such as `PROXY TCP4 192.0.2.1 192.0.2.2 1234 80`, with its end.
fn parse_v1(line: &[u8]) -> Option<Header> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut fields = line.split(' ');
    if fields.next()? != "PROXY" {
        return None;
    }
    let family = fields.next()?;
    if family == "UNKNOWN" {
        return Some(Header::Local);
    }
    let (source, destination) = (fields.next()?, fields.next()?);
    let (source, destination): (IpAddr, IpAddr) = match family {
        "TCP4" => (source.parse::<Ipv4Addr>().ok()?.into(), destination.parse::<Ipv4Addr>().ok()?.into()),
        "TCP6" => (source.parse::<Ipv6Addr>().ok()?.into(), destination.parse::<Ipv6Addr>().ok()?.into()),
        _ => return None,
    };
    let mut port = || {
        let text = fields.next()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?
    };
    let (source, destination) = (SocketAddr::new(source, port()?), SocketAddr::new(destination, port()?));
    fields.next().is_none().then_some(Header::Proxied { source, destination })
}

/// `command`, `family` and what follows: addresses, then extensions that are not read.
fn parse_v2(command: u8, family: u8, body: &[u8]) -> Option<Header> {
    match (command, family) {
        // LOCAL; or of no family, or a Unix socket's.
        (0x20, _) | (0x21, 0x00 | 0x31) => Some(Header::Local),
        (0x21, 0x11) => addresses::<4>(body),
        (0x21, 0x21) => addresses::<16>(body),
        _ => None,
    }
}

fn addresses<const N: usize>(body: &[u8]) -> Option<Header>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    let address = |ip: [u8; N], port| SocketAddr::new(ip.into(), u16::from_be_bytes(port));
    Some(Header::Proxied {
        source: address(*source, *source_port),
        destination: address(*destination, *destination_port),
    })
}

/// The header for a client at `source` that connected to `destination`.
pub(crate) fn encode(version: ProxyVersion, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    // A socket that takes both families shows version 4 in the clothes of version 6.
    let (from, to) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V6(to)) => (from.to_ipv6_mapped().into(), to.into()),
        (IpAddr::V6(from), IpAddr::V4(to)) => (from.into(), to.to_ipv6_mapped().into()),
        alike => alike,
    };
    match version {
        ProxyVersion::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
        }
        ProxyVersion::V2 => {
            let mut header = V2_SIGNATURE.to_vec();
            header.extend(if from.is_ipv4() { [0x21, 0x11, 0, 12] } else { [0x21, 0x21, 0, 36] });
            for ip in [from, to] {
                match ip {
                    IpAddr::V4(ip) => header.extend(ip.octets()),
                    IpAddr::V6(ip) => header.extend(ip.octets()),
                }
            }
            header.extend(source.port().to_be_bytes());
            header.extend(destination.port().to_be_bytes());
            header
        }
    }
}

/// From the connection to the end of the header.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
const V1_BEGINS: &[u8] = b"PROXY ";
/// Longest line, with its end.
const V1_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;
/// Longest part after the head: addresses and extensions.
const V2_BODY_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
        let v6 = (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
        prop_oneof![v4, v6]
    }

    fn parse(header: &[u8]) -> Option<Header> {
        match header.strip_prefix(V2_SIGNATURE) {
            Some([command, family, high, low, body @ ..]) => {
                (usize::from(u16::from_be_bytes([*high, *low])) == body.len()).then_some(())?;
                parse_v2(*command, *family, body)
            }
            Some(_) => None,
            None => parse_v1(header),
        }
    }

    #[test]
    fn a_line_is_taken_strictly() {
        for bad in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 80\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  1 80\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 80 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\n",
            "PROXY TCP4 ::1 ::1 1 80\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 80\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 80\r\n",
            "PROXY TCP4 192.0.2.1\r\n",
            "PROXY\r\n",
        ] {
            assert_eq!(parse_v1(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_v1(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Some(Header::Local));
        assert_eq!(parse_v2(0x20, 0x11, &[]), Some(Header::Local));
        assert_eq!(parse_v2(0x21, 0x11, &[0; 11]), None);
        assert_eq!(parse_v2(0x31, 0x11, &[0; 12]), None);
    }

    proptest! {
        #[test]
        fn what_is_sent_is_understood(source in address(), destination in address()) {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let header = encode(version, source, destination);
                prop_assert!(version == ProxyVersion::V2 || header.len() <= V1_MAX);
                let Some(Header::Proxied { source: from, destination: to }) = parse(&header) else {
                    return Err(TestCaseError::fail(format!("{header:?}")));
                };
                let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
                prop_assert_eq!((plain(from), plain(to)), (plain(source), plain(destination)));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse_v1(&bytes);
            let _ = parse(&[V2_SIGNATURE, &bytes].concat());
        }

        #[test]
        fn damaged_headers_never_panic(source in address(), at in 0usize..60, with in any::<u8>(), cut in 0usize..60) {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let mut header = encode(version, source, source);
                let (at, cut) = (at % header.len(), cut % header.len());
                header[at] = with;
                let _ = parse(&header);
                let _ = parse(&header[..cut]);
            }
        }
    }
}
