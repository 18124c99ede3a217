// SPDX-License-Identifier: Apache-2.0
//! Who uses a block device on this node. Locks prove nothing for devices: they bind to the inode of
//! the device node, of which every container has its own. Open descriptors are therefore looked for
//! by device number, and so are mounts, partitions and stacked devices.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A process that has a device open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its process id, in our pid namespace.
    pub pid: u32,
    /// Its command name.
    pub comm: String,
}

/// What a look at the open descriptors of a node found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// Who has the device open, ourselves left out.
    pub users: Vec<User>,
    /// Processes that we were not allowed to look at.
    pub hidden: usize,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Device {
    /// The device behind an open file; `None` for anything but a block device.
    ///
    /// # Errors
    /// `Host`/`io`.
    pub fn of(file: &File) -> Result<Option<Self>> {
        let meta = file
            .metadata()
            .map_err(|e| Error::io("cannot stat the disk", e))?;
        let rdev = meta.rdev();
        let device = Self {
            major: rustix::fs::major(rdev),
            minor: rustix::fs::minor(rdev),
        };
        Ok(meta.file_type().is_block_device().then_some(device))
    }
}

/// Refuses a block device that is mounted, stacked upon, or open in another process, and a regular
/// file that a loop device lies on: mounts write through it. Other uses of a regular file are
/// [`super::ImageLock`]'s business.
///
/// # Errors
/// `Refused`/`in-use` naming the user; `Host`/`io`.
pub fn refuse_used_device(file: &File, name: &str) -> Result<()> {
    let refuse = |by: String| {
        Err(
            Error::refused("in-use", format!("the disk is in use: {by}"))
                .on(name)
                .hint("shut the virtual machine down, or unmount it, then try again"),
        )
    };
    let Some(device) = Device::of(file)? else {
        return match loop_device_over(file)? {
            Some(device) => refuse(format!("the loop device {device} lies on it")),
            None => Ok(()),
        };
    };
    let mut devices = vec![device];
    devices.extend(partitions(device));
    for device in &devices {
        if let Some(at) = mounted_at(*device)?.first() {
            return refuse(format!("it is mounted at {at}"));
        }
        if let Some(holder) = holders(*device).first() {
            return refuse(format!("the device {holder} is built upon it"));
        }
    }
    let found = in_use_by(&devices)?;
    if let Some(User { pid, comm }) = found.users.first() {
        return refuse(format!("process {pid} ({comm}) has it open"));
    }
    if found.hidden > 0 {
        tracing::debug!(
            hidden = found.hidden,
            "some processes could not be asked whether they use {name}"
        );
    }
    Ok(())
}

/// The loop device whose backing file this is. The kernel names the file by its path
/// (Documentation/ABI, `/sys/block/loopN/loop/backing_file`); a path of another mount namespace
/// leads elsewhere and is no match.
fn loop_device_over(file: &File) -> Result<Option<String>> {
    let meta = file
        .metadata()
        .map_err(|e| Error::io("cannot stat the disk", e))?;
    let backs = |device: &String| {
        let path = Path::new("/sys/block")
            .join(device)
            .join("loop/backing_file");
        let backing = std::fs::read_to_string(path).ok()?;
        let backing = std::fs::metadata(backing.trim_end_matches('\n')).ok()?;
        Some(backing.dev() == meta.dev() && backing.ino() == meta.ino())
    };
    // No sysfs, no loop devices to be seen.
    let devices = entries(Path::new("/sys/block")).unwrap_or_default();
    let mut loops = devices.into_iter().filter(|name| name.starts_with("loop"));
    Ok(loops.find(|device| backs(device) == Some(true)))
}

/// Which other processes have one of these devices open.
///
/// # Errors
/// `Host`/`io` when /proc cannot be read.
pub fn in_use_by(devices: &[Device]) -> Result<Users> {
    let mut found = Users::default();
    for process in entries(Path::new("/proc"))? {
        let Ok(pid) = process.parse::<u32>() else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let dir = Path::new("/proc").join(&process);
        // A process may be gone by now: that is not an error.
        let Ok(fds) = std::fs::read_dir(dir.join("fd")) else {
            found.hidden = found.hidden.saturating_add(usize::from(dir.exists()));
            continue;
        };
        if fds
            .flatten()
            .any(|fd| device_at(&fd.path()).is_some_and(|at| devices.contains(&at)))
        {
            let comm = std::fs::read_to_string(dir.join("comm")).unwrap_or_default();
            found.users.push(User {
                pid,
                comm: comm.trim_end().to_owned(),
            });
        }
    }
    Ok(found)
}

/// Where a device is mounted, in our mount namespace.
///
/// # Errors
/// `Host`/`io` when /proc cannot be read.
pub fn mounted_at(device: Device) -> Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| Error::io("cannot read /proc/self/mountinfo", e))?;
    Ok(mount_points(&table, device))
}

/// Third field: device number; fifth: mount point. See proc_pid_mountinfo(5).
fn mount_points(table: &str, device: Device) -> Vec<String> {
    let number = format!("{}:{}", device.major, device.minor);
    let at = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        (fields.next()? == number)
            .then(|| fields.nth(1).map(str::to_owned))
            .flatten()
    };
    table.lines().filter_map(at).collect()
}

/// Asks for the device number without waking a network filesystem that may be dead.
fn device_at(path: &Path) -> Option<Device> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE).ok()?;
    let block = u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFBLK;
    block.then_some(Device {
        major: stat.stx_rdev_major,
        minor: stat.stx_rdev_minor,
    })
}

fn sysfs(device: Device) -> std::path::PathBuf {
    Path::new("/sys/dev/block").join(format!("{}:{}", device.major, device.minor))
}

fn partitions(device: Device) -> Vec<Device> {
    let dir = sysfs(device);
    let names = entries(&dir).unwrap_or_default();
    let of = |name: &String| {
        dir.join(name).join("partition").exists().then_some(())?;
        let text = std::fs::read_to_string(dir.join(name).join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some(Device {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    };
    names.iter().filter_map(of).collect()
}

fn holders(device: Device) -> Vec<String> {
    entries(&sysfs(device).join("holders")).unwrap_or_default()
}

fn entries(dir: &Path) -> Result<Vec<String>> {
    let list = std::fs::read_dir(dir)
        .map_err(|e| Error::io(format!("cannot list {}", dir.display()), e))?;
    Ok(list
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_device_number() {
        let table = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                     30 22 8:17 / /mnt/a\\040b rw shared:1 - xfs /dev/sdb1 rw\n\
                     31 22 8:1 /x /bind rw - ext4 /dev/sda1 rw\n";
        let at = |major, minor| mount_points(table, Device { major, minor });
        assert_eq!(at(8, 1), ["/", "/bind"]);
        assert_eq!(at(8, 17), ["/mnt/a\\040b"]);
        assert!(at(8, 2).is_empty());
    }

    #[test]
    fn a_regular_file_passes() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Device::of(&file).unwrap(), None);
        refuse_used_device(&file, "disk0").unwrap();
    }

    #[test]
    fn looking_at_every_process_does_not_count_ourselves() {
        let found = in_use_by(&[Device {
            major: 7,
            minor: 255,
        }])
        .unwrap();
        assert!(
            found
                .users
                .iter()
                .all(|user| user.pid != std::process::id())
        );
    }
}
