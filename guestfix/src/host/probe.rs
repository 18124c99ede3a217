// SPDX-License-Identifier: Apache-2.0
//! What this machine can mount, run and boot; nothing is changed to find out.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The machine, as `guestfix host` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Probe {
    /// The kernel's release.
    pub kernel: String,
    /// The processor architecture, as `uname -m` names it.
    pub arch: String,
    /// Effective user is root.
    pub root: bool,
    /// The filesystems of guests, and whether the kernel can mount them.
    pub filesystems: Vec<Filesystem>,
    /// `/dev/fuse` can be opened.
    pub fuse: bool,
    /// `/dev/loop-control` can be opened.
    pub loop_control: bool,
    /// Namespaces this kernel has, of those that the processes use.
    pub namespaces: Vec<String>,
    /// The kernel filters system calls.
    pub seccomp: bool,
    /// `/dev/kvm` can be opened.
    pub kvm: bool,
    /// QEMU system emulators in `PATH`, by architecture.
    pub qemu: Vec<Program>,
    /// `ntfs-3g` in `PATH`.
    pub ntfs_3g: Option<PathBuf>,
}

/// A filesystem and what the kernel says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Filesystem {
    /// The kernel's name for it.
    pub name: String,
    /// Whether it can be mounted.
    pub driver: Driver,
}

/// Where a kernel's filesystem driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// In the running kernel now.
    Loaded,
    /// A module file for the running kernel is installed.
    Module,
    /// Neither; in a container the node may still have the module and load it on demand.
    Unknown,
}

/// A program found in `PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Program {
    /// The architecture it emulates.
    pub arch: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Looks at the machine.
pub fn probe() -> Probe {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let filesystems = ["ext4", "xfs", "btrfs", "vfat", "fuse"]
        .into_iter()
        .map(|name| Filesystem {
            name: name.to_owned(),
            driver: driver(name),
        })
        .collect();
    Probe {
        arch: uname.machine().to_string_lossy().into_owned(),
        root: rustix::process::geteuid().is_root(),
        filesystems,
        fuse: opens("/dev/fuse"),
        loop_control: opens("/dev/loop-control"),
        namespaces: ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"]
            .into_iter()
            .filter(|name| Path::new("/proc/self/ns").join(name).exists())
            .map(str::to_owned)
            .collect(),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        kvm: opens("/dev/kvm"),
        qemu: ["x86_64", "aarch64"]
            .into_iter()
            .filter_map(|arch| {
                let path = in_path(&format!("qemu-system-{arch}"))?;
                let arch = arch.to_owned();
                Some(Program { arch, path })
            })
            .collect(),
        ntfs_3g: in_path("ntfs-3g"),
        kernel,
    }
}

fn opens(path: &str) -> bool {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .is_ok()
}

/// Where the running kernel's driver for a filesystem is.
pub fn driver(name: &str) -> Driver {
    let filesystems = std::fs::read_to_string("/proc/filesystems");
    if filesystems.is_ok_and(|text| text.split_whitespace().any(|word| word == name)) {
        return Driver::Loaded;
    }
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy();
    let module = |text: String| {
        text.lines()
            .filter_map(|line| line.split(':').next())
            .any(|path| path.contains(&format!("/{name}.ko")))
    };
    let installed = std::fs::read_to_string(format!("/lib/modules/{kernel}/modules.dep"));
    if installed.is_ok_and(module) {
        Driver::Module
    } else {
        Driver::Unknown
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_that_runs_the_tests_is_described() {
        let machine = probe();
        assert!(!machine.kernel.is_empty());
        assert!(machine.namespaces.iter().any(|name| name == "mnt"));
        let text = serde_json::to_string(&machine).unwrap();
        assert_eq!(serde_json::from_str::<Probe>(&text).unwrap(), machine);
    }
}
