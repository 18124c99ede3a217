// SPDX-License-Identifier: Apache-2.0
//! Editing text without touching what is not meant: lines with their places, and replacements by
//! byte range. Line ends, order, comments, odd bytes and a missing final newline all survive.

use std::ops::Range;

/// One line: where it stands and its bytes without the line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// First byte of the line.
    pub start: usize,
    /// First byte behind the content, before `\r\n` or `\n`.
    pub end: usize,
    /// First byte of the next line.
    pub next: usize,
    /// The content.
    pub bytes: &'a [u8],
}

impl Line<'_> {
    /// The content as text, bytes that are no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }
}

/// Splits a file into lines. A last line without a newline counts; an empty rest does not.
pub fn lines(bytes: &[u8]) -> Vec<Line<'_>> {
    let mut out = Vec::new();
    let mut start = 0_usize;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let next = start.saturating_add(piece.len());
        let body = piece.strip_suffix(b"\n").unwrap_or(piece);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        out.push(Line {
            start,
            end: start.saturating_add(body.len()),
            next,
            bytes: body,
        });
        start = next;
    }
    out
}

/// The line end this file uses: that of its first line, `\n` where it has none.
pub fn line_end(bytes: &[u8]) -> &'static str {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) if bytes.get(..at).is_some_and(|head| head.ends_with(b"\r")) => "\r\n",
        _ => "\n",
    }
}

/// The words between blanks, each with its place, offset by `base`.
pub fn words(bytes: &[u8], base: usize) -> Vec<(Range<usize>, &[u8])> {
    let mut out = Vec::new();
    let mut at = base;
    for word in bytes.split(|byte| matches!(byte, b' ' | b'\t')) {
        let end = at.saturating_add(word.len());
        if !word.is_empty() {
            out.push((at..end, word));
        }
        at = end.saturating_add(1);
    }
    out
}

/// True for bytes that no text file of a guest holds: such a file is not edited.
pub fn is_binary(bytes: &[u8]) -> bool {
    bytes.contains(&0)
}

/// Replacements and insertions, collected in any order and made in one go.
#[derive(Debug, Default, Clone)]
pub struct Edits(Vec<(Range<usize>, Vec<u8>)>);

impl Edits {
    /// No edits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the bytes of `range`.
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<Vec<u8>>) {
        self.0.push((range, with.into()));
    }

    /// Inserts before the byte at `at`; several insertions at one place keep their order.
    pub fn insert(&mut self, at: usize, text: impl Into<Vec<u8>>) {
        self.0.push((at..at, text.into()));
    }

    /// True when nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edited bytes. An edit that overlaps an earlier one or leaves the file is not made.
    pub fn apply(mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = Vec::with_capacity(bytes.len());
        let mut done = 0_usize;
        for (range, with) in self.0 {
            let Some(kept) = bytes.get(done..range.start) else {
                continue;
            };
            if bytes.get(range.clone()).is_none() {
                continue;
            }
            out.extend_from_slice(kept);
            out.extend_from_slice(&with);
            done = range.end;
        }
        out.extend_from_slice(bytes.get(done..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_their_ends() {
        let got: Vec<_> = lines(b"a\r\nbc\n\nd")
            .into_iter()
            .map(|l| (l.start, l.end, l.next, l.bytes.to_vec()))
            .collect();
        assert_eq!(
            got,
            [
                (0, 1, 3, b"a".to_vec()),
                (3, 5, 6, b"bc".to_vec()),
                (6, 6, 7, b"".to_vec()),
                (7, 8, 8, b"d".to_vec()),
            ]
        );
        assert_eq!(line_end(b"a\r\nb\n"), "\r\n");
        assert_eq!(line_end(b"ab"), "\n");
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn edits_leave_the_rest_alone() {
        let mut edits = Edits::new();
        edits.replace(4..7, "X");
        edits.insert(0, "#1 ");
        edits.insert(0, "#2 ");
        edits.replace(5..6, "overlaps");
        edits.replace(90..99, "outside");
        assert_eq!(edits.apply(b"abc def\xff\r\n"), b"#1 #2 abc X\xff\r\n");
    }

    #[test]
    fn words_have_places() {
        assert_eq!(
            words(b" a\t bc", 10),
            [(11..12, &b"a"[..]), (14..16, &b"bc"[..])]
        );
    }
}
