// SPDX-License-Identifier: Apache-2.0
//! `guestfix verify`.

use super::args::{Common, VerifyArgs};
use super::output::Output;
use super::progress;
use crate::error::Result;
use crate::pipeline::{self, Context};
use crate::report::text;

pub(super) fn run(common: &Common, args: &VerifyArgs, output: &Output) -> Result<u8> {
    let listener = progress::listener(common.progress);
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: listener.as_ref(),
        opening: &opening,
    };
    let report = pipeline::verify(
        &context,
        &args.disks.paths()?,
        args.root.as_deref(),
        args.bus,
    )?;
    drop(listener);
    output.result(&report, text::verify);
    Ok(report.readiness.exit_code())
}
