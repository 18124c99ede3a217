// SPDX-License-Identifier: Apache-2.0
//! The step between the agent and `guestfix`: a process of one thread that enters a mount
//! namespace of its own, keeps only its guest's claims in it, and becomes `guestfix`.

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

use super::claims::{PodDir, Refusal};

/// Where a guest's disks stand in its namespace. A disk's path is its identity to `guestfix`: it
/// holds the claim's uid and is the same on every node.
pub const PLACE: &str = "/run/guestfix/guest";

/// What to enter with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The kubelet's directory.
    pub kubelet_root: PathBuf,
    /// The holder pod's uid.
    pub pod: String,
    /// The guest's claims.
    pub disks: Vec<EntryDisk>,
    /// The state claim's volume.
    pub state: Option<String>,
    /// The control group to be in.
    pub cgroup: Option<PathBuf>,
    /// Bytes of memory per process, where there is no control group.
    pub data_limit: u64,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryDisk {
    /// The claim's uid.
    pub uid: String,
    /// Its volume's name.
    pub volume: String,
    /// A device, not a directory with an image.
    pub block: bool,
}

/// Where a disk stands.
pub fn disk_path(uid: &str) -> PathBuf {
    Path::new(PLACE).join("disks").join(uid)
}

/// Where the state claim stands.
pub fn state_path() -> PathBuf {
    Path::new(PLACE).join("state")
}

/// Enters and becomes the program. Returns only when it cannot.
pub fn enter(entry: &Entry, program: &Path, args: &[String]) -> Refusal {
    match prepare(entry) {
        Err(refusal) => refusal,
        Ok(()) => {
            let error = Command::new(program).args(args).exec();
            Refusal::new("CannotStart", format!("{}: {error}", program.display()))
        }
    }
}

fn prepare(entry: &Entry) -> Result<(), Refusal> {
    limit(entry)?;
    std::fs::create_dir_all(PLACE).map_err(|e| host("making a directory", e))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| host("a mount namespace", e))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| host("making mounts private", e))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("guestfix"),
        PLACE,
        Some("tmpfs"),
        flags,
        Some("size=1m,mode=0700"),
    )
    .map_err(|e| host("a private directory", e))?;
    std::fs::create_dir(Path::new(PLACE).join("disks")).map_err(|e| host("a directory", e))?;
    let pod = PodDir::new(&entry.kubelet_root, &entry.pod)?;
    for disk in &entry.disks {
        place(&pod, disk)?;
    }
    if let Some(state) = &entry.state {
        place_state(&pod, state)?;
    }
    let_go(&entry.kubelet_root)
}

fn limit(entry: &Entry) -> Result<(), Refusal> {
    let group = entry.cgroup.as_ref();
    if let Some(group) = group {
        return std::fs::write(group.join("cgroup.procs"), "0")
            .map_err(|e| host("entering the control group", e));
    }
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    setrlimit(Resource::RLIMIT_DATA, entry.data_limit, entry.data_limit)
        .map_err(|e| host("limiting memory", e))
}

fn place(pod: &PodDir, disk: &EntryDisk) -> Result<(), Refusal> {
    let place = disk_path(&disk.uid);
    std::fs::File::create(&place).map_err(|e| host("a place for a disk", e))?;
    if disk.block {
        return bind(&pod.device(&disk.volume)?, &place);
    }
    let image = pod.image(&disk.volume)?;
    // By the descriptor that was checked, so that nothing can be put in its place meanwhile.
    bind(&through(image.as_raw_fd()), &place)
}

/// The state claim is a tenant's, too: no link in it is followed, nothing in it runs.
fn place_state(pod: &PodDir, volume: &str) -> Result<(), Refusal> {
    let place = state_path();
    std::fs::create_dir(&place).map_err(|e| host("a place for the state claim", e))?;
    let dir = pod.directory(volume)?;
    bind(&through(dir.as_raw_fd()), &place)?;
    use rustix::mount::MountFlags;
    let flags = MountFlags::BIND
        | MountFlags::NOSYMFOLLOW
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    rustix::mount::mount_remount(&place, flags, "").map_err(|e| host("mounting the state claim", e))
}

fn through(descriptor: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{descriptor}"))
}

fn bind(from: &Path, to: &Path) -> Result<(), Refusal> {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
        .map_err(|e| host(&format!("mounting at {}", to.display()), e))
}

/// Lets go of every mount of the kubelet's, and of this pod's token, in this namespace only: no
/// other pod's volume is kept from being unmounted while the guest is worked on.
fn let_go(kubelet_root: &Path) -> Result<(), Refusal> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| host("reading the mounts", e))?;
    for place in foreign(&table, kubelet_root).iter().rev() {
        umount2(place, MntFlags::MNT_DETACH)
            .map_err(|e| host(&format!("letting go of {}", place.display()), e))?;
    }
    Ok(())
}

/// Mounts at or below the kubelet's directory, and secrets of this pod, in the order made.
fn foreign(table: &str, kubelet_root: &Path) -> Vec<PathBuf> {
    let places = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    let foreign = places.filter(|place| {
        place.starts_with(kubelet_root)
            || place.starts_with("/var/run/secrets")
            || place.starts_with("/run/secrets")
    });
    let mut out: Vec<PathBuf> = Vec::new();
    for place in foreign {
        // A mount below one that is already let go of goes with it.
        if !out
            .iter()
            .any(|parent| place.starts_with(parent) && place != *parent)
        {
            out.push(place);
        }
    }
    out
}

/// The kernel writes blanks in paths as octal.
fn unescape(text: &str) -> PathBuf {
    PathBuf::from(
        text.replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\"),
    )
}

fn host(doing: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::new("NodeCannot", format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kubelets_mounts_are_let_go_and_only_the_outermost() {
        let table = "\
1 0 8:1 / / rw - ext4 /dev/a rw
2 1 8:1 /x /var/lib/kubelet/pods rw - ext4 /dev/a rw
3 2 8:2 / /var/lib/kubelet/pods/u/volumes/a\\040b rw - ext4 /dev/b rw
4 1 8:3 / /var/lib/kubelet-other rw - ext4 /dev/c rw
5 1 8:4 / /var/run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw
";
        let found = foreign(table, Path::new("/var/lib/kubelet"));
        assert_eq!(
            found,
            [
                PathBuf::from("/var/lib/kubelet/pods"),
                PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount"),
            ]
        );
    }
}
