// SPDX-License-Identifier: Apache-2.0
//! Windows guests. One topic per file, each with the same public functions in the same order:
//! `gather` (which keys of the registry it decides upon), `propose` (facts to changes), `check`
//! (re-read facts to a finding).
#![deny(clippy::arithmetic_side_effects)]
