// SPDX-License-Identifier: Apache-2.0
//! The `guestfix` command. Two hidden roles are this program run again by itself: see
//! docs/architecture.md, "Three processes".

use std::process::ExitCode;

fn main() -> ExitCode {
    guestfix::host::allocator::fix_limits();
    match std::env::args().nth(1).as_deref() {
        Some(role @ ("__worker" | "__copier" | "__mounter")) => guestfix::pipeline::role(role),
        _ => guestfix::cli::run(),
    }
}
