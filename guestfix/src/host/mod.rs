// SPDX-License-Identifier: Apache-2.0
//! The host boundary: processes, loop devices, mounts, namespaces, FUSE, the sandbox and locks.
//! The only room with unsafe code; everything it takes from the kernel is given back by a guard.
//!
//! Three processes, all started from the same executable:
//!
//! * the **supervisor**, what the user started: opens disks, `/dev/fuse` and the state directory;
//! * the **worker** ([`confine`]): every parser of guest bytes, the overlay and the FUSE server
//!   ([`fuse`]), without capabilities, network or filesystem;
//! * the **mounter** ([`mounter`]): loop devices, mounts and the sandbox for guest programs. It
//!   never holds `/dev/fuse`, so it can be killed at any moment and takes its mounts with it.
//!
//! Needs Linux 5.14: the mount API by descriptors, `mount_setattr` and `close_range`.

pub mod allocator;
mod capability;
mod cgroup;
pub mod channel;
pub mod child;
pub mod confine;
pub mod fanotify;
mod files;
pub mod fsck;
mod fsmount;
pub mod fuse;
pub mod label;
pub mod loopdev;
mod mount;
pub mod mounter;
mod namespace;
pub mod ntfs3g;
pub mod probe;
pub mod qcow2;
mod replace;
pub mod sandbox;
mod sandbox_root;
mod sandbox_wait;
pub mod scratch;
mod seccomp;
mod seccomp_32;
pub mod signal;
mod subvolumes;
mod volume_fs;
mod watched;

pub use channel::Channel;
pub use child::Child;
