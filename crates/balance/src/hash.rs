//! Hashing that is the same in every thread, process and version: what decides where a key lives must not change under it.
//!
//! [`hash`] is quick and spreads well; whoever knows it can choose keys that meet, which bounded loads make harmless.
//! [`SecretKey`] is for what a client must neither guess nor read: SipHash-2-4 (Aumasson and Bernstein, 2012).

/// A well spread 64-bit hash of some bytes, the same everywhere.
pub fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state =
        words.iter().fold(mix(bytes.len() as u64), |state, word| mix(state ^ u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    if rest.is_empty() { state } else { mix(state ^ u64::from_le_bytes(last)) }
}

/// The finaliser of splitmix64: a permutation in which every input bit changes about half of the output's.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A key for hashes that only its owner can make.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretKey([u64; 2]);

impl SecretKey {
    /// The key in these bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        let [first, second] = [0, 8].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        });
        Self([first, second])
    }

    /// The SipHash-2-4 of some bytes under this key.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let [k0, k1] = self.0;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = (bytes.len() & 0xff) as u8;
        for word in words.iter().chain([&last]) {
            let word = u64::from_le_bytes(*word);
            v[3] ^= word;
            round(&mut v);
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        (0..4).for_each(|_| round(&mut v));
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey")
    }
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_hash_is_siphash_2_4() {
        // The vectors of its authors: key 00..0f, message 00..n-1.
        let bytes: Vec<u8> = (0..16).collect();
        let key = SecretKey::new(bytes.as_slice().try_into().unwrap());
        assert_eq!(key.hash(&[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(key.hash(&bytes[..15]), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn lengths_and_single_bits_tell_keys_apart() {
        let keys: [&[u8]; 6] =
            [b"", b"\0", b"\0\0\0\0\0\0\0\0", b"user-1", b"user-2", b"a much longer key than one word"];
        for (place, key) in keys.iter().enumerate() {
            for other in &keys[..place] {
                assert!((hash(key) ^ hash(other)).count_ones() > 10, "{key:?} {other:?}");
            }
        }
    }
}
