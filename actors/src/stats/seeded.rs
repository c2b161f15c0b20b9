//! A generator for null distributions and studies: its numbers are a function of its seed, so a replay draws them again.

/// `SplitMix64` (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"; constants of Vigna's reference code).
/// Not for secrets.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// A generator; any seed will do.
    #[must_use]
    pub const fn new(seed: u64) -> Seeded {
        Seeded(seed)
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number in `0..below`; 0 when `below` is 0. Biased by less than `below` / 2⁶⁴ (Lemire 2019, without rejection).
    #[allow(clippy::cast_possible_truncation)] // the product's upper half is below `below`
    pub const fn below(&mut self, below: u64) -> u64 {
        ((self.bits() as u128 * below as u128) >> 64) as u64
    }

    /// A number in the open interval (0, 1).
    pub const fn unit(&mut self) -> f64 {
        (super::real(self.bits() >> 12) + 0.5) / super::real(1 << 52)
    }

    /// A standard normal number (Box, Muller 1958; the second of the pair is left).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_sequence_of_seed_1234567() {
        let mut seeded = Seeded::new(1_234_567);
        let first = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([seeded.bits(), seeded.bits(), seeded.bits()], first);
    }

    #[test]
    fn numbers_stay_in_their_range_and_fill_it() {
        let mut seeded = Seeded::new(7);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(seeded.below(10)).unwrap()] += 1;
            let unit = seeded.unit();
            assert!(unit > 0.0 && unit < 1.0);
        }
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
        assert_eq!(seeded.below(0), 0);
        let normals: Vec<f64> = (0..20_000).map(|_| seeded.normal()).collect();
        let mean = normals.iter().sum::<f64>() / 20_000.0;
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
