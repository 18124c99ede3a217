// SPDX-License-Identifier: Apache-2.0
//! guestfix makes the disks of a VMware guest boot on KubeVirt: in place, undoable, with proof.
//!
//! Data flows one way:
//!
//! ```text
//! disk -> volume -> fs -> inspect -> plan -> linux | windows -> apply -> verify -> commit -> re-read -> report
//! ```
#![deny(missing_docs)]

pub mod apply;
pub mod boot;
pub mod cli;
pub mod digest;
pub mod disk;
pub mod document;
pub mod error;
pub mod fs;
pub mod hive;
pub mod host;
pub mod inspect;
pub mod linux;
pub mod pipeline;
pub mod plan;
pub mod report;
pub mod verify;
pub mod vm;
pub mod volume;
pub mod windows;

pub use error::{Error, Kind, Result};
