// SPDX-License-Identifier: Apache-2.0
//! LZX as Windows' imaging format and CompactOS use it: chunks of 32 KiB that know nothing of one
//! another ([MS-PATCH], section 2, describes the codes; what differs here is how the size of a
//! block is written, and that calls are always translated).

use super::bits::{Bits, Code, repeat};
use crate::volume::field::le32;

/// Bytes of a chunk, of a window, and of a block that says nothing else.
const CHUNK: usize = 32 << 10;
/// Position slots of a window of 32 KiB.
const SLOTS: usize = 30;
const MAIN: usize = 256 + 8 * SLOTS;
const LENGTHS: usize = 249;
/// Targets of calls were made absolute as in a file of this size.
const FILE_SIZE: i32 = 12_000_000;

/// What goes on from block to block.
struct State {
    main: Vec<u8>,
    length: Vec<u8>,
    recent: [u32; 3],
}

/// Unpacks a chunk into exactly `size` bytes, 32 KiB at most; `None` when it makes no sense.
pub(super) fn unpack(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    if size > CHUNK {
        return None;
    }
    let mut bits = Bits::new(packed, 0);
    let mut out = Vec::with_capacity(size);
    let mut state = State {
        main: vec![0; MAIN],
        length: vec![0; LENGTHS],
        recent: [1; 3],
    };
    while out.len() < size {
        let kind = bits.take(3);
        let block = match bits.take(1) {
            1 => CHUNK,
            _ => usize::try_from(bits.take(16)).ok()?,
        };
        let end = out.len().checked_add(block)?.min(size);
        if end == out.len() {
            return None;
        }
        match kind {
            1 => state.compressed(&mut bits, &mut out, end, None)?,
            2 => {
                let lengths: Vec<u8> = (0..8)
                    .filter_map(|_| u8::try_from(bits.take(3)).ok())
                    .collect();
                let aligned = Code::new(&lengths)?;
                state.compressed(&mut bits, &mut out, end, Some(&aligned))?;
            }
            3 => state.stored(&mut bits, &mut out, end)?,
            _ => return None,
        }
    }
    untranslate(&mut out);
    Some(out)
}

impl State {
    fn stored(&mut self, bits: &mut Bits<'_>, out: &mut Vec<u8>, end: usize) -> Option<()> {
        bits.align();
        for recent in &mut self.recent {
            *recent = u32::from_le_bytes(bits.bytes(4)?.try_into().ok()?);
        }
        let count = end.checked_sub(out.len())?;
        out.extend_from_slice(bits.bytes(count)?);
        if count & 1 == 1 {
            // Units begin at even places; at the very end there may be nothing left.
            let _ = bits.byte();
        }
        Some(())
    }

    fn compressed(
        &mut self,
        bits: &mut Bits<'_>,
        out: &mut Vec<u8>,
        end: usize,
        aligned: Option<&Code>,
    ) -> Option<()> {
        let (literals, matches) = self.main.split_at_mut_checked(256)?;
        read_lengths(bits, literals)?;
        read_lengths(bits, matches)?;
        read_lengths(bits, &mut self.length)?;
        let main = Code::new(&self.main)?;
        let length = Code::new(&self.length)?;
        while out.len() < end {
            let symbol = main.read(bits)?;
            let Some(symbol) = symbol.checked_sub(256) else {
                out.push(u8::try_from(symbol).ok()?);
                continue;
            };
            let mut len = usize::from(symbol & 7);
            if len == 7 {
                len = len.checked_add(usize::from(length.read(bits)?))?;
            }
            let offset = self.offset(usize::from(symbol >> 3), bits, aligned)?;
            repeat(out, usize::try_from(offset).ok()?, len.checked_add(2)?, end)?;
        }
        Some(())
    }

    fn offset(&mut self, slot: usize, bits: &mut Bits<'_>, aligned: Option<&Code>) -> Option<u32> {
        let [first, second, third] = self.recent;
        self.recent = match slot {
            0 => [first, second, third],
            1 => [second, first, third],
            2 => [third, second, first],
            _ => [far(slot, bits, aligned)?, first, second],
        };
        self.recent.first().copied()
    }
}

/// An offset that is written out: each pair of slots has one bit more.
fn far(slot: usize, bits: &mut Bits<'_>, aligned: Option<&Code>) -> Option<u32> {
    let slot = u32::try_from(slot).ok()?;
    let (base, extra) = match slot {
        0..4 => (slot, 0),
        _ => {
            let extra = (slot >> 1).checked_sub(1)?;
            ((2 | slot & 1).checked_shl(extra)?, extra)
        }
    };
    let low = match aligned {
        Some(code) if extra >= 3 => {
            let high = bits.take(extra.checked_sub(3)?).checked_mul(8)?;
            high | u32::from(code.read(bits)?)
        }
        _ => bits.take(extra),
    };
    base.checked_add(low)?.checked_sub(2)
}

/// Lengths of codes, written as what they differ by from those of the block before, in a code of
/// their own.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Option<()> {
    let own: Vec<u8> = (0..20)
        .filter_map(|_| u8::try_from(bits.take(4)).ok())
        .collect();
    let code = Code::new(&own)?;
    let mut at = 0;
    while at < lengths.len() {
        let symbol = code.read(bits)?;
        let (run, step) = match symbol {
            17 => (bits.take(4).checked_add(4)?, None),
            18 => (bits.take(5).checked_add(20)?, None),
            19 => {
                let run = bits.take(1).checked_add(4)?;
                (run, Some(code.read(bits)?))
            }
            step => (1, Some(step)),
        };
        let value = match step {
            None => 0,
            Some(step @ 0..=16) => {
                let before = u16::from(*lengths.get(at)?);
                let value = before.checked_add(17)?.checked_sub(step)?.checked_rem(17)?;
                u8::try_from(value).ok()?
            }
            Some(_) => return None,
        };
        for _ in 0..run {
            // A run may reach beyond the end.
            if let Some(length) = lengths.get_mut(at) {
                *length = value;
            }
            at = at.checked_add(1)?;
        }
    }
    Some(())
}

/// Makes the targets of calls (0xE8) relative again. The last ten bytes are never translated.
fn untranslate(bytes: &mut [u8]) {
    let mut at = 0_usize;
    let last = bytes.len().saturating_sub(10);
    while at < last {
        if bytes.get(at) != Some(&0xe8) {
            at = at.saturating_add(1);
            continue;
        }
        let place = at.saturating_add(1);
        if let (Some(target), Ok(own)) = (le32(bytes, place), i32::try_from(at)) {
            let target = target.cast_signed();
            let relative = match target {
                0..FILE_SIZE => Some(target.wrapping_sub(own)),
                _ if target < 0 && target >= own.wrapping_neg() => {
                    Some(target.wrapping_add(FILE_SIZE))
                }
                _ => None,
            };
            let to = bytes.get_mut(place..place.saturating_add(4));
            if let (Some(relative), Some(to)) = (relative, to) {
                to.copy_from_slice(&relative.to_le_bytes());
            }
        }
        at = at.saturating_add(5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What wimlib 1.13 (`wimcapture --compress=LZX --chunk-size=32768`) makes of [`sample`].
    #[rustfmt::skip]
    const PACKED: &[u8] = &[
        0x14, 0x20, 0x00, 0xf5, 0x00, 0x00, 0x00, 0x00, 0x35, 0x22, 0x33, 0x00, 0x24, 0x47, 0xcb, 0xf7,
        0x8c, 0x0e, 0xc2, 0xb1, 0x02, 0x02, 0x18, 0x11, 0x37, 0x3d, 0xe9, 0xf7, 0x60, 0xb8, 0x00, 0x00,
        0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x0f, 0x42, 0x77, 0x81, 0xfb, 0x3e, 0x00, 0xc6, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x02, 0x46, 0x44, 0x1b, 0xbe, 0x4f, 0x5c, 0xf9, 0x71, 0xd2, 0x65, 0x8e,
        0x1b, 0xa6, 0xe2, 0x0b, 0x70, 0x9e, 0x4f, 0x32, 0xb2, 0x46, 0x0a, 0xde, 0xb3, 0x13, 0xe9, 0x88,
        0x1f, 0xc6, 0xff, 0x77, 0x53, 0x0c, 0x82, 0x36, 0xe7, 0xab, 0xac, 0x65, 0x52, 0x61, 0x5e, 0xa1,
        0x05, 0x67, 0x3c, 0x6d,
    ];

    /// Text with repetitions, and a call.
    fn sample() -> Vec<u8> {
        let mut out = b"The quick brown fox jumps over the lazy dog. ".repeat(6);
        out.extend(b"\xe8\x10\x20\x00\x00");
        out.extend(b"The lazy dog sleeps.".repeat(3));
        out
    }

    #[test]
    fn what_another_program_packed_is_unpacked() {
        assert_eq!(unpack(PACKED, 335).unwrap(), sample());
        for len in 0..PACKED.len() {
            // Behind the end there are zeros, so this may be something; it is no panic.
            let _ = unpack(&PACKED[..len], 335);
        }
    }

    #[test]
    fn a_stored_block_is_its_bytes() {
        // Kind 3, not the default size, 5 bytes: 011 0 0000000000000101, then up to the unit's end.
        let mut packed = vec![0x00, 0x60, 0x00, 0x50];
        for recent in [1_u32, 1, 1] {
            packed.extend(recent.to_le_bytes());
        }
        packed.extend(b"hello");
        assert_eq!(unpack(&packed, 5).unwrap(), b"hello");
    }

    #[test]
    fn calls_are_relative_again() {
        let mut bytes = vec![0x90; 32];
        bytes[3] = 0xe8;
        bytes[4..8].copy_from_slice(&1003_i32.to_le_bytes());
        bytes[10] = 0xe8;
        bytes[11..15].copy_from_slice(&(-4_i32).to_le_bytes());
        bytes[25] = 0xe8;
        untranslate(&mut bytes);
        assert_eq!(bytes[4..8], 1000_i32.to_le_bytes());
        assert_eq!(bytes[11..15], (FILE_SIZE - 4).to_le_bytes());
        assert_eq!(bytes[25..30], [0xe8, 0x90, 0x90, 0x90, 0x90]);
    }

    #[test]
    fn nonsense_is_none() {
        assert_eq!(unpack(&[], 100), None);
        assert_eq!(unpack(&[0xff; 64], 100), None);
        assert_eq!(unpack(&[0x00, 0x20], CHUNK + 1), None);
    }
}
