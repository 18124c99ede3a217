// SPDX-License-Identifier: Apache-2.0
//! `guestfix recover`.

use super::args::{Common, RecoverArgs};
use super::output::Output;
use crate::error::Result;
use crate::pipeline::progress::Silent;
use crate::pipeline::{self, Context};

pub(super) fn run(common: &Common, args: &RecoverArgs, output: &Output) -> Result<u8> {
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: &Silent,
        opening: &opening,
    };
    let report = pipeline::recover(&context, &args.disks.paths()?)?;
    output.result(&report, |report| {
        match report.outcome.as_str() {
            "rolled-forward" => {
                "The interrupted commit is now complete, read back from the disk.\n"
            }
            "dropped" => "The interrupted commit had not reached the disks; they are untouched.\n",
            _ => "Nothing to recover.\n",
        }
        .to_owned()
    });
    Ok(0)
}
