// SPDX-License-Identifier: Apache-2.0
//! `.reg` text ("Windows Registry Editor Version 5.00") of a key and everything beneath it.

use std::fmt::Write as _;

use super::name::Name;
use super::{Hive, Key, Value, ValueType, typed};
use crate::error::{Error, Result};

/// The first line of a `.reg` file.
pub(super) const HEADER: &str = "Windows Registry Editor Version 5.00";

/// Writes the key at `path` and all keys beneath it, headed `[prefix\path]`. Lines end in LF and
/// the text is UTF-8; regedit itself wants UTF-16 with CRLF.
///
/// Errors: `hive-no-key`; `hive-text` where a name cannot be written as text; `hive-damaged`.
pub fn export(hive: &Hive, path: &str, prefix: &str) -> Result<String> {
    // Only in a hive that was walked is every cell used once, and so the text bounded.
    hive.check()?;
    let top = hive.key(path)?.ok_or_else(|| {
        Error::refused("hive-no-key", format!("there is no key {path:?}"))
            .hint("guestfix hive get FILE shows the keys that exist")
    })?;
    let names = [prefix].into_iter().chain(super::names(path));
    let full: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    let mut out = format!("{HEADER}\n");
    let mut open = vec![(top, full.join("\\"))];
    while let Some((key, path)) = open.pop() {
        one(key, &path, &mut out)?;
        let mut subkeys = Vec::new();
        for sub in key.subkeys()? {
            let sub = sub?;
            let name = line(sub.stored_name()?)?;
            let slash = if path.is_empty() { "" } else { "\\" };
            subkeys.push((sub, format!("{path}{slash}{name}")));
        }
        open.extend(subkeys.into_iter().rev());
    }
    Ok(out)
}

fn one(key: Key<'_>, path: &str, out: &mut String) -> Result<()> {
    let _ = writeln!(out, "\n[{path}]");
    for value in key.values()? {
        let value = value?;
        let name = line(value.stored_name()?)?;
        let text = data(&value)?;
        let _ = match name.as_str() {
            "" => writeln!(out, "@={text}"),
            name => writeln!(out, "{}={text}", quoted(name)),
        };
    }
    Ok(())
}

/// A name that fits a line without loss.
fn line(name: Name<'_>) -> Result<String> {
    let text = name.text();
    if !name.is_valid() || text.contains(['\n', '\r', '\0']) {
        return Err(Error::unsupported(
            "hive-text",
            format!("the name {text:?} cannot be written in a .reg file"),
        ));
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A value's data as `.reg` text on one line: what stands after the equals sign.
pub fn data_text(value: &Value<'_>) -> Result<String> {
    // Quoted text holds no line ends, so only the wrapping of hexadecimal data has this form.
    Ok(data(value)?.replace("\\\n  ", ""))
}

fn data(value: &Value<'_>) -> Result<String> {
    let (kind, data) = (value.kind()?, value.data()?);
    if kind == ValueType::SZ
        && let Ok(text) = typed::string(value)
        && typed::string_data(&text) == *data
        && !text.contains(['\n', '\r'])
    {
        return Ok(quoted(&text));
    }
    if let (ValueType::DWORD, Ok(number)) = (kind, typed::dword(value)) {
        return Ok(format!("dword:{number:08x}"));
    }
    let mut out = match kind {
        ValueType::BINARY => "hex:".to_owned(),
        ValueType(other) => format!("hex({other:x}):"),
    };
    for (index, byte) in data.iter().enumerate() {
        if index != 0 {
            out.push(',');
            if index.is_multiple_of(25) {
                out.push_str("\\\n  ");
            }
        }
        let _ = write!(out, "{byte:02x}");
    }
    Ok(out)
}
