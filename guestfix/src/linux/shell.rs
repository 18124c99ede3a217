// SPDX-License-Identifier: Apache-2.0
//! Files of shell assignments (`/etc/os-release`, `/etc/default/grub`, `resume`): read as far as
//! one `NAME=value` per line goes, and edited inside the value's own quotes.

use std::ops::Range;

use super::text::lines;

/// One `NAME=value` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// The value with quotes and backslashes resolved.
    pub value: String,
    /// The text between the quotes, as it stands in the file; `None` when the value is made of
    /// several quoted parts or runs on over the line's end, and is not to be edited.
    pub inner: Option<Range<usize>>,
    /// The quote around it, if any.
    pub quote: Option<u8>,
    /// The line without its end.
    pub line: Range<usize>,
}

/// Every assignment of a file in order; whatever else stands there is skipped.
pub fn assignments(bytes: &[u8]) -> Vec<Assignment> {
    lines(bytes)
        .into_iter()
        .filter_map(|line| {
            let (name, at) = name_of(line.bytes)?;
            let raw = line.bytes.get(at..)?;
            let base = line.start.checked_add(at)?;
            let (value, inner, quote) = value_of(raw, base)?;
            Some(Assignment {
                name,
                value,
                inner,
                quote,
                line: line.start..line.end,
            })
        })
        .collect()
}

/// The last value given to a variable, as the shell would see it.
pub fn value<'a>(assignments: &'a [Assignment], name: &str) -> Option<&'a str> {
    assignments
        .iter()
        .rfind(|a| a.name == name)
        .map(|a| a.value.as_str())
}

/// The name before `=` and where the value begins.
fn name_of(line: &[u8]) -> Option<(String, usize)> {
    let blank = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let rest = line.get(blank..)?;
    let (skip, rest) = match rest.strip_prefix(b"export ") {
        Some(after) => (7_usize, after),
        None => (0, rest),
    };
    let equals = rest.iter().position(|byte| *byte == b'=')?;
    let name = rest.get(..equals)?;
    let good = name.first().is_some_and(|b| !b.is_ascii_digit())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let at = blank
        .checked_add(skip)?
        .checked_add(equals)?
        .checked_add(1)?;
    good.then(|| (String::from_utf8_lossy(name).into_owned(), at))
}

type Value = (String, Option<Range<usize>>, Option<u8>);

/// Resolves a value by the shell's quoting rules; `None` when a quote stays open.
fn value_of(raw: &[u8], base: usize) -> Option<Value> {
    let mut value = Vec::new();
    let mut quote = None;
    let mut parts = Vec::new();
    let mut part = 0_usize;
    let mut bytes = raw.iter().copied().enumerate();
    let mut end = raw.len();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (None, b' ' | b'\t' | b';') => {
                end = at;
                break;
            }
            (None, b'"' | b'\'') => {
                if at > part {
                    parts.push((part..at, None));
                }
                quote = Some(byte);
                part = at.checked_add(1)?;
            }
            (Some(open), _) if byte == open => {
                parts.push((part..at, quote));
                quote = None;
                part = at.checked_add(1)?;
            }
            (Some(b'\''), _) => value.push(byte),
            (_, b'\\') => {
                let (_, next) = bytes.next()?;
                if quote.is_some() && !matches!(next, b'"' | b'$' | b'`' | b'\\') {
                    value.push(byte);
                }
                value.push(next);
            }
            _ => value.push(byte),
        }
    }
    if quote.is_some() {
        return None;
    }
    if part < end || parts.is_empty() {
        parts.push((part..end, None));
    }
    let (inner, quote) = match parts.as_slice() {
        [(range, quote)] => {
            let from = base.checked_add(range.start)?;
            (Some(from..base.checked_add(range.end)?), *quote)
        }
        _ => (None, None),
    };
    Some((String::from_utf8_lossy(&value).into_owned(), inner, quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> (String, Option<String>) {
        let all = assignments(line.as_bytes());
        let a = all.first().unwrap();
        let inner = a.inner.clone().map(|r| line[r].to_owned());
        (a.value.clone(), inner)
    }

    #[test]
    fn quotes_are_resolved_and_the_inner_text_is_found() {
        for (line, value, inner) in [
            ("A=plain\r\n", "plain", Some("plain")),
            ("A=\"two words\" # why", "two words", Some("two words")),
            ("export A='it\\s'", "it\\s", Some("it\\s")),
            (
                "A=\"say \\\"hi\\\" \\x\"",
                "say \"hi\" \\x",
                Some("say \\\"hi\\\" \\x"),
            ),
            ("A=", "", Some("")),
            ("A=\"\"", "", Some("")),
            ("A=one'two'", "onetwo", None),
        ] {
            assert_eq!(one(line), (value.into(), inner.map(Into::into)), "{line}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_skipped() {
        let text = b"# A=1\nif [ x = y ]; then\n1A=3\nA=\"open\nB=2\nA=4\n";
        let all = assignments(text);
        assert_eq!(value(&all, "B"), Some("2"));
        assert_eq!(value(&all, "A"), Some("4"));
        assert_eq!(all.len(), 2);
    }
}
