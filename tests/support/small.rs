// SPDX-License-Identifier: Apache-2.0
//! Small guests that hold all that a conversion reads and changes, on any filesystem: made in a
//! second where a real one takes minutes. They cannot boot: modules and kernels are made up. Needs
//! root.
use crate::planted::{loader, write};
use crate::tool::{self, LoopDevice, Mounted};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

/// The release of the guests' only kernel.
pub const KERNEL: &str = "6.1.0-9-amd64";
/// The initramfs of that kernel, from the root.
pub const INITRAMFS: &str = "boot/initrd.img-6.1.0-9-amd64";
/// What the root lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4.
    Ext4,
    /// XFS, version 5.
    Xfs,
    /// btrfs, the root in the subvolume `@` and a snapshot of it beside.
    Btrfs,
}

impl Filesystem {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// As mount(8) calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    pub(crate) fn options(self) -> &'static str {
        match self {
            Self::Btrfs => "subvol=@",
            _ => "defaults",
        }
    }

    /// Where the root lies below the filesystem's top, as GRUB sees it.
    pub fn top(self) -> &'static str {
        match self {
            Self::Btrfs => "@",
            _ => "",
        }
    }

    fn mib(self) -> u64 {
        match self {
            Self::Btrfs => 160,
            _ => 96,
        }
    }

    /// Makes an empty one. XFS is made as small as this for its own test suite only.
    fn make(self, device: &Path, more: &[&str]) {
        let options: &[&str] = match self {
            Self::Ext4 => &["-q", "-F", "-E", "nodiscard"],
            Self::Xfs => &["-q", "-f", "-K"],
            Self::Btrfs => &["-q", "-f", "-K"],
        };
        let mut command = std::process::Command::new(format!("mkfs.{}", self.name()));
        let made = command
            .args(options)
            .args(more)
            .arg(device)
            .envs(["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"].map(|name| (name, "1")))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
}

/// What a small guest shall be.
#[derive(Debug, Clone, Copy)]
pub struct Small {
    pub(crate) filesystem: Filesystem,
    pub(crate) esp: Option<u64>,
    pub(crate) boot: Option<u64>,
    pub(crate) compressor: &'static str,
    version_4: bool,
}

/// A small guest's disk.
#[derive(Debug, Clone)]
pub struct SmallDisk {
    /// The image.
    pub path: PathBuf,
    /// Which filesystem the root is on.
    pub filesystem: Filesystem,
    /// Number of the root's partition.
    pub root: u32,
}

impl Small {
    /// A guest that starts by BIOS, on one filesystem.
    pub fn on(filesystem: Filesystem) -> Self {
        Self {
            filesystem,
            esp: None,
            boot: None,
            compressor: "gzip -n",
            version_4: false,
        }
    }

    /// Its XFS is of version 4, and empty where this machine's kernel does not mount that.
    #[must_use]
    pub fn version_4(mut self) -> Self {
        self.version_4 = true;
        self
    }

    /// It starts by UEFI, from an EFI system partition of so many MiB that lacks the loader in the
    /// fallback path.
    #[must_use]
    pub fn with_esp(mut self, mib: u64) -> Self {
        self.esp = Some(mib);
        self
    }

    /// `/boot` is an ext4 of so many MiB.
    #[must_use]
    pub fn with_boot(mut self, mib: u64) -> Self {
        self.boot = Some(mib);
        self
    }

    /// The program that compresses its initramfs, in place of gzip.
    #[must_use]
    pub fn compressed_by(mut self, compressor: &'static str) -> Self {
        self.compressor = compressor;
        self
    }

    /// Makes it in `dir`; `edit` changes the root's files beforehand.
    pub fn build(self, dir: &Path, edit: impl FnOnce(&Path)) -> SmallDisk {
        let tree = dir.join("small.tree");
        let partitions = self.partitions();
        let root = partitions.len() as u32;
        self.plant(&tree, root);
        edit(&tree);
        let path = dir.join(format!("{}.img", self.filesystem.name()));
        lay_out(&path, &partitions);
        let disk = SmallDisk {
            path,
            filesystem: self.filesystem,
            root,
        };
        if self.esp.is_some() {
            disk.fill_esp(dir);
        }
        if self.boot.is_some() {
            let number = root - 1;
            disk.make(Filesystem::Ext4, number, &[]);
            let mounted = disk.mounted_part(number, dir);
            copy(&tree.join("boot"), mounted.path());
            fs::remove_dir_all(tree.join("boot")).unwrap();
            fs::create_dir(tree.join("boot")).unwrap();
        }
        let more: &[&str] = if self.version_4 {
            &["-m", "crc=0"]
        } else {
            &[]
        };
        disk.make(self.filesystem, root, more);
        if !self.version_4 || disk.is_mountable(dir) {
            disk.fill_root(&tree, dir);
        }
        fs::remove_dir_all(&tree).unwrap();
        disk
    }

    /// Type and size in MiB of each; the root is the last.
    fn partitions(self) -> Vec<(&'static str, u64)> {
        let boot = self.boot.map(|mib| ("L", mib));
        let esp = self.esp.map(|mib| ("U", mib));
        let root = ("L", self.filesystem.mib());
        esp.into_iter().chain(boot).chain([root]).collect()
    }
}

impl SmallDisk {
    /// The root's filesystem, mounted until dropped. `dir` lends a mount point.
    pub fn mounted(&self, dir: &Path) -> Mounted {
        self.mounted_part(self.root, dir)
    }

    /// The filesystem of a partition, mounted until dropped.
    pub fn mounted_part(&self, number: u32, dir: &Path) -> Mounted {
        let (offset, _) = crate::disk::partition(&self.path, number);
        let point = dir.join(format!("small{number}.mnt"));
        Mounted::with(&self.path, offset, "nodiscard", &point)
    }

    /// Whether this machine's kernel mounts the root's filesystem. `dir` lends a mount point.
    pub fn is_mountable(&self, dir: &Path) -> bool {
        let (offset, _) = crate::disk::partition(&self.path, self.root);
        let point = dir.join("try.mnt");
        fs::create_dir_all(&point).unwrap();
        tool::can_mount(&self.path, offset, &point)
    }

    /// Where a mount of the root's filesystem shows the root.
    pub fn root_in(&self, mounted: &Mounted) -> PathBuf {
        mounted.path().join(self.filesystem.top())
    }

    /// A second one with the same bytes.
    pub fn cloned(&self, name: &str) -> Self {
        let path = self.path.with_file_name(name);
        crate::guest::sparse_copy(&self.path, &path);
        Self {
            path,
            ..self.clone()
        }
    }

    fn make(&self, filesystem: Filesystem, number: u32, more: &[&str]) {
        let (offset, len) = crate::disk::partition(&self.path, number);
        filesystem.make(LoopDevice::part(&self.path, offset, len).path(), more);
    }

    fn fill_root(&self, tree: &Path, dir: &Path) {
        let mounted = self.mounted(dir);
        let top = mounted.path();
        let path = |name: &str| top.join(name).to_str().unwrap().to_owned();
        if self.filesystem != Filesystem::Btrfs {
            return copy(tree, top);
        }
        let btrfs = |args: &[&str]| tool::run("btrfs", args);
        btrfs(&["subvolume", "create", &path("@")]);
        fs::create_dir(top.join("@snapshots")).unwrap();
        copy(tree, &top.join("@"));
        btrfs(&[
            "subvolume",
            "snapshot",
            "-r",
            &path("@"),
            &path("@snapshots/1"),
        ]);
    }

    fn fill_esp(&self, dir: &Path) {
        let (offset, len) = crate::disk::partition(&self.path, 1);
        {
            let device = LoopDevice::part(&self.path, offset, len);
            tool::run("mkfs.vfat", &[device.path()]);
        }
        let tree = dir.join("esp.tree");
        for (name, size) in [
            ("shimx64", 150_000),
            ("grubx64", 200_000),
            ("mmx64", 90_000),
        ] {
            write(&tree.join(format!("debian/{name}.efi")), &loader(size));
        }
        write(
            &tree.join("debian/grub.cfg"),
            b"configfile /grub/grub.cfg\n",
        );
        let inside = format!("{}@@{offset}", self.path.display());
        tool::run("mmd", &["-i", &inside, "::EFI"]);
        let from = tree.join("debian");
        tool::run(
            "mcopy",
            &["-s", "-i", &inside, from.to_str().unwrap(), "::EFI"],
        );
        fs::remove_dir_all(tree).unwrap();
    }
}

fn lay_out(path: &Path, partitions: &[(&str, u64)]) {
    let total: u64 = partitions.iter().map(|(_, mib)| mib).sum();
    File::create(path)
        .unwrap()
        .set_len((total + 2) * MIB)
        .unwrap();
    let lines: String = partitions
        .iter()
        .map(|(ty, mib)| format!("size={mib}MiB, type={ty}\n"))
        .collect();
    let args = ["--quiet", "--no-reread", path.to_str().unwrap()];
    tool::run_with_input("sfdisk", &args, &format!("label: gpt\n{lines}"));
}

fn copy(from: &Path, to: &Path) {
    let from = from.join(".");
    let to = to.to_str().unwrap();
    tool::run("cp", &["--archive", from.to_str().unwrap(), to]);
}
