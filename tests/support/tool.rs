// SPDX-License-Identifier: Apache-2.0
//! Runs the programs that make and take apart disks. A fixture that cannot be made is a failed test: these panic, with
//! what the program said.
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs `program`, feeding it `input`, and returns its standard output.
pub fn run_with_input<S: AsRef<OsStr>>(program: &str, args: &[S], input: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; does `tests/setup` pass?"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    require_success(program, &output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `program` and returns its standard output.
pub fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> String {
    run_with_input(program, args, "")
}

/// Sets an extended attribute of a file, of a symbolic link itself.
pub fn attribute(path: &Path, name: &str, value: &[u8]) {
    let value = format!("0x{}", guestfix::digest::hex(value));
    let path = path.to_str().unwrap();
    run("setfattr", &["-h", "-n", name, "-v", &value, path]);
}

/// Writes a script that can be started.
pub fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The most memory that a process has used so far, MiB.
pub fn peak_rss_mib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap() / 1024
}

fn require_success(program: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{program} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// The filesystem at `offset` (bytes) of `image`, mounted read-write by the kernel until dropped.
#[derive(Debug)]
pub struct Mounted {
    point: PathBuf,
    device: Option<String>,
}

impl Mounted {
    /// An ext4 filesystem. Needs root and a loop device.
    pub fn new(image: &Path, offset: u64, point: &Path) -> Self {
        Self::with(image, offset, "noinit_itable,nodiscard", point)
    }

    /// Any filesystem, with mount options. Needs root and a loop device.
    pub fn with(image: &Path, offset: u64, options: &str, point: &Path) -> Self {
        std::fs::create_dir_all(point).unwrap();
        let options = format!("loop,offset={offset},{options}");
        run(
            "mount",
            &[
                OsStr::new("-o"),
                options.as_ref(),
                image.as_ref(),
                point.as_ref(),
            ],
        );
        Self {
            point: point.to_path_buf(),
            device: mounted_device(point),
        }
    }

    /// Where the filesystem is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg(&self.point).status();
        if !matches!(ended, Ok(status) if status.success()) {
            eprintln!("could not unmount {}", self.point.display());
        }
        if let Some(device) = &self.device {
            wait_until_free(Path::new(device));
        }
    }
}

/// Whether this machine's kernel mounts what lies at `offset` of `image`. `point` lends a place.
pub fn can_mount(image: &Path, offset: u64, point: &Path) -> bool {
    let options = format!("loop,ro,offset={offset}");
    let args = [
        OsStr::new("-o"),
        options.as_ref(),
        image.as_ref(),
        point.as_ref(),
    ];
    let mounted = Command::new("mount").args(args).output().unwrap();
    mounted.status.success()
        && Command::new("umount")
            .arg(point)
            .status()
            .unwrap()
            .success()
}

/// A loop device over a whole image, until dropped.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Needs root.
    pub fn new(image: &Path) -> Self {
        let args = [OsStr::new("--find"), "--show".as_ref(), image.as_ref()];
        Self::attached(&args)
    }

    /// Over a part of it, both in bytes. Needs root.
    pub fn part(image: &Path, offset: u64, len: u64) -> Self {
        let (offset, len) = (format!("--offset={offset}"), format!("--sizelimit={len}"));
        let args = [OsStr::new("--find"), "--show".as_ref()];
        let place = [offset.as_ref(), len.as_ref(), image.as_ref()];
        Self::attached(&[&args[..], &place[..]].concat())
    }

    /// With sectors of so many bytes. Needs root.
    pub fn with_sectors(image: &Path, bytes: u32) -> Self {
        let sectors = format!("--sector-size={bytes}");
        let args = [OsStr::new("--find"), "--show".as_ref()];
        Self::attached(&[&args[..], &[sectors.as_ref(), image.as_ref()]].concat())
    }

    fn attached(args: &[&OsStr]) -> Self {
        let path = run("losetup", args);
        Self {
            path: path.trim_end().into(),
        }
    }

    /// The device node.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
        wait_until_free(&self.path);
    }
}

/// The device that is mounted at `point` (proc_pid_mountinfo(5)).
fn mounted_device(point: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut lines = mounts.lines();
    lines.find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let at = mount.split(' ').nth(4)?;
        (Path::new(at) == point).then(|| source.split(' ').nth(1).map(str::to_owned))?
    })
}

/// A loop device is given back when the last one lets go of it: who asks which file is in use must
/// not see it any more. Somebody else may look at the device meanwhile.
fn wait_until_free(device: &Path) {
    let name = device.file_name().unwrap_or_default();
    let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
    for _ in 0..500 {
        if !backing.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
