// SPDX-License-Identifier: Apache-2.0
//! Mounting a guest's filesystems: each volume once in our own directory, and all of them
//! together as a tree that looks like the guest's.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::files;
use super::fsck::{self, Opinion};
use super::loopdev::LoopDevice;
use super::subvolumes;
use crate::error::{Error, Result};
use crate::fs::{GuestPath, Subvolume};

/// How long an unmounted volume may stay in use.
const PATIENCE: Duration = Duration::from_secs(10);

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
fn refuse_mounted_btrfs(volume: &File) -> Result<()> {
    let mut id = [0; 16];
    volume
        .read_exact_at(&mut id, BTRFS_FSID)
        .map_err(|e| Error::io("reading a superblock", e))?;
    let hex = format!("{:032x}", u128::from_be_bytes(id));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or(""));
    let uuid = parts.join("-");
    if !Path::new("/sys/fs/btrfs").join(&uuid).exists() {
        return Ok(());
    }
    Err(Error::refused(
        "btrfs-mounted",
        format!("a btrfs with the UUID {uuid} is mounted on this machine already"),
    )
    .hint("it is this one or a clone: wait until it is unmounted, or use another node"))
}

/// A mounted volume.
#[derive(Debug)]
struct Mounted {
    volume: String,
    at: PathBuf,
    read_only: bool,
    /// Held open since the mount, so that `syncfs` reports every error since then.
    root: Option<OwnedFd>,
    device: LoopDevice,
}

/// All mounted volumes of one guest. Lives in the mounter's own mount namespace, whose end
/// unmounts whatever is left.
#[derive(Debug)]
pub(super) struct Mounts {
    dir: PathBuf,
    volumes: Vec<Mounted>,
    tree: Option<OwnedFd>,
    /// Where the tree was put together, to be taken apart before the volumes go.
    joints: Vec<PathBuf>,
    /// Volumes whose logs were replayed for the sake of a look.
    replayed: Vec<String>,
    made: u32,
}

impl Mounts {
    /// Covers `dir` with a private filesystem for device nodes and mount points.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NOEXEC;
        rustix::mount::mount("none", dir, "tmpfs", flags, c"size=1m,mode=0700")
            .map_err(|e| Error::io("mounting a private directory", e))?;
        for name in ["export", "dev", "volumes", "tree", "sandbox"] {
            std::fs::create_dir(dir.join(name))
                .map_err(|e| Error::io("making a private directory", e))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            volumes: Vec::new(),
            tree: None,
            joints: Vec::new(),
            replayed: Vec::new(),
            made: 0,
        })
    }

    /// Attaches the detached FUSE mount that holds the volumes' files.
    pub(super) fn export(&self, mount: &OwnedFd) -> Result<()> {
        attach(mount, rustix::fs::CWD, &self.dir.join("export"))
            .map_err(|e| Error::io("attaching the exported volumes", e))
    }

    /// Where the sandbox may build its root.
    pub(super) fn sandbox_dir(&self) -> PathBuf {
        self.dir.join("sandbox")
    }

    /// The guest's root directory.
    pub(super) fn tree(&self) -> Result<BorrowedFd<'_>> {
        let tree = self.tree.as_ref().map(AsFd::as_fd);
        tree.ok_or_else(|| Error::internal("the guest's root is not mounted"))
    }

    /// Mounts a directory of an exported volume at its place in the guest's tree; the root must
    /// come first. A volume that was mounted already is not mounted again.
    pub(super) fn mount(
        &mut self,
        volume: &str,
        fstype: &str,
        (at, from): (&GuestPath, &GuestPath),
        read_only: bool,
    ) -> Result<()> {
        let place = match (*at == GuestPath::root(), &self.tree) {
            (true, None) => None,
            (true, Some(_)) => return Err(Error::internal("the guest's root is mounted twice")),
            (false, _) => Some(mount_point(self.tree()?, at)?),
        };
        let index = self.attached(volume, fstype, read_only)?;
        self.place(index, from, place)
    }

    /// Mounts an exported volume for reading at `/<volume>`, for inspection: no root is chosen yet.
    /// Says whether its log was replayed for that.
    pub(super) fn look(&mut self, volume: &str, fstype: &str) -> Result<bool> {
        if self.volumes.iter().any(|mounted| mounted.volume == volume) {
            return Ok(self.replayed.iter().any(|name| name == volume));
        }
        let index = self.attached(volume, fstype, true)?;
        let root = self.root_of(index)?;
        let tree = self.dir.join("tree");
        let at = tree.join(volume);
        let made = match std::fs::create_dir(&at) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        };
        made.map_err(|e| Error::io("making a mount point", e))?;
        let put = || {
            attach(&copy_of(root)?, rustix::fs::CWD, &at)?;
            rustix::fs::open(
                &tree,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        self.tree = Some(put().map_err(|e| Error::io("building a tree to look at", e))?);
        self.joints.push(at);
        Ok(self.replayed.iter().any(|name| name == volume))
    }

    /// The subvolumes of a btrfs that is mounted.
    pub(super) fn subvolumes(&self, volume: &str) -> Result<Vec<Subvolume>> {
        let mounted = self.volumes.iter().find(|mounted| mounted.volume == volume);
        let root = mounted.and_then(|mounted| mounted.root.as_ref());
        let root = root.ok_or_else(|| Error::internal(format!("{volume} is not mounted")))?;
        subvolumes::list(root.as_fd()).map_err(|e| e.on(volume))
    }

    fn root_of(&self, index: usize) -> Result<BorrowedFd<'_>> {
        let root = self.volumes.get(index).and_then(|v| v.root.as_ref());
        root.map(AsFd::as_fd)
            .ok_or_else(|| Error::internal("a mount has no root"))
    }

    /// Mounts an exported volume in a place of its own, once, and returns its index.
    fn attached(&mut self, volume: &str, fstype: &str, read_only: bool) -> Result<usize> {
        let have = self.volumes.iter().position(|v| v.volume == volume);
        if let Some(index) = have {
            return Ok(index);
        }
        self.attach_volume(volume, fstype, read_only)?;
        Ok(self.volumes.len().saturating_sub(1))
    }

    /// Asks the node's own checker about an exported volume, which must not be mounted.
    pub(super) fn check(&self, volume: &str, fstype: &str, timeout: Duration) -> Result<Opinion> {
        if self.volumes.iter().any(|mounted| mounted.volume == volume) {
            return Err(Error::internal(format!("{volume} is mounted")));
        }
        let backing = self.exported(volume)?;
        fsck::check(&backing, &self.dir.join("dev"), fstype, timeout).map_err(|e| e.on(volume))
    }

    fn exported(&self, volume: &str) -> Result<File> {
        if volume.contains('/') || volume.starts_with('.') || volume.is_empty() {
            return Err(Error::internal("a volume's name is not a file name"));
        }
        File::options()
            .read(true)
            .write(true)
            .open(self.dir.join("export").join(volume))
            .map_err(|e| Error::io("opening an exported volume", e).on(volume))
    }

    /// A mount for reading gets a device that cannot be written, so that nothing is: even XFS with
    /// a clean log writes into it on any other. Where a log must be replayed the kernel refuses
    /// that, and gets one that can.
    fn attach_volume(&mut self, volume: &str, fstype: &str, read_only: bool) -> Result<()> {
        if !read_only {
            return self.attach_device(volume, fstype, false, false);
        }
        if let Err(error) = self.attach_device(volume, fstype, true, true) {
            tracing::debug!(%error, volume, "mounting again from a device that can be written");
            self.attach_device(volume, fstype, true, false)?;
            self.replayed.push(volume.to_owned());
        }
        Ok(())
    }

    fn attach_device(
        &mut self,
        volume: &str,
        fstype: &str,
        read_only: bool,
        fixed: bool,
    ) -> Result<()> {
        let backing = self.exported(volume)?;
        if fstype == "btrfs" {
            refuse_mounted_btrfs(&backing).map_err(|e| e.on(volume))?;
        }
        let device = LoopDevice::attach(backing.as_fd(), &self.dir.join("dev"), fixed)?;
        drop(backing);
        let detached =
            detached_mount(device.path(), fstype, read_only).map_err(|e| e.on(volume))?;
        let dir = self.dir.join("volumes").join(self.made.to_string());
        self.made = self.made.saturating_add(1);
        std::fs::create_dir(&dir).map_err(|e| Error::io("making a mount point", e))?;
        attach(&detached, rustix::fs::CWD, &dir)
            .map_err(|e| Error::io("attaching a mount", e).on(volume))?;
        drop(detached);
        let root = rustix::fs::open(
            &dir,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Error::io("opening a mount", e).on(volume))?;
        self.volumes.push(Mounted {
            volume: volume.to_owned(),
            at: dir.clone(),
            read_only,
            root: Some(root),
            device,
        });
        self.volumes.last().map_or(Ok(()), Mounted::check_writable)
    }

    /// Puts a copy of a mount, or of a directory in it, into the tree.
    fn place(&mut self, index: usize, from: &GuestPath, place: Option<OwnedFd>) -> Result<()> {
        let root = self.root_of(index)?;
        let from = files::open(root, from, OFlags::PATH | OFlags::DIRECTORY).map_err(|e| {
            Error::corrupt(
                "no-subvolume",
                format!("there is no directory {from} to mount"),
            )
            .because(e)
        })?;
        let put = || {
            let copy = copy_of(from.as_fd())?;
            match &place {
                Some(at) => attach(&copy, at, Path::new("")).map(|()| None),
                None => {
                    let tree = self.dir.join("tree");
                    attach(&copy, rustix::fs::CWD, &tree)?;
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    rustix::fs::open(&tree, flags, Mode::empty()).map(Some)
                }
            }
        };
        if let Some(tree) = put().map_err(|e| Error::io("building the guest's tree", e))? {
            self.tree = Some(tree);
            self.joints.push(self.dir.join("tree"));
        }
        Ok(())
    }

    /// Writes everything back and reports every write error since the mount.
    pub(super) fn sync(&self) -> Result<()> {
        self.volumes.iter().try_for_each(Mounted::sync)
    }

    /// Syncs and unmounts everything, children first, and waits until the last write has reached
    /// the exported files. Goes on after an error and returns the first.
    pub(super) fn unmount(&mut self) -> Result<()> {
        let mut first = Ok(());
        self.tree = None;
        while let Some(joint) = self.joints.pop() {
            let apart = rustix::mount::unmount(joint, UnmountFlags::DETACH)
                .map_err(|e| Error::io("taking the guest's tree apart", e));
            first = first.and(apart);
        }
        while let Some(mounted) = self.volumes.pop() {
            let volume = mounted.volume.clone();
            first = first.and(mounted.unmount().map_err(|e| e.on(volume)));
        }
        first
    }
}

impl Mounted {
    /// A mount asked to be writable that is read-only lies about everything done to it: a log
    /// that could not be replayed, or an error later on.
    fn check_writable(&self) -> Result<()> {
        let Some(root) = &self.root else {
            return Ok(());
        };
        let stat = rustix::fs::fstatvfs(root).map_err(|e| Error::io("looking at a mount", e))?;
        if self.read_only || !stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Ok(());
        }
        Err(Error::corrupt(
            "mounted-read-only",
            "the kernel made the filesystem read-only",
        )
        .on(&self.volume)
        .hint("the kernel's log says why; the guest's own fsck may repair it"))
    }

    fn sync(&self) -> Result<()> {
        if let Some(root) = &self.root {
            rustix::fs::syncfs(root)
                .map_err(|e| Error::io("writing a filesystem back", e).on(&self.volume))?;
        }
        self.check_writable()
    }

    fn unmount(mut self) -> Result<()> {
        let synced = self.sync();
        self.root = None;
        let deadline = Instant::now() + PATIENCE;
        let unmounted = loop {
            match rustix::mount::unmount(&self.at, UnmountFlags::NOFOLLOW) {
                Ok(()) => break Ok(()),
                Err(rustix::io::Errno::BUSY) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(5));
                }
                Err(e) => break Err(Error::host("still-busy", "unmounting").because(e)),
            }
        };
        if unmounted.is_err() {
            let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
            return synced.and(unmounted);
        }
        let detached = self.device.detach(PATIENCE);
        synced.and(detached)
    }
}

/// A detached copy of the mount that a directory lies on, with that directory as its root.
fn copy_of(dir: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(dir, c"", flags)
}

fn mount_point(tree: BorrowedFd<'_>, at: &GuestPath) -> Result<OwnedFd> {
    files::open(tree, at, OFlags::PATH | OFlags::DIRECTORY).map_err(|e| {
        Error::corrupt(
            "no-mount-point",
            format!("there is no directory {at} to mount at"),
        )
        .because(e)
    })
}

/// Attaches a detached mount at `path` below `dir`; at `dir` itself when `path` is empty.
pub(super) fn attach(mount: &OwnedFd, dir: impl AsFd, path: &Path) -> rustix::io::Result<()> {
    rustix::mount::move_mount(
        mount,
        c"",
        dir,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

fn detached_mount(device: &Path, fstype: &str, read_only: bool) -> Result<OwnedFd> {
    let Some((driver, options)) = options(fstype) else {
        return Err(no_driver(fstype));
    };
    let context = match rustix::mount::fsopen(driver, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(rustix::io::Errno::NODEV) => return Err(no_driver(driver)),
        Err(e) => return Err(Error::io(format!("preparing a mount of {driver}"), e)),
    };
    let create = || {
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", device)?;
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
        return Err(not_mountable(driver, e, &kernel_says(&context)));
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

fn not_mountable(driver: &str, errno: rustix::io::Errno, said: &[String]) -> Error {
    let message = format!("the kernel does not mount this {driver} filesystem");
    let v4 = said.iter().any(|line| line.contains("V4"));
    let mut error = if v4 {
        Error::host("no-filesystem-driver", message)
            .hint("use a node whose kernel still mounts version 4 of XFS")
    } else if errno == rustix::io::Errno::PERM || errno == rustix::io::Errno::ACCESS {
        Error::host("io", message).hint("run as root, in a container: privileged")
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
        let error = detached_mount(Path::new("/dev/null"), "reiserfs", false).unwrap_err();
        assert_eq!(error.code, "no-filesystem-driver");
        assert!(error.message.contains("reiserfs"));
    }

    #[test]
    fn an_xfs_of_version_4_is_the_nodes_lack_and_not_damage() {
        let said = vec!["XFS: V4 is not supported".to_owned()];
        let error = not_mountable("xfs", rustix::io::Errno::INVAL, &said);
        assert_eq!(error.code, "no-filesystem-driver");
        let error = not_mountable("xfs", rustix::io::Errno::INVAL, &[]);
        assert_eq!(error.code, "not-mountable");
    }
}
