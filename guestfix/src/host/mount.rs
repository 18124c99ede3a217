// SPDX-License-Identifier: Apache-2.0
//! Mounting a guest's filesystems: each volume once in our own directory, and all of them
//! together as a tree that looks like the guest's.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::files;
use super::fsck::{self, Opinion};
use super::fsmount::{Devices, detached_mount, refuse_mounted_btrfs};
use super::fuse::file_name;
use super::loopdev::LoopDevice;
use super::ntfs3g::Ntfs3g;
use super::subvolumes;
use crate::error::{Error, Result};
use crate::fs::{GuestPath, Subvolume};

/// How long an unmounted volume may stay in use.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a btrfs may wait for a clone of it that is mounted: a conversion that runs no program
/// of the guest holds one for a second or two.
const CLONE_PATIENCE: Duration = Duration::from_secs(20);

/// A mounted volume.
#[derive(Debug)]
struct Mounted {
    volume: String,
    at: PathBuf,
    read_only: bool,
    /// Held open since the mount, so that `syncfs` reports every error since then.
    root: Option<OwnedFd>,
    below: Below,
}

/// What stands between a mount and its exported volume.
#[derive(Debug)]
enum Below {
    /// Block devices for a driver of the kernel's: one, and for a btrfs perhaps more.
    Loop(Vec<LoopDevice>),
    /// A process that serves the mount from the file itself.
    Ntfs(Ntfs3g),
}

impl Below {
    /// Waits until the last write has reached the file.
    fn detach(self) -> Result<()> {
        match self {
            Self::Loop(devices) => {
                let mut first = Ok(());
                for device in devices {
                    let detached = device.detach(PATIENCE);
                    first = first.and(detached);
                }
                first
            }
            Self::Ntfs(server) => server.finish(PATIENCE),
        }
    }
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

    /// The guest's files get owners and rights from the directories they are made in: a new file's
    /// are not set.
    pub(super) fn inherits(&self) -> bool {
        let ntfs = |mounted: &Mounted| matches!(mounted.below, Below::Ntfs(_));
        self.volumes.iter().any(ntfs)
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
        let at = tree.join(file_name(volume));
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
        if fstype == "btrfs" && !self.companions(volume, &backing)?.is_empty() {
            let why = "a btrfs over several devices is not checked".to_owned();
            return Ok(Opinion::None(why));
        }
        fsck::check(&backing, &self.dir.join("dev"), fstype, timeout).map_err(|e| e.on(volume))
    }

    /// The other devices of a btrfs.
    fn companions(&self, volume: &str, backing: &File) -> Result<Vec<File>> {
        let Some(all) = Devices::of(backing)?.filter(|all| all.count > 1) else {
            return Ok(Vec::new());
        };
        let listing = std::fs::read_dir(self.dir.join("export"));
        let listing = listing.map_err(|e| Error::io("listing the exported volumes", e))?;
        let mut out = Vec::new();
        for entry in listing.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == file_name(volume) {
                continue;
            }
            let other = self.exported(&name)?;
            if Devices::of(&other)?.is_some_and(|other| other.id == all.id) {
                out.push(other);
            }
        }
        let have = (out.len() as u64).saturating_add(1);
        if have != all.count {
            let what = format!(
                "{have} of the {} devices of this btrfs are there",
                all.count
            );
            return Err(
                Error::refused("btrfs-missing-device", what).hint("give all disks of the guest")
            );
        }
        Ok(out)
    }

    fn exported(&self, volume: &str) -> Result<File> {
        let file = file_name(volume);
        if file.starts_with('.') || file.is_empty() {
            return Err(Error::internal("a volume's name is not a file name"));
        }
        File::options()
            .read(true)
            .write(true)
            .open(self.dir.join("export").join(file))
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
            if error.code == "btrfs-mounted" {
                return Err(error);
            }
            tracing::debug!(%error, volume, "mounting again from a device that can be written");
            self.attach_device(volume, fstype, true, false)?;
            self.replayed.push(volume.to_owned());
        }
        Ok(())
    }

    /// Waits while a clone of a btrfs is mounted: it may be one that is converted, too.
    fn attach_device(
        &mut self,
        volume: &str,
        fstype: &str,
        read_only: bool,
        fixed: bool,
    ) -> Result<()> {
        let deadline = Instant::now() + CLONE_PATIENCE;
        loop {
            match self.try_attach(volume, fstype, read_only, fixed) {
                Err(e) if e.code == "btrfs-mounted" && Instant::now() < deadline => {
                    tracing::info!(%e, "waiting");
                    sleep(Duration::from_millis(100));
                }
                other => return other.map_err(|e| e.on(volume)),
            }
        }
    }

    fn try_attach(
        &mut self,
        volume: &str,
        fstype: &str,
        read_only: bool,
        fixed: bool,
    ) -> Result<()> {
        let backing = self.exported(volume)?;
        if fstype == "btrfs" {
            refuse_mounted_btrfs(&backing)?;
        }
        let dir = self.dir.join("volumes").join(self.made.to_string());
        self.made = self.made.saturating_add(1);
        std::fs::create_dir(&dir).map_err(|e| Error::io("making a mount point", e))?;
        let below = match fstype {
            "ntfs" => {
                drop(backing);
                let volume = self.dir.join("export").join(file_name(volume));
                Below::Ntfs(Ntfs3g::mount(&volume, &dir)?)
            }
            _ => {
                let devices = self.devices(volume, fstype, &backing, fixed)?;
                let paths: Vec<&Path> = devices.iter().map(LoopDevice::path).collect();
                let detached = detached_mount(&paths, fstype, read_only, &backing)?;
                drop(backing);
                attach(&detached, rustix::fs::CWD, &dir)
                    .map_err(|e| Error::io("attaching a mount", e))?;
                Below::Loop(devices)
            }
        };
        let root = rustix::fs::open(
            &dir,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Error::io("opening a mount", e))?;
        self.volumes.push(Mounted {
            volume: volume.to_owned(),
            at: dir.clone(),
            read_only,
            root: Some(root),
            below,
        });
        self.volumes.last().map_or(Ok(()), Mounted::check_writable)
    }

    /// The block devices of a filesystem, that of the volume itself first.
    fn devices(
        &self,
        volume: &str,
        fstype: &str,
        backing: &File,
        fixed: bool,
    ) -> Result<Vec<LoopDevice>> {
        let dev = self.dir.join("dev");
        let mut devices = vec![LoopDevice::attach(backing.as_fd(), &dev, fixed)?];
        let others = match fstype {
            "btrfs" => self.companions(volume, backing)?,
            _ => Vec::new(),
        };
        for other in others {
            devices.push(LoopDevice::attach(other.as_fd(), &dev, fixed)?);
        }
        Ok(devices)
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
        let detached = self.below.detach();
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
