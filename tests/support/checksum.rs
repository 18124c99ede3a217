// SPDX-License-Identifier: Apache-2.0
//! The checksum of XFS and btrfs: a superblock that is changed must be signed anew to be believed.

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| match sum & 1 {
        1 => (sum >> 1) ^ 0x82f6_3b78,
        _ => sum >> 1,
    };
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), step)
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
