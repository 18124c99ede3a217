// SPDX-License-Identifier: Apache-2.0
//! `guestfix undo`.

use super::args::{Common, UndoArgs};
use super::output::Output;
use crate::error::Result;
use crate::pipeline::progress::Silent;
use crate::pipeline::{self, Context};

pub(super) fn run(common: &Common, args: &UndoArgs, output: &Output) -> Result<u8> {
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: &Silent,
        opening: &opening,
    };
    let report = pipeline::undo(&context, &args.disks.paths()?, args.all)?;
    output.result(&report, |report| {
        let left = match report.remaining {
            0 => "the disks are as they were before guestfix".to_owned(),
            n => format!("{n} more can be undone"),
        };
        format!(
            "Undid {} conversion(s), read back from the disk; {left}.\n",
            report.undone
        )
    });
    Ok(0)
}
