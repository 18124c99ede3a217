// SPDX-License-Identifier: Apache-2.0
//! Lines: comments, continuation, quotes, keys and fields.

use crate::error::{Error, Result};

/// A section as written, tokens not yet substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawSection {
    /// The name between `[` and `]`.
    pub name: String,
    /// Its lines.
    pub lines: Vec<RawLine>,
}

/// A line as written, without quotes and blanks around its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RawLine {
    /// What stands before `=`.
    pub key: Option<String>,
    /// The fields.
    pub fields: Vec<String>,
}

/// Cuts a text into sections.
///
/// # Errors
/// `Corrupt`/`inf-syntax` for a header that does not end, and for text before the first header.
pub(super) fn sections(text: &str) -> Result<Vec<RawSection>> {
    let mut out: Vec<RawSection> = Vec::new();
    let mut lines = text.lines().zip(1_u64..);
    while let Some((line, number)) = lines.next() {
        let trimmed = line.trim();
        if let Some(rest) = trimmed.strip_prefix('[') {
            let (name, _) = rest
                .split_once(']')
                .ok_or_else(|| broken(number, "a section's name does not end"))?;
            out.push(RawSection {
                name: name.trim().to_owned(),
                lines: Vec::new(),
            });
            continue;
        }
        let mut scan = Scan::default();
        scan.line(line);
        while scan.goes_on {
            let Some((next, _)) = lines.next() else { break };
            scan.line(next);
        }
        let Some(parsed) = scan.finish() else {
            continue;
        };
        match out.last_mut() {
            Some(section) => section.lines.push(parsed),
            None => return Err(broken(number, "text stands before the first section")),
        }
    }
    Ok(out)
}

fn broken(number: u64, what: &str) -> Error {
    Error::corrupt("inf-syntax", format!("line {number} of the INF: {what}"))
}

/// Collects one line that may go on over several.
#[derive(Debug, Default)]
struct Scan {
    key: Option<String>,
    fields: Vec<String>,
    /// The part that is being collected.
    part: String,
    /// How much of `part` a blank at its end must not take away: what stood in quotes.
    kept: usize,
    /// Whether anything but blanks was seen.
    any: bool,
    goes_on: bool,
}

impl Scan {
    fn line(&mut self, line: &str) {
        self.goes_on = false;
        let mut quoted = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    self.part.push('"');
                }
                '"' => {
                    quoted = !quoted;
                    self.any = true;
                    self.kept = self.part.len();
                }
                c if quoted => {
                    self.part.push(c);
                    self.kept = self.part.len();
                }
                ';' => break,
                '\\' if ends(chars.clone()) => {
                    self.goes_on = true;
                    break;
                }
                '=' if self.key.is_none() && self.fields.is_empty() => self.key = Some(self.take()),
                ',' => {
                    let part = self.take();
                    self.fields.push(part);
                }
                c if c.is_whitespace() && self.part.is_empty() => {}
                c => {
                    self.any |= !c.is_whitespace();
                    self.part.push(c);
                }
            }
        }
    }

    /// The part without blanks around it, but for those in quotes.
    fn take(&mut self) -> String {
        self.any = true;
        let part = std::mem::take(&mut self.part);
        let kept = std::mem::take(&mut self.kept);
        let (quoted, rest) = part.split_at_checked(kept).unwrap_or((&part, ""));
        format!("{quoted}{}", rest.trim_end())
    }

    fn finish(mut self) -> Option<RawLine> {
        if !self.any {
            return None;
        }
        let last = self.take();
        self.fields.push(last);
        Some(RawLine {
            key: self.key,
            fields: self.fields,
        })
    }
}

/// Whether nothing but blanks or a comment follows.
fn ends(mut rest: impl Iterator<Item = char>) -> bool {
    rest.find(|c| !c.is_whitespace()).is_none_or(|c| c == ';')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<RawLine> {
        sections(text).unwrap().remove(0).lines
    }

    fn line(key: Option<&str>, fields: &[&str]) -> RawLine {
        RawLine {
            key: key.map(str::to_owned),
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn keys_and_fields_lose_blanks_and_quotes() {
        let got = lines("[s]\n a b = c , \" d \" ,, e ; f = g\nHKR,,x,,a=b\nfile.sys\n;\n\n");
        assert_eq!(got[0], line(Some("a b"), &["c", " d ", "", "e"]));
        assert_eq!(got[1], line(None, &["HKR", "", "x", "", "a=b"]));
        assert_eq!(got[2], line(None, &["file.sys"]));
        assert_eq!(got.len(), 3);
    }

    #[test]
    fn quotes_hide_what_else_would_mean_something() {
        let got = lines("[s]\nx=\"a,b;c=d\"\"e\"\"\",\"\\\"\ny=\"\"\n");
        assert_eq!(got[0], line(Some("x"), &["a,b;c=d\"e\"", "\\"]));
        assert_eq!(got[1], line(Some("y"), &[""]));
    }

    #[test]
    fn a_backslash_at_the_end_joins_lines_also_before_a_comment() {
        let got = lines("[s]\nCopyFiles = a, \\ ; first\n  b,\\\n c\nd=e\\f\n");
        assert_eq!(got[0], line(Some("CopyFiles"), &["a", "b", "c"]));
        assert_eq!(got[1], line(Some("d"), &["e\\f"]));
    }

    #[test]
    fn broken_headers_and_stray_text_name_the_line() {
        assert!(
            sections("\n[Version\nx=1\n")
                .unwrap_err()
                .message
                .contains("line 2")
        );
        assert!(sections("MZ\n").unwrap_err().message.contains("line 1"));
        assert_eq!(sections("; only this\n").unwrap(), []);
    }

    #[test]
    fn a_backslash_on_the_last_line_ends_with_the_file() {
        assert_eq!(lines("[s]\na=b\\")[0], line(Some("a"), &["b"]));
    }
}
