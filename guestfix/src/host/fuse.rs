// SPDX-License-Identifier: Apache-2.0
//! Volumes as files: a FUSE connection whose mount nobody on the machine sees.
//!
//! The supervisor opens the connection and gives its two ends away: the device to the worker,
//! which serves, and the detached mount to the mounter, which attaches it in its own namespace.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::volume_fs::VolumeFs;
use crate::disk::Storage;
use crate::error::{Error, Result};

/// The file under which a volume is exported: its name, in which a logical volume has a slash.
pub fn file_name(volume: &str) -> String {
    volume.replace('/', ":")
}

/// Threads that serve requests. Two keep a reader and a writer going at once.
const THREADS: usize = 2;

/// A FUSE connection, not yet served nor attached.
#[derive(Debug)]
pub struct Connection {
    /// The `/dev/fuse` end, for the worker.
    pub device: OwnedFd,
    /// The detached mount, for the mounter.
    pub mount: OwnedFd,
    /// The kernel's number for it, for [`abort`].
    pub id: u32,
}

/// Opens a connection. It lives as long as its device end: when the process that holds that
/// dies, every use of the mount fails at once.
///
/// # Errors
/// `Host`/`no-fuse` when the machine has no `/dev/fuse` or does not let us mount.
pub fn open_connection() -> Result<Connection> {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|e| no_fuse("opening /dev/fuse").because(e))?;
    let mount = detached_mount(&device).map_err(|e| no_fuse("mounting FUSE").because(e))?;
    // Not synchronised: nobody answers questions about the root yet.
    let root = rustix::fs::statx(
        &mount,
        c"",
        AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC,
        StatxFlags::BASIC_STATS,
    )
    .map_err(|e| no_fuse("looking at the mount").because(e))?;
    Ok(Connection {
        device: device.into(),
        mount,
        id: root.stx_dev_minor,
    })
}

fn no_fuse(doing: &str) -> Error {
    Error::host("no-fuse", doing)
        .hint("run as root with /dev/fuse, in a container: privileged; `modprobe fuse` on the node")
}

fn detached_mount(device: &File) -> rustix::io::Result<OwnedFd> {
    use rustix::mount::fsconfig_set_string as set;
    let context = rustix::mount::fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    set(context, "source", "guestfix")?;
    set(context, "fd", device.as_raw_fd().to_string())?;
    set(context, "rootmode", "40000")?;
    set(context, "user_id", "0")?;
    set(context, "group_id", "0")?;
    rustix::mount::fsconfig_create(context)?;
    rustix::mount::fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}

/// Opens a file of the kernel's control filesystem for FUSE, which need not be mounted; `None`
/// when the connection is gone.
fn control(file: &str, flags: OFlags) -> Result<Option<File>> {
    let mount = || {
        let context = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        rustix::mount::fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
    };
    let failed = |e| Error::io("opening the FUSE control filesystem", e);
    let dir = mount().map_err(failed)?;
    match rustix::fs::openat(&dir, file, flags | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// Ends a connection by force: everything that waits for its server fails. Nothing to do when
/// the connection is already gone.
///
/// # Errors
/// `Host`/`io` when the control filesystem cannot be used.
pub fn abort(id: u32) -> Result<()> {
    match control(&format!("{id}/abort"), OFlags::WRONLY)? {
        Some(mut file) => file
            .write_all(b"1")
            .map_err(|e| Error::io("aborting the FUSE connection", e)),
        None => Ok(()),
    }
}

/// True while the kernel knows the connection.
///
/// # Errors
/// As [`abort`].
pub fn is_alive(id: u32) -> Result<bool> {
    control(&id.to_string(), OFlags::PATH).map(|file| file.is_some())
}

/// The server's threads. They end when the mount is gone or the process exits.
#[derive(Debug)]
pub struct Server {
    session: fuser::BackgroundSession,
    first_error: Arc<OnceLock<Error>>,
}

impl Server {
    /// The first error that a storage returned to the server. The kernel may have swallowed it:
    /// a close or an unmount reports nothing of the kind.
    pub fn first_error(&self) -> Option<Error> {
        self.first_error.get().cloned()
    }

    /// Waits until the connection has ended: its mount gone everywhere, or aborted.
    ///
    /// # Errors
    /// `Host`/`io` when the server ended for another reason.
    pub fn wait(self) -> Result<()> {
        self.session
            .join()
            .map_err(|e| Error::io("serving FUSE", e))
    }
}

/// Serves `volumes` as files `<name>` of the connection's root directory, on threads of its own.
///
/// # Errors
/// `Host`/`io` when the connection is already gone.
pub fn serve(device: OwnedFd, volumes: Vec<(String, Arc<dyn Storage>)>) -> Result<Server> {
    let first_error = Arc::new(OnceLock::new());
    let named = |(name, storage): (String, _)| (file_name(&name), storage);
    let volumes = volumes.into_iter().map(named).collect();
    let filesystem = VolumeFs::new(volumes, Arc::clone(&first_error));
    let mut config = fuser::Config::default();
    config.n_threads = Some(THREADS);
    // Who may look is decided by the mount, which only the mounter has; the user ids that fuser
    // would compare are the worker's own.
    let session = fuser::Session::from_fd(filesystem, device, fuser::SessionACL::All, config)
        .and_then(fuser::Session::spawn)
        .map_err(|e| Error::io("serving FUSE", e))?;
    Ok(Server {
        session,
        first_error,
    })
}
