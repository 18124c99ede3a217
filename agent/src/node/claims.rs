// SPDX-License-Identifier: Apache-2.0
//! Where the kubelet keeps a pod's claims on this machine. The kubelet's own directories are
//! trusted; what lies in a volume is a tenant's, and is opened beneath it with no link followed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What the image of a disk is called on a Filesystem claim.
pub const IMAGE: &str = "disk.img";

/// Why a claim cannot be used: a condition's reason, and words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A condition's reason.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl Refusal {
    /// With words.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// The kubelet's directory of one pod.
#[derive(Debug, Clone)]
pub struct PodDir {
    root: PathBuf,
    uid: String,
}

impl PodDir {
    /// Of the pod with this uid.
    ///
    /// # Errors
    /// When the uid could lead elsewhere.
    pub fn new(root: &Path, uid: &str) -> Result<Self, Refusal> {
        Ok(Self {
            root: root.to_owned(),
            uid: component(uid)?.to_owned(),
        })
    }

    /// The image on a Filesystem claim: a regular file, and nothing else.
    ///
    /// # Errors
    /// The claim is not mounted, or what it holds is no disk.
    pub fn image(&self, volume: &str) -> Result<OwnedFd, Refusal> {
        let dir = self.directory(volume)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let image = fs::openat2(&dir, IMAGE, flags, Mode::empty(), inside()).map_err(|e| {
            let text = format!("{volume}: {IMAGE}: {e}");
            match e {
                Errno::NOENT => Refusal::new("DiskImageMissing", text),
                Errno::LOOP => symlink(volume),
                _ => Refusal::new("DiskImageUnusable", text),
            }
        })?;
        match kind(&image, volume)? {
            FileType::RegularFile => Ok(image),
            FileType::Directory => Err(Refusal::new(
                "DiskImageIsDirectory",
                format!("{volume}: {IMAGE} is a directory"),
            )),
            FileType::Symlink => Err(symlink(volume)),
            _ => Err(Refusal::new(
                "DiskImageIsSpecial",
                format!("{volume}: {IMAGE} is no regular file"),
            )),
        }
    }

    /// The device of a Block claim.
    ///
    /// # Errors
    /// The claim is not mapped, or what is there is no block device.
    pub fn device(&self, volume: &str) -> Result<PathBuf, Refusal> {
        let volume = component(volume)?;
        let parent = self.plugin("volumeDevices", volume)?;
        let entry = parent.join(volume);
        // The kubelet links to what the driver published, below its own directory or in /dev.
        let real = std::fs::canonicalize(&entry)
            .map_err(|e| Refusal::new("DiskNotMapped", format!("{volume}: {e}")))?;
        if !real.starts_with(&self.root) && !real.starts_with("/dev") {
            return Err(Refusal::new(
                "DiskElsewhere",
                format!("{volume}: leads out of the kubelet's directory"),
            ));
        }
        let found = fs::open(
            &real,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Refusal::new("DiskNotMapped", format!("{volume}: {e}")))?;
        match kind(&found, volume)? {
            FileType::BlockDevice => Ok(real),
            _ => Err(Refusal::new(
                "DiskNotBlock",
                format!("{volume}: no block device"),
            )),
        }
    }

    /// The root of a mounted claim.
    ///
    /// # Errors
    /// The claim is not mounted.
    pub fn directory(&self, volume: &str) -> Result<OwnedFd, Refusal> {
        let volume = component(volume)?;
        let plugin = self.plugin("volumes", volume)?;
        let csi = plugin
            .file_name()
            .is_some_and(|name| name == "kubernetes.io~csi");
        let mut place = plugin.join(volume);
        if csi {
            place.push("mount");
        }
        self.open_dir(&place)
            .map_err(|e| Refusal::new("DiskNotMounted", format!("{volume}: {e}")))
    }

    /// A volume of the pod that is no claim, by plugin and name.
    ///
    /// # Errors
    /// It is not there.
    pub fn other(&self, plugin: &str, name: &str) -> Result<PathBuf, Refusal> {
        let (plugin, name) = (component(plugin)?, component(name)?);
        let place = self.base("volumes").join(plugin).join(name);
        self.open_dir(&place)
            .map_err(|e| Refusal::new("VolumeNotMounted", format!("{name}: {e}")))?;
        Ok(place)
    }

    fn base(&self, kind: &str) -> PathBuf {
        self.root.join("pods").join(&self.uid).join(kind)
    }

    /// The one plugin that has the volume.
    fn plugin(&self, kind: &str, volume: &str) -> Result<PathBuf, Refusal> {
        let base = self.base(kind);
        let absent = || {
            Refusal::new(
                "DiskNotMounted",
                format!("{volume} is not below {}", base.display()),
            )
        };
        let dir = self.open_dir(&base).map_err(|_| absent())?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&dir).map_err(|_| absent())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let plugin = base.join(&name);
            if name.starts_with('.') || std::fs::symlink_metadata(plugin.join(volume)).is_err() {
                continue;
            }
            found.push(plugin);
        }
        match (found.pop(), found.is_empty()) {
            (Some(plugin), true) => Ok(plugin),
            (Some(_), false) => Err(Refusal::new(
                "DiskTwice",
                format!("several plugins of the kubelet have {volume}"),
            )),
            (None, _) => Err(absent()),
        }
    }

    fn open_dir(&self, place: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(&self.root, flags, Mode::empty())?;
        let inner = place.strip_prefix(&self.root).map_err(|_| Errno::XDEV)?;
        fs::openat2(&root, inner, flags, Mode::empty(), inside())
    }
}

fn inside() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

fn kind(file: impl AsFd, volume: &str) -> Result<FileType, Refusal> {
    let stat =
        fs::fstat(file).map_err(|e| Refusal::new("DiskImageUnusable", format!("{volume}: {e}")))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn symlink(volume: &str) -> Refusal {
    Refusal::new(
        "DiskImageIsSymlink",
        format!("{volume}: {IMAGE} is a symbolic link"),
    )
}

/// One component of a path, as Kubernetes names things.
fn component(text: &str) -> Result<&str, Refusal> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let good = !text.is_empty()
        && text.len() <= 253
        && text != "."
        && text != ".."
        && text.bytes().all(plain);
    if good {
        Ok(text)
    } else {
        Err(Refusal::new(
            "BadName",
            format!("{text:?} is no name of a volume or pod"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Kubelet(PathBuf);

    impl Kubelet {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("guestfix-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&root);
            std::fs::create_dir_all(&root).unwrap();
            Self(root)
        }

        fn volume(&self, plugin: &str, volume: &str) -> PathBuf {
            let dir = self.0.join("pods/u-1/volumes").join(plugin).join(volume);
            std::fs::create_dir_all(&dir).unwrap();
            dir
        }

        fn image(&self, volume: &str) -> Result<(), String> {
            let dir = PodDir::new(&self.0, "u-1").unwrap();
            dir.image(volume)
                .map(|_| ())
                .map_err(|refusal| refusal.reason)
        }
    }

    impl Drop for Kubelet {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn csi_and_in_tree_images_are_found() {
        let kubelet = Kubelet::new("found");
        let csi = kubelet.volume("kubernetes.io~csi", "pv-1").join("mount");
        std::fs::create_dir_all(&csi).unwrap();
        std::fs::write(csi.join(IMAGE), b"x").unwrap();
        let local = kubelet.volume("kubernetes.io~local-volume", "pv-2");
        std::fs::write(local.join(IMAGE), b"x").unwrap();
        assert_eq!(kubelet.image("pv-1"), Ok(()));
        assert_eq!(kubelet.image("pv-2"), Ok(()));
        assert_eq!(kubelet.image("pv-3"), Err("DiskNotMounted".into()));
    }

    #[test]
    fn what_is_no_image_is_refused_with_its_own_reason() {
        let kubelet = Kubelet::new("refused");
        let dir = |volume: &str| kubelet.volume("kubernetes.io~nfs", volume);
        symlink("/etc/shadow", dir("link").join(IMAGE)).unwrap();
        std::fs::create_dir(dir("dir").join(IMAGE)).unwrap();
        let fifo = dir("fifo").join(IMAGE);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        dir("empty");
        assert_eq!(kubelet.image("link"), Err("DiskImageIsSymlink".into()));
        assert_eq!(kubelet.image("dir"), Err("DiskImageIsDirectory".into()));
        assert_eq!(kubelet.image("fifo"), Err("DiskImageIsSpecial".into()));
        assert_eq!(kubelet.image("empty"), Err("DiskImageMissing".into()));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let kubelet = Kubelet::new("names");
        for bad in ["..", "a/b", "", "a\0b", "../../etc"] {
            assert_eq!(kubelet.image(bad), Err("BadName".into()), "{bad:?}");
            assert!(PodDir::new(&kubelet.0, bad).is_err());
        }
    }

    #[test]
    fn a_volume_directory_that_is_a_link_is_not_followed() {
        let kubelet = Kubelet::new("dirlink");
        let plugin = kubelet
            .0
            .join("pods/u-1/volumes/kubernetes.io~local-volume");
        std::fs::create_dir_all(&plugin).unwrap();
        symlink("/etc", plugin.join("pv-1")).unwrap();
        assert_eq!(kubelet.image("pv-1"), Err("DiskNotMounted".into()));
    }
}
