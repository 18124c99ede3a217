// SPDX-License-Identifier: Apache-2.0
//! virt-v2v-in-place on a Windows disk, emulated: half a minute of work and minutes of its appliance.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program;

/// Its program.
const PROGRAM: &str = "virt-v2v-in-place";
/// What it puts into every guest and does not find without its own packages: any file will do.
const TOOLS: [&str; 2] = ["rhsrvany.exe", "pnp_wait.exe"];

/// Whether it is installed.
pub fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(PROGRAM).is_file())
}

/// The command that converts a disk with a bundle; `dir` lends a place for what it wants to find.
pub fn command(disk: &Path, bundle: &Path, dir: &Path) -> Command {
    let tools: PathBuf = dir.join("virt-tools");
    fs::create_dir_all(&tools).unwrap();
    for name in TOOLS {
        fs::write(tools.join(name), program(super::I386, 4096)).unwrap();
    }
    let mut command = Command::new(PROGRAM);
    command
        .args(["-i", "disk"])
        .arg(disk)
        .env("VIRTIO_WIN", bundle)
        .env("VIRT_TOOLS_DATA_DIR", tools)
        .env("LIBGUESTFS_BACKEND", "direct")
        .env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    command
}
