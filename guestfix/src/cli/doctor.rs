// SPDX-License-Identifier: Apache-2.0
//! `guestfix doctor`.

use super::args::{Common, DoctorArgs};
use super::output::Output;
use super::progress;
use crate::error::Result;
use crate::pipeline::{self, Context};
use crate::report::text;

pub(super) fn run(common: &Common, args: &DoctorArgs, output: &Output) -> Result<u8> {
    let listener = progress::listener(common.progress);
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: listener.as_ref(),
        opening: &opening,
    };
    let choices = &args.choices;
    let report = pipeline::doctor(
        &context,
        &args.disks.paths()?,
        &choices.policy(),
        choices.bus,
    )?;
    drop(listener);
    output.result(&report, text::doctor);
    Ok(report.readiness.exit_code())
}
