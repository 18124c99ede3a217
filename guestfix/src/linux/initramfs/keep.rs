// SPDX-License-Identifier: Apache-2.0
//! Drop-ins that make the guest's own next rebuild of its initramfs keep the drivers:
//! initramfs-tools(7), "modules"; dracut.conf(5), "add_drivers".

use crate::inspect::Facts;
use crate::inspect::facts::{Concern, DriverAt};
use crate::linux::kernel::DRIVERS;
use crate::plan::{Change, Proposal, Target};
use crate::verify::Finding;

const LIST: &str = "/etc/initramfs-tools/modules";
const DROP_IN: &str = "/etc/dracut.conf.d/50-guestfix-virtio.conf";

/// The names that a list of modules gives, comments left out.
pub fn parse(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn uses_initramfs_tools(facts: &Facts) -> bool {
    facts.sources.has("/etc/initramfs-tools")
}

fn uses_dracut(facts: &Facts) -> bool {
    facts.sources.has("/usr/lib/dracut")
}

/// The drivers that at least one of the guest's kernels has.
fn drivers(facts: &Facts) -> Vec<&'static str> {
    let exists = |name: &&str| {
        let places = facts
            .kernels
            .iter()
            .filter_map(|kernel| kernel.drivers.get(*name));
        places.into_iter().any(|at| *at != DriverAt::Missing)
    };
    DRIVERS.iter().copied().filter(exists).collect()
}

/// Proposes the drop-in of every generator that is installed.
pub fn propose(facts: &Facts) -> Proposal {
    let mut out = Proposal::default();
    let drivers = drivers(facts);
    let why = "the guest's own next rebuild must keep the virtio drivers";
    if drivers.is_empty() {
        return out;
    }
    if uses_initramfs_tools(facts) {
        let old = facts.sources.bytes(LIST).unwrap_or_default();
        let listed = parse(&String::from_utf8_lossy(old));
        let lacking = drivers
            .iter()
            .filter(|name| !listed.iter().any(|have| have == *name));
        let lacking: Vec<&str> = lacking.copied().collect();
        let mut content = old.to_vec();
        if !lacking.is_empty() {
            if !content.is_empty() && !content.ends_with(b"\n") {
                content.push(b'\n');
            }
            content.extend(b"# guestfix: the disks are on virtio, SCSI or SATA\n");
            content.extend(lacking.join("\n").bytes());
            content.push(b'\n');
        }
        out.changes.extend(edit(facts, why, LIST, content));
    }
    if uses_dracut(facts) {
        let content = format!(
            "# guestfix: the disks are on virtio, SCSI or SATA\nadd_drivers+=\" {} \"\n",
            drivers.join(" ")
        );
        out.changes
            .extend(edit(facts, why, DROP_IN, content.into_bytes()));
    }
    if !uses_initramfs_tools(facts) && !uses_dracut(facts) {
        out.concerns.push(Concern::information(
            "initramfs-generator-unknown",
            "what makes this guest's initramfs is not known; let it include virtio_pci and \
             virtio_blk before its next rebuild",
        ));
    }
    out
}

fn edit(facts: &Facts, why: &str, path: &str, content: Vec<u8>) -> Option<Change> {
    Change::edit("initramfs", why, &facts.sources, path, content)
}

/// Would a rebuild by the guest keep the drivers?
pub fn check(facts: &Facts, _: &Target) -> Finding {
    let drivers = drivers(facts);
    let mut found = Vec::new();
    if uses_initramfs_tools(facts) {
        let listed = parse(facts.sources.text(LIST).unwrap_or_default());
        if !drivers
            .iter()
            .all(|name| listed.iter().any(|have| have == name))
        {
            return Finding::fail(format!("{LIST} does not list {}", drivers.join(", ")));
        }
        found.push(LIST);
    }
    if uses_dracut(facts) {
        let text = facts.sources.text(DROP_IN).unwrap_or_default();
        if !drivers
            .iter()
            .all(|name| text.split_whitespace().any(|word| word == *name))
        {
            return Finding::fail(format!("{DROP_IN} does not add {}", drivers.join(", ")));
        }
        found.push(DROP_IN);
    }
    match found.is_empty() {
        true => Finding::skip("what makes this guest's initramfs is not known"),
        false => Finding::pass(format!("listed in {}", found.join(" and "))),
    }
}
