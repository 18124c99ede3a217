// SPDX-License-Identifier: Apache-2.0
//! Bits of compressed streams, and the Huffman codes written with them: both formats read 16 bits
//! at a time, the highest first ([MS-XCA], section 2.1; Microsoft LZX DELTA, [MS-PATCH]).

/// Longest code of either format.
const LONGEST: usize = 16;

/// A stream of bits with bytes between them.
#[derive(Debug)]
pub(super) struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
    held: u64,
    count: u32,
    ahead: u32,
}

impl<'b> Bits<'b> {
    /// `ahead`: bits that the format has fetched in advance at any time, after which its bytes
    /// between follow.
    pub(super) fn new(bytes: &'b [u8], ahead: u32) -> Self {
        let mut bits = Self {
            bytes,
            at: 0,
            held: 0,
            count: 0,
            ahead,
        };
        bits.fetch(ahead);
        bits
    }

    /// Behind the end of the stream there are zeros.
    fn fetch(&mut self, want: u32) {
        while self.count < want {
            let byte = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
            let unit = u16::from_le_bytes([byte(self.at), byte(self.at.saturating_add(1))]);
            self.at = self.at.saturating_add(2);
            self.held = self.held << 16 | u64::from(unit);
            self.count = self.count.saturating_add(16);
        }
    }

    /// The next `count` bits, 0 to 32.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        self.fetch(count);
        self.count = self.count.saturating_sub(count);
        let value = self.held.checked_shr(self.count).unwrap_or(0);
        let mask = 1_u64.checked_shl(count).unwrap_or(0).wrapping_sub(1);
        self.held &= 1_u64.checked_shl(self.count).unwrap_or(0).wrapping_sub(1);
        self.fetch(self.ahead);
        u32::try_from(value & mask).unwrap_or(0)
    }

    /// A byte between.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    /// Bytes between.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// Drops the rest of the unit, or a whole one where nothing of the next was read yet.
    pub(super) fn align(&mut self) {
        self.fetch(1);
        self.held = 0;
        self.count = 0;
    }
}

/// A canonical Huffman code.
#[derive(Debug)]
pub(super) struct Code {
    /// How many symbols have a code of each length.
    counts: [u32; LONGEST + 1],
    /// The symbols in the order of their codes.
    symbols: Vec<u16>,
}

impl Code {
    /// From the length of every symbol's code; `None` when there cannot be such codes.
    pub(super) fn new(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0_u32; LONGEST + 1];
        for length in lengths {
            let count = counts.get_mut(usize::from(*length))?;
            *count = count.saturating_add(1);
        }
        let mut left = 1_i64;
        for count in counts.iter().skip(1) {
            left = left.checked_mul(2)?.checked_sub(i64::from(*count))?;
            if left < 0 {
                return None;
            }
        }
        let mut symbols: Vec<u16> = (0..lengths.len())
            .filter(|symbol| lengths.get(*symbol).is_some_and(|length| *length != 0))
            .filter_map(|symbol| u16::try_from(symbol).ok())
            .collect();
        // Stable: symbols of the same length stay in order.
        symbols.sort_by_key(|symbol| lengths.get(usize::from(*symbol)).copied());
        if let Some(none) = counts.first_mut() {
            *none = 0;
        }
        Some(Self { counts, symbols })
    }

    /// The next symbol; `None` for bits that are no code.
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for count in self.counts.iter().skip(1) {
            code |= bits.take(1);
            if let Some(within) = code.checked_sub(first).filter(|within| within < count) {
                let place = index.checked_add(within)?;
                return self.symbols.get(usize::try_from(place).ok()?).copied();
            }
            index = index.checked_add(*count)?;
            first = first.checked_add(*count)?.checked_mul(2)?;
            code = code.checked_mul(2)?;
        }
        None
    }
}

/// Appends `len` bytes that lie `offset` back, which may be of those that it appends; `None` when
/// that leads before the beginning or beyond `most`.
pub(super) fn repeat(out: &mut Vec<u8>, offset: usize, len: usize, most: usize) -> Option<()> {
    let start = out.len().checked_sub(offset).filter(|_| offset > 0)?;
    if out.len().checked_add(len)? > most {
        return None;
    }
    for step in 0..len {
        let byte = *out.get(start.checked_add(step)?)?;
        out.push(byte);
    }
    Some(())
}
