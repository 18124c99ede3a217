// SPDX-License-Identifier: Apache-2.0
//! Flow style: `{a: b}`, `[a, b]`, quoted and plain scalars (YAML 1.2, chapter 7).

use super::{Entry, Yaml, bad};
use crate::document::MAX_DEPTH;
use crate::error::Result;

/// A value that stands in one line, or in several that were joined.
pub(super) fn parse(text: &str) -> Result<Yaml> {
    let mut flow = Flow { rest: text.trim() };
    let value = flow.value(0, false)?;
    match flow.rest.trim() {
        "" => Ok(value),
        _ => Err(bad(0, "something behind a value")),
    }
}

/// The key of a line and what stands behind its colon; `None` when it has none.
pub(super) fn key(text: &str) -> Option<(String, &str)> {
    if text.starts_with(['"', '\'']) {
        let mut flow = Flow { rest: text };
        let key = flow.quoted()?;
        let rest = flow.rest.trim_start().strip_prefix(':')?;
        return behind_colon(rest).map(|rest| (key, rest));
    }
    if text.starts_with(['{', '[', '|', '>', '&', '*', '!', '@', '`', '%', '\t']) {
        return None;
    }
    let (at, _) = text.match_indices(':').find(|(at, _)| {
        behind_colon(text.get(at.saturating_add(1)..).unwrap_or_default()).is_some()
    })?;
    let rest = text.get(at.saturating_add(1)..)?;
    Some((text.get(..at)?.trim().to_owned(), rest.trim()))
}

fn behind_colon(rest: &str) -> Option<&str> {
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim())
}

/// Tells whether a quote or bracket is still open, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Open {
    depth: usize,
    quote: Option<char>,
    before: Option<char>,
    /// A plain scalar: its signs mean nothing.
    plain: bool,
}

impl Open {
    pub(super) fn of(text: &str) -> Self {
        let plain = !text.starts_with(['"', '\'', '{', '[']);
        let mut open = Self {
            plain,
            ..Self::default()
        };
        open.feed(text);
        open
    }

    pub(super) fn feed(&mut self, text: &str) {
        for char in text.chars() {
            let before = self.before.unwrap_or(' ');
            match (self.quote, char) {
                (Some(open), _) if char == open && !(open == '"' && before == '\\') => {
                    self.quote = None;
                }
                (Some(_), _) => {}
                (None, '"' | '\'') if !before.is_alphanumeric() => self.quote = Some(char),
                (None, '{' | '[') => self.depth = self.depth.saturating_add(1),
                (None, '}' | ']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            // An escaped backslash escapes nothing.
            self.before = (before != '\\' || char != '\\').then_some(char);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.plain && (self.quote.is_some() || self.depth > 0)
    }
}

struct Flow<'a> {
    rest: &'a str,
}

impl Flow<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, char: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(char) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize, inside: bool) -> Result<Yaml> {
        self.skip();
        if depth > MAX_DEPTH {
            return Err(bad(0, "nesting that deep"));
        }
        if self.eat('{') {
            return self.map(depth);
        }
        if self.eat('[') {
            return self.list(depth);
        }
        if self.rest.starts_with(['"', '\'']) {
            let text = self.quoted().ok_or_else(|| bad(0, "a quote left open"))?;
            return Ok(Yaml::Scalar(text));
        }
        if self
            .rest
            .starts_with(['&', '*', '!', '@', '`', '%', '|', '>'])
        {
            return Err(bad(0, "an anchor, alias or tag"));
        }
        let text = self.plain(inside);
        Ok(match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Yaml::Null,
            _ => Yaml::Scalar(text),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Yaml> {
        let mut items = Vec::new();
        while !self.eat(']') {
            items.push(self.value(depth.saturating_add(1), true)?);
            if !self.eat(',') && !self.rest.starts_with(']') {
                return Err(bad(0, "a list left open"));
            }
        }
        Ok(Yaml::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Yaml> {
        let mut entries = Vec::new();
        while !self.eat('}') {
            self.skip();
            let key = match self.rest.starts_with(['"', '\'']) {
                true => self.quoted().ok_or_else(|| bad(0, "a quote left open"))?,
                false => self.plain(true),
            };
            let value = match self.eat(':') {
                true => self.value(depth.saturating_add(1), true)?,
                false => Yaml::Null,
            };
            entries.push(Entry {
                key,
                value,
                lines: 0..0,
                indent: 0,
            });
            if !self.eat(',') && !self.rest.starts_with('}') {
                return Err(bad(0, "a mapping left open"));
            }
        }
        Ok(Yaml::Map(entries))
    }

    /// A plain scalar; inside a collection it ends at that one's signs.
    fn plain(&mut self, inside: bool) -> String {
        let mut end = self.rest.len();
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, char)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            let colon = char == ':' && next.is_none_or(|n| matches!(n, ' ' | ',' | '}' | ']'));
            if inside && (matches!(char, ',' | '[' | ']' | '{' | '}') || colon) {
                end = at;
                break;
            }
        }
        let (text, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        text.trim().to_owned()
    }

    fn quoted(&mut self) -> Option<String> {
        let mut chars = self.rest.char_indices();
        let (_, quote) = chars.next()?;
        let mut out = String::new();
        while let Some((at, char)) = chars.next() {
            let behind = self.rest.get(at.saturating_add(1)..)?;
            if char == quote {
                if quote == '\'' && behind.starts_with('\'') {
                    out.push('\'');
                    chars.next();
                    continue;
                }
                self.rest = behind;
                return Some(out);
            }
            if quote == '"' && char == '\\' {
                match chars.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    other => out.push(other),
                }
                continue;
            }
            out.push(char);
        }
        None
    }
}
