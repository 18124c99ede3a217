// SPDX-License-Identifier: Apache-2.0
//! XML and YAML, as far as configuration and descriptions of virtual machines use them: whole
//! documents as plain trees, bounded in depth and size, without entities, tags or anchors.
#![deny(clippy::arithmetic_side_effects)]

pub mod xml;
pub mod yaml;

/// How deep a document may nest.
const MAX_DEPTH: usize = 64;
/// A document larger than this is no configuration, bytes.
pub const MAX_BYTES: u64 = 16 << 20;
