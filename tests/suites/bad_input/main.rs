// SPDX-License-Identifier: Apache-2.0
//! Bad input gets a clear error, the right exit code, and nothing is written.

mod disks;
mod esp;
mod filesystems;
mod initramfs;
mod programs;
mod symlinks;
