// SPDX-License-Identifier: Apache-2.0
//! An edit script: what is to become of a hive, as plain values that travel in a plan.

use serde::{Deserialize, Serialize};

use super::{Editor, ValueType};
use crate::error::Result;

/// One step. Paths are relative to the hive's root, `\` between keys, in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Makes a key and those above it; nothing to do where it is.
    CreateKey {
        /// The key.
        key: String,
    },
    /// Deletes a key with all below it; nothing to do where it is not.
    DeleteKey {
        /// The key.
        key: String,
    },
    /// Sets a value, making its key where it is missing.
    SetValue {
        /// The key.
        key: String,
        /// The value's name; empty for the default value.
        name: String,
        /// Its type.
        kind: u32,
        /// Its data as stored.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Deletes a value; nothing to do where it is not.
    DeleteValue {
        /// The key.
        key: String,
        /// The value's name; empty for the default value.
        name: String,
    },
}

impl Edit {
    /// Makes a key.
    pub fn create(key: impl Into<String>) -> Self {
        Self::CreateKey { key: key.into() }
    }

    /// Deletes a key and all below it.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::DeleteKey { key: key.into() }
    }

    /// Sets a value to data as stored.
    pub fn raw(key: impl Into<String>, name: &str, kind: ValueType, data: Vec<u8>) -> Self {
        Self::SetValue {
            key: key.into(),
            name: name.to_owned(),
            kind: kind.0,
            data,
        }
    }

    /// Sets a number.
    pub fn dword(key: impl Into<String>, name: &str, number: u32) -> Self {
        let data = number.to_le_bytes().to_vec();
        Self::raw(key, name, ValueType::DWORD, data)
    }

    /// Sets a text.
    pub fn text(key: impl Into<String>, name: &str, text: &str) -> Self {
        Self::raw(key, name, ValueType::SZ, utf16z(text))
    }

    /// Sets a text with environment variables in it.
    pub fn expand(key: impl Into<String>, name: &str, text: &str) -> Self {
        Self::raw(key, name, ValueType::EXPAND_SZ, utf16z(text))
    }

    /// Sets a list of texts.
    pub fn texts<T: AsRef<str>>(key: impl Into<String>, name: &str, texts: &[T]) -> Self {
        let mut data: Vec<u8> = texts
            .iter()
            .flat_map(|text| utf16z(text.as_ref()))
            .collect();
        data.extend_from_slice(&[0, 0]);
        Self::raw(key, name, ValueType::MULTI_SZ, data)
    }

    /// Deletes a value.
    pub fn unset(key: impl Into<String>, name: &str) -> Self {
        Self::DeleteValue {
            key: key.into(),
            name: name.to_owned(),
        }
    }

    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::CreateKey { key }
            | Self::DeleteKey { key }
            | Self::SetValue { key, .. }
            | Self::DeleteValue { key, .. } => key,
        }
    }
}

/// UTF-16 with the NUL that the registry stores.
fn utf16z(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

/// Runs a script in order. Says whether anything was not so already.
///
/// # Errors
/// As those of [`Editor`]; the hive must be dropped then.
pub fn run(editor: &mut Editor<'_>, script: &[Edit]) -> Result<bool> {
    let mut changed = false;
    for edit in script {
        changed |= step(editor, edit)?;
    }
    Ok(changed)
}

fn step(editor: &mut Editor<'_>, edit: &Edit) -> Result<bool> {
    match edit {
        Edit::CreateKey { key } => editor.create_key(key),
        Edit::DeleteKey { key } => editor.delete_key(key),
        Edit::SetValue {
            key,
            name,
            kind,
            data,
        } => {
            let kind = ValueType(*kind);
            if is_so(editor, (key, name), kind, data)? {
                return Ok(false);
            }
            editor.create_key(key)?;
            editor.set_value(key, name, kind, data)?;
            Ok(true)
        }
        Edit::DeleteValue { key, name } => match editor.hive().key(key)? {
            Some(_) => editor.delete_value(key, name),
            None => Ok(false),
        },
    }
}

fn is_so(
    editor: &Editor<'_>,
    (key, name): (&str, &str),
    kind: ValueType,
    data: &[u8],
) -> Result<bool> {
    let Some(value) = editor.hive().value(key, name)? else {
        return Ok(false);
    };
    Ok(value.kind()? == kind && value.data()?.as_ref() == data)
}

#[cfg(test)]
mod tests {
    use super::super::{Dirty, Hive};
    use super::*;

    fn script() -> Vec<Edit> {
        vec![
            Edit::create("Select"),
            Edit::dword("ControlSet001\\Services\\viostor", "Start", 0),
            Edit::texts("Setup", "Owners", &["oem1.inf", "oem2.inf"]),
            Edit::unset("Setup", "Missing"),
            Edit::unset("Nowhere", "Missing"),
            Edit::delete("Nowhere"),
        ]
    }

    #[test]
    fn a_script_that_ran_is_already_so() {
        let mut hive = Hive::create(5, 1).unwrap();
        for want in [true, false] {
            let mut editor = hive.edit(2).unwrap();
            assert_eq!(run(&mut editor, &script()).unwrap(), want);
            editor.finish().unwrap();
        }
        let value = hive.value("Setup", "Owners").unwrap().unwrap();
        let texts = super::super::typed::multi_string(&value).unwrap();
        assert_eq!(texts, ["oem1.inf", "oem2.inf"]);
        let again = Hive::open(hive.into_bytes(), &[], Dirty::Refuse).unwrap();
        assert!(again.key("Select").unwrap().is_some());
    }

    #[test]
    fn another_type_of_the_same_data_is_a_change() {
        let mut hive = Hive::create(5, 1).unwrap();
        let mut editor = hive.edit(2).unwrap();
        assert!(run(&mut editor, &[Edit::text("A", "x", "y")]).unwrap());
        assert!(run(&mut editor, &[Edit::expand("A", "x", "y")]).unwrap());
        assert!(run(&mut editor, &[Edit::unset("a", "X")]).unwrap());
        assert!(run(&mut editor, &[Edit::delete("a")]).unwrap());
    }
}
