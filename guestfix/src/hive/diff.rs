// SPDX-License-Identifier: Apache-2.0
//! What differs between two hives, by meaning: order, time and place of cells do not count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::upcase;
use super::{DEPTH_LIMIT, Hive, Key, Value, damaged, reg_export};
use crate::error::Result;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// The value's name, where a value differs.
    pub value: Option<String>,
    /// What the first hive has, as `.reg` text; absent where it has nothing.
    pub old: Option<String>,
    /// What the second hive has.
    pub new: Option<String>,
}

type Named<T> = BTreeMap<Vec<u16>, T>;

/// Compares two hives. A key that only one has is one difference, with all beneath it.
pub fn diff(old: &Hive, new: &Hive) -> Result<Vec<Difference>> {
    old.check()?;
    new.check()?;
    let mut out = Vec::new();
    let mut open = vec![(String::new(), 0_usize, old.root()?, new.root()?)];
    while let Some((path, depth, a, b)) = open.pop() {
        if depth >= DEPTH_LIMIT {
            return Err(damaged(
                a.cell.at(0),
                "keys nest too deep",
                DEPTH_LIMIT,
                "more",
            ));
        }
        key(&path, a, b, &mut out)?;
        let (left, mut right) = (subkeys(a)?, subkeys(b)?);
        for (name, sub) in left {
            let below = join(&path, &sub)?;
            match right.remove(&name) {
                Some(other) => open.push((below, depth.saturating_add(1), sub, other)),
                None => out.push(whole(below, Some("a key"), None)),
            }
        }
        for sub in right.into_values() {
            out.push(whole(join(&path, &sub)?, None, Some("a key")));
        }
    }
    out.sort_by(|a, b| (&a.key, &a.value).cmp(&(&b.key, &b.value)));
    Ok(out)
}

fn whole(key: String, old: Option<&str>, new: Option<&str>) -> Difference {
    Difference {
        key,
        value: None,
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
    }
}

fn join(path: &str, key: &Key<'_>) -> Result<String> {
    let name = key.name()?;
    Ok(if path.is_empty() {
        name
    } else {
        format!("{path}\\{name}")
    })
}

fn key(path: &str, a: Key<'_>, b: Key<'_>, out: &mut Vec<Difference>) -> Result<()> {
    if a.class()? != b.class()? {
        let class = |key: Key<'_>| Ok(key.class()?.map(|class| format!("class {class:?}")));
        out.push(Difference {
            key: path.to_owned(),
            value: None,
            old: class(a)?,
            new: class(b)?,
        });
    }
    if a.security()? != b.security()? {
        out.push(whole(
            path.to_owned(),
            Some("a security descriptor"),
            Some("another security descriptor"),
        ));
    }
    let (left, mut right) = (values(a)?, values(b)?);
    for (name, value) in left {
        let other = right.remove(&name);
        let new = other.as_ref().map(reg_export::data_text).transpose()?;
        let old = reg_export::data_text(&value)?;
        if new.as_ref() != Some(&old) {
            out.push(Difference {
                key: path.to_owned(),
                value: Some(value.name()?),
                old: Some(old),
                new,
            });
        }
    }
    for value in right.into_values() {
        out.push(Difference {
            key: path.to_owned(),
            value: Some(value.name()?),
            old: None,
            new: Some(reg_export::data_text(&value)?),
        });
    }
    Ok(())
}

fn subkeys(key: Key<'_>) -> Result<Named<Key<'_>>> {
    key.subkeys()?
        .map(|sub| {
            let sub = sub?;
            Ok((sub.stored_name()?.units().map(upcase).collect(), sub))
        })
        .collect()
}

fn values(key: Key<'_>) -> Result<Named<Value<'_>>> {
    key.values()?
        .map(|value| {
            let value = value?;
            Ok((value.stored_name()?.units().map(upcase).collect(), value))
        })
        .collect()
}
