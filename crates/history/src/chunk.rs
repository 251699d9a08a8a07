//! A closed run of samples as one compressed value.
//!
//! Layout: version (u8), count (u16), skipped (u16), last time (i64), length of the times (u32), all little endian, then the times and the
//! values, each a `pco` file. `skipped` samples at the front have expired: retention only rewrites the header, not the columns.
//! Integrity is the engine's matter (its pages carry checksums); what is checked here is that a value is one that we wrote.

use pco::standalone::{simple_compress, simple_decompress};

use crate::error::Fault;

/// One sample inside the store: milliseconds and value.
pub(crate) type Point = (i64, f64);

/// What the head of a chunk says without decompressing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) count: u16,
    pub(crate) skipped: u16,
    pub(crate) last_at: i64,
    times_len: u32,
}

/// Most samples one chunk can hold.
pub(crate) const CHUNK_SAMPLES_MAX: usize = u16::MAX as usize;

const VERSION: u8 = 1;
const HEADER_LEN: usize = 1 + 2 + 2 + 8 + 4;
/// Higher levels of `pco` gained nothing on demand-like series.
const COMPRESSION_LEVEL: usize = 4;

/// Compresses `points`, which are in ascending order of time and not empty.
pub(crate) fn encode(points: &[Point]) -> Result<Vec<u8>, Fault> {
    let (Some(last), Ok(count)) = (points.last(), u16::try_from(points.len())) else {
        return Err(Fault::Damaged(format!("a chunk cannot have {} samples", points.len())));
    };
    let config = pco::ChunkConfig::default().with_compression_level(COMPRESSION_LEVEL);
    let failed =
        |error: pco::errors::PcoError| Fault::Damaged(format!("samples could not be compressed: {error}"));
    let times: Vec<i64> = points.iter().map(|point| point.0).collect();
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let times = simple_compress(&times, &config).map_err(failed)?;
    let values = simple_compress(&values, &config).map_err(failed)?;
    let header = Header { count, skipped: 0, last_at: last.0, times_len: times.len() as u32 };
    let mut bytes = Vec::with_capacity(HEADER_LEN + times.len() + values.len());
    bytes.extend_from_slice(&header.to_bytes());
    bytes.extend_from_slice(&times);
    bytes.extend_from_slice(&values);
    Ok(bytes)
}

/// The samples that have not expired, in ascending order of time.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Point>, Fault> {
    let (header, times, values) = columns(bytes)?;
    let skipped = usize::from(header.skipped);
    Ok(times.into_iter().zip(values).skip(skipped).collect())
}

/// The same chunk with all samples before `cutoff` expired, and how many newly did. `None` when nothing is left.
pub(crate) fn expire(bytes: &[u8], cutoff: i64) -> Result<Option<(Vec<u8>, u64)>, Fault> {
    let mut header = Header::read(bytes)?;
    if header.last_at < cutoff {
        return Ok(None);
    }
    let (_, times, _) = columns(bytes)?;
    let expired = times.partition_point(|at| *at < cutoff) as u16;
    let newly = expired.saturating_sub(header.skipped);
    header.skipped = header.skipped.max(expired);
    let mut changed = bytes.to_vec();
    changed[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    Ok(Some((changed, u64::from(newly))))
}

fn columns(bytes: &[u8]) -> Result<(Header, Vec<i64>, Vec<f64>), Fault> {
    let header = Header::read(bytes)?;
    let damaged =
        |error: pco::errors::PcoError| Fault::Damaged(format!("a chunk does not decompress: {error}"));
    let body = &bytes[HEADER_LEN..];
    let Some((times, values)) = body.split_at_checked(header.times_len as usize) else {
        return Err(Fault::Damaged("a chunk is shorter than its header says".to_owned()));
    };
    let times: Vec<i64> = simple_decompress(times).map_err(damaged)?;
    let values: Vec<f64> = simple_decompress(values).map_err(damaged)?;
    let count = usize::from(header.count);
    if times.len() != count || values.len() != count || times.last() != Some(&header.last_at) {
        return Err(Fault::Damaged("a chunk does not hold what its header says".to_owned()));
    }
    Ok((header, times, values))
}

impl Header {
    /// Reads the head of a chunk.
    pub(crate) fn read(bytes: &[u8]) -> Result<Header, Fault> {
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(Fault::Damaged(format!("a chunk of {} bytes has no header", bytes.len())));
        };
        let [version, c0, c1, s0, s1, l0, l1, l2, l3, l4, l5, l6, l7, t0, t1, t2, t3] = *head;
        if version != VERSION {
            return Err(Fault::Damaged(format!("a chunk has version {version}, not {VERSION}")));
        }
        Ok(Header {
            count: u16::from_le_bytes([c0, c1]),
            skipped: u16::from_le_bytes([s0, s1]),
            last_at: i64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            times_len: u32::from_le_bytes([t0, t1, t2, t3]),
        })
    }

    /// Samples that have not expired.
    pub(crate) fn live(self) -> u64 {
        u64::from(self.count.saturating_sub(self.skipped))
    }

    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = VERSION;
        bytes[1..3].copy_from_slice(&self.count.to_le_bytes());
        bytes[3..5].copy_from_slice(&self.skipped.to_le_bytes());
        bytes[5..13].copy_from_slice(&self.last_at.to_le_bytes());
        bytes[13..17].copy_from_slice(&self.times_len.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunk_gives_back_every_bit(points in prop::collection::btree_map(any::<i64>(), any::<f64>(), 1..700)) {
            let points: Vec<Point> = points.into_iter().collect();
            let decoded = decode(&encode(&points).unwrap()).unwrap();
            prop_assert_eq!(points.len(), decoded.len());
            for (a, b) in points.iter().zip(&decoded) {
                prop_assert_eq!(a.0, b.0);
                prop_assert_eq!(a.1.to_bits(), b.1.to_bits());
            }
        }

        #[test]
        fn a_changed_chunk_is_an_error_or_samples_but_never_a_panic(
            at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<prop::sample::Index>(),
        ) {
            let points: Vec<Point> = (0..100).map(|n| (n * 1000, (n as f64).sqrt())).collect();
            let good = encode(&points).unwrap();
            let mut flipped = good.clone();
            flipped[at.index(good.len())] ^= 1 << bit;
            let _ = decode(&flipped);
            prop_assert!(decode(&good[..cut.index(good.len())]).is_err());
        }
    }

    #[test]
    fn expiry_hides_exactly_what_is_older() {
        let points: Vec<Point> = (0..10).map(|n| (n * 10, n as f64)).collect();
        let (bytes, newly) = expire(&encode(&points).unwrap(), 35).unwrap().unwrap();
        assert_eq!(newly, 4);
        assert_eq!(decode(&bytes).unwrap(), points[4..]);
        let (bytes, newly) = expire(&bytes, 20).unwrap().unwrap();
        assert_eq!((newly, decode(&bytes).unwrap().len()), (0, 6), "an earlier cutoff brings nothing back");
        assert!(expire(&bytes, 91).unwrap().is_none());
    }
}
