// SPDX-License-Identifier: Apache-2.0
//! Linux guests. One topic per file, each with the same three public functions in the same order:
//! `parse` (bytes to model), `propose` (facts to changes), `check` (re-read facts to a finding).

pub mod initramfs;
pub mod kernel;
pub mod modules;
