//! The keyed hash over a statement's literals, in order: equal parameters can be told from different ones without
//! anybody on the bus learning them.
//!
//! SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with the round counts that hash
//! tables use today): a plain checksum would let a reader of the bus find a small literal by trying all of them. Each
//! literal is absorbed as whole words ending in one that carries its length, so `('ab', 'c')` and `('a', 'bc')` differ.

/// SipHash state over the literals seen so far.
#[derive(Clone, Copy)]
pub(super) struct Params {
    v: [u64; 4],
    count: u64,
}

impl Params {
    pub(super) const fn new(key: u64) -> Self {
        // The second half of SipHash's 128-bit key is derived: SplitMix64's finaliser over the first.
        let mut other = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
        other = (other ^ (other >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        other = (other ^ (other >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        other ^= other >> 31;
        let v = [key ^ 0x736f_6d65_7073_6575, other ^ 0x646f_7261_6e64_6f6d, key ^ 0x6c79_6765_6e65_7261, other ^ 0x7465_6462_7974_6573];
        Self { v, count: 0 }
    }

    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
    }

    /// Takes in one literal. `sign` tells `-5` from `5`.
    #[inline]
    pub(super) fn absorb(&mut self, literal: &[u8], sign: bool) {
        self.count += 1;
        let (words, rest) = literal.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = (literal.len() as u64) << 57 | u64::from(sign) << 56;
        for (at, byte) in rest.iter().enumerate() {
            last |= u64::from(*byte) << (8 * at);
        }
        self.word(last);
    }

    /// The hash, unless there was no literal.
    #[inline]
    pub(super) fn finish(mut self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        self.word(self.count);
        self.v[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        Some(self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3])
    }
}

/// The keyed hash of parameters that are not in the statement's text: values bound to its placeholders, in order, each as
/// bytes of whatever form the caller always uses. `None` when there are none.
///
/// Comparable with other results of this function under the same key only, not with [`Normalised::params`](super::Normalised):
/// a driver's bytes of a value are not how SQL writes it.
#[must_use]
pub fn hash_parameters<I>(key: u64, parameters: I) -> Option<u64>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    let mut params = Params::new(key);
    parameters.into_iter().for_each(|parameter| params.absorb(parameter.as_ref(), false));
    params.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_parameters_are_told_apart_by_value_place_and_key() {
        let of = |key, values: &[&str]| hash_parameters(key, values);
        assert_eq!(of(1, &["a", "b"]), of(1, &["a", "b"]));
        assert_eq!(of(1, &[]), None);
        for other in [of(1, &["b", "a"]), of(1, &["ab"]), of(1, &["a", "b", ""]), of(2, &["a", "b"])] {
            assert_ne!(of(1, &["a", "b"]), other);
        }
    }
}
