// SPDX-License-Identifier: Apache-2.0
//! The Marvin32 hash of log entries, with the registry's fixed seed.

use super::cell::{le32, le64};

const SEED: (u32, u32) = (0x7A4E_55C5, 0x82EF_4D88);

/// The hash of some bytes.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut state = (SEED.0, SEED.1);
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        mix(&mut state, le32(word, 0).unwrap_or(0));
    }
    // The last word is the rest, a 0x80 byte and zeros.
    let mut last = [0_u8; 8];
    for (to, from) in last.iter_mut().zip(rest.iter().chain(&[0x80])) {
        *to = *from;
    }
    mix(&mut state, le32(&last, 0).unwrap_or(0));
    mix(&mut state, 0);
    let mut out = [0_u8; 8];
    for (to, from) in out
        .iter_mut()
        .zip(state.0.to_le_bytes().iter().chain(&state.1.to_le_bytes()))
    {
        *to = *from;
    }
    le64(&out, 0).unwrap_or(0)
}

fn mix(state: &mut (u32, u32), word: u32) {
    let (mut low, mut high) = *state;
    low = low.wrapping_add(word);
    high ^= low;
    low = low.rotate_left(20).wrapping_add(high);
    high = high.rotate_left(9) ^ low;
    low = low.rotate_left(27).wrapping_add(high);
    high = high.rotate_left(19);
    *state = (low, high);
}
