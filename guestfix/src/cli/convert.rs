// SPDX-License-Identifier: Apache-2.0
//! `guestfix convert`.

use super::args::{Common, ConvertArgs};
use super::leave;
use super::output::Output;
use super::progress;
use crate::error::Result;
use crate::pipeline::{self, Context, ConvertOptions};
use crate::report::text;

pub(super) fn run(common: &Common, args: &ConvertArgs, output: &Output) -> Result<u8> {
    let listener = progress::listener(common.progress);
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: listener.as_ref(),
        opening: &opening,
    };
    let options = ConvertOptions {
        policy: args.choices.policy(),
        bus: args.choices.bus,
        reviewed: args.plan.clone(),
        dry_run: args.dry_run,
        commit_anyway: args.commit_anyway,
        leave: args.ask_before_commit.then_some(leave::from_stdin),
        to: args.new_disks()?,
    };
    let report = pipeline::convert(&context, &args.disks.paths()?, &options)?;
    drop(listener);
    output.result(&report, |report| text::convert(report, args.dry_run));
    Ok(report.readiness.exit_code())
}
