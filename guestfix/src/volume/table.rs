// SPDX-License-Identifier: Apache-2.0
//! What every kind of partition table says about a partition.

/// One partition, not yet checked against the disk's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Number as the kernel counts, from 1.
    pub(crate) number: u32,
    /// Start, bytes.
    pub(crate) start: u64,
    /// Length, bytes.
    pub(crate) len: u64,
    /// Partition UUID in lower case.
    pub(crate) uuid: Option<String>,
    /// Type GUID or type byte as `0x83`.
    pub(crate) kind: String,
    /// GPT name.
    pub(crate) label: Option<String>,
    /// Active or legacy-BIOS-bootable.
    pub(crate) bootable: bool,
}

impl Part {
    /// First byte behind it; the largest number when the table makes no sense.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// One sentence for each pair of neighbours that share bytes.
pub(crate) fn overlaps(parts: &[Part]) -> Vec<String> {
    let mut sorted: Vec<&Part> = parts.iter().collect();
    sorted.sort_by_key(|part| (part.start, part.number));
    sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .filter(|(before, after)| before.end() > after.start)
        .map(|(before, after)| {
            format!(
                "partitions {} and {} overlap at byte {}",
                before.number, after.number, after.start
            )
        })
        .collect()
}
