// SPDX-License-Identifier: Apache-2.0
//! Small guests that hold all that a conversion reads and changes, on any filesystem: made in a
//! second where a real one takes minutes. They cannot boot: modules and kernels are made up. Needs
//! root.
use crate::tool::{self, LoopDevice, Mounted};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

/// The release of the guests' only kernel.
pub const KERNEL: &str = "6.1.0-9-amd64";
/// The initramfs of that kernel, from the root.
pub const INITRAMFS: &str = "boot/initrd.img-6.1.0-9-amd64";
/// Where a guest keeps what its `mkinitramfs` gives out: an initramfs as a generic one would be.
const GENERIC: &str = "usr/share/generic.img";
/// The programs that a rebuild needs, and what misbehaving ones are written with.
const PROGRAMS: [&str; 12] = [
    "sh", "cat", "cp", "dd", "echo", "grep", "ln", "mkdir", "sed", "setsid", "sleep", "touch",
];
const MODULES: [(&str, &str); 9] = [
    (
        "drivers/block/virtio_blk",
        "drivers/virtio/virtio drivers/virtio/virtio_ring",
    ),
    (
        "drivers/virtio/virtio_pci",
        "drivers/virtio/virtio drivers/virtio/virtio_ring",
    ),
    ("drivers/virtio/virtio", ""),
    ("drivers/virtio/virtio_ring", ""),
    (
        "drivers/scsi/virtio_scsi",
        "drivers/virtio/virtio drivers/virtio/virtio_ring drivers/scsi/scsi_mod",
    ),
    ("drivers/scsi/scsi_mod", ""),
    ("drivers/scsi/sd_mod", "drivers/scsi/scsi_mod"),
    ("drivers/scsi/vmw_pvscsi", "drivers/scsi/scsi_mod"),
    ("drivers/ata/ahci", "drivers/scsi/scsi_mod"),
];

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

    fn options(self) -> &'static str {
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
    filesystem: Filesystem,
    esp: Option<u64>,
    boot: Option<u64>,
    compressor: &'static str,
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

    fn plant(self, tree: &Path, root: u32) {
        fs::create_dir(tree).unwrap();
        let kind = self.filesystem.name();
        let options = self.filesystem.options();
        let mut fstab = format!("/dev/sda{root} / {kind} {options} 0 0\n");
        if self.esp.is_some() {
            fstab.push_str("/dev/sda1 /boot/efi vfat umask=0077 0 1\n");
        }
        if self.boot.is_some() {
            fstab.push_str(&format!("/dev/sda{} /boot ext4 defaults 0 2\n", root - 1));
        }
        fstab.push_str("/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n");
        let flags = match self.filesystem {
            Filesystem::Btrfs => " rootflags=subvol=@",
            _ => "",
        };
        let seen = match (self.boot, self.filesystem) {
            (Some(_), _) => "",
            (None, Filesystem::Btrfs) => "/@/boot",
            (None, _) => "/boot",
        };
        let menu = format!(
            "menuentry 'Debian' {{\n\tlinux {seen}/vmlinuz-{KERNEL} root=/dev/sda{root} ro{flags} quiet\n\
             \tinitrd {seen}/initrd.img-{KERNEL}\n}}\n"
        );
        for (path, text) in [
            ("etc/fstab", fstab.as_str()),
            ("boot/grub/grub.cfg", &menu),
            (
                "etc/os-release",
                "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
            ),
            ("etc/hostname", "small\n"),
            (
                "etc/default/grub",
                "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX=\"root=/dev/sda9 console=ttyS0\"\n",
            ),
            (
                "etc/network/interfaces",
                "auto ens192\niface ens192 inet static\n\taddress 192.0.2.10/24\n",
            ),
            ("etc/initramfs-tools/modules", "# none\n"),
            ("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n"),
            ("var/lib/dpkg/status", ""),
            (
                "usr/lib/systemd/system/qemu-guest-agent.service",
                "[Service]\nExecStart=/usr/sbin/qemu-ga\n[Install]\nWantedBy=multi-user.target\n",
            ),
            ("usr/sbin/qemu-ga", "not a program\n"),
            ("usr/lib/systemd/systemd", "not a program\n"),
            ("usr/sbin/init", "not a program\n"),
        ] {
            write(&tree.join(path), text.as_bytes());
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            fs::create_dir_all(tree.join("usr").join(name)).unwrap();
            symlink(format!("usr/{name}"), tree.join(name)).unwrap();
        }
        for name in ["boot/efi", "dev", "home", "proc", "run", "sys", "tmp"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        PROGRAMS.iter().for_each(|name| copy_program(name, tree));
        self.plant_kernel(tree);
        set_tool(
            tree,
            "while [ $# -gt 1 ]; do if [ \"$1\" = -o ]; then out=$2; fi; shift; done\n\
             cp /usr/share/generic.img \"$out\"\n",
        );
    }

    fn plant_kernel(self, tree: &Path) {
        write(
            &tree.join(format!("boot/vmlinuz-{KERNEL}")),
            &noise(300_000),
        );
        let dir = format!("usr/lib/modules/{KERNEL}");
        let root = format!("fs/{0}/{0}", self.filesystem.name());
        let all = MODULES.iter().copied().chain([(root.as_str(), "")]);
        let lay = |into: &Path, only: &[&str]| {
            let mut index = String::new();
            for (module, needs) in all.clone() {
                let name = module.rsplit('/').next().unwrap();
                if !only.is_empty() && !only.contains(&name) {
                    continue;
                }
                let needs: Vec<String> = needs
                    .split_whitespace()
                    .map(|need| format!("kernel/{need}.ko"))
                    .collect();
                index.push_str(&format!("kernel/{module}.ko: {}\n", needs.join(" ")));
                let file = into.join(&dir).join(format!("kernel/{module}.ko"));
                write(&file, &noise(20_000 + module.len()));
            }
            write(&into.join(&dir).join("modules.dep"), index.as_bytes());
            for name in ["modules.alias", "modules.softdep", "modules.builtin"] {
                write(&into.join(&dir).join(name), b"");
            }
        };
        lay(tree, &[]);
        let pack = |image: &str, only: &[&str]| {
            let inside = tree.join("packed");
            lay(&inside, only);
            write(&inside.join("conf/initramfs.conf"), b"MODULES=dep\n");
            write(&inside.join("usr/sbin/modprobe"), &noise(100_000));
            fs::create_dir_all(tree.join(image).parent().unwrap()).unwrap();
            let script = format!(
                "cd {} && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | {} > {}",
                inside.display(),
                self.compressor,
                tree.join(image).display()
            );
            tool::run("sh", &["-c", &script]);
            fs::remove_dir_all(inside).unwrap();
        };
        let driver = self.filesystem.name();
        pack(INITRAMFS, &["vmw_pvscsi", "scsi_mod", "sd_mod", driver]);
        pack(GENERIC, &[]);
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

/// Puts a shell script in the place of the guest's `mkinitramfs`. It finds the file to be made
/// behind `-o`.
pub fn set_tool(tree: &Path, script: &str) {
    let path = tree.join("usr/sbin/mkinitramfs");
    write(&path, format!("#!/bin/sh\nset -eu\n{script}").as_bytes());
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Bytes that do not compress, the same every time.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(step).collect()
}

/// The head of a program for x86-64 firmware, and noise behind it (Microsoft PE Format).
fn loader(size: usize) -> Vec<u8> {
    let mut out = noise(size);
    out[..0x400].fill(0);
    for (at, bytes) in [
        (0, &b"MZ"[..]),
        (0x3c, &0x80_u32.to_le_bytes()),
        (0x80, b"PE\0\0"),
        (0x84, &0x8664_u16.to_le_bytes()),
        (0x94, &0xf0_u16.to_le_bytes()),
        (0x98, &0x20b_u16.to_le_bytes()),
    ] {
        out[at..][..bytes.len()].copy_from_slice(bytes);
    }
    out
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

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let from = from.join(".");
    let to = to.to_str().unwrap();
    tool::run("cp", &["--archive", from.to_str().unwrap(), to]);
}

/// Copies a program of this machine and its libraries into a guest.
pub fn copy_program(name: &str, tree: &Path) {
    let from = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
    let from = from.iter().find(|path| path.exists()).unwrap();
    fs::copy(from, tree.join("usr/bin").join(name)).unwrap();
    let needs = tool::run("ldd", &[from]);
    for library in needs
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let to = tree.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if !to.exists() {
            fs::copy(library, to).unwrap();
        }
    }
}
