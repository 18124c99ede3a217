// SPDX-License-Identifier: Apache-2.0
//! The initramfs: read as the kernel reads it, kept where it holds the drivers, spliced where it
//! lacks them. [`crate::linux::kernel`] gathers.
#![deny(clippy::arithmetic_side_effects)]

pub mod check;
pub mod compress;
pub mod contents;
pub mod cpio;
pub mod devices;
pub mod index;
pub mod keep;
pub mod lz4;
pub mod propose;
pub mod read;
pub mod splice;

pub use check::CHECKS;
pub use propose::propose;
