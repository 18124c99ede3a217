// SPDX-License-Identifier: Apache-2.0
//! Deciding: pure functions of a conversion and of what was observed. Nothing here does any I/O.

pub mod controller;
pub mod demand;
pub mod node;
pub mod observed;
pub mod outcome;
pub mod publication;
pub mod stand;

#[cfg(test)]
mod controller_end_tests;
#[cfg(test)]
mod controller_tests;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod outcome_tests;
