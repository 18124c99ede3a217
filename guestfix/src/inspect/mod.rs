// SPDX-License-Identifier: Apache-2.0
//! Inspection: from disks to [`Facts`]. The OS rooms stand downstream and hand in what they know
//! through [`Recognise`].

mod boot_disk;
pub mod efi;
pub mod facts;
mod firmware;
pub mod gather;
mod microsoft;
mod mounts;
mod opened;
pub(crate) mod program;
pub mod registry;
mod roots;
mod state;
pub mod windows;

use std::sync::Arc;

pub use facts::{Category, Concern, Facts};
pub use roots::Opener;

use crate::disk::Storage;
use crate::error::Result;
use crate::fs::Tree;
use crate::volume::{self, Assembled, Layout, Opening, Volume};

/// A disk of the guest as inspection sees it: named bytes.
#[derive(Clone)]
pub struct GuestDisk {
    /// `disk0`, `disk1`, ...
    pub name: String,
    /// As given on the command line.
    pub path: String,
    /// Logical sector size in bytes, where the host knows it.
    pub sector_size: u32,
    /// The bytes.
    pub storage: Arc<dyn Storage>,
}

impl std::fmt::Debug for GuestDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestDisk")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

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

    /// What to call it when a person has to choose between several.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn title(&self, tree: &Tree) -> Result<String>;

    /// The names under which the root opens encrypted volumes, each with the device behind it as
    /// its table writes it.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn opened(&self, _tree: &Tree) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    /// What the root's own table mounts from volumes, itself included, in the order of the table.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn mount_table(&self, tree: &Tree) -> Result<Vec<TableEntry>>;

    /// Where an EFI system partition is read that the guest's table does not mount.
    fn esp_at(&self) -> &'static str {
        "/boot/efi"
    }

    /// Fills in everything about the operating system: guest, kernels, network, VMware traces,
    /// sources, concerns. `facts` comes with disks, volumes, firmware, root and mounts filled in.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn gather(&self, tree: &Tree, facts: &mut Facts) -> Result<()>;
}

/// A line of a guest's mount table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableEntry {
    /// The device as written.
    pub device: String,
    /// The mount point.
    pub at: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// An inspected guest: the facts, and the handles they were read through.
#[derive(Debug)]
pub struct Inspected {
    /// What is known.
    pub facts: Facts,
    /// The guest's tree, for building what a plan appends.
    pub tree: Tree,
    /// All volumes of all disks, and those made of them.
    pub volumes: Vec<Volume>,
    /// Name of the reader of the root, for verdicts.
    pub reader: &'static str,
}

/// The disks' volumes.
///
/// # Errors
/// `Corrupt` when a table is damaged or the image is cut short; `Unsupported`/`not-a-disk`.
pub fn layouts(disks: &[GuestDisk]) -> Result<Vec<Layout>> {
    disks
        .iter()
        .enumerate()
        .map(|(index, disk)| {
            volume::read_layout(index, Arc::clone(&disk.storage), disk.sector_size).map_err(|e| {
                if e.disk.is_some() {
                    e
                } else {
                    e.on(&disk.path)
                }
            })
        })
        .collect()
}

/// The volumes of all disks, and all that is made of them.
///
/// # Errors
/// As [`layouts`] and [`volume::assemble()`].
pub fn assembled(layouts: &[Layout], opening: &Opening) -> Result<Assembled> {
    let on_disks = layouts.iter().flat_map(|l| l.volumes.iter().cloned());
    volume::assemble(on_disks.collect(), opening)
}

/// Everything known of the guest on `disks`.
///
/// # Errors
/// `Unsupported`/`no-os` when no volume holds an operating system; `Refused`/`several-roots` when
/// several do and `root` names none; `Corrupt` for damage on the way.
pub fn inspect(
    disks: &[GuestDisk],
    families: &[&dyn Recognise],
    root: Option<&str>,
    opener: &dyn Opener,
    opening: &Opening,
) -> Result<Inspected> {
    let layouts = layouts(disks)?;
    let mut all = assembled(&layouts, opening)?;
    let startable = boot_disk::find(disks, &layouts, opening.boot_disk_first);
    let mut renamed = boot_disk::name(&mut all.volumes, startable.unwrap_or(0), disks);
    let (found, mut concerns) = roots::find(&all, families, root, opener)?;
    let by_root = || {
        let device = found.device.as_deref()?;
        boot_disk::of_root(disks, &found.place.volume.name, device)
    };
    let boot = startable.or_else(by_root).unwrap_or(0);
    if startable.is_none() {
        renamed = boot_disk::name(&mut all.volumes, boot, disks);
    }
    let all = opened::named(&all, &found.opened);
    let (tree, mounts, missing) = mounts::mount_all(&found, &all, opener)?;
    concerns.extend(missing);
    concerns.extend(renamed);
    concerns.extend(opened::concerns(&all));
    concerns.extend(microsoft::concerns(&all.volumes));
    let volumes = all.volumes;
    concerns.extend(state::concerns(&layouts, &volumes, &mounts)?);
    let reader = tree.reader();
    let mut facts = Facts {
        schema: facts::SCHEMA.to_owned(),
        guest: facts::Guest {
            family: found.family.family().to_owned(),
            ..Default::default()
        },
        firmware: firmware::detect(disks, &layouts),
        efi: None,
        windows: None,
        disks: state::disk_facts(disks, &layouts, boot),
        volumes: state::volume_facts(&volumes),
        root: found.place.name(),
        mounts,
        kernels: Vec::new(),
        network: Vec::new(),
        vmware: facts::VmwareFacts::default(),
        concerns,
        sources: facts::Sources::default(),
    };
    found.family.gather(&tree, &mut facts)?;
    Ok(Inspected {
        facts,
        tree,
        volumes,
        reader,
    })
}
