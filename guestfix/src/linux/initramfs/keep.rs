// SPDX-License-Identifier: Apache-2.0
//! Drop-ins that make the guest's own next rebuild of its initramfs keep the drivers; what they
//! are is each generator's to know ([`super::tools`]).

use super::tools;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, DriverAt};
use crate::linux::kernel::DRIVERS;
use crate::plan::{Change, Proposal, Target};
use crate::verify::Finding;

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
    for tool in tools::used(facts) {
        let keep = (tool.keep)(facts, &drivers);
        for (path, content) in keep.files {
            let change = Change::edit("initramfs", why, &facts.sources, &path, content);
            out.changes.extend(change);
        }
        out.concerns.extend(keep.concerns);
    }
    if tools::used(facts).next().is_none() {
        out.concerns.push(Concern::information(
            "initramfs-generator-unknown",
            "what makes this guest's initramfs is not known; let it include virtio_pci and \
             virtio_blk before its next rebuild",
        ));
    }
    out
}

/// Would a rebuild by the guest keep the drivers?
pub fn check(facts: &Facts, _: &Target) -> Finding {
    let drivers = drivers(facts);
    let mut found = Vec::new();
    for tool in tools::used(facts) {
        let keep = (tool.keep)(facts, &drivers);
        if let Some(concern) = keep.concerns.into_iter().next() {
            return Finding::fail(concern.message);
        }
        for (path, content) in keep.files {
            if facts.sources.bytes(&path) != Some(content.as_slice()) {
                return Finding::fail(format!("{path} does not add {}", drivers.join(", ")));
            }
            found.push(path);
        }
    }
    match found.is_empty() {
        true => Finding::skip("what makes this guest's initramfs is not known"),
        false => Finding::pass(format!("listed in {}", found.join(" and "))),
    }
}
