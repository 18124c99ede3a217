// SPDX-License-Identifier: Apache-2.0
//! Disks that are annotated as one guest's. Annotations are a tenant's words: nothing is taken
//! from them unchecked.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::watch::Stores;
use crate::api::names;

/// What the annotations of one disk say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The word that its guest's disks share.
    pub guest: String,
    /// How many disks the guest has.
    pub count: u32,
    /// Its place among them.
    pub index: u32,
}

/// Reads the annotations of a disk: none where it is not to be converted.
///
/// # Errors
/// What is wrong with them, in words.
pub fn read(name: &str, annotations: &BTreeMap<String, String>) -> Result<Option<Member>, String> {
    if annotations.get(names::CONVERT).map(String::as_str) != Some("true") {
        return Ok(None);
    }
    let guest = annotations.get(names::GUEST).map_or(name, String::as_str);
    if !object_name(guest) {
        return Err(format!("{} is no object's name", names::GUEST));
    }
    let count = number(annotations, names::DISK_COUNT, 1)?;
    if !(1..=64).contains(&count) {
        return Err(format!("{} is not from 1 to 64", names::DISK_COUNT));
    }
    if count > 1 && !annotations.contains_key(names::GUEST) {
        return Err(format!("{} needs {}", names::DISK_COUNT, names::GUEST));
    }
    Ok(Some(Member {
        guest: guest.to_owned(),
        count,
        index: number(annotations, names::DISK_INDEX, 0)?,
    }))
}

fn number(annotations: &BTreeMap<String, String>, key: &str, or: u32) -> Result<u32, String> {
    let Some(text) = annotations.get(key) else {
        return Ok(or);
    };
    text.parse().map_err(|_| format!("{key} is no number"))
}

/// A DNS subdomain, as objects are named.
pub fn object_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| inner(b) || b == b'-' || b == b'.')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().next_back().is_some_and(inner)
}

/// The claims annotated as one guest's, in order: DataVolumes announce theirs.
pub fn members(stores: &Stores, namespace: &str, guest: &str) -> Vec<String> {
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    let mut take = |name: String, annotations: &BTreeMap<String, String>| {
        if let Ok(Some(member)) = read(&name, annotations)
            && member.guest == guest
        {
            found.insert(name, member.index);
        }
    };
    for volume in stores.volumes.state() {
        if volume.namespace().as_deref() == Some(namespace) {
            take(volume.name_any(), volume.annotations());
        }
    }
    for claim in stores.claims.state() {
        if claim.namespace().as_deref() == Some(namespace) {
            take(claim.name_any(), claim.annotations());
        }
    }
    let mut order: Vec<(u32, String)> = found.into_iter().map(|(name, i)| (i, name)).collect();
    order.sort();
    order.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(pairs: &[(&str, &str)]) -> Result<Option<Member>, String> {
        let map = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        read("web01-d0", &map)
    }

    #[test]
    fn a_disk_without_a_guest_is_one_of_its_own() {
        let member = annotated(&[(names::CONVERT, "true")]).unwrap().unwrap();
        assert_eq!(
            (member.guest.as_str(), member.count, member.index),
            ("web01-d0", 1, 0)
        );
        assert_eq!(annotated(&[(names::CONVERT, "no")]), Ok(None));
        assert_eq!(annotated(&[]), Ok(None));
    }

    #[test]
    fn hostile_annotations_are_refused() {
        for (key, value) in [
            (names::GUEST, "../../etc"),
            (names::GUEST, "Web01"),
            (names::GUEST, ""),
            (names::GUEST, "-web"),
            (names::DISK_COUNT, "many"),
            (names::DISK_COUNT, "0"),
            (names::DISK_COUNT, "65"),
            (names::DISK_COUNT, "99999999999999"),
            (names::DISK_INDEX, "-1"),
        ] {
            let wrong = annotated(&[(names::CONVERT, "true"), (key, value)]);
            assert!(wrong.is_err(), "{key}={value}");
        }
        let long = "a".repeat(254);
        assert!(annotated(&[(names::CONVERT, "true"), (names::GUEST, &long)]).is_err());
    }
}
