// SPDX-License-Identifier: Apache-2.0
//! LZNT1, the compression of NTFS ([MS-XCA], section 2.5): chunks of 4 KiB, each with a header of
//! 16 bits.

use super::bits::repeat;
use crate::volume::field::le16;

const CHUNK: usize = 4096;

/// Unpacks a compression unit of at most `most` bytes; `None` when it makes no sense.
pub(super) fn unpack(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(most);
    let mut rest = packed;
    while out.len() < most {
        let header = match le16(rest, 0) {
            Some(header) if header != 0 => header,
            // The end mark, which may be left out where the packed bytes end.
            _ => break,
        };
        let len = usize::from(header & 0xfff).checked_add(1)?;
        let body = rest.get(2..)?;
        let (chunk, tail) = body.split_at_checked(len)?;
        let begins = out.len();
        if header & 0x8000 == 0 {
            out.extend_from_slice(chunk);
        } else {
            self::chunk(chunk, &mut out, begins)?;
        }
        if out.len().checked_sub(begins)? > CHUNK {
            return None;
        }
        rest = tail;
        if le16(rest, 0).is_some_and(|next| next != 0) {
            out.resize(begins.checked_add(CHUNK)?, 0);
        }
    }
    out.truncate(most);
    Some(out)
}

fn chunk(packed: &[u8], out: &mut Vec<u8>, begins: usize) -> Option<()> {
    let most = begins.checked_add(CHUNK)?;
    let mut bytes = packed.iter();
    while let Some(flags) = bytes.next() {
        for bit in 0..8_u32 {
            if flags.checked_shr(bit)? & 1 == 0 {
                match bytes.next() {
                    Some(byte) if out.len() < most => out.push(*byte),
                    Some(_) => return None,
                    None => return Some(()),
                }
                continue;
            }
            let Some(low) = bytes.next() else {
                return Some(());
            };
            let token = u16::from_le_bytes([*low, *bytes.next()?]);
            let done = out.len().checked_sub(begins)?;
            let width = length_bits(done);
            let mask = 1_u16.checked_shl(width)?.checked_sub(1)?;
            let len = usize::from(token & mask).checked_add(3)?;
            let offset = usize::from(token.checked_shr(width)?).checked_add(1)?;
            if offset > done {
                return None;
            }
            repeat(out, offset, len, most)?;
        }
    }
    Some(())
}

/// The more of a chunk is there, the more bits a token has for how far back to look.
fn length_bits(done: usize) -> u32 {
    let mut width = 12_u32;
    let mut reach = 16_usize;
    while done > reach && width > 4 {
        reach = reach.saturating_mul(2);
        width = width.saturating_sub(1);
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of [MS-XCA], section 3.3.
    #[test]
    fn the_format_s_own_example_unpacks() {
        let packed = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2,
            0x47, 0x01, 0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0,
            0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58,
            0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01,
            0x18, 0x90, 0x00,
        ];
        let want = "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D \
                    E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let out = unpack(&packed, 4096).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), want);
    }

    #[test]
    fn chunks_that_are_stored_or_short_keep_their_places() {
        let mut packed = vec![0x02, 0x30, b'a', b'b', b'c'];
        packed.extend([0x00, 0x30, b'z', 0, 0]);
        let out = unpack(&packed, 16384).unwrap();
        assert_eq!(out.len(), 4097);
        assert_eq!((&out[..4], out[4096]), (&b"abc\0"[..], b'z'));
    }

    #[test]
    fn what_leads_before_the_beginning_is_none() {
        // A token before any byte, and one that reaches too far.
        assert_eq!(unpack(&[0x02, 0xb0, 0x01, 0x00, 0x00], 4096), None);
        assert_eq!(unpack(&[0x03, 0xb0, 0x02, b'a', 0x00, 0x10], 4096), None);
        assert_eq!(unpack(&[0xff, 0xbf, 0x01], 4096), None);
    }
}
