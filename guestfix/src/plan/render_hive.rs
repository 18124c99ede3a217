// SPDX-License-Identifier: Apache-2.0
//! Edits of a hive as text: the notation of `.reg` files, which Windows administrators read.

use std::fmt::Write as _;

use crate::hive::ValueType;
use crate::hive::script::Edit;
use crate::inspect::registry::ValueFacts;

/// Longer data is told by its length.
const SHOWN: usize = 512;

/// The script, one `[key]` line for edits that follow each other in one key.
pub(super) fn script(hive: &str, edits: &[Edit]) -> String {
    let mut out = String::new();
    let mut last = None;
    for edit in edits {
        if let Edit::DeleteKey { key } = edit {
            let _ = writeln!(out, "[-HKLM\\{hive}\\{key}]");
            last = None;
            continue;
        }
        if last != Some(edit.key()) {
            let _ = writeln!(out, "[HKLM\\{hive}\\{}]", edit.key());
            last = Some(edit.key());
        }
        match edit {
            Edit::SetValue {
                name, kind, data, ..
            } => {
                let _ = writeln!(out, "{}={}", quoted(name), shown(*kind, data));
            }
            Edit::DeleteValue { name, .. } => {
                let _ = writeln!(out, "{}=-", quoted(name));
            }
            Edit::CreateKey { .. } | Edit::DeleteKey { .. } => {}
        }
    }
    out
}

fn quoted(name: &str) -> String {
    match name {
        "" => "@".to_owned(),
        name => literal(name),
    }
}

/// Texts are shown as texts, which `.reg` files write as bytes.
fn shown(kind: u32, data: &[u8]) -> String {
    let value = ValueFacts {
        name: String::new(),
        kind,
        data: data.to_vec(),
    };
    let kind = ValueType(kind);
    if let Some(number) = value.dword() {
        return format!("dword:{number:08x}");
    }
    if let Some(text) = value.text() {
        let mark = if kind == ValueType::EXPAND_SZ {
            "expand:"
        } else {
            ""
        };
        return format!("{mark}{}", literal(&text));
    }
    if let Some(texts) = value.texts() {
        let texts: Vec<_> = texts.iter().map(|text| literal(text)).collect();
        return format!("multi:[{}]", texts.join(","));
    }
    if data.len() > SHOWN {
        return format!("{} ({} bytes)", kind.name(), data.len());
    }
    let bytes: Vec<_> = data.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hex({:x}):{}", kind.0, bytes.join(","))
}

fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_read_as_a_reg_file_does() {
        let edits = [
            Edit::dword("Select", "Current", 1),
            Edit::unset("Select", "a\"b"),
            Edit::text("Setup", "", "x"),
            Edit::expand("Setup", "y", "%SystemRoot%\\z"),
            Edit::texts("Setup", "z", &["a", "b"]),
            Edit::delete("Services\\vmci"),
            Edit::create("Setup"),
        ];
        let text = script("SYSTEM", &edits);
        assert_eq!(
            text,
            "[HKLM\\SYSTEM\\Select]\n\"Current\"=dword:00000001\n\"a\\\"b\"=-\n\
             [HKLM\\SYSTEM\\Setup]\n@=\"x\"\n\"y\"=expand:\"%SystemRoot%\\\\z\"\n\
             \"z\"=multi:[\"a\",\"b\"]\n[-HKLM\\SYSTEM\\Services\\vmci]\n\
             [HKLM\\SYSTEM\\Setup]\n"
        );
    }
}
