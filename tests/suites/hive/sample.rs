// SPDX-License-Identifier: Apache-2.0
//! Hives as a crash leaves them, and the log that belongs to them.

const SECTOR: usize = 512;

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn rechecksum(bytes: &mut [u8]) {
    let sum = bytes[..508]
        .chunks(4)
        .fold(0, |sum, raw| sum ^ word(raw, 0));
    put(bytes, 508, sum);
}

/// The first sequence number says that a write began, the second that it never ended.
pub fn dirty(state: &[u8]) -> Vec<u8> {
    let mut out = state.to_vec();
    put(&mut out, 4, word(state, 8) + 1);
    rechecksum(&mut out);
    out
}

/// A log of the old format that leads from one state to another.
pub fn old_log(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = dirty(old)[..SECTOR].to_vec();
    put(&mut out, 8, word(old, 8) + 1);
    put(&mut out, 28, 1);
    put(&mut out, 40, (new.len() - 4096) as u32);
    rechecksum(&mut out);
    let sectors: Vec<&[u8]> = new[4096..].chunks(SECTOR).collect();
    let mut bitmap = vec![0_u8; sectors.len() / 8];
    let mut data: Vec<u8> = Vec::new();
    for (index, sector) in sectors.iter().enumerate() {
        let at = 4096 + index * SECTOR;
        if old.get(at..at + SECTOR) != Some(*sector) {
            bitmap[index / 8] |= 1 << (index % 8);
            data.extend(*sector);
        }
    }
    out.extend(b"DIRT");
    out.extend(bitmap);
    out.resize(out.len().next_multiple_of(SECTOR), 0);
    out.extend(data);
    out
}
