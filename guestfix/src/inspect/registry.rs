// SPDX-License-Identifier: Apache-2.0
//! What was read from a guest's registry: the keys that somebody decides upon, as plain values.
//! The hives themselves, up to tens of MiB, stay where they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fs::GuestPath;
use crate::hive::ValueType;
use crate::hive::script::Edit;

/// The hives of a guest, by the name under which Windows mounts them: `SYSTEM`, `SOFTWARE`,
/// `DRIVERS`, `DEFAULT`, `BCD`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// By name.
    pub hives: BTreeMap<String, HiveFacts>,
}

/// One hive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiveFacts {
    /// Its file, in the case in which it is stored.
    pub path: GuestPath,
    /// SHA-256 of the file as it lies there, in hex: its logs are not in it.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Minor version of the format, 3 to 6.
    pub minor_version: u32,
    /// It was dirty, and its logs made it whole.
    pub replayed: bool,
    /// What was read, by path in lower case; `\\` between keys, the root's path is empty.
    pub keys: BTreeMap<String, KeyFacts>,
}

/// One key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// Its path as stored.
    pub path: String,
    /// Names of the keys below it, as stored.
    pub subkeys: Vec<String>,
    /// Its values by name in lower case; the default value's name is empty.
    pub values: BTreeMap<String, ValueFacts>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueFacts {
    /// Its name as stored.
    pub name: String,
    /// Its type.
    pub kind: u32,
    /// Its data as stored.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

impl ValueFacts {
    fn is(&self, kinds: &[ValueType]) -> bool {
        kinds.contains(&ValueType(self.kind))
    }

    fn units(&self) -> Vec<u16> {
        let pairs = self.data.chunks_exact(2);
        pairs
            .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
            .collect()
    }

    /// A text, up to its first NUL.
    pub fn text(&self) -> Option<String> {
        if !self.is(&[ValueType::SZ, ValueType::EXPAND_SZ, ValueType::LINK]) {
            return None;
        }
        let units = self.units();
        let text = units.split(|unit| *unit == 0).next().unwrap_or_default();
        Some(String::from_utf16_lossy(text))
    }

    /// The texts of a list, up to the first empty one.
    pub fn texts(&self) -> Option<Vec<String>> {
        if !self.is(&[ValueType::MULTI_SZ]) {
            return None;
        }
        let units = self.units();
        let texts = units.split(|unit| *unit == 0);
        let texts = texts.take_while(|text| !text.is_empty());
        Some(texts.map(String::from_utf16_lossy).collect())
    }

    /// A number of four bytes, of any type that Windows takes for one.
    pub fn dword(&self) -> Option<u32> {
        let bytes: [u8; 4] = self.data.as_slice().try_into().ok()?;
        match ValueType(self.kind) {
            ValueType::DWORD => Some(u32::from_le_bytes(bytes)),
            ValueType::DWORD_BIG_ENDIAN => Some(u32::from_be_bytes(bytes)),
            _ => None,
        }
    }
}

impl KeyFacts {
    /// A value.
    pub fn value(&self, name: &str) -> Option<&ValueFacts> {
        self.values.get(&name.to_lowercase())
    }

    /// The key's own name.
    pub fn name(&self) -> &str {
        self.path.rsplit('\\').next().unwrap_or_default()
    }
}

impl HiveFacts {
    /// True where what was read shows that an edit would change nothing. What was not read is not
    /// known to be so.
    pub fn is_so(&self, edit: &Edit) -> bool {
        let key = |path: &str| self.keys.get(&path.to_lowercase());
        match edit {
            Edit::CreateKey { key: path } => key(path).is_some(),
            Edit::DeleteKey { key: path } => {
                let (parent, name) = path.rsplit_once('\\').unwrap_or(("", path));
                let listed = |parent: &KeyFacts| {
                    let name = name.to_lowercase();
                    parent.subkeys.iter().any(|sub| sub.to_lowercase() == name)
                };
                key(path).is_none() && key(parent).is_some_and(|parent| !listed(parent))
            }
            Edit::SetValue {
                key: path,
                name,
                kind,
                data,
            } => key(path)
                .and_then(|key| key.value(name))
                .is_some_and(|value| value.kind == *kind && value.data == *data),
            Edit::DeleteValue { key: path, name } => {
                key(path).is_some_and(|key| key.value(name).is_none())
            }
        }
    }
}

impl Registry {
    /// Nothing was read.
    pub fn is_empty(&self) -> bool {
        self.hives.is_empty()
    }

    /// A key that was read; `None` also where nobody asked for it.
    pub fn key(&self, hive: &str, path: &str) -> Option<&KeyFacts> {
        self.hives.get(hive)?.keys.get(&path.to_lowercase())
    }

    /// A value of a key that was read.
    pub fn value(&self, hive: &str, path: &str, name: &str) -> Option<&ValueFacts> {
        self.key(hive, path)?.value(name)
    }

    /// A text.
    pub fn text(&self, hive: &str, path: &str, name: &str) -> Option<String> {
        self.value(hive, path, name)?.text()
    }

    /// A list of texts.
    pub fn texts(&self, hive: &str, path: &str, name: &str) -> Option<Vec<String>> {
        self.value(hive, path, name)?.texts()
    }

    /// A number.
    pub fn dword(&self, hive: &str, path: &str, name: &str) -> Option<u32> {
        self.value(hive, path, name)?.dword()
    }

    /// Names of the keys below a key that was read, as stored.
    pub fn subkeys(&self, hive: &str, path: &str) -> &[String] {
        self.key(hive, path)
            .map_or(&[], |key| key.subkeys.as_slice())
    }

    /// Every key that was read at or below a path, with it.
    pub fn below<'a>(
        &'a self,
        hive: &str,
        path: &str,
    ) -> impl Iterator<Item = &'a KeyFacts> + use<'a> {
        let top = path.to_lowercase();
        let inner = format!("{top}\\");
        let keys = self.hives.get(hive).map(|hive| hive.keys.iter());
        keys.into_iter()
            .flatten()
            .filter(move |(path, _)| top.is_empty() || **path == top || path.starts_with(&inner))
            .map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hive() -> HiveFacts {
        let value = ValueFacts {
            name: "Start".into(),
            kind: 4,
            data: vec![3, 0, 0, 0],
        };
        let service = KeyFacts {
            path: "Services\\vmci".into(),
            subkeys: vec![],
            values: [("start".to_owned(), value)].into(),
        };
        let services = KeyFacts {
            path: "Services".into(),
            subkeys: vec!["vmci".into()],
            values: BTreeMap::new(),
        };
        HiveFacts {
            path: "/Windows/System32/config/SYSTEM".into(),
            sha256: String::new(),
            size: 0,
            minor_version: 5,
            replayed: false,
            keys: [
                ("services".to_owned(), services),
                ("services\\vmci".to_owned(), service),
            ]
            .into(),
        }
    }

    #[test]
    fn only_what_is_known_to_be_so_is_left_out() {
        for (edit, so) in [
            (Edit::dword("services\\VMCI", "START", 3), true),
            (Edit::dword("services\\vmci", "Start", 4), false),
            (Edit::unset("services\\vmci", "Start"), false),
            (Edit::unset("services\\vmci", "Tag"), true),
            (Edit::unset("services\\other", "Tag"), false),
            (Edit::delete("services\\vmci"), false),
            (Edit::delete("services\\other"), true),
            (Edit::delete("unread\\other"), false),
            (Edit::create("services\\vmci"), true),
            (Edit::create("services\\other"), false),
        ] {
            assert_eq!(hive().is_so(&edit), so, "{edit:?}");
        }
    }

    #[test]
    fn keys_below_a_path_are_no_namesakes() {
        let registry = Registry {
            hives: [("SYSTEM".to_owned(), hive())].into(),
        };
        let below: Vec<_> = registry
            .below("SYSTEM", "Services")
            .map(KeyFacts::name)
            .collect();
        assert_eq!(below, ["Services", "vmci"]);
        assert_eq!(registry.below("SYSTEM", "Serv").count(), 0);
        assert_eq!(registry.dword("SYSTEM", "SERVICES\\vmci", "start"), Some(3));
    }
}
