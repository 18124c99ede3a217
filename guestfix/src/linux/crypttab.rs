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
            })
        })
        .collect()
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
        .filter_map(|e| devices::fault(facts, &e.device))
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
