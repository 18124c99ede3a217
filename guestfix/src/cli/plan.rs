// SPDX-License-Identifier: Apache-2.0
//! `guestfix plan`.

use std::fmt::Write as _;

use super::args::{Common, PlanArgs};
use super::output::Output;
use super::progress;
use crate::error::{Error, Result};
use crate::pipeline::{self, Context};
use crate::plan::Plan;
use crate::report::text;

pub(super) fn run(common: &Common, args: &PlanArgs, output: &Output) -> Result<u8> {
    let listener = progress::listener(common.progress);
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: listener.as_ref(),
        opening: &opening,
    };
    let choices = &args.choices;
    let (_, plan) = pipeline::plan(
        &context,
        &args.disks.paths()?,
        &choices.policy(),
        choices.bus,
    )?;
    drop(listener);
    let document = plan.document();
    if let Some(file) = &args.output {
        let mut json = serde_json::to_vec_pretty(&document)
            .map_err(|e| Error::internal("encoding the plan").because(e))?;
        json.push(b'\n');
        std::fs::write(file, json)
            .map_err(|e| Error::io(format!("writing {}", file.display()), e))?;
    }
    output.result(&document, render);
    Ok(u8::from(plan.critical().next().is_some()))
}

fn render(plan: &Plan) -> String {
    let mut out = String::new();
    if plan.changes.is_empty() {
        out.push_str("Nothing to change.\n");
    }
    for (index, change) in plan.changes.iter().enumerate() {
        let number = index.saturating_add(1);
        let _ = writeln!(out, "{number}. {} {}", change.kind, change.path);
        let _ = writeln!(out, "   {}", change.why);
        if change.fallback {
            let _ = writeln!(out, "   only where the step before it fails");
        }
        if change.opaque {
            let _ = writeln!(
                out,
                "   what it changes is decided by the guest's own program"
            );
        }
        for line in change.diff.iter().flat_map(|diff| diff.lines()) {
            let _ = writeln!(out, "     {line}");
        }
        out.push('\n');
    }
    text::concerns(&mut out, &plan.concerns);
    text::target(&mut out, &plan.target);
    out
}
