// SPDX-License-Identifier: Apache-2.0
//! Unified kernel images: kernel, initramfs and arguments in one program, mostly signed. Nothing in
//! them can be changed here, so what they lack is said, with what helps.
//!
//! Format: <https://uapi-group.org/specifications/specs/unified_kernel_image/>.

use std::io::Read;

use super::{cmdline, pe};
use crate::error::Result;
use crate::fs::{GuestPath, ReadSeek, Tree};
use crate::inspect::Facts;
use crate::inspect::efi::UnifiedKernel;
use crate::inspect::facts::{Category, Concern};
use crate::linux::gather::Gatherer;
use crate::linux::{devices, shell};

/// Where loaders look for them, below a partition.
const DIR: &str = "EFI/Linux";
/// More than these are not looked at.
const MAX_IMAGES: usize = 64;

/// Finds the images on the partitions that loaders look at; `at` is where the EFI system
/// partition is mounted.
///
/// # Errors
/// `Corrupt` when a filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>, at: &str) -> Result<Vec<UnifiedKernel>> {
    let mut bases = vec![at];
    bases.extend(super::entry::BASES.iter().filter(|base| **base != at));
    let mut out = Vec::new();
    for base in bases {
        let dir = format!("{}/{DIR}", base.trim_end_matches('/'));
        for name in gather.dir(&dir)?.iter().take(MAX_IMAGES) {
            if name.to_ascii_lowercase().ends_with(".efi") {
                out.extend(image(gather.tree(), &format!("{dir}/{name}"))?);
            }
        }
    }
    Ok(out)
}

/// Reads an image; `None` when it is none.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn image(tree: &Tree, path: &str) -> Result<Option<UnifiedKernel>> {
    let Some(mut file) = tree.open(&GuestPath::new(path))? else {
        return Ok(None);
    };
    let program = pe::parse(file.as_mut()).filter(pe::Program::is_unified_kernel);
    Ok(program.map(|program| {
        let mut text = |name| pe::text(file.as_mut(), &program, name).unwrap_or_default();
        let release = shell::assignments(text(".osrel").as_bytes());
        UnifiedKernel {
            path: path.to_owned(),
            signed: program.signed,
            version: text(".uname"),
            os: shell::value(&release, "ID").unwrap_or_default().to_owned(),
            cmdline: text(".cmdline"),
        }
    }))
}

/// The initramfs inside an image, as a stream, and where it begins and how long it is; `None` when
/// the file is no such image.
pub fn initramfs<'a>(mut file: Box<dyn ReadSeek + 'a>) -> Option<(impl Read + 'a, u64)> {
    let program = pe::parse(file.as_mut()).filter(pe::Program::is_unified_kernel)?;
    let (at, len) = program.section(".initrd").unwrap_or((0, 0));
    file.seek(std::io::SeekFrom::Start(at)).ok()?;
    Some((file.take(len), len))
}

/// What cannot be changed and would not work.
pub fn concerns(facts: &Facts) -> Vec<Concern> {
    let Some(efi) = &facts.efi else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for kernel in &efi.unified_kernels {
        let args = kernel.cmdline.split_whitespace();
        let bad = args
            .filter_map(cmdline::device_of)
            .find_map(|device| devices::fault(facts, device));
        let Some(fault) = bad else { continue };
        let default = facts
            .kernels
            .iter()
            .any(|k| k.default && k.image == kernel.path);
        let category = if default {
            Category::Critical
        } else {
            Category::Warning
        };
        out.push(Concern::new(
            category,
            "unified-kernel-device",
            format!(
                "the arguments inside {}: {fault}; {}",
                kernel.path,
                remedy(kernel)
            ),
        ));
    }
    out
}

/// What an operator can do about an image that cannot be changed.
pub fn remedy(kernel: &UnifiedKernel) -> String {
    let how = "put root=UUID=... into /etc/kernel/cmdline and the virtio drivers into the \
               initramfs's configuration, then make the image anew (kernel-install add, ukify, \
               dracut --uefi or mkinitcpio -P) while the guest still runs";
    match kernel.signed {
        true => format!(
            "it is signed, so it cannot be changed without its key: {how}, or give the VM's disks the bus sata"
        ),
        false => format!("{how}, or give the VM's disks the bus sata"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;
    use crate::inspect::efi::EfiFacts;

    #[test]
    fn an_image_is_read_and_its_device_names_are_told() {
        let parts: [(&str, &[u8]); 5] = [
            (".osrel", b"ID=fedora\nVERSION_ID=41\n"),
            (".cmdline", b"root=/dev/sda1 quiet"),
            (".uname", b"6.11.4-301.fc41.x86_64"),
            (".linux", b"MZ"),
            (".initrd", b"070701"),
        ];
        let path = "/boot/efi/EFI/Linux/a.efi";
        let tree = Tree::new(Box::new(
            MemoryFs::new()
                .file(path, pe::unified(0x8664, false, &parts))
                .file("/boot/efi/EFI/Linux/b.efi", pe::sample(0x8664, false, "")),
        ));
        let found = gather(&mut Gatherer::new(&tree), "/boot/efi").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].os, "fedora");
        assert_eq!(found[0].version, "6.11.4-301.fc41.x86_64");
        let (mut inside, len) = initramfs(tree.open(&path.into()).unwrap().unwrap()).unwrap();
        let mut text = String::new();
        inside.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), len), ("070701", 6));
        let mut facts = fixture::facts();
        facts.efi = Some(EfiFacts {
            unified_kernels: found,
            ..EfiFacts::default()
        });
        let told = concerns(&facts);
        assert_eq!(told[0].id, "unified-kernel-device");
        assert!(told[0].message.contains("/dev/sda1"), "{told:?}");
    }
}
