// SPDX-License-Identifier: Apache-2.0
//! guestfix on a cluster: the API, the brain that decides, and the two roles that act.

pub mod api;
pub mod brain;
pub mod controller;
pub mod node;
pub mod ops;
