// SPDX-License-Identifier: Apache-2.0
//! What a guest program sees below `/`: the guest's own filesystems, and in place of the
//! machine's devices, processes and hardware next to nothing.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::mount::{MountAttrFlags, MountFlags};

use super::{confine, mount, scratch};
use crate::error::{Error, Result};

/// Minor numbers of the memory devices (major 1), and `tty` (5:0).
const DEVICES: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Files of `/proc` that speak of the machine, not of the guest: tools would take its boot
/// options, modules and disks for the guest's.
const MASKED: &[&str] = &[
    "cmdline",
    "config.gz",
    "diskstats",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "mdstat",
    "modules",
    "partitions",
    "sched_debug",
    "swaps",
    "sysrq-trigger",
    "timer_list",
    "vmallocinfo",
];

/// Directories of `/proc` through which the machine could be changed.
const FIXED: &[&str] = &["acpi", "bus", "driver", "fs", "irq", "scsi", "sys"];

/// `struct mount_attr` of the kernel's `include/uapi/linux/mount.h`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Lets programs be run from a detached copy of the guest's mounts, which are `noexec` elsewhere.
pub(super) fn allow_programs(root: &OwnedFd) -> Result<()> {
    let attr = MountAttr {
        set: 0,
        clear: u64::from(MountAttrFlags::MOUNT_ATTR_NOEXEC.bits()),
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the kernel reads an empty C string and one mount_attr of the size given, which both
    // outlive the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            root.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if rc == 0 {
        return Ok(());
    }
    Err(Error::io(
        "allowing programs to run",
        std::io::Error::last_os_error(),
    ))
}

/// Makes `root` the calling process's `/`, in its own mount namespace, and mounts the rest.
pub(super) fn build(root: OwnedFd, dir: &Path, tmp: OwnedFd) -> Result<()> {
    let step = |doing: &'static str| {
        move |e: rustix::io::Errno| Error::io(format!("building the sandbox: {doing}"), e)
    };
    mount::attach(&root, rustix::fs::CWD, dir).map_err(step("attaching the root"))?;
    drop(root);
    let dir = dir.to_str().ok_or(rustix::io::Errno::INVAL);
    dir.and_then(confine::enter)
        .map_err(step("entering the root"))?;
    let _ = rustix::system::sethostname(b"localhost");
    devices().map_err(onto("/dev"))?;
    processes().map_err(onto("/proc"))?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    tmpfs("/sys", quiet | MountFlags::RDONLY, c"size=4k,mode=0555").map_err(onto("/sys"))?;
    // Programs are unpacked and run below these two.
    let open = MountFlags::NOSUID | MountFlags::NODEV;
    optional(tmpfs("/run", open, c"size=64m,nr_inodes=64k,mode=0755")).map_err(onto("/run"))?;
    temporary(&tmp).map_err(onto("/tmp"))
}

/// What is not there, or is a link that leads nowhere in the guest, is the guest's fault.
fn onto(dir: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    use rustix::io::Errno;
    move |e| match e {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Error::corrupt(
            "no-mount-point",
            format!("the guest has no directory {dir}, without which none of its programs runs"),
        )
        .because(e)
        .hint("mend it in the guest, or run again with --no-guest-code"),
        e => Error::io(format!("building the sandbox: {dir}"), e),
    }
}

fn tmpfs(at: &str, flags: MountFlags, options: &std::ffi::CStr) -> rustix::io::Result<()> {
    rustix::mount::mount("tmpfs", at, "tmpfs", flags, options)
}

/// A guest's `/tmp` may be a link.
fn temporary(tmp: &OwnedFd) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let at = rustix::fs::open(scratch::AT, flags, Mode::empty())?;
    mount::attach(tmp, at, Path::new(""))
}

/// Old guests have no `/run`, and some have no mount point at all.
fn optional(mounted: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match mounted {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(()),
        other => other,
    }
}

fn devices() -> rustix::io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    tmpfs("/dev", flags, c"size=64k,mode=0755")?;
    let all = Mode::from_raw_mode(0o666);
    for (name, major, minor) in DEVICES {
        let path = format!("/dev/{name}");
        let device = makedev(*major, *minor);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::CharacterDevice,
            all,
            device,
        )?;
        // The umask of whoever called is not ours to know.
        rustix::fs::chmod(&path, all)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlink(*target, format!("/dev/{name}"))?;
    }
    for name in ["pts", "shm"] {
        rustix::fs::mkdir(format!("/dev/{name}"), Mode::from_raw_mode(0o755))?;
    }
    let options = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    rustix::mount::mount("devpts", "/dev/pts", "devpts", flags, options)?;
    tmpfs(
        "/dev/shm",
        flags | MountFlags::NODEV,
        c"size=64m,nr_inodes=4k,mode=1777",
    )?;
    // The one place whose devices work must not get another one.
    rustix::mount::mount_remount("/dev", flags | MountFlags::RDONLY, c"size=64k,mode=0755")
}

fn processes() -> rustix::io::Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", quiet, None)?;
    for name in MASKED {
        optional(rustix::mount::mount_bind(
            "/dev/null",
            format!("/proc/{name}"),
        ))?;
    }
    for name in FIXED {
        let path = format!("/proc/{name}");
        match rustix::mount::mount_bind(&path, &path) {
            Ok(()) => {
                let flags = quiet | MountFlags::RDONLY | MountFlags::BIND;
                rustix::mount::mount_remount(&path, flags, c"")?;
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
