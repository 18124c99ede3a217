// SPDX-License-Identifier: Apache-2.0
//! LVM's text metadata: sections, and values that are numbers, strings or lists
//! (lvm2 source, libdm/libdm-config.c; `man 5 lvm.conf` describes the same syntax).

use crate::error::{Error, Result};

/// Sections in sections, deepest: a segment of a volume of a group is three.
const MAX_DEPTH: usize = 12;
/// Values and sections in all.
const MAX_NODES: usize = 400_000;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
    List(Vec<Value>),
}

/// A section: its values and subsections in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) values: Vec<(String, Value)>,
    pub(super) sections: Vec<(String, Section)>,
}

impl Section {
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        let mut all = self.sections.iter();
        all.find(|(have, _)| have == name)
            .map(|(_, section)| section)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        let mut all = self.values.iter();
        all.find(|(have, _)| have == name).map(|(_, value)| value)
    }

    /// A number that must be there.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        match self.value(name) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(missing(name)),
        }
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &str) -> Result<&str> {
        match self.value(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(missing(name)),
        }
    }

    /// A list; a lone value counts as one, an absent one as empty.
    pub(super) fn list(&self, name: &str) -> &[Value] {
        match self.value(name) {
            Some(Value::List(list)) => list,
            Some(value) => std::slice::from_ref(value),
            None => &[],
        }
    }

    /// True when a list holds that word.
    pub(super) fn has(&self, name: &str, word: &str) -> bool {
        let is = |value: &Value| matches!(value, Value::Text(text) if text == word);
        self.list(name).iter().any(is)
    }
}

fn missing(name: &str) -> Error {
    Error::corrupt(
        "lvm-metadata",
        format!("the metadata lacks {name}, or it is of the wrong kind"),
    )
}

/// Reads a whole text.
///
/// # Errors
/// `Corrupt`/`lvm-metadata`, with the place in the text.
pub(super) fn parse(text: &[u8]) -> Result<Section> {
    let mut parser = Parser {
        text,
        at: 0,
        nodes: 0,
    };
    parser.section(0)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    nodes: usize,
}

impl Parser<'_> {
    fn bad(&self, what: &str) -> Error {
        Error::corrupt("lvm-metadata", format!("the metadata's text: {what}")).at(self.at as u64)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied().filter(|byte| *byte != 0)
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    fn count(&mut self) -> Result<()> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(self.bad("it has too many values"));
        }
        Ok(())
    }

    /// Skips blanks and comments.
    fn blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => while self.next().is_some_and(|byte| byte != b'\n') {},
                byte if byte.is_ascii_whitespace() => {
                    self.next();
                }
                _ => return,
            }
        }
    }

    fn section(&mut self, depth: usize) -> Result<Section> {
        if depth > MAX_DEPTH {
            return Err(self.bad("its sections are nested too deep"));
        }
        let mut out = Section::default();
        loop {
            self.blank();
            match (self.peek(), depth) {
                (None, 0) => return Ok(out),
                (None, _) => return Err(self.bad("it ends inside a section")),
                (Some(b'}'), 1..) => {
                    self.next();
                    return Ok(out);
                }
                _ => self.entry(&mut out, depth)?,
            }
        }
    }

    fn entry(&mut self, out: &mut Section, depth: usize) -> Result<()> {
        self.count()?;
        let name = self.word();
        if name.is_empty() {
            return Err(self.bad("a name is expected"));
        }
        let twice = out.value(&name).is_some() || out.section(&name).is_some();
        if twice && depth < 3 {
            return Err(self.bad(&format!("{name} stands there twice")));
        }
        self.blank();
        match self.next() {
            Some(b'{') => {
                let section = self.section(depth.saturating_add(1))?;
                out.sections.push((name, section));
            }
            Some(b'=') => {
                let value = self.value(0)?;
                out.values.push((name, value));
            }
            _ => return Err(self.bad("'=' or '{' is expected")),
        }
        Ok(())
    }

    /// Letters of names and numbers.
    fn word(&mut self) -> String {
        let mut out = String::new();
        while let Some(byte) = self.peek() {
            if !(byte.is_ascii_alphanumeric() || b"_.+-@/".contains(&byte)) {
                break;
            }
            out.push(char::from(byte));
            self.next();
        }
        out
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        self.count()?;
        self.blank();
        match self.peek() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'[') if depth == 0 => self.list(),
            _ => {
                let word = self.word();
                match (word.is_empty(), word.parse()) {
                    (true, _) => Err(self.bad("a value is expected")),
                    (false, Ok(number)) => Ok(Value::Number(number)),
                    // Fractions and negative numbers are nothing that is read here.
                    (false, Err(_)) => Ok(Value::Text(word)),
                }
            }
        }
    }

    fn list(&mut self) -> Result<Value> {
        self.next();
        let mut out = Vec::new();
        loop {
            self.blank();
            match self.peek() {
                Some(b']') => {
                    self.next();
                    return Ok(Value::List(out));
                }
                Some(b',') => {
                    self.next();
                }
                None => return Err(self.bad("it ends inside a list")),
                _ => out.push(self.value(1)?),
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        self.next();
        let mut out = Vec::new();
        loop {
            match self.next() {
                Some(b'"') => return Ok(String::from_utf8_lossy(&out).into_owned()),
                Some(b'\\') => out.extend(self.next()),
                Some(byte) => out.push(byte),
                None => return Err(self.bad("it ends inside a string")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_and_lists_are_read() {
        let text = b"vg {\nid = \"a\\\"b\" # no\nn = 12\nf = [ ]\nl = [\"x\", 3]\npv { k = 1 }\n}\nv = 0.5\n\0junk";
        let all = parse(text).unwrap();
        let vg = all.section("vg").unwrap();
        assert_eq!(vg.text("id").unwrap(), "a\"b");
        assert_eq!(vg.number("n").unwrap(), 12);
        assert!(vg.list("f").is_empty());
        assert_eq!(
            vg.list("l"),
            [Value::Text("x".to_owned()), Value::Number(3)]
        );
        assert_eq!(vg.section("pv").unwrap().number("k").unwrap(), 1);
        assert!(vg.has("l", "x") && vg.number("id").is_err());
    }

    #[test]
    fn damage_is_an_error_with_its_place() {
        for text in ["vg {", "vg", "a = [1", "a = \"x", "= 1", "a { } a { }", "}"] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.offset.is_some()),
                ("lvm-metadata", true),
                "{text}"
            );
        }
        assert!(parse("a {".repeat(100_000).as_bytes()).is_err());
        assert!(parse("a = [[1]]".as_bytes()).is_err());
    }
}
