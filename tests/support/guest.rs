// SPDX-License-Identifier: Apache-2.0
//! Real guests, made by the recipes under `testdata/guests/` and kept outside the clone, named by their recipe's hash.
use crate::tool;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The guests that have a recipe.
pub const NAMES: &[&str] = &[
    "bookworm-bios-ext4",
    "bookworm-bond",
    "bookworm-cloud",
    "bookworm-luks-lvm",
    "bookworm-lvm",
    "bookworm-raid1",
    "bookworm-split",
    "bullseye-btrfs",
    "sid-systemd-boot",
    "trixie-lvm-two-disks",
    "trixie-uefi-xfs",
];

/// Those that only `tests/run --full` builds and boots.
pub const ONLY_FULL: &[&str] = &[
    "bookworm-bond",
    "bookworm-luks-lvm",
    "bookworm-lvm",
    "bookworm-raid1",
    "sid-systemd-boot",
    "trixie-lvm-two-disks",
];

/// One built guest: a raw disk image nobody may write to. Work on a [`Guest::fresh_copy`].
#[derive(Debug, Clone)]
pub struct Guest {
    name: String,
    image: PathBuf,
}

impl Guest {
    /// The guest `name`, built first where the cache does not hold it (minutes; once, also among parallel tests).
    ///
    /// # Panics
    /// When there is no such recipe, or it fails.
    pub fn get(name: &str) -> Self {
        let image = image_path(name);
        if !image.exists() {
            build(name, &image);
        }
        Self {
            name: name.to_owned(),
            image,
        }
    }

    /// Whether the cache holds the guest `name` as its recipe now describes it.
    pub fn is_built(name: &str) -> bool {
        image_path(name).exists()
    }

    /// The pristine image in the cache: read it, never write to it.
    pub fn path(&self) -> &Path {
        &self.image
    }

    /// The pristine images of all its disks, in their order.
    pub fn disks(&self) -> Vec<PathBuf> {
        let further = (1..).map(|n| self.image.with_extension(format!("disk{n}.img")));
        let further = further.take_while(|path| path.exists());
        [self.image.clone()].into_iter().chain(further).collect()
    }

    /// Copies in `dir` of all its disks, which the caller may change.
    pub fn fresh_copies(&self, dir: &Path) -> Vec<PathBuf> {
        let copies = self.disks().into_iter().enumerate().map(|(n, disk)| {
            let copy = dir.join(format!("{}.{n}.img", self.name));
            sparse_copy(&disk, &copy);
            copy
        });
        copies.collect()
    }

    /// A copy in `dir` that the caller may change. Holes stay holes; where the filesystem can, blocks are shared.
    pub fn fresh_copy(&self, dir: &Path) -> PathBuf {
        let copy = dir.join(format!("{}.img", self.name));
        sparse_copy(&self.image, &copy);
        copy
    }

    /// What the guest said of itself while it ran on VMware's hardware (`interface`, `kernel`, `cmdline`, ...) and what
    /// was read back afterwards (`initramfs_virtio_blk`, ...).
    pub fn facts(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.image.with_extension("facts")).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Copies a disk image, keeping its holes.
pub fn sparse_copy(from: &Path, to: &Path) {
    tool::run(
        "cp",
        &[
            OsStr::new("--sparse=always"),
            "--reflink=auto".as_ref(),
            from.as_ref(),
            to.as_ref(),
        ],
    );
}

/// Where built guests are kept: `$XDG_CACHE_HOME/guestfix/guests`, else below `$HOME/.cache`.
pub fn cache_dir() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map_or_else(
            || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
            PathBuf::from,
        );
    base.join("guestfix").join("guests")
}

/// Where the image of the guest `name` is, or would be.
pub fn image_path(name: &str) -> PathBuf {
    let hash = recipe_hash(name).unwrap_or_else(|error| panic!("the recipe of {name}: {error}"));
    cache_dir().join(format!("{name}-{hash}.img"))
}

/// The first 16 hex digits of the SHA-256 of everything that the image follows from: the shared files and every file of
/// the recipe, each by name, length and content.
///
/// # Errors
/// When there is no such recipe.
pub fn recipe_hash(name: &str) -> io::Result<String> {
    let guests = guests_dir();
    let mut files = Vec::new();
    collect_files(&guests.join(name), &mut files)?;
    for entry in fs::read_dir(&guests)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    let mut hasher = Sha256::new();
    for file in files {
        let content = fs::read(&file)?;
        let relative = file.strip_prefix(&guests).expect("found below it");
        hasher.update(relative.as_os_str().as_encoded_bytes());
        hasher.update([0]);
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    let digest = hasher.finalize();
    Ok(guestfix::digest::hex(&digest[..8]))
}

fn guests_dir() -> PathBuf {
    crate::workspace().join("testdata").join("guests")
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Runs the recipe under a lock. The recipe writes beside the image and renames at its end: an image that is there is
/// whole.
fn build(name: &str, image: &Path) {
    fs::create_dir_all(cache_dir()).unwrap();
    let lock = File::create(cache_dir().join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if image.exists() {
        return;
    }
    eprintln!("building {name}: {}", image.display());
    let recipe = guests_dir().join(name).join("recipe.sh");
    let status = Command::new("bash")
        .arg(recipe)
        .arg(image)
        .status()
        .unwrap();
    assert!(status.success(), "the recipe of {name} ended with {status}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_guest_has_a_recipe_and_every_recipe_is_named() {
        let mut found: Vec<_> = fs::read_dir(guests_dir())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, NAMES);
    }

    #[test]
    fn guests_differ_in_their_hash_and_a_missing_recipe_has_none() {
        assert_ne!(
            recipe_hash(NAMES[0]).unwrap(),
            recipe_hash(NAMES[1]).unwrap()
        );
        assert!(recipe_hash("no-such-guest").is_err());
    }
}
