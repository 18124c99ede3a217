// SPDX-License-Identifier: Apache-2.0
//! What else names disks by the old machine: md, LVM, multipath, systemd's mount and swap units,
//! kdump, udev's rules.

use super::gather::Gatherer;
use crate::error::Result;
use crate::inspect::Facts;
use crate::plan::{Policy, Proposal, Target};
use crate::verify::Check;

pub mod kdump;
pub mod lvm;
pub mod lvm_filter;
pub mod mdadm;
pub mod multipath;
pub mod udev;
pub mod units;

/// How VMware's disks call themselves: NAA type 6 and VMware's OUI 00:0c:29.
const VMWARE_WWID: &str = "6000c29";

/// Whether a file of an initramfs is one of these there.
fn is_one_of(paths: &[&str], file: &str) -> bool {
    paths
        .iter()
        .any(|path| path.strip_prefix('/') == Some(file))
}

/// Reads what these topics are about.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.file(kdump::PATH)?;
    let files = mdadm::PATHS
        .iter()
        .chain(lvm::PATHS)
        .chain(multipath::PATHS);
    for path in files {
        gather.file(path)?;
    }
    gather.files_in(udev::DIR, |name| name.ends_with(".rules"))?;
    units::gather(gather)
}

/// All of them.
pub fn propose(facts: &Facts, target: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for propose in [
        mdadm::propose,
        lvm::propose,
        multipath::propose,
        units::propose,
        kdump::propose,
        udev::propose,
    ] {
        out.extend(propose(facts, target, policy));
    }
    out
}

/// The checks of these topics.
pub const CHECKS: &[Check] = &[
    mdadm::CHECK,
    lvm::CHECK,
    multipath::CHECK,
    units::CHECK,
    kdump::CHECK,
];
