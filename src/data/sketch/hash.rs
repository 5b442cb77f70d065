//! The hashes that sketches are made of: the same in every version, because sketches are kept.

/// The hash of 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
#[inline]
pub(crate) fn mix(bits: u64) -> u64 {
    let mut z = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of a text: XXH3, 64 bits, no seed.
#[inline]
pub(crate) fn hash(text: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(text)
}
