// SPDX-License-Identifier: Apache-2.0
//! NTFS volumes of an image: made by mkntfs, mounted by ntfs-3g.
use crate::tool::{self, LoopDevice};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Makes an NTFS in a partition.
pub(super) fn format(image: &Path, number: u32, label: &str) {
    let (offset, len) = crate::disk::partition(image, number);
    let device = LoopDevice::part(image, offset, len);
    let start = (offset / 512).to_string();
    let device = device.path().to_str().unwrap();
    let args = [
        "-f", "-q", "-F", "-L", label, "-p", &start, "-S", "63", "-H", "255", device,
    ];
    tool::run("mkntfs", &args);
}

/// An NTFS of an image, mounted by ntfs-3g until dropped.
#[derive(Debug)]
pub struct NtfsMount {
    point: PathBuf,
    server: Child,
    _device: LoopDevice,
}

impl NtfsMount {
    /// A partition of an image; `dir` lends a mount point.
    pub fn new(image: &Path, number: u32, dir: &Path) -> Self {
        let (offset, len) = crate::disk::partition(image, number);
        let device = LoopDevice::part(image, offset, len);
        let point = dir.join("ntfs.mnt");
        fs::create_dir_all(&point).unwrap();
        let server = serve(device.path(), &point, "compression");
        Self {
            point,
            server,
            _device: device,
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }
}

/// Starts ntfs-3g and waits for its mount.
fn serve(volume: &Path, point: &Path, options: &str) -> Child {
    use std::os::unix::fs::MetadataExt;
    let below = fs::metadata(point).unwrap().dev();
    let mut server = Command::new("ntfs-3g")
        .args(["-o", &format!("no_detach,{options}")])
        .args([volume, point])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ntfs-3g; does `tests/setup` pass?");
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(point).unwrap().dev() == below {
        let ended = server.try_wait().unwrap();
        assert!(ended.is_none(), "ntfs-3g: {ended:?}");
        assert!(Instant::now() < deadline, "ntfs-3g does not mount");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

impl Drop for NtfsMount {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg(&self.point).status();
        if !matches!(ended, Ok(status) if status.success()) {
            eprintln!("could not unmount {}", self.point.display());
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}
