// SPDX-License-Identifier: Apache-2.0
//! Facts: everything that deciding may know about a guest. Plain values; no handles, no I/O.
//!
//! The public part is the document `guestfix.io/facts/v1`. [`Sources`] travels beside it inside
//! guestfix (raw text of the files that may be edited, and directory listings), so that `plan` and
//! every check are pure functions of facts.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fs::{GuestPath, Metadata};
use crate::volume::{Content, Stack, TableKind};

/// The document's schema.
pub const SCHEMA: &str = "guestfix.io/facts/v1";

/// What is known of a guest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Always `guestfix.io/facts/v1`.
    pub schema: String,
    /// The operating system.
    pub guest: Guest,
    /// How the guest starts.
    pub firmware: Firmware,
    /// Its EFI system partition, where it starts by UEFI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efi: Option<super::efi::EfiFacts>,
    /// What only a Windows guest has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<super::windows::WindowsFacts>,
    /// The disks, in the order given.
    pub disks: Vec<DiskFacts>,
    /// The volumes on them.
    pub volumes: Vec<VolumeFacts>,
    /// The chosen root: its volume, and where it is a subvolume of that, `VOLUME:SUBVOLUME`.
    pub root: String,
    /// Which volume is mounted where, root first.
    pub mounts: Vec<MountFacts>,
    /// The kernels, the default first.
    pub kernels: Vec<KernelFacts>,
    /// The network interfaces that the guest's files configure.
    pub network: Vec<NicFacts>,
    /// What VMware left in the guest.
    pub vmware: VmwareFacts,
    /// What an operator should know.
    pub concerns: Vec<Concern>,
    /// Raw material for `plan` and checks; not part of the document.
    #[serde(default, skip_serializing_if = "Sources::is_empty")]
    #[schemars(skip)]
    pub sources: Sources,
}

/// The operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Guest {
    /// `linux` or `windows`.
    pub family: String,
    /// os-release `ID` for Linux.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub distro: Option<String>,
    /// Product name for Windows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub product: Option<String>,
    /// os-release `PRETTY_NAME`, or what to call it.
    pub pretty_name: String,
    /// os-release `VERSION_ID`; empty for a rolling release.
    pub version: String,
    /// Build number (Windows).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build: Option<String>,
    /// `x86_64`, `aarch64`, `i386`, ...: from the ELF or PE header of a system binary.
    pub arch: String,
    /// Host name, where one is set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hostname: Option<String>,
}

/// How the guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// PC BIOS.
    Bios,
    /// UEFI.
    Efi,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskFacts {
    /// `disk0`, `disk1`, ...
    pub name: String,
    /// As given on the command line.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Partition table.
    pub table: TableKind,
    /// MBR signature or GPT GUID.
    pub id: Option<String>,
    /// The guest starts from it; told only where there are several.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boot: bool,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeFacts {
    /// Stable name, for example `disk0p1`.
    pub name: String,
    /// Start on its disk, bytes.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// What its head says.
    pub content: Content,
    /// Partition UUID.
    pub part_uuid: Option<String>,
    /// GPT type GUID or MBR type.
    pub part_type: Option<String>,
    /// Partition name (GPT).
    pub part_label: Option<String>,
    /// How it was assembled; absent for what lies on a disk as it is.
    #[serde(default, skip_serializing_if = "Stack::is_plain")]
    pub stack: Stack,
}

/// A volume's place in the guest's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MountFacts {
    /// The volume's name.
    pub volume: String,
    /// Which subvolume of it, from the top level of a btrfs; absent for the volume as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subvolume: Option<String>,
    /// Where the guest mounts it.
    pub at: String,
    /// Bytes root may still write.
    pub free_bytes: u64,
    /// Inodes still free.
    pub free_inodes: u64,
}

impl MountFacts {
    /// The directory of the volume that is mounted.
    pub fn from(&self) -> GuestPath {
        self.subvolume
            .as_deref()
            .map_or_else(GuestPath::root, GuestPath::new)
    }
}

/// Where a kernel finds a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriverAt {
    /// Linked into the kernel.
    BuiltIn,
    /// A module file inside the initramfs.
    Initramfs,
    /// A module file on the root only: too late for the root disk's driver.
    RootOnly,
    /// Nowhere.
    Missing,
}

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelFacts {
    /// Release, as `uname -r` prints it.
    pub version: String,
    /// Path of the kernel image.
    pub image: String,
    /// The boot loader's default entry starts it.
    pub default: bool,
    /// A boot loader entry names it.
    pub in_boot_menu: bool,
    /// Directory of its modules, where it exists.
    pub modules_dir: Option<String>,
    /// Every driver that the target's buses need, by module name.
    pub drivers: BTreeMap<String, DriverAt>,
    /// Its initramfs, where it has one.
    pub initramfs: Option<InitramfsFacts>,
}

impl KernelFacts {
    /// Its initramfs is a part of the image: a unified kernel image.
    pub fn is_unified(&self) -> bool {
        let initramfs = self.initramfs.as_ref();
        initramfs.is_some_and(|initramfs| initramfs.path == self.image)
    }
}

/// One initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InitramfsFacts {
    /// Path of the image.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// `initramfs-tools`, `dracut`, `mkinitcpio`, `booster`, `mkinitfs`, `mkinitrd` (Red Hat's),
    /// `suse-mkinitrd` or `unknown`.
    pub generator: String,
    /// Compression of each archive in it, in order (`none` for early microcode).
    pub archives: Vec<String>,
    /// Why it could not be read to its end.
    pub damage: Option<String>,
    /// The archive's real module directory for this kernel, symlinks in it resolved
    /// (`usr/lib/modules/6.1.0-1-amd64`); absent when it holds no modules of this kernel.
    pub modules_dir: Option<String>,
    /// Module names inside, `-` written as `_`.
    pub modules: BTreeSet<String>,
    /// Device names that its embedded configuration waits for, with the file that names each.
    pub device_names: Vec<EmbeddedDevice>,
    /// The filters of its own LVM configuration, which say where it looks for volume groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lvm_filters: Vec<EmbeddedFilter>,
}

/// A filter in the LVM configuration of an initramfs (lvm.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmbeddedFilter {
    /// The file in the archive.
    pub file: String,
    /// `filter` or `global_filter`.
    pub key: String,
    /// Its patterns as written: `a|^/dev/sd|`.
    pub patterns: Vec<String>,
}

/// A device that an initramfs names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmbeddedDevice {
    /// The file in the archive.
    pub file: String,
    /// The device as written there.
    pub device: String,
}

/// A network interface as the guest's files configure it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NicFacts {
    /// Interface name, for example `ens192`.
    pub name: String,
    /// Hardware address, where a file names one (lower case, colons).
    pub mac: Option<String>,
    /// `dhcp`, `static` or `manual`.
    pub method: String,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// The file that configures it.
    pub file: String,
}

/// What VMware left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmwareFacts {
    /// Installed packages of VMware Tools.
    pub packages: Vec<String>,
    /// Enabled units of VMware Tools.
    pub units: Vec<String>,
    /// A tarball installation's database exists.
    pub tarball: bool,
}

/// How bad a concern is; the words of Forklift's validation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Category {
    /// The guest will not work.
    Critical,
    /// Something will differ or is left to do.
    Warning,
    /// Good to know.
    Information,
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Concern {
    /// Stable kebab-case identifier.
    pub id: String,
    /// How bad it is.
    pub category: Category,
    /// One sentence, and what to do.
    pub message: String,
}

impl Concern {
    /// A concern of any category.
    pub fn new(category: Category, id: &str, message: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            category,
            message: message.into(),
        }
    }

    /// Something will differ or is left to do.
    pub fn warning(id: &str, message: impl Into<String>) -> Self {
        Self::new(Category::Warning, id, message)
    }

    /// The guest will not work.
    pub fn critical(id: &str, message: impl Into<String>) -> Self {
        Self::new(Category::Critical, id, message)
    }

    /// Good to know.
    pub fn information(id: &str, message: impl Into<String>) -> Self {
        Self::new(Category::Information, id, message)
    }
}

/// Raw material gathered once: what an OS room's `gather` recorded for its own pure topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Files that may be edited or are decided upon, by the path the topic asks for.
    pub files: BTreeMap<String, SourceFile>,
    /// Directory listings, names as text.
    pub dirs: BTreeMap<String, Vec<String>>,
    /// Symlinks: path to target.
    pub links: BTreeMap<String, String>,
    /// What each initramfs would need appended, by its path.
    #[serde(default)]
    pub splices: BTreeMap<String, SpliceSource>,
    /// What each initramfs holds, by its path: what a new one in its place must hold too.
    #[serde(default)]
    pub listings: BTreeMap<String, InitramfsListing>,
    /// Length and hash of files whose content travels no further, by the path the topic asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, FileDigest>,
    /// What was read of a Windows guest's registry.
    #[serde(default, skip_serializing_if = "super::registry::Registry::is_empty")]
    pub registry: super::registry::Registry,
}

/// A file by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Where it really lies: every symlink resolved.
    pub real: GuestPath,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Bytes.
    pub len: u64,
}

/// What an initramfs holds of what its boot depends on. Libraries are left out: they come with the
/// programs, and their names change with every update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitramfsListing {
    /// Module files of its kernel: name, and path below the directory of modules.
    pub modules: BTreeMap<String, String>,
    /// Names of programs.
    pub programs: BTreeSet<String>,
    /// Configuration and hooks, by path in the archive, a leading `usr/` left out.
    pub files: BTreeSet<String>,
    /// The modules of dracut that made it, where it says so.
    pub dracut: BTreeSet<String>,
}

/// What an initramfs would need appended so that its kernel finds a disk on every bus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpliceSource {
    /// Why appending would not help; one clause.
    pub blocked: Option<String>,
    /// For every driver that some bus or the root's filesystem needs: the modules to load, what
    /// is needed first standing first.
    pub closures: BTreeMap<String, Vec<String>>,
    /// Those of them that are only wanted softly (`softdep` of modprobe.d(5)): a driver that is
    /// there has been loaded without them.
    #[serde(default)]
    pub soft: BTreeSet<String>,
    /// Directories of the archive that do not exist in it yet, parents first.
    pub dirs: Vec<String>,
    /// Files of the guest that the archive lacks.
    pub copies: Vec<SpliceCopy>,
    /// Module indexes that match what is inside afterwards: name in the archive and bytes.
    pub indexes: Vec<(String, serde_bytes::ByteBuf)>,
    /// Scripts that load modules by a list of their own, with what is added: name in the archive
    /// and bytes.
    #[serde(default)]
    pub scripts: Vec<(String, serde_bytes::ByteBuf)>,
    /// Configuration in the archive that names vanishing devices: name and bytes.
    pub configs: BTreeMap<String, serde_bytes::ByteBuf>,
}

/// One file of the guest to be copied into an initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpliceCopy {
    /// Name in the archive.
    pub name: String,
    /// The guest's file.
    pub from: GuestPath,
    /// It is compressed and goes in unpacked.
    pub unpack: bool,
    /// Bytes in the archive.
    pub size: u64,
}

/// One gathered file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it really lies: every symlink resolved.
    pub real: GuestPath,
    /// Its attributes.
    pub meta: Metadata,
    /// Every user of the guest may read it, by its mode and by those of the directories above.
    #[serde(default)]
    pub world_readable: bool,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

impl Sources {
    /// Nothing gathered.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.dirs.is_empty()
            && self.links.is_empty()
            && self.splices.is_empty()
            && self.listings.is_empty()
            && self.digests.is_empty()
            && self.registry.is_empty()
    }

    /// A gathered file's bytes.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| file.content.as_slice())
    }

    /// A gathered file as text, where it is UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.bytes(path)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// True when the path was gathered as a file, directory or link.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
            || self.dirs.contains_key(path)
            || self.links.contains_key(path)
    }

    /// A listed directory's names; empty when it was not there.
    pub fn dir(&self, path: &str) -> &[String] {
        self.dirs.get(path).map_or(&[], Vec::as_slice)
    }
}

impl Facts {
    /// The volume of that name.
    pub fn volume(&self, name: &str) -> Option<&VolumeFacts> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// Without [`Sources`]: the published document.
    #[must_use]
    pub fn document(&self) -> Self {
        Self {
            sources: Sources::default(),
            ..self.clone()
        }
    }

    /// The volume that a device name of the old machine meant: see [`volume_of_device`].
    pub fn volume_of_device(&self, device: &str) -> Option<&VolumeFacts> {
        volume_of_device(&self.volumes, device)
    }

    /// The volume that holds the root.
    pub fn root_volume(&self) -> Option<&VolumeFacts> {
        self.volume(self.root.split(':').next().unwrap_or_default())
    }

    /// SHA-256 over facts and sources: the same guest gives the same digest.
    ///
    /// # Errors
    /// `Internal` when the facts cannot be encoded.
    pub fn digest(&self) -> crate::error::Result<String> {
        let bytes = rmp_serde::to_vec_named(self)
            .map_err(|e| crate::error::Error::internal("encoding facts").because(e))?;
        Ok(crate::digest::sha256_hex(&bytes))
    }
}

/// The volume that a device name of the old machine meant: `/dev/sda1`, `/dev/disk/by-*/...`,
/// `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`.
///
/// `/dev/sdX`, `/dev/hdX`, `/dev/vdX` and `/dev/nvmeXn1` are taken in the order of the disks
/// given, as VMware presents them.
pub fn volume_of_device<'a>(volumes: &'a [VolumeFacts], device: &str) -> Option<&'a VolumeFacts> {
    let by_name = |v: &&VolumeFacts| v.stack.devices.iter().any(|name| name == device);
    if let Some(volume) = volumes.iter().find(by_name) {
        return Some(volume);
    }
    let same =
        |have: Option<&String>, want: &str| have.is_some_and(|h| h.eq_ignore_ascii_case(want));
    let exact = |have: Option<&String>, want: &str| have.is_some_and(|h| h == want);
    let tagged = device
        .split_once('=')
        .map(|(tag, value)| (tag, value.trim_matches('"')));
    let by_dir = device
        .strip_prefix("/dev/disk/by-")
        .and_then(|rest| rest.split_once('/'));
    let plain = by_dir.map(|(_, value)| udev_unescaped(value));
    let by_dir = by_dir
        .zip(plain.as_deref())
        .map(|((tag, _), value)| (tag, value));
    match tagged.or(by_dir) {
        Some(("UUID" | "uuid", want)) => {
            // The other devices of a btrfs have its UUID too.
            let whole = |v: &&VolumeFacts| v.content.kind != "btrfs-device";
            let named = |v: &&VolumeFacts| same(v.content.uuid.as_ref(), want);
            volumes.iter().filter(whole).find(named)
        }
        Some(("LABEL" | "label", want)) => volumes
            .iter()
            .find(|v| exact(v.content.label.as_ref(), want)),
        Some(("PARTUUID" | "partuuid", want)) => {
            volumes.iter().find(|v| same(v.part_uuid.as_ref(), want))
        }
        Some(("PARTLABEL" | "partlabel", want)) => {
            volumes.iter().find(|v| exact(v.part_label.as_ref(), want))
        }
        Some(_) => None,
        None => {
            let name = kernel_name_to_volume(device)?;
            // Where disks were put into another order, their names say so themselves.
            let named = |v: &&VolumeFacts| v.stack.devices.iter().any(|d| d.starts_with("/dev/sd"));
            volumes
                .iter()
                .find(|v| v.name == name)
                .filter(|v| !named(v))
        }
    }
}

/// udev writes what could be mistaken in a name as `\x20` (`udev_util_encode_string`).
fn udev_unescaped(name: &str) -> String {
    let mut out = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail
            .strip_prefix(b"x")
            .and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok());
        let byte = hex
            .filter(|_| *first == b'\\')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => tail.get(3..).unwrap_or_default(),
            None => tail,
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `/dev/sdb3` -> `disk1p3`; `None` for anything else, which then is a lasting name.
pub(super) fn kernel_name_to_volume(device: &str) -> Option<String> {
    let name = device.strip_prefix("/dev/")?;
    if let Some(rest) = name.strip_prefix("nvme") {
        let (disk, rest) = rest.split_once("n1")?;
        let disk: u32 = disk.parse().ok()?;
        return match rest.strip_prefix('p') {
            Some(part) => Some(format!("disk{disk}p{}", part.parse::<u32>().ok()?)),
            None => rest.is_empty().then(|| format!("disk{disk}")),
        };
    }
    let rest = ["sd", "hd", "vd", "xvd"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    let letters: &str = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.is_empty() || letters.len() > 2 || !letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    let disk = letters.bytes().fold(0_u32, |n, letter| {
        n.saturating_mul(26)
            .saturating_add(u32::from(letter.saturating_sub(b'a')).saturating_add(1))
    });
    let disk = disk.checked_sub(1)?;
    let part = rest.strip_prefix(letters)?;
    if part.is_empty() {
        return Some(format!("disk{disk}"));
    }
    Some(format!("disk{disk}p{}", part.parse::<u32>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udev_s_escapes_are_resolved() {
        for (name, want) in [
            ("my\\x20disk", "my disk"),
            ("a\\x2fb\\x5cc", "a/b\\c"),
            ("\\x", "\\x"),
            ("\\xzz", "\\xzz"),
            ("x20", "x20"),
        ] {
            assert_eq!(udev_unescaped(name), want);
        }
    }

    #[test]
    fn kernel_names_follow_disk_order() {
        for (device, want) in [
            ("/dev/sda1", Some("disk0p1")),
            ("/dev/sdb", Some("disk1")),
            ("/dev/vdc12", Some("disk2p12")),
            ("/dev/sdaa1", Some("disk26p1")),
            ("/dev/nvme0n1p2", Some("disk0p2")),
            ("/dev/mapper/vg-root", None),
            ("/dev/sd1", None),
            ("/dev/fd0", None),
        ] {
            assert_eq!(kernel_name_to_volume(device).as_deref(), want, "{device}");
        }
    }
}
