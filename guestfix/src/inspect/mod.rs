// SPDX-License-Identifier: Apache-2.0
//! Inspection: from disks to [`Facts`]. The OS rooms stand downstream and hand in what they know
//! through [`Recognise`].

pub mod facts;

pub use facts::{Category, Concern, Facts};

use crate::error::Result;
use crate::fs::Tree;

/// What an OS room contributes to inspection.
pub trait Recognise {
    /// `linux` or `windows`.
    fn family(&self) -> &'static str;

    /// True when the tree holds an operating system of this family. Looks at few files only: every
    /// filesystem of every disk is asked.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn recognise(&self, tree: &Tree) -> Result<bool>;

    /// Which further volumes the root's own tables mount: pairs of device name as written and
    /// mount point, in the order of the table.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn mount_table(&self, tree: &Tree) -> Result<Vec<(String, String)>>;

    /// Fills in everything about the operating system: guest, kernels, network, VMware traces,
    /// sources, concerns. `facts` comes with disks, volumes, firmware, root and mounts filled in.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn gather(&self, tree: &Tree, facts: &mut Facts) -> Result<()>;
}
