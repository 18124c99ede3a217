// SPDX-License-Identifier: Apache-2.0
//! The files of small guests.
use crate::small::{Filesystem, INITRAMFS, KERNEL, Small};
use crate::tool;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

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

impl Small {
    /// Lays out the root's tree; its partition is number `root`.
    pub(crate) fn plant(self, tree: &Path, root: u32) {
        fs::create_dir(tree).unwrap();
        let (fstab, menu) = (self.fstab(root), self.menu(root));
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

    fn fstab(self, root: u32) -> String {
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
        fstab
    }

    fn menu(self, root: u32) -> String {
        let flags = match self.filesystem {
            Filesystem::Btrfs => " rootflags=subvol=@",
            _ => "",
        };
        let seen = match (self.boot, self.filesystem) {
            (Some(_), _) => "",
            (None, Filesystem::Btrfs) => "/@/boot",
            (None, _) => "/boot",
        };
        format!(
            "menuentry 'Debian' {{\n\tlinux {seen}/vmlinuz-{KERNEL} root=/dev/sda{root} ro{flags} quiet\n\
             \tinitrd {seen}/initrd.img-{KERNEL}\n}}\n"
        )
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
pub(crate) fn loader(size: usize) -> Vec<u8> {
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

pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
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
