//! Encodings of what a session at rest keeps in memory.

use std::time::Duration;

/// Nanoseconds, of five centuries at most.
pub fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Flags as the bits of a number, the first one lowest.
pub fn bits<const N: usize>(flags: [bool; N]) -> u32 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u32::from(*flag))
}

/// The flags that [`bits`] made a number of.
pub fn flags<const N: usize>(bits: u32) -> [bool; N] {
    std::array::from_fn(|flag| bits >> flag & 1 == 1)
}

/// Signer indices, a byte each, ascending.
pub fn indices(signers: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut signers: Vec<u8> = signers.into_iter().map(|signer| signer as u8).collect();
    signers.sort_unstable();
    signers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_their_bits() {
        for number in 0..16 {
            assert_eq!(bits(flags::<4>(number)), number);
        }
        assert_eq!(bits([true, false, false]), 1);
    }

    #[test]
    fn durations_beyond_five_centuries_are_cut() {
        assert_eq!(nanoseconds(Duration::from_nanos(7)), 7);
        assert_eq!(nanoseconds(Duration::MAX), u64::MAX);
    }
}
