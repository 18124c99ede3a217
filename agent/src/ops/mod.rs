// SPDX-License-Identifier: Apache-2.0
//! What both roles need in order to be run: Leases, events, metrics, health, logs, the end.

pub mod events;
pub mod health;
pub mod lay;
pub mod lease;
pub mod metrics;
pub mod shutdown;
