// SPDX-License-Identifier: Apache-2.0
//! The initramfs: read as the kernel reads it, kept where it holds the drivers, spliced where it
//! lacks them, made anew by the guest's own tool where that is asked for or nothing else helps.
//! [`crate::linux::kernel`] gathers.
#![deny(clippy::arithmetic_side_effects)]

pub mod ahead;
pub mod check;
pub mod complete;
pub mod compress;
pub mod contents;
pub mod cpio;
pub mod devices;
pub mod fixed_list;
pub mod index;
pub mod keep;
pub mod known;
pub mod locked;
pub mod lz4;
pub mod propose;
pub mod read;
pub mod rebuild;
pub mod splice;
pub mod tools;

pub use check::CHECKS;
pub use propose::propose;
