// SPDX-License-Identifier: Apache-2.0
//! The `guestfix` command.

use std::process::ExitCode;

use guestfix::host::{Channel, mounter};

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(role) if role == "__mounter" => {
            ended(Channel::inherited().and_then(mounter::mounter_main))
        }
        _ => ExitCode::SUCCESS,
    }
}

/// How a child process of ours ends: its errors went through the channel, unless there is none.
fn ended(result: guestfix::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::from(error.exit_code())
        }
    }
}
