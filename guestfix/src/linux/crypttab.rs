// SPDX-License-Identifier: Apache-2.0
//! `/etc/crypttab`: the device field by a stable name (format: crypttab(5)).

use std::ops::Range;

use super::devices::{self, Device};
use super::fstab::{clone_concern, unparsable};
use super::text::{self, Edits};
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// The file.
pub const PATH: &str = "/etc/crypttab";
const TOPIC: &str = "crypttab";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the opened volume.
    pub name: String,
    /// The locked volume.
    pub device: String,
    /// Where the device stands.
    pub device_at: Range<usize>,
    /// Options.
    pub options: String,
    /// Devices that hold its key or header, with their places.
    pub beside: Vec<(Range<usize>, String)>,
}

/// Reads the table; lines with fewer than two fields are skipped.
pub fn parse(bytes: &[u8]) -> Vec<Entry> {
    text::lines(bytes)
        .iter()
        .filter_map(|line| {
            let words = text::words(line.bytes, line.start);
            let word = |n: usize| {
                words
                    .get(n)
                    .map(|(_, word)| String::from_utf8_lossy(word).into_owned())
            };
            let name = word(0).filter(|name| !name.starts_with('#'))?;
            Some(Entry {
                name,
                device: word(1)?,
                device_at: words.get(1)?.0.clone(),
                options: word(3).unwrap_or_default(),
                beside: beside(words.get(2..).unwrap_or_default()),
            })
        })
        .collect()
}

/// `/key:/dev/sdb1`, `/dev/sdb1` as a key, `header=/dev/sdb1`.
fn beside(words: &[(Range<usize>, &[u8])]) -> Vec<(Range<usize>, String)> {
    let mut out = Vec::new();
    for (number, (at, word)) in words.iter().enumerate().take(2) {
        // Places are bytes of the file: odd bytes would move them.
        let Ok(text) = std::str::from_utf8(word) else {
            continue;
        };
        let mut start = at.start;
        for part in text.split(',') {
            let end = start.saturating_add(part.len());
            let value = match number {
                0 => Some(part),
                _ => part.strip_prefix("header="),
            };
            // Names by path hold colons themselves.
            let device = value.and_then(|value| match value.rfind(":/dev/") {
                Some(at) => value.get(at.saturating_add(1)..),
                None => Some(value),
            });
            if let Some(device) = device.filter(|device| device.starts_with("/dev/")) {
                out.push((end.saturating_sub(device.len())..end, device.to_owned()));
            }
            start = end.saturating_add(1);
        }
    }
    out
}

/// Stable device names.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(bytes) = facts.sources.bytes(PATH) else {
        return out;
    };
    if text::is_binary(bytes) {
        out.concerns.push(unparsable(PATH));
        return out;
    }
    let mut edits = Edits::new();
    for entry in parse(bytes) {
        for (at, device) in &entry.beside {
            if let Device::Rename(to) = devices::judge(facts, device) {
                edits.replace(at.clone(), devices::path_of(&to.name));
            }
        }
        match devices::judge(facts, &entry.device) {
            Device::Stable => {}
            Device::Rename(to) => {
                if to.clone {
                    out.concerns.push(clone_concern(&to.volume, &to.name));
                }
                edits.replace(entry.device_at, to.name);
            }
            Device::Unknown => out.concerns.push(Concern::warning(
                "unknown-device",
                format!("{PATH} opens {} from {}, but no volume of the disks answers to that name; correct the entry or give the missing disk", entry.name, entry.device),
            )),
        }
    }
    out.changes.extend(Change::edit(
        TOPIC,
        "device names of the old machine do not exist on KubeVirt",
        &facts.sources,
        PATH,
        edits.apply(bytes),
    ));
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "crypttab-devices",
    what: "every volume that /etc/crypttab opens is on the disks under a stable name",
    severity: Severity::Required,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let entries = facts.sources.bytes(PATH).map(parse).unwrap_or_default();
    let needed: Vec<_> = entries
        .iter()
        .filter(|e| {
            !e.options
                .split(',')
                .any(|o| matches!(o, "noauto" | "nofail"))
        })
        .collect();
    let faults: Vec<_> = needed
        .iter()
        .flat_map(|e| std::iter::once(&e.device).chain(e.beside.iter().map(|(_, device)| device)))
        .filter_map(|device| devices::fault(facts, device))
        .collect();
    match (needed.len(), faults.is_empty()) {
        (0, _) => Finding::skip("no encrypted volume is opened"),
        (n, true) => Finding::pass(format!("{n} entries, all stable")),
        _ => Finding::fail(faults.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, SWAP_UUID};
    use super::*;
    use crate::fs::MemoryFs;
    use crate::verify::Outcome;

    #[test]
    fn only_the_device_field_changes() {
        let fs = MemoryFs::new().file(
            PATH,
            "# name\ncr_data  /dev/sda5  none luks\r\nodd\nx /dev/sdz1 none noauto",
        );
        let facts = fixture::gathered(fs);
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Fail);
        let out = propose(&facts, &fixture::target(), &Policy::default());
        assert_eq!(
            fixture::written(&out.changes, PATH).unwrap(),
            format!("# name\ncr_data  UUID={SWAP_UUID}  none luks\r\nodd\nx /dev/sdz1 none noauto")
        );
        assert_eq!(out.concerns.len(), 1);
    }

    #[test]
    fn keys_and_headers_on_other_volumes_are_renamed_too() {
        let text = "a UUID=x /key:/dev/disk/by-path/pci-0:0:0:0-part1 luks,header=/dev/sda5,discard\nswap /dev/sda5 /dev/urandom swap\n";
        let facts = fixture::gathered(MemoryFs::new().file(PATH, text));
        let out = propose(&facts, &fixture::target(), &Policy::default());
        let root = fixture::ROOT_UUID;
        assert_eq!(
            fixture::written(&out.changes, PATH).unwrap(),
            format!(
                "a UUID=x /key:/dev/disk/by-uuid/{root} luks,header=/dev/disk/by-uuid/{SWAP_UUID},discard\nswap UUID={SWAP_UUID} /dev/urandom swap\n"
            )
        );
    }

    #[test]
    fn a_stable_table_passes() {
        let fs = MemoryFs::new().file(PATH, format!("c UUID={SWAP_UUID} none luks,discard\n"));
        let facts = fixture::gathered(fs);
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Pass);
        assert!(
            propose(&facts, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
    }
}
