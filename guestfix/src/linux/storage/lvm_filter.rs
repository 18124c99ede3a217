// SPDX-License-Identifier: Apache-2.0
//! Filters of `lvm.conf`: which devices LVM looks at (format and meaning: lvm.conf(5), `filter`).

use regex::{Regex, RegexBuilder};

use crate::linux::text;

/// A compiled pattern larger than this is none that a person wrote, bytes.
const MAX_PATTERN: usize = 1 << 20;

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// `filter` or `global_filter`.
    pub key: String,
    /// Its patterns as written: `a|^/dev/sd|`.
    pub patterns: Vec<String>,
    /// Where its first pattern may be put: behind the bracket, or before the only pattern.
    pub at: usize,
    /// Where a single pattern without brackets ends; `None` for a list.
    pub end: Option<usize>,
}

/// Reads the filters that are set.
pub fn parse(bytes: &[u8]) -> Vec<Filter> {
    let mut out = Vec::new();
    for line in text::lines(bytes) {
        let text = line.text();
        let Some((key, _)) = text.split_once('=') else {
            continue;
        };
        let key = key.trim();
        let key = key.strip_prefix("devices/").unwrap_or(key);
        if !matches!(key, "filter" | "global_filter") {
            continue;
        }
        let equals = line.bytes.iter().position(|b| *b == b'=').unwrap_or(0);
        let from = line.start.saturating_add(equals).saturating_add(1);
        out.extend(value(bytes, from).map(|(patterns, at, end)| Filter {
            key: key.to_owned(),
            patterns,
            at,
            end,
        }));
    }
    out
}

/// A list of quoted strings, or one of them; comments may stand between.
fn value(bytes: &[u8], from: usize) -> Option<(Vec<String>, usize, Option<usize>)> {
    let mut rest = bytes.get(from..)?.iter().enumerate();
    let mut patterns = Vec::new();
    let mut open: Option<usize> = None;
    while let Some((at, byte)) = rest.next() {
        let place = from.saturating_add(at);
        match byte {
            b'[' => open = Some(place.saturating_add(1)),
            b']' => return Some((patterns, open?, None)),
            b'#' => {
                rest.by_ref().find(|(_, byte)| **byte == b'\n');
            }
            b'"' => {
                let mut text = Vec::new();
                let end = loop {
                    match rest.next()? {
                        (at, b'"') => break from.saturating_add(at).saturating_add(1),
                        (_, b'\\') => text.push(*rest.next()?.1),
                        (_, other) => text.push(*other),
                    }
                };
                patterns.push(String::from_utf8(text).ok()?);
                if open.is_none() {
                    return Some((patterns, place, Some(end)));
                }
            }
            b'\n' if open.is_none() => return None,
            _ => {}
        }
    }
    None
}

/// A pattern as LVM applies it.
struct Rule {
    accept: bool,
    regex: Regex,
}

/// True when LVM saw one of the old names, or a name by hardware, and does not see all of the new ones. `None` when a
/// pattern is not understood.
pub fn hides(patterns: &[String], old: &[String], new: &[String]) -> Option<bool> {
    let rules: Vec<Rule> = patterns.iter().map(|p| rule(p)).collect::<Option<_>>()?;
    let accepts = |name: &String| {
        let rule = rules.iter().find(|rule| rule.regex.is_match(name));
        rule.is_none_or(|rule| rule.accept)
    };
    let by_hardware = |p: &String| {
        p.starts_with('a')
            && ["by-path", "by-id", "mpath"]
                .iter()
                .any(|kind| p.contains(kind))
    };
    let was_seen = old.iter().any(accepts) || patterns.iter().any(by_hardware);
    Some(was_seen && !new.iter().all(accepts))
}

/// `a` or `r`, then a pattern between two of any one sign or two brackets.
fn rule(pattern: &str) -> Option<Rule> {
    let mut chars = pattern.chars();
    let accept = match chars.next()? {
        'a' => true,
        'r' => false,
        _ => return None,
    };
    let close = match chars.next()? {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        sign => sign,
    };
    let body = chars.as_str().strip_suffix(close)?;
    let mut builder = RegexBuilder::new(body);
    let regex = builder.size_limit(MAX_PATTERN).build().ok()?;
    Some(Rule { accept, regex })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Option<bool> {
        let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let filter = parse(text.as_bytes()).remove(0);
        let patterns = &filter.patterns;
        hides(
            patterns,
            &names(&["/dev/sda", "/dev/sda2"]),
            &names(&["/dev/vda2"]),
        )
    }

    #[test]
    fn filters_are_applied_as_lvm_does() {
        for (text, want) in [
            ("filter = [ \"a|/dev/sda2|\", \"r|.*|\" ]", Some(true)),
            ("  filter=[\"a/sd.*/\",# why ]\n\t\"r/.*/\"]", Some(true)),
            (
                "global_filter = [ \"r|/dev/drbd.*|\", \"a|.*|\" ]",
                Some(false),
            ),
            ("filter = [ \"a|.*/|\" ]", Some(false)),
            ("devices/filter = \"r|/dev/vd.*|\"", Some(true)),
            ("filter = [ \"a|/dev/md.*|\", \"r|.*|\" ]", Some(false)),
            (
                "filter = [ \"a|/dev/disk/by-id/scsi-3.*|\", \"r|.*|\" ]",
                Some(true),
            ),
            ("filter = [ \"a|(|\", \"r|.*|\" ]", None),
            ("filter = [ \"x|a|\" ]", None),
        ] {
            assert_eq!(hidden(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_commented_out_or_cut_short_is_none() {
        assert!(parse(b"# filter = [ \"a|x|\" ]\nfilter = [ \"a|x|\"\n").is_empty());
        assert!(parse(b"filter = \nfilters = [ \"a|x|\" ]\n").is_empty());
    }
}
