// SPDX-License-Identifier: Apache-2.0
//! Whole driver bundles, as directories and as ISO images that genisoimage made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout)]

mod command;
mod damaged;
mod images;
mod picks;
mod wine;
