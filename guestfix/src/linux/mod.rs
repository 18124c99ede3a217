// SPDX-License-Identifier: Apache-2.0
//! Linux guests. One topic per file, each with the same three public functions in the same order:
//! `parse` (bytes to model), `propose` (facts to changes), `check` (re-read facts to a finding).
#![deny(clippy::arithmetic_side_effects)]

use crate::error::Result;
use crate::fs::{FileType, GuestPath, Tree};
use crate::inspect::{Facts, Recognise, TableEntry};
use crate::plan::{Policy, Proposal, Propose, Target};
use crate::verify::Check;

pub mod bootloader;
pub mod console;
pub mod crypttab;
pub mod devices;
pub mod firstboot;
pub mod fstab;
pub mod guest_agent;
pub mod ini;
pub mod init;
pub mod initramfs;
pub mod kernel;
pub mod modules;
pub mod network;
pub mod packages;
pub mod release;
pub mod resume;
pub mod selinux;
pub mod shell;
pub mod storage;
pub mod text;
pub mod vmware_tools;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden_tests;

use crate::inspect::gather::{self, Gatherer};

/// What is decided about, in the order in which it is.
const TOPICS: &[&str] = &[
    "fstab",
    "crypttab",
    "resume",
    "mdadm",
    "lvm",
    "multipath",
    "units",
    "kdump",
    "udev",
    "bootloader",
    "efi",
    "initramfs",
    "network",
    "vmware-tools",
    "console",
    "guest-agent",
];

/// The Linux family.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

impl Recognise for Linux {
    fn family(&self) -> &'static str {
        "linux"
    }

    fn recognise(&self, tree: &Tree) -> Result<bool> {
        // A link without its end counts: /usr, where it leads to, may be a volume of its own.
        if is_dir(tree, release::image::OSTREE)? {
            return Ok(true);
        }
        let programs = is_dir(tree, "/usr/bin")? || tree.lstat(&"/bin".into())?.is_some();
        if !programs || !is_dir(tree, "/etc")? {
            return Ok(false);
        }
        for path in [
            fstab::PATH,
            "/etc/os-release",
            "/usr/lib/os-release",
            "/etc/hosts",
        ] {
            // A dangling link counts: what it leads to may be mounted later.
            if tree.lstat(&path.into())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn title(&self, tree: &Tree) -> Result<String> {
        release::title(tree)
    }

    fn opened(&self, tree: &Tree) -> Result<Vec<(String, String)>> {
        let table = tree.read_up_to(&crypttab::PATH.into(), 1 << 20)?;
        let entries = crypttab::parse(&table.unwrap_or_default());
        let pair = |entry: crypttab::Entry| (entry.name, entry.device);
        Ok(entries.into_iter().map(pair).collect())
    }

    fn mount_table(&self, tree: &Tree) -> Result<Vec<TableEntry>> {
        let table = fstab::parse(&tree.read(&fstab::PATH.into())?.unwrap_or_default());
        let mounted = table
            .entries
            .into_iter()
            .filter(fstab::Entry::is_mounted_volume);
        Ok(mounted
            .map(|entry| TableEntry {
                device: entry.device,
                at: entry.mount,
                options: entry.options,
            })
            .collect())
    }

    fn gather(&self, tree: &Tree, facts: &mut Facts) -> Result<()> {
        gather_topics(tree, facts)?;
        kernel::gather(tree, facts)?;
        bootloader::mark_kernels(facts);
        bootloader::efi::mark_signed(tree, facts)
    }
}

impl Propose for Linux {
    fn family(&self) -> &'static str {
        "linux"
    }

    fn topics(&self) -> &'static [&'static str] {
        TOPICS
    }

    fn propose(&self, facts: &Facts, target: &Target, policy: &Policy) -> Proposal {
        // Order matters: device names before what is built from them, programs of the guest after
        // the files they read.
        let topics = [
            release::propose,
            packages::propose,
            fstab::propose,
            crypttab::propose,
            resume::propose,
            storage::propose,
            bootloader::propose,
            bootloader::efi::propose,
            initramfs::propose,
            network::propose,
            vmware_tools::propose,
            console::propose,
            guest_agent::propose,
            selinux::propose,
            firstboot::propose,
        ];
        let mut out = Proposal::default();
        for propose in topics {
            out.extend(propose(facts, target, policy));
        }
        out
    }
}

/// Every check of this family.
pub fn checks() -> Vec<Check> {
    [
        release::CHECKS,
        packages::CHECKS,
        fstab::CHECKS,
        crypttab::CHECKS,
        resume::CHECKS,
        storage::CHECKS,
        bootloader::CHECKS,
        bootloader::efi::CHECKS,
        initramfs::CHECKS,
        network::CHECKS,
        vmware_tools::CHECKS,
        console::CHECKS,
        guest_agent::CHECKS,
        selinux::CHECKS,
        firstboot::CHECKS,
    ]
    .concat()
}

/// Everything but the kernels. What is gathered is added to the sources that `facts` brings.
fn gather_topics(tree: &Tree, facts: &mut Facts) -> Result<()> {
    let mut gather = Gatherer::new(tree);
    release::gather(&mut gather, facts)?;
    packages::gather(&mut gather)?;
    for path in [fstab::PATH, crypttab::PATH, resume::MAIN] {
        gather.file(path)?;
    }
    gather.files_in(resume::DIR, |name| !name.starts_with('.'))?;
    storage::gather(&mut gather)?;
    bootloader::gather(&mut gather)?;
    bootloader::efi::gather(&mut gather, facts)?;
    network::gather(&mut gather, facts)?;
    vmware_tools::gather(&mut gather, facts)?;
    console::gather(&mut gather)?;
    init::gather(&mut gather)?;
    guest_agent::gather(&mut gather)?;
    selinux::gather(&mut gather)?;
    firstboot::gather(&mut gather)?;
    facts.concerns.append(&mut gather.concerns);
    facts.sources.files.append(&mut gather.sources.files);
    facts.sources.dirs.append(&mut gather.sources.dirs);
    facts.sources.links.append(&mut gather.sources.links);
    Ok(())
}

fn is_dir(tree: &Tree, path: &str) -> Result<bool> {
    let meta = tree.stat(&GuestPath::new(path))?;
    Ok(meta.is_some_and(|meta| meta.file_type == FileType::Dir))
}
