// SPDX-License-Identifier: Apache-2.0
//! The harness of the suites: guests, disks, boots.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
