// SPDX-License-Identifier: Apache-2.0
//! `guestfix boot`.

use std::fmt::Write as _;
use std::time::Duration;

use super::args::{BootArgs, Common};
use super::output::Output;
use super::progress;
use crate::boot::{BootReport, BootResult, Reason};
use crate::error::Result;
use crate::pipeline::{self, BootOptions, Context};

/// As much of the console as fits a screen.
const TAIL: usize = 12;

pub(super) fn run(common: &Common, args: &BootArgs, output: &Output) -> Result<u8> {
    let listener = progress::listener(common.progress);
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: listener.as_ref(),
        opening: &opening,
    };
    let options = BootOptions {
        bus: args.bus,
        timeout: Duration::from_secs(args.timeout),
        screenshot: args.screenshot.clone(),
    };
    let report = pipeline::boot(&context, &args.disks.paths()?, &options)?;
    drop(listener);
    output.result(&report, render);
    Ok(report.exit_code())
}

fn render(report: &BootReport) -> String {
    let mut out = String::new();
    let seconds = report.seconds.round();
    let accel = format!("{:?}", report.accel).to_uppercase();
    let _ = match report.result {
        BootResult::Booted => writeln!(out, "Booted in {seconds} s ({accel})."),
        BootResult::Failed => {
            let reason = report
                .reason
                .map_or(String::new(), |reason| reason.word().to_owned());
            writeln!(
                out,
                "Failed to boot: {reason} (after {seconds} s, {accel})."
            )
        }
        BootResult::Inconclusive if report.reason == Some(Reason::Locked) => {
            writeln!(
                out,
                "Inconclusive: the guest asks for a passphrase; give it with --key VOLUME=file:PATH."
            )
        }
        BootResult::Inconclusive => {
            writeln!(
                out,
                "Inconclusive: no evidence of success or failure in {seconds} s."
            )
        }
    };
    if let Some(evidence) = &report.evidence {
        let _ = writeln!(out, "  evidence: {evidence}");
    }
    if report.result != BootResult::Booted {
        let _ = writeln!(out, "\nThe end of the console");
        let skip = report.console_tail.len().saturating_sub(TAIL);
        for line in report.console_tail.iter().skip(skip) {
            let _ = writeln!(out, "  | {line}");
        }
    }
    out
}
