// SPDX-License-Identifier: Apache-2.0
//! Driver bundles: a virtio-win directory or ISO, seen as a set of Windows drivers.
//!
//! This crate knows Windows releases, INF files and catalogues; it knows no disks. It will hold,
//! in this order: `source` (directory or ISO), `inf` (an ordered INF parser), `catalog` (which
//! file a signed catalogue vouches for) and `pick`, a pure function from (bundle, release,
//! architecture, roles) to the drivers to inject and the reason for each.
//!
//! Only the vocabulary exists so far; `guestfix drivers` says so and exits 4.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What a virtio driver is for, as the converter asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// viostor: a disk on virtio-blk.
    Block,
    /// vioscsi: a disk on virtio-scsi.
    Scsi,
    /// `NetKVM`: a network card.
    Net,
    /// Balloon: memory ballooning.
    Balloon,
    /// viorng: entropy.
    Rng,
    /// vioserial: the channel of the QEMU guest agent.
    Serial,
}
