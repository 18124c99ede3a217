// SPDX-License-Identifier: Apache-2.0
//! Run lists: which clusters of a value lie where (linux-ntfs documentation, "Data Runs").

/// Clusters of a value that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first, counted in the value.
    pub(super) vcn: u64,
    /// How many.
    pub(super) len: u64,
    /// The first, counted on the volume; `None`: they are zeros and lie nowhere.
    pub(super) lcn: Option<u64>,
}

impl Run {
    /// The cluster behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.vcn.saturating_add(self.len)
    }
}

/// Decodes a list that begins at cluster `vcn` of the value; `None` when it makes no sense.
pub(super) fn decode(list: &[u8], vcn: u64) -> Option<Vec<Run>> {
    let mut out = Vec::new();
    let mut rest = list;
    let mut vcn = vcn;
    let mut lcn = 0_u64;
    while let Some((widths, tail)) = rest.split_first() {
        if *widths == 0 {
            return Some(out);
        }
        let (len, tail) = number(tail, usize::from(widths & 15))?;
        let len = u64::try_from(len).ok().filter(|len| *len > 0)?;
        let (step, tail) = match widths >> 4 {
            0 => (None, tail),
            width => number(tail, usize::from(width)).map(|(step, tail)| (Some(step), tail))?,
        };
        if let Some(step) = step {
            lcn = lcn.checked_add_signed(step)?;
        }
        out.push(Run {
            vcn,
            len,
            lcn: step.map(|_| lcn),
        });
        vcn = vcn.checked_add(len)?;
        rest = tail;
    }
    // The end mark may be missing where the list fills its record.
    Some(out)
}

/// A signed number of so many bytes.
fn number(bytes: &[u8], width: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(width)?;
    if width == 0 || width > 8 {
        return None;
    }
    let negative = digits.last()? & 0x80 != 0;
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all.get_mut(..width)?.copy_from_slice(digits);
    Some((i64::from_le_bytes(all), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_both_ways_and_holes_lie_nowhere() {
        // 24 clusters at 0x5634, a hole of 2, 8 clusters 4 further down.
        let list = [0x21, 0x18, 0x34, 0x56, 0x01, 0x02, 0x11, 0x08, 0xfc, 0];
        let runs = decode(&list, 0).unwrap();
        let run = |vcn, len, lcn| Run { vcn, len, lcn };
        assert_eq!(
            runs,
            [
                run(0, 0x18, Some(0x5634)),
                run(0x18, 2, None),
                run(0x1a, 8, Some(0x5630)),
            ]
        );
    }

    #[test]
    fn lists_that_cannot_be_are_none() {
        for list in [
            &[0x11, 0x01, 0xff, 0][..],
            &[0x21, 0x18, 0x34],
            &[0x10, 0x01],
            &[0x11, 0x00, 0x05],
            &[0x19, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(decode(list, 0), None, "{list:x?}");
        }
        assert_eq!(decode(&[0x01, 0x7f], u64::MAX), None);
    }
}
