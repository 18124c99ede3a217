// SPDX-License-Identifier: Apache-2.0
//! The three processes together, on an ext4 image in memory: export by FUSE, loop device, mount,
//! change files, run programs, unmount; and what is left when one of them is killed.
//!
//! Needs root, e2fsprogs and a shell; without root the tests pass without testing.
//!
//! The worker and the supervisor that gets killed are this test binary again: the "tests" whose
//! name ends in `_role` are their main functions, and do nothing unless asked by `ROLE`.
#![allow(
    clippy::exit,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod changes;
mod fixtures;
mod guest;
mod kills;
mod ntfs;
mod programs;
mod sandbox;
mod touched;
mod worker;
