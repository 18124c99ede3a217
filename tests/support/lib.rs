// SPDX-License-Identifier: Apache-2.0
//! The harness of the suites: guests, disks, runs of the `guestfix` command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod case;
pub mod checksum;
pub mod cli;
pub mod cluster;
pub mod digest;
pub mod disk;
pub mod guest;
pub mod hive;
pub mod hive_bench;
pub mod planted;
pub mod small;
pub mod tool;
pub mod virtio_win;
pub mod windows;
pub mod wine;

use std::path::PathBuf;

/// Whether all is to be tried, at any length: `tests/run --full`.
pub fn full() -> bool {
    std::env::var("GUESTFIX_FULL").is_ok_and(|full| !full.is_empty())
}

/// The root of the clone that this crate was built from.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_path_buf()
}
