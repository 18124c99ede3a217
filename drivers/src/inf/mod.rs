// SPDX-License-Identifier: Apache-2.0
//! An INF file: sections in their order, and what they mean for one release of Windows.
//!
//! Syntax: <https://learn.microsoft.com/windows-hardware/drivers/install/general-syntax-rules-for-inf-files>.

mod copy;
mod decoration;
mod encoding;
mod header;
mod install;
mod line;
mod models;
mod number;
mod registry;
mod service;
mod strings;

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::package::Text;

pub(crate) use copy::Copy;
pub(crate) use header::Header;
pub(crate) use install::Installs;
pub(crate) use models::Models;

use strings::Strings;

/// No INF that is meant to be read by people comes near this length in bytes.
const MAX_LEN: usize = 8 << 20;

/// A parsed INF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inf {
    sections: Vec<Section>,
    /// Lower-case names to positions in `sections`.
    index: HashMap<String, usize>,
}

/// A section; several of the same name are one, as Windows sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// As spelled where it first occurs.
    pub name: String,
    /// In their order.
    pub lines: Vec<Line>,
}

/// `key = field, field, ...` or `field, field, ...`, with tokens substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What stands before `=`.
    pub key: Option<Text>,
    /// What stands after it, or all of it.
    pub fields: Vec<Text>,
}

impl Line {
    /// The text of a field; `None` where it is absent or empty.
    pub(crate) fn field(&self, at: usize) -> Option<&str> {
        let text = self.fields.get(at)?.text.as_str();
        (!text.is_empty()).then_some(text)
    }

    /// The field itself; `None` where it is absent or empty.
    pub(crate) fn full(&self, at: usize) -> Option<&Text> {
        self.fields.get(at).filter(|field| !field.text.is_empty())
    }

    fn has_key(&self, key: &str) -> bool {
        let own = self.key.as_ref();
        own.is_some_and(|own| own.text.eq_ignore_ascii_case(key))
    }
}

impl Section {
    /// Lines with that key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.has_key(key))
    }

    /// The first line with that key.
    pub(crate) fn first(&self, key: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.has_key(key))
    }

    /// The first field of the first line with that key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.first(key)?.field(0)
    }

    /// Every field of every line with that key: what `AddReg` and `CopyFiles` name.
    pub(crate) fn names<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(key)
            .flat_map(|line| &line.fields)
            .map(|field| field.text.as_str())
            .filter(|text| !text.is_empty())
    }
}

impl Inf {
    /// Reads an INF.
    ///
    /// # Errors
    /// `Corrupt`/`inf-encoding`, `inf-syntax`, `inf-too-long`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_LEN {
            return Err(Error::corrupt(
                "inf-too-long",
                format!("{} bytes are too many for an INF", bytes.len()),
            ));
        }
        let text = encoding::decode(bytes)?;
        let raw = line::sections(&text)?;
        let strings = Strings::collect(&raw);
        let mut inf = Self {
            sections: Vec::new(),
            index: HashMap::new(),
        };
        for section in raw {
            inf.add(section, &strings);
        }
        Ok(inf)
    }

    fn add(&mut self, section: line::RawSection, strings: &Strings) {
        let lines = section.lines.into_iter().map(|line| Line {
            key: line.key.map(|key| strings.text(key)),
            fields: line.fields.into_iter().map(|f| strings.text(f)).collect(),
        });
        let lower = section.name.to_lowercase();
        let known = self
            .index
            .get(&lower)
            .and_then(|at| self.sections.get_mut(*at));
        if let Some(known) = known {
            known.lines.extend(lines);
            return;
        }
        self.index.insert(lower, self.sections.len());
        self.sections.push(Section {
            name: section.name,
            lines: lines.collect(),
        });
    }

    /// The section of that name, in any case.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        let at = self.index.get(&name.to_lowercase())?;
        self.sections.get(*at)
    }

    /// Sections in their order.
    #[cfg(test)]
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }
}

#[cfg(test)]
mod tests;
