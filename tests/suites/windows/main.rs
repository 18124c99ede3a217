// SPDX-License-Identifier: Apache-2.0
//! Windows guests from outside. No Windows starts from these disks; everything but the start is
//! looked at. Needs root, ntfs-3g and mkntfs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bad_input;
mod converting;
mod inspecting;
mod peer;
mod refused;
