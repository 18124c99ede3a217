// SPDX-License-Identifier: Apache-2.0
//! The INFs of a bundle, and what the folders that they lie in say of them.

use crate::error::Error;
use crate::inf::{Header, Inf};
use crate::release::{Arch, Product};
use crate::role::Role;
use crate::source::{Files, ends_with};

/// An INF in a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its path.
    pub path: String,
    /// The product that a folder above it names.
    pub folder: Option<Product>,
    /// The architecture that a folder above it names.
    pub arch: Option<Arch>,
    /// What it is for, over all releases.
    pub roles: Vec<Role>,
    /// The INF.
    pub inf: Inf,
    /// Its `[Version]`.
    pub header: Header,
}

/// An INF that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Damaged {
    /// Its path.
    pub path: String,
    /// The architecture that a folder above it names.
    pub arch: Option<Arch>,
    /// Why not.
    pub error: Error,
}

/// What a bundle holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// Readable INFs, sorted by path.
    pub entries: Vec<Entry>,
    /// The others.
    pub damaged: Vec<Damaged>,
    /// Paths of installers of QEMU's guest agent, with their architecture.
    pub agents: Vec<(String, Arch)>,
}

impl Index {
    /// Reads every INF.
    pub(crate) fn of(files: &Files) -> Self {
        let mut out = Self::default();
        for file in files.all() {
            if let Some(arch) = agent_arch(&file.path) {
                out.agents.push((file.path.clone(), arch));
            }
            if !ends_with(&file.path, ".inf") || is_excluded(&file.path) {
                continue;
            }
            match entry(files, &file.path) {
                Ok(entry) => out.entries.push(entry),
                Err(error) => out.damaged.push(Damaged {
                    path: file.path.clone(),
                    arch: label(&file.path, Arch::parse),
                    error,
                }),
            }
        }
        out
    }

    /// The guest agent's installer for an architecture; of several the last by name.
    pub(crate) fn agent(&self, arch: Arch) -> Option<&str> {
        let own = self.agents.iter().filter(|(_, own)| *own == arch);
        own.map(|(path, _)| path.as_str()).next_back()
    }
}

fn entry(files: &Files, path: &str) -> Result<Entry, Error> {
    let inf = Inf::parse(&files.read(path)?)?;
    let header = inf.header()?;
    Ok(Entry {
        path: path.to_owned(),
        folder: label(path, Product::of_folder),
        arch: label(path, Arch::parse),
        roles: inf.roles(),
        inf,
        header,
    })
}

/// Parts of virtio-win that serve other hypervisors' cards, or that are no drivers.
fn is_excluded(path: &str) -> bool {
    let lower = format!("/{}", path.to_lowercase());
    lower.contains("/sriov/") || lower.contains("/vioprot.")
}

/// What the last folder of a path says that says anything.
fn label<T>(path: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let (folders, _) = path.rsplit_once('/')?;
    folders.rsplit('/').find_map(read)
}

/// `qemu-ga-x86_64.msi` and its like.
fn agent_arch(path: &str) -> Option<Arch> {
    let name = path.rsplit('/').next()?.to_lowercase();
    let word = name.strip_prefix("qemu-ga-")?.strip_suffix(".msi")?;
    Arch::parse(word).or_else(|| word.rsplit(['-', '.']).find_map(Arch::parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_tell_product_and_architecture_in_every_layout() {
        let both = |path: &str| (label(path, Product::of_folder), label(path, Arch::parse));
        let want = (Some(Product::Server2012R2), Some(Arch::Amd64));
        assert_eq!(both("viostor/2k12R2/amd64/viostor.inf"), want);
        assert_eq!(both("drivers/by-os/amd64/2k12R2/viostor.inf"), want);
        assert_eq!(
            both("w11/ARM64/x.inf"),
            (Some(Product::Eleven), Some(Arch::Arm64))
        );
        assert_eq!(both("viostor.inf"), (None, None));
    }

    #[test]
    fn what_is_no_driver_for_a_guest_is_left_out() {
        assert!(is_excluded("NetKVM/w10/amd64/sriov/netkvm.inf"));
        assert!(is_excluded("sriov/netkvm.inf"));
        assert!(is_excluded("NetKVM/w10/amd64/VIOPROT.inf"));
        assert!(!is_excluded("viostor/w10/amd64/viostor.inf"));
    }

    #[test]
    fn the_agents_installer_names_its_architecture() {
        assert_eq!(
            agent_arch("guest-agent/qemu-ga-x86_64.msi"),
            Some(Arch::Amd64)
        );
        assert_eq!(agent_arch("qemu-ga-i386.MSI"), Some(Arch::X86));
        assert_eq!(agent_arch("qemu-ga-109.1.0-x64.msi"), Some(Arch::Amd64));
        assert_eq!(agent_arch("virtio-win-gt-x64.msi"), None);
    }
}
