// SPDX-License-Identifier: Apache-2.0
//! YAML as installers, cloud-init and kubectl write it: block and flow collections, quoted, plain
//! and block scalars, several documents (YAML 1.2, chapters 6 to 9). Tags, anchors, aliases and
//! merge keys are refused and never guessed at.

use std::ops::Range;

use super::MAX_DEPTH;
use crate::error::{Error, Result};

mod flow;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Yaml {
    /// Nothing, or `null`.
    Null,
    /// Any scalar, as text.
    Scalar(String),
    /// A sequence.
    List(Vec<Yaml>),
    /// A mapping, in order.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Yaml,
    /// The whole lines of key and value; empty inside a flow collection.
    pub lines: Range<usize>,
    /// The column of the key.
    pub indent: usize,
}

impl Yaml {
    /// The value of a key; of several the last, as most readers take it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A key with its place.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().rfind(|entry| entry.key == key)
    }

    /// The value at the end of a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |at, key| at.get(key))
    }

    /// The keys of a mapping; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of a sequence of scalars, or of one scalar.
    pub fn texts(&self) -> Vec<String> {
        let one = self.text().into_iter();
        let all = one.chain(self.items().iter().filter_map(Self::text));
        all.map(str::to_owned).collect()
    }

    /// True for what YAML 1.1 and 1.2 take for yes.
    pub fn is_true(&self) -> bool {
        let text = self.text().unwrap_or_default().to_ascii_lowercase();
        matches!(text.as_str(), "true" | "yes" | "on" | "y")
    }
}

impl From<serde_json::Value> for Yaml {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Scalar(value.to_string()),
            Value::Number(value) => Self::Scalar(value.to_string()),
            Value::String(value) => Self::Scalar(value),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(entries) => {
                let entry = |(key, value)| Entry {
                    key,
                    value: Self::from(value),
                    lines: 0..0,
                    indent: 0,
                };
                Self::Map(entries.into_iter().map(entry).collect())
            }
        }
    }
}

/// A line without its comment.
#[derive(Debug, Clone)]
struct Line<'a> {
    indent: usize,
    text: &'a str,
    /// The line with its comment, for block scalars.
    raw: &'a str,
    /// The whole line in the file, its end included.
    whole: Range<usize>,
}

/// Reads every document of a file.
///
/// # Errors
/// `Unsupported`/`bad-yaml` for what is no YAML and for what of YAML is not read.
pub fn parse(bytes: &[u8]) -> Result<Vec<Yaml>> {
    let text = std::str::from_utf8(bytes).map_err(|e| bad(0, "no UTF-8").because(e))?;
    let mut out = Vec::new();
    let mut lines = Vec::new();
    let mut start = 0_usize;
    for piece in text.split_inclusive('\n') {
        let whole = start..start.saturating_add(piece.len());
        start = whole.end;
        let raw = piece.trim_end_matches(['\n', '\r']);
        let raw = match whole.start {
            0 => raw.trim_start_matches('\u{feff}'),
            _ => raw,
        };
        if raw == "..." || raw.starts_with("---") {
            let rest = raw.trim_start_matches('-').trim();
            if !rest.is_empty() && raw != "..." && !rest.starts_with('#') {
                return Err(bad(whole.start, "content beside ---"));
            }
            document(std::mem::take(&mut lines), &mut out)?;
            continue;
        }
        if raw.starts_with('%') && lines.is_empty() {
            continue;
        }
        let body = raw.trim_start_matches(' ');
        lines.push(Line {
            indent: raw.len().saturating_sub(body.len()),
            text: without_comment(body).trim_end(),
            raw,
            whole,
        });
    }
    document(lines, &mut out)?;
    Ok(out)
}

fn document(lines: Vec<Line<'_>>, out: &mut Vec<Yaml>) -> Result<()> {
    let mut parser = Parser { lines, at: 0 };
    if parser.peek().is_none() {
        return Ok(());
    }
    out.push(parser.block(0, 0)?);
    match parser.peek() {
        Some(line) => Err(bad(
            line.whole.start,
            "an indent that fits nothing above it",
        )),
        None => Ok(()),
    }
}

struct Parser<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next line that is not blank.
    fn peek(&mut self) -> Option<Line<'a>> {
        loop {
            let line = self.lines.get(self.at)?;
            if !line.text.is_empty() {
                return Some(line.clone());
            }
            self.at = self.at.saturating_add(1);
        }
    }

    fn next(&mut self) -> Option<Line<'a>> {
        let line = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(line)
    }

    /// Where the content read so far ends.
    fn end(&self) -> usize {
        let before = self.lines.get(..self.at).unwrap_or_default();
        let last = before.iter().rfind(|line| !line.text.is_empty());
        last.map_or(0, |line| line.whole.end)
    }

    /// A value whose lines stand at `least` or deeper.
    fn block(&mut self, least: usize, depth: usize) -> Result<Yaml> {
        let Some(line) = self.peek().filter(|line| line.indent >= least) else {
            return Ok(Yaml::Null);
        };
        if depth > MAX_DEPTH {
            return Err(bad(line.whole.start, "nesting that deep"));
        }
        if line.text.starts_with('\t') {
            return Err(bad(line.whole.start, "a tab for an indent"));
        }
        if dash(line.text).is_some() {
            return self.list(line.indent, depth);
        }
        if flow::key(line.text).is_some() {
            return self.map(line.indent, depth);
        }
        self.at = self.at.saturating_add(1);
        self.scalar(line.text, &line, line.indent)
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Yaml> {
        let mut items = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent) {
            let Some(rest) = dash(line.text) else {
                break;
            };
            let inner = indent.saturating_add(line.text.len().saturating_sub(rest.len()));
            if rest.is_empty() {
                self.at = self.at.saturating_add(1);
                items.push(self.block(indent.saturating_add(1), depth.saturating_add(1))?);
                continue;
            }
            if dash(rest).is_none() && flow::key(rest).is_none() {
                self.at = self.at.saturating_add(1);
                items.push(self.scalar(rest, &line, indent)?);
                continue;
            }
            // "- key: value": the rest of the line is the first of a collection's own lines.
            if let Some(slot) = self.lines.get_mut(self.at) {
                slot.indent = inner;
                slot.text = rest;
            }
            items.push(self.block(inner, depth.saturating_add(1))?);
        }
        Ok(Yaml::List(items))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Yaml> {
        let mut entries = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent) {
            let Some((key, rest)) = flow::key(line.text).filter(|_| dash(line.text).is_none())
            else {
                break;
            };
            if key == "<<" {
                return Err(bad(line.whole.start, "a merge key"));
            }
            self.next();
            let value = self.value(rest, &line, depth)?;
            entries.push(Entry {
                key,
                value,
                lines: line.whole.start..self.end(),
                indent,
            });
        }
        Ok(Yaml::Map(entries))
    }

    /// What stands behind a key.
    fn value(&mut self, rest: &'a str, line: &Line<'a>, depth: usize) -> Result<Yaml> {
        if !rest.is_empty() {
            return self.scalar(rest, line, line.indent);
        }
        let deeper = line.indent.saturating_add(1);
        match self.peek() {
            // A list may stand at the indent of its key.
            Some(next) if next.indent == line.indent && dash(next.text).is_some() => {
                self.list(line.indent, depth.saturating_add(1))
            }
            _ => self.block(deeper, depth.saturating_add(1)),
        }
    }

    /// A scalar or flow collection that begins in `line` and may run on over deeper lines.
    fn scalar(&mut self, first: &str, line: &Line<'a>, indent: usize) -> Result<Yaml> {
        if first.starts_with(['|', '>']) {
            return Ok(Yaml::Scalar(self.literal(indent, first.starts_with('>'))));
        }
        let mut text = first.to_owned();
        let mut signs = flow::Open::of(first);
        loop {
            let open = signs.is_open();
            match self.peek() {
                Some(next) if open || next.indent > indent => {
                    if !open && flow::key(next.text).is_some() {
                        return Err(bad(next.whole.start, "a key inside a scalar"));
                    }
                    signs.feed(" ");
                    signs.feed(next.text);
                    text.push(' ');
                    text.push_str(next.text);
                    self.at = self.at.saturating_add(1);
                }
                _ => break,
            }
        }
        flow::parse(&text).map_err(|e| e.at(u64::try_from(line.whole.start).unwrap_or(0)))
    }

    /// `|` and `>`: the deeper lines as they stand.
    fn literal(&mut self, indent: usize, folded: bool) -> String {
        let mut out: Vec<&str> = Vec::new();
        let mut margin = None;
        while let Some(line) = self.lines.get(self.at) {
            let blank = line.raw.trim().is_empty();
            if !blank && line.indent <= indent {
                break;
            }
            let margin = *margin.get_or_insert(line.indent);
            out.push(line.raw.get(margin..).unwrap_or_default());
            self.at = self.at.saturating_add(1);
        }
        out.join(if folded { " " } else { "\n" })
            .trim_end()
            .to_owned()
    }
}

/// What stands behind a list's dash.
fn dash(text: &str) -> Option<&str> {
    match text.strip_prefix('-')? {
        "" => Some(""),
        rest => rest.starts_with(' ').then(|| rest.trim_start_matches(' ')),
    }
}

/// The text before ` #`, quotes respected.
fn without_comment(text: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(open), _) if char == open && before != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(char),
            (None, '#') if before.is_whitespace() => return text.get(..at).unwrap_or(text),
            _ => {}
        }
        before = char;
    }
    text
}

fn bad(at: usize, what: &str) -> Error {
    Error::unsupported(
        "bad-yaml",
        format!("the YAML has {what}, which is not read"),
    )
    .at(u64::try_from(at).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Yaml {
        parse(text.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn block_style_is_read_as_installers_write_it() {
        let yaml = one(
            "# c\r\nnetwork:\r\n  version: 2 # two\r\n  ethernets:\r\n    ens192:\r\n      addresses:\r\n      - 192.0.2.10/24\r\n      - \"2001:db8::1/64\"\r\n      routes:\r\n        - to: default\r\n          via: 192.0.2.1\r\n    ens224: {}\r\n",
        );
        let card = yaml.at(&["network", "ethernets", "ens192"]).unwrap();
        assert_eq!(
            card.get("addresses").unwrap().texts(),
            ["192.0.2.10/24", "2001:db8::1/64"]
        );
        let route = &card.get("routes").unwrap().items()[0];
        assert_eq!(route.get("via").unwrap().text(), Some("192.0.2.1"));
        assert_eq!(
            yaml.at(&["network", "ethernets", "ens224"])
                .unwrap()
                .entries(),
            []
        );
        assert_eq!(yaml.at(&["network", "version"]).unwrap().text(), Some("2"));
    }

    #[test]
    fn flow_style_quotes_and_long_scalars_are_read() {
        let yaml = one(
            "a: {b: [1, 'it''s', \"x\\\"y\"], c: {d: e},\n  f: g}\nh: |\n  one # no comment\n\n  two\ni: long\n  words\nj: \"k: l\" # m\n\"n:o\": p:q\nr:\ns: -1\n",
        );
        assert_eq!(yaml.at(&["a", "b"]).unwrap().texts(), ["1", "it's", "x\"y"]);
        assert_eq!(yaml.at(&["a", "c", "d"]).unwrap().text(), Some("e"));
        assert_eq!(yaml.at(&["a", "f"]).unwrap().text(), Some("g"));
        assert_eq!(
            yaml.get("h").unwrap().text(),
            Some("one # no comment\n\ntwo")
        );
        assert_eq!(yaml.get("i").unwrap().text(), Some("long words"));
        assert_eq!(yaml.get("j").unwrap().text(), Some("k: l"));
        assert_eq!(yaml.get("n:o").unwrap().text(), Some("p:q"));
        assert_eq!(yaml.get("r"), Some(&Yaml::Null));
        assert_eq!(yaml.get("s").unwrap().text(), Some("-1"));
    }

    #[test]
    fn keys_know_their_lines() {
        let text = "a:\n  b: 1\n  # of c\n  c:\n    - x\n    - y: z\n\n  d: 2\n";
        let yaml = one(text);
        let c = yaml.get("a").unwrap().entry("c").unwrap();
        assert_eq!(&text[c.lines.clone()], "  c:\n    - x\n    - y: z\n");
        assert_eq!(c.indent, 2);
    }

    #[test]
    fn several_documents_are_told_apart() {
        let all = parse(b"---\nkind: A\n---\nkind: B\n...\n").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].get("kind").unwrap().text(), Some("B"));
        assert_eq!(parse(b"# nothing\n").unwrap(), []);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "a: &x 1\n",
            "a: *x\n",
            "a: !!str b\n",
            "<<: {a: b}\n",
            "\ta: b\n",
            "a: [1, 2\n",
            "a: {b: c\n",
            "a: 'open\n",
            "a: b\n c: d\n",
            "a: 1\n  - b\nc\n",
            "  a: 1\n b: 2\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "- ".repeat(500);
        assert!(parse(format!("{deep}a\n").as_bytes()).is_err());
        assert!(parse(format!("a: {}1{}\n", "[".repeat(500), "]".repeat(500)).as_bytes()).is_err());
    }
}
