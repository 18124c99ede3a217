// SPDX-License-Identifier: Apache-2.0
//! The `guestfix` command.

fn main() {}
