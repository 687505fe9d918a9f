//! Hashes of 128 bits, which can be added up in any order.

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct Hash128(pub(crate) u64, pub(crate) u64);

impl Hash128 {
    pub(crate) fn add(&mut self, other: Hash128) {
        self.0 = self.0.wrapping_add(other.0);
        self.1 = self.1.wrapping_add(other.1);
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub(crate) fn hash(parts: &[u64]) -> Hash128 {
    let (mut a, mut b) = (0x9e37_79b9_7f4a_7c15_u64, 0xc2b2_ae3d_27d4_eb4f_u64);
    for &part in parts {
        a = mix(a ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        b = mix(b.rotate_left(23) ^ part.wrapping_mul(0xff51_afd7_ed55_8ccd))
            .wrapping_add(0x1656_67b1_9e37_79f9);
    }
    Hash128(mix(a ^ b.rotate_left(17)), mix(b))
}

/// A generator of random numbers that a seed starts.
#[derive(Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
