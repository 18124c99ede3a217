// SPDX-License-Identifier: Apache-2.0
//! systemd-boot's own configuration, `loader/loader.conf`: which entry starts by itself.
//!
//! Format: loader.conf(5), <https://www.freedesktop.org/software/systemd/man/latest/loader.conf.html>.

use std::ops::Range;

use crate::linux::text::{self, Edits};

/// Below the loader's partition.
pub const PATH: &str = "loader/loader.conf";

/// What `default` says, and where.
pub fn parse(bytes: &[u8]) -> Option<(String, Range<usize>)> {
    let lines = text::lines(bytes);
    let mut values = lines.iter().rev().filter_map(|line| {
        let words = text::words(line.bytes, line.start);
        let ((_, key), (at, value)) = words.first().zip(words.get(1))?;
        let value = String::from_utf8_lossy(value).into_owned();
        (*key == b"default").then(|| (value, at.clone()))
    });
    values.next()
}

/// The configuration with that entry as default.
pub fn edit(bytes: &[u8], entry: &str) -> Vec<u8> {
    let mut edits = Edits::new();
    let end = text::line_end(bytes);
    match parse(bytes) {
        Some((_, at)) => edits.replace(at, entry),
        None => edits.insert(0, format!("default {entry}{end}")),
    }
    edits.apply(bytes)
}

/// Index of the entry that starts by itself among the names of all, in the menu's order. The
/// pattern is a glob; without one, or where it fits none, the first entry starts. (What the
/// firmware remembers of a choice does not come along to the new machine.)
pub fn default_of(pattern: Option<&str>, names: &[&str]) -> Option<usize> {
    let pattern = pattern.map(|pattern| pattern.strip_suffix(".conf").unwrap_or(pattern));
    let fits = |name: &&str| -> bool {
        let name = name.strip_suffix(".conf").unwrap_or(name);
        pattern.is_some_and(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
    };
    let found = names.iter().position(fits);
    found.or((!names.is_empty()).then_some(0))
}

/// Shell patterns of `*`, `?` and `[...]`, letters in either case: FAT knows no other names.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // One way back, to the last star: earlier ones need not be tried again.
    let (mut p, mut t) = (pattern, text);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (p.split_first(), t.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                star = Some((rest, t));
                Some((rest, t))
            }
            (Some((b'?', rest)), Some((_, text))) => Some((rest, text)),
            (Some((b'[', set)), Some((byte, text))) => one_of(set, *byte).map(|rest| (rest, text)),
            (Some((want, rest)), Some((byte, text))) if want.eq_ignore_ascii_case(byte) => {
                Some((rest, text))
            }
            _ => None,
        };
        match (step, star) {
            (Some(next), _) => (p, t) = next,
            (None, Some((rest, at))) if !at.is_empty() => {
                let at = at.get(1..).unwrap_or_default();
                star = Some((rest, at));
                (p, t) = (rest, at);
            }
            _ => return false,
        }
    }
}

/// What follows a set that holds the byte.
fn one_of(set: &[u8], byte: u8) -> Option<&[u8]> {
    let end = set
        .iter()
        .skip(1)
        .position(|b| *b == b']')?
        .checked_add(1)?;
    let (inside, rest) = set.split_at_checked(end)?;
    let range = |three: &[u8]| matches!(three, [from, b'-', to] if (from..=to).contains(&&byte));
    let found = inside.contains(&byte) || inside.windows(3).any(range);
    found.then_some(rest.get(1..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_found_by_pattern_and_else_is_the_first() {
        let names = ["id-6.12.conf", "id-6.1.conf", "arch.efi"];
        for (pattern, want) in [
            (None, 0),
            (Some("id-6.1.conf"), 1),
            (Some("id-6.1"), 1),
            (Some("*-6.1*"), 0),
            (Some("ARCH*"), 2),
            (Some("id-6.?"), 1),
            (Some("[a-c]rch*"), 2),
            (Some("gone"), 0),
            (Some("@saved"), 0),
        ] {
            assert_eq!(default_of(pattern, &names), Some(want), "{pattern:?}");
        }
        assert_eq!(default_of(None, &[]), None);
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = "*a".repeat(2000);
        assert!(!glob(pattern.as_bytes(), "a".repeat(1999).as_bytes()));
        for odd in ["[", "[]", "[a", "[a-", "*", "?", ""] {
            let _ = glob(odd.as_bytes(), b"a");
        }
    }

    #[test]
    fn the_default_is_replaced_or_added() {
        let text = b"timeout 3\r\ndefault  old*\r\n";
        assert_eq!(edit(text, "new"), b"timeout 3\r\ndefault  new\r\n");
        assert_eq!(edit(b"timeout 3\n", "new"), b"default new\ntimeout 3\n");
    }
}
