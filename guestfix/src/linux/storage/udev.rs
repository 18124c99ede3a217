// SPDX-License-Identifier: Apache-2.0
//! udev's rules that know disks by serial number or slot (udev(7)), such as those that name disks
//! for databases. Which disk is meant only the operator can tell: they are told of.

use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text;
use crate::plan::{Policy, Proposal, Target};

/// Where the guest's own rules lie.
pub const DIR: &str = "/etc/udev/rules.d";

/// The rules of a file that no disk of the new machine answers to.
pub fn parse(bytes: &[u8]) -> Vec<String> {
    text::lines(bytes)
        .iter()
        .map(text::Line::text)
        .filter(|line| !line.trim_start().starts_with('#') && is_old(line))
        .collect()
}

fn is_old(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let by_path = lower.contains("/by-path/") || lower.contains("id_path}==");
    let net = lower.contains("==\"net\"");
    lower.contains(super::VMWARE_WWID) || (by_path && !net)
}

/// One concern for each file.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for (path, file) in &facts.sources.files {
        if !path.starts_with(DIR) {
            continue;
        }
        let old = parse(&file.content);
        if let Some(first) = old.first() {
            out.concerns.push(Concern::warning(
                "udev-old-disks",
                format!("{path} knows {} by their serial number or slot on VMware; name them by UUID or by what KubeVirt gives as their serial: {first}", disks(old.len())),
            ));
        }
    }
    out
}

fn disks(count: usize) -> String {
    match count {
        1 => "a disk".to_owned(),
        count => format!("{count} disks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;
    use crate::linux::fixture;

    #[test]
    fn rules_for_databases_disks_are_told_of() {
        let rules = "# RESULT==\"36000c29\"\nKERNEL==\"sd?1\", SUBSYSTEM==\"block\", PROGRAM==\"/lib/udev/scsi_id -g -u -d /dev/$parent\", RESULT==\"36000c29f00\", SYMLINK+=\"oracleasm/data1\"\nKERNEL==\"sd?1\", RESULT==\"36000c29f01\", NAME=\"x\"\nACTION==\"add\", SUBSYSTEM==\"net\", ENV{ID_PATH}==\"pci-0000:0b:00.0\"\n";
        let fs = MemoryFs::new().file("/etc/udev/rules.d/99-asm.rules", rules);
        let out = propose(
            &fixture::gathered(fs),
            &fixture::target(),
            &Policy::default(),
        );
        assert_eq!(out.concerns.len(), 1);
        assert!(
            out.concerns[0].message.contains("knows 2 disks"),
            "{}",
            out.concerns[0].message
        );
    }
}
