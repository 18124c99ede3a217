// SPDX-License-Identifier: Apache-2.0
//! Driver bundles: a virtio-win directory or ISO, seen as a set of Windows drivers.
//!
//! This crate knows Windows releases, INF files and catalogues; it knows no disks. Data flows one
//! way: `source` (directory or ISO) -> `inf`, `pe` and `catalog` (parsers of bytes that may be
//! anything) -> `bundle` (what there is) -> `pick` (what fits a release, and why) -> `package`
//! (plain values, no contents, for whoever writes them into a guest).
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod bundle;
mod bytes;
mod catalog;
mod error;
mod inf;
mod package;
mod pe;
mod pick;
mod release;
mod role;
mod source;

pub use bundle::{Bundle, Survey, SurveyRow};
pub use error::{Error, Kind, Result};
pub use package::{
    Device, DeviceId, DigestKind, DriverFile, DriverVersion, EventLog, Image, Install, Member,
    Package, Place, RegData, RegEntry, RegRoot, Service, Signature, SignatureCheck, Text, Vouch,
};
pub use pick::{Fit, Flag, Missing, Pick, Picks, Rejected};
pub use release::{Arch, Installation, Product, RegistryStrings, Release};
pub use role::Role;
