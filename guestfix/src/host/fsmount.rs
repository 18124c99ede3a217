// SPDX-License-Identifier: Apache-2.0
//! One mount of a guest's filesystem, made but not attached anywhere, or why there is none.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Error, Result};
use crate::fs::features::{self, Release};

/// A mount option and its value.
type MountOption = (&'static str, Option<&'static str>);

/// Options beyond the ones of every mount, by driver.
///
/// `noinit_itable` keeps ext4's lazy initialisation, and `skip_balance` an interrupted balance,
/// from writing what nobody asked for; `nouuid` lets two clones be mounted on one machine. A
/// superblock may ask ext4 to panic the machine on an error: `errors` overrides it.
fn options(fstype: &str) -> Option<(&'static str, &'static [MountOption])> {
    match fstype {
        // One driver; the feature bits on the disk decide what it writes.
        "ext2" | "ext3" | "ext4" => Some((
            "ext4",
            &[
                ("errors", Some("remount-ro")),
                ("noinit_itable", None),
                ("nodiscard", None),
            ],
        )),
        "xfs" => Some(("xfs", &[("nouuid", None), ("nodiscard", None)])),
        // The top level: subvolumes are taken from below it.
        "btrfs" => Some((
            "btrfs",
            &[
                ("skip_balance", None),
                ("nodiscard", None),
                ("subvolid", Some("5")),
            ],
        )),
        _ => None,
    }
}

/// Byte offset of the filesystem's UUID in a btrfs: in the primary superblock at 64 KiB, after
/// its 32-byte checksum (<https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>).
const BTRFS_FSID: u64 = (64 << 10) + 32;

/// The kernel knows a btrfs by its UUID alone: a clone of one that is mounted would be taken for
/// one of its devices.
pub(super) fn refuse_mounted_btrfs(volume: &File) -> Result<()> {
    let mut id = [0; 16];
    volume
        .read_exact_at(&mut id, BTRFS_FSID)
        .map_err(|e| Error::io("reading a superblock", e))?;
    let hex = format!("{:032x}", u128::from_be_bytes(id));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or(""));
    let uuid = parts.join("-");
    match Path::new("/sys/fs/btrfs").join(&uuid).exists() {
        true => Err(btrfs_mounted(&format!("with the UUID {uuid}"))),
        false => Ok(()),
    }
}

/// Which btrfs a device belongs to, and how many it has (on-disk format, as above: the magic at 0x40
/// of the superblock, the number of devices at 0x88).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Devices {
    pub(super) id: [u8; 16],
    pub(super) count: u64,
}

impl Devices {
    /// `None` for anything but a btrfs.
    pub(super) fn of(volume: &File) -> Result<Option<Self>> {
        let mut bytes = [0; 0x90];
        match volume.read_exact_at(&mut bytes, 64 << 10) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(Error::io("reading a superblock", e)),
        }
        let field = |at: usize| bytes.get(at..at.saturating_add(8)).unwrap_or_default();
        if field(0x40) != b"_BHRfS_M" {
            return Ok(None);
        }
        let id = bytes.get(0x20..0x30).and_then(|id| id.try_into().ok());
        let count = field(0x88).try_into().map_or(1, u64::from_le_bytes);
        Ok(id.map(|id| Self { id, count }))
    }
}

fn btrfs_mounted(which: &str) -> Error {
    Error::refused(
        "btrfs-mounted",
        format!("a btrfs {which} is mounted on this machine already"),
    )
    .hint("it is this one or a clone: wait until it is unmounted, or use another node")
}

/// Of several devices, which only a btrfs has, the first is `volume`'s. `volume` is what it shows: it tells why a mount of it may be refused.
pub(super) fn detached_mount(
    devices: &[&Path],
    fstype: &str,
    read_only: bool,
    volume: &File,
) -> Result<OwnedFd> {
    let Some((driver, options)) = options(fstype) else {
        return Err(no_driver(fstype));
    };
    let context = match rustix::mount::fsopen(driver, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(rustix::io::Errno::NODEV) => return Err(no_driver(driver)),
        Err(e) => return Err(Error::io(format!("preparing a mount of {driver}"), e)),
    };
    let create = || {
        for (index, device) in devices.iter().enumerate() {
            let key = if index == 0 { "source" } else { "device" };
            rustix::mount::fsconfig_set_string(context.as_fd(), key, *device)?;
        }
        for (key, value) in options {
            match value {
                Some(value) => rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?,
                None => rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?,
            }
        }
        if read_only {
            rustix::mount::fsconfig_set_flag(context.as_fd(), "ro")?;
        }
        rustix::mount::fsconfig_create(context.as_fd())
    };
    if let Err(e) = create() {
        if driver == "btrfs" && matches!(e, rustix::io::Errno::EXIST | rustix::io::Errno::BUSY) {
            return Err(btrfs_mounted("with the same UUID"));
        }
        let mut head = vec![0; features::HEAD];
        let features = match volume.read_exact_at(&mut head, 0) {
            Ok(()) => features::newer_than(kernel(), fstype, &head),
            Err(_) => Vec::new(),
        };
        return Err(not_mountable(driver, e, &kernel_says(&context), &features));
    }
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    if read_only {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|e| Error::io(format!("mounting {driver}"), e))
}

fn no_driver(fstype: &str) -> Error {
    Error::host(
        "no-filesystem-driver",
        format!("this machine's kernel cannot mount {fstype}"),
    )
    .hint(format!(
        "`modprobe {fstype}` on the node, or use a node whose kernel has it; `guestfix host` lists them"
    ))
}

/// The release of the running kernel; zeros where it cannot be told.
fn kernel() -> Release {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    (next(), next())
}

/// Which fault it is that the kernel does not mount a filesystem: the node's, where it uses
/// something that this kernel may not know.
fn not_mountable(
    driver: &str,
    errno: rustix::io::Errno,
    said: &[String],
    features: &[String],
) -> Error {
    let message = format!("the kernel does not mount this {driver} filesystem");
    let mut error = if errno == rustix::io::Errno::PERM || errno == rustix::io::Errno::ACCESS {
        Error::host("io", message).hint("run as root, in a container: privileged")
    } else if errno == rustix::io::Errno::INVAL && !features.is_empty() {
        let features = features.join(", ");
        Error::host(
            "no-filesystem-driver",
            format!("this machine's kernel does not mount {driver} with {features}"),
        )
        .hint("use a node whose kernel knows that: an older guest may need an older one, a newer guest a newer one")
    } else {
        Error::corrupt("not-mountable", message)
            .hint("the kernel's log says more; the guest's own fsck may repair it")
    };
    error.causes.extend(said.iter().cloned());
    error.because(errno)
}

/// What the driver said to a failed mount: one message per read, `e ` or `w ` in front.
fn kernel_says(context: &OwnedFd) -> Vec<String> {
    let mut said = Vec::new();
    let mut line = [0_u8; 1024];
    while let Ok(len @ 1..) = rustix::io::read(context, &mut line) {
        let text = String::from_utf8_lossy(line.get(..len).unwrap_or_default());
        said.push(text.trim_end().get(2..).unwrap_or_default().to_owned());
        if said.len() >= 16 {
            break;
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_filesystem_is_named() {
        let null = File::open("/dev/null").unwrap();
        let devices = [Path::new("/dev/null")];
        let error = detached_mount(&devices, "reiserfs", false, &null).unwrap_err();
        assert_eq!(error.code, "no-filesystem-driver");
        assert!(error.message.contains("reiserfs"));
    }

    #[test]
    fn a_feature_that_the_kernel_does_not_know_is_the_nodes_lack_and_not_damage() {
        let features = ["version 4".to_owned()];
        let error = not_mountable("xfs", rustix::io::Errno::INVAL, &[], &features);
        assert_eq!(error.code, "no-filesystem-driver");
        assert!(error.message.ends_with("xfs with version 4"), "{error}");
        let error = not_mountable("xfs", rustix::io::Errno::INVAL, &[], &[]);
        assert_eq!(error.code, "not-mountable");
        let error = not_mountable("xfs", rustix::io::Errno::UCLEAN, &[], &features);
        assert_eq!(error.code, "not-mountable");
        assert!(kernel() > (3, 0));
    }
}
