// SPDX-License-Identifier: Apache-2.0
//! `.reg` text into an open edit.

use super::reg_export::HEADER;
use super::{Editor, ValueType, typed};
use crate::error::{Error, Kind, Result};

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Keys that were named and now exist.
    pub keys: u64,
    /// Values that were given.
    pub values: u64,
    /// Keys and values that were named for deletion.
    pub deleted: u64,
}

/// Applies `.reg` text: keys are created, values set, `[-key]` and `"name"=-` deleted. `prefix`
/// is taken from the front of every key, for example `HKEY_LOCAL_MACHINE\SYSTEM`.
///
/// Errors: `reg-syntax` with the line's number; those of the edits.
pub fn import(edit: &mut Editor<'_>, text: &str, prefix: &str) -> Result<Imported> {
    let mut done = Imported::default();
    let mut key: Option<String> = None;
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let mut line = first.trim().to_owned();
        while is_hex(&line) && line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().map_or("", |(_, more)| more.trim()));
        }
        if line.is_empty() || line.starts_with(';') || line == HEADER {
            continue;
        }
        let bad = |what: &str| syntax(number, what);
        if let Some(head) = line.strip_prefix('[') {
            let path = head
                .strip_suffix(']')
                .ok_or_else(|| bad("a key has no ]"))?;
            let gone = path.strip_prefix('-');
            let path =
                below(gone.unwrap_or(path), prefix).ok_or_else(|| bad("a key of another hive"))?;
            if gone.is_some() {
                edit.delete_key(path)?;
                done.deleted = done.deleted.saturating_add(1);
                key = None;
            } else {
                edit.create_key(path)?;
                done.keys = done.keys.saturating_add(1);
                key = Some(path.to_owned());
            }
            continue;
        }
        let (name, data) = value(&line).ok_or_else(|| bad("expected \"name\"=data"))?;
        let path = key
            .as_deref()
            .ok_or_else(|| bad("a value before any key"))?;
        if data == "-" {
            edit.delete_value(path, &name)?;
            done.deleted = done.deleted.saturating_add(1);
            continue;
        }
        let (kind, bytes) = parse_data(data).ok_or_else(|| bad("data of no known form"))?;
        edit.set_value(path, &name, kind, &bytes)?;
        done.values = done.values.saturating_add(1);
    }
    Ok(done)
}

fn syntax(line: usize, what: &str) -> Error {
    let number = line.saturating_add(1);
    Error::new(
        Kind::Usage,
        "reg-syntax",
        format!("line {number} of the .reg text: {what}"),
    )
}

/// Whether a line holds hexadecimal data, which alone may continue on the next line.
fn is_hex(line: &str) -> bool {
    value(line).is_some_and(|(_, data)| data.starts_with("hex"))
}

fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let head = path.get(..prefix.len())?;
    let rest = path.get(prefix.len()..)?;
    let fits = head.eq_ignore_ascii_case(prefix);
    match rest.strip_prefix('\\') {
        _ if !fits => None,
        Some(rest) => Some(rest),
        None if rest.is_empty() || prefix.is_empty() => Some(rest),
        None => None,
    }
}

/// A line as name and data.
fn value(line: &str) -> Option<(String, &str)> {
    if let Some(data) = line.strip_prefix("@=") {
        return Some((String::new(), data));
    }
    let (name, rest) = unquote(line)?;
    Some((name, rest.trim_start().strip_prefix('=')?.trim_start()))
}

/// A quoted text at the start, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((out, chars.as_str())),
            '\\' => out.push(chars.next()?),
            other => out.push(other),
        }
    }
}

/// Data as the text after the equals sign says it: `"text"`, `dword:` or `hex(type):`.
pub fn parse_data(text: &str) -> Option<(ValueType, Vec<u8>)> {
    if let Some((text, rest)) = unquote(text) {
        return rest
            .trim()
            .is_empty()
            .then(|| (ValueType::SZ, typed::string_data(&text)));
    }
    if let Some(number) = text.strip_prefix("dword:") {
        let number = u32::from_str_radix(number.trim(), 16).ok()?;
        return Some((ValueType::DWORD, number.to_le_bytes().to_vec()));
    }
    let (kind, bytes) = text.strip_prefix("hex")?.split_once(':')?;
    let kind = match kind.strip_prefix('(') {
        Some(kind) => ValueType(u32::from_str_radix(kind.strip_suffix(')')?, 16).ok()?),
        None if kind.is_empty() => ValueType::BINARY,
        None => return None,
    };
    let bytes = bytes
        .split(',')
        .map(str::trim)
        .filter(|byte| !byte.is_empty());
    let bytes = bytes.map(|byte| u8::from_str_radix(byte, 16).ok());
    Some((kind, bytes.collect::<Option<_>>()?))
}
