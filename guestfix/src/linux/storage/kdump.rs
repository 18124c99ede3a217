// SPDX-License-Identifier: Apache-2.0
//! Where kdump writes a crash dump (kdump.conf(5)): on a volume of its own it is named like a mount.

use std::ops::Range;

use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::devices::{self, Device};
use crate::linux::text::{self, Edits};
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// The file.
pub const PATH: &str = "/etc/kdump.conf";
const TOPIC: &str = "kdump";

/// A volume to dump to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `raw`, or the filesystem.
    pub kind: String,
    /// The device.
    pub device: String,
    /// Where it stands.
    pub at: Range<usize>,
}

/// Reads the volumes.
pub fn parse(bytes: &[u8]) -> Vec<Entry> {
    const KINDS: [&str; 7] = ["raw", "ext2", "ext3", "ext4", "xfs", "btrfs", "minix"];
    text::lines(bytes)
        .iter()
        .filter_map(|line| {
            let words = text::words(line.bytes, line.start);
            let word = |n: usize| {
                let found = words.get(n);
                found.map(|(at, word)| (at.clone(), String::from_utf8_lossy(word).into_owned()))
            };
            let (_, kind) = word(0)?;
            let (at, device) = word(1)?;
            KINDS
                .contains(&kind.as_str())
                .then_some(Entry { kind, device, at })
        })
        .collect()
}

/// Stable device names.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(bytes) = facts.sources.bytes(PATH) else {
        return out;
    };
    let mut edits = Edits::new();
    for entry in parse(bytes) {
        match devices::judge(facts, &entry.device) {
            Device::Stable => {}
            Device::Rename(to) if entry.kind == "raw" => {
                edits.replace(entry.at, devices::path_of(&to.name));
            }
            Device::Rename(to) => edits.replace(entry.at, to.name),
            Device::Unknown => out.concerns.push(Concern::warning(
                "unknown-device",
                format!("{PATH} dumps to {}, but no volume of the disks answers to that name; correct the entry or give the missing disk", entry.device),
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

/// The check of this topic.
pub const CHECK: Check = Check {
    name: "kdump-device",
    what: "the volume that kdump writes to has a stable name",
    severity: Severity::Advised,
    run: check,
};

fn check(facts: &Facts, _: &Target) -> Finding {
    let all = facts.sources.bytes(PATH).map(parse).unwrap_or_default();
    if all.is_empty() {
        return Finding::skip("kdump has no volume of its own");
    }
    match all
        .iter()
        .find_map(|entry| devices::fault(facts, &entry.device))
    {
        Some(fault) => Finding::fail(fault),
        None => Finding::pass("stable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;
    use crate::linux::fixture::{self, ROOT_UUID, SWAP_UUID};
    use crate::verify::Outcome;

    #[test]
    fn volumes_are_renamed_as_their_kind_allows() {
        let text =
            "# ext4 /dev/sda9\next4 /dev/sda1\nraw /dev/sda5\npath /dev/sda1\nxfs /dev/sdz1\n";
        let facts = fixture::gathered(MemoryFs::new().file(PATH, text));
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Fail);
        let out = propose(&facts, &fixture::target(), &Policy::default());
        assert_eq!(
            fixture::written(&out.changes, PATH).unwrap(),
            format!(
                "# ext4 /dev/sda9\next4 UUID={ROOT_UUID}\nraw /dev/disk/by-uuid/{SWAP_UUID}\npath /dev/sda1\nxfs /dev/sdz1\n"
            )
        );
        assert_eq!(out.concerns.len(), 1);
        let stable =
            fixture::gathered(MemoryFs::new().file(PATH, format!("ext4 UUID={ROOT_UUID}\n")));
        assert_eq!(check(&stable, &fixture::target()).result, Outcome::Pass);
    }
}
