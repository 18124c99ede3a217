// SPDX-License-Identifier: Apache-2.0
//! The binary module indexes that modprobe and udev look names up in (`modules.dep.bin`,
//! `modules.alias.bin`): a prefix tree, all numbers big-endian.
//!
//! Format facts: the comments of kmod's `libkmod/libkmod-index.h`,
//! <https://github.com/kmod-project/kmod>. A file is magic, version and the root node's offset;
//! children stand before their parent. A node's offset carries in its upper bits which of its
//! three parts are there: prefix (NUL-terminated), children (first and last character, then an
//! offset for each between them) and values (count, then priority and NUL-terminated text each).

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// Keys are 7-bit ASCII.
const MAX_CHAR: u8 = 0x7f;

/// An index being made.
#[derive(Debug, Default)]
pub struct Index {
    keys: BTreeMap<Vec<u8>, Vec<(u32, Vec<u8>)>>,
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value; among values of one key the lower priority comes first. Keys that the format
    /// cannot hold (not 7-bit ASCII) and values holding a NUL are left out.
    pub fn insert(&mut self, key: &str, value: &str, priority: u32) {
        if key.bytes().all(|byte| byte > 0 && byte <= MAX_CHAR) && !value.contains('\0') {
            let values = self.keys.entry(key.as_bytes().to_vec()).or_default();
            let at = values.partition_point(|(have, _)| *have <= priority);
            if !values.iter().any(|(_, have)| have == value.as_bytes()) {
                values.insert(at, (priority, value.as_bytes().to_vec()));
            }
        }
    }

    /// The file's bytes.
    pub fn build(self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [MAGIC, VERSION, 0] {
            out.extend_from_slice(&u32::to_be_bytes(word));
        }
        let entries: Vec<Entry<'_>> = self
            .keys
            .iter()
            .map(|(key, values)| (key.as_slice(), values.as_slice()))
            .collect();
        let root = write_node(&mut out, &entries, 0);
        if let Some(slot) = out.get_mut(8..12) {
            slot.copy_from_slice(&root.to_be_bytes());
        }
        out
    }
}

type Entry<'a> = (&'a [u8], &'a [(u32, Vec<u8>)]);

/// How many bytes from `depth` on all keys share. They are sorted, so first and last tell.
fn common(entries: &[Entry<'_>], depth: usize) -> usize {
    let tail = |entry: Option<&Entry<'_>>| {
        entry
            .and_then(|(key, _)| key.get(depth..))
            .unwrap_or_default()
            .to_vec()
    };
    let (first, last) = (tail(entries.first()), tail(entries.last()));
    first
        .iter()
        .zip(&last)
        .take_while(|(one, other)| one == other)
        .count()
}

/// Writes the node of all `entries`, which share their first `depth` bytes; its children first.
/// Recursion is bounded by the longest key, a line of an index text.
fn write_node(out: &mut Vec<u8>, entries: &[Entry<'_>], depth: usize) -> u32 {
    let Some((first, first_values)) = entries.first() else {
        return write_body(out, &[], &[], &[]);
    };
    let end = depth.saturating_add(common(entries, depth));
    let ends_here = first.len() == end;
    let values = if ends_here { *first_values } else { &[] };
    let rest = entries.get(usize::from(ends_here)..).unwrap_or_default();
    let char_at = |entry: &Entry<'_>| entry.0.get(end).copied().unwrap_or(0);
    let mut children = Vec::new();
    for group in rest.chunk_by(|one, other| char_at(one) == char_at(other)) {
        let key = group.first().map_or(0, char_at);
        children.push((key, write_node(out, group, end.saturating_add(1))));
    }
    let prefix = first.get(depth..end).unwrap_or_default();
    write_body(out, prefix, &children, values)
}

fn write_body(
    out: &mut Vec<u8>,
    prefix: &[u8],
    children: &[(u8, u32)],
    values: &[(u32, Vec<u8>)],
) -> u32 {
    let mut offset = u32::try_from(out.len()).unwrap_or(u32::MAX);
    if !prefix.is_empty() {
        out.extend_from_slice(prefix);
        out.push(0);
        offset |= HAS_PREFIX;
    }
    if let (Some((first, _)), Some((last, _))) = (children.first(), children.last()) {
        out.extend_from_slice(&[*first, *last]);
        for key in *first..=*last {
            let child = children.iter().find(|(have, _)| *have == key);
            out.extend_from_slice(&child.map_or(0, |(_, at)| *at).to_be_bytes());
        }
        offset |= HAS_CHILDREN;
    }
    if !values.is_empty() {
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for (priority, value) in values {
            out.extend_from_slice(&priority.to_be_bytes());
            out.extend_from_slice(value);
            out.push(0);
        }
        offset |= HAS_VALUES;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_index_has_the_bytes_that_the_format_says() {
        let mut index = Index::new();
        index.insert("ab", "first", 7);
        index.insert("abc", "second", 1);
        let want: &[&[u8]] = &[
            &[0xB0, 0x07, 0xF4, 0x57, 0, 2, 0, 1],
            &(27_u32 | 0xE000_0000).to_be_bytes(),
            // the leaf of "abc" at 12: its values only
            &[0, 0, 0, 1, 0, 0, 0, 1],
            b"second\0",
            // the node of "ab" at 27
            b"ab\0",
            b"cc",
            &(12_u32 | 0x4000_0000).to_be_bytes(),
            &[0, 0, 0, 1, 0, 0, 0, 7],
            b"first\0",
        ];
        assert_eq!(index.build(), want.concat());
    }

    #[test]
    fn values_are_ordered_by_priority_and_never_doubled() {
        let mut index = Index::new();
        for (value, priority) in [("b", 9), ("a", 3), ("b", 1)] {
            index.insert("k", value, priority);
        }
        let bytes = index.build();
        let a = bytes.windows(2).position(|w| w == b"a\0").unwrap();
        let b = bytes.windows(2).position(|w| w == b"b\0").unwrap();
        assert!(a < b);
        assert_eq!(bytes.windows(2).filter(|w| *w == b"b\0").count(), 1);
    }
}
