// SPDX-License-Identifier: Apache-2.0
//! Reports as a person reads them: first the answer, then what led to it.

use std::fmt::Write as _;

use super::{Readiness, Report};
use crate::apply::{ChangeOutcome, ChangeReport};
use crate::inspect::Concern;
use crate::plan::Target;
use crate::verify::{Outcome, Severity};

/// A byte count in binary units.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = UNITS.first();
    for next in UNITS.iter().skip(1) {
        if tenths < 10240 {
            break;
        }
        tenths /= 1024;
        unit = Some(next);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, unit.unwrap_or(&"B"))
}

/// What an operator should know.
pub fn concerns(out: &mut String, concerns: &[Concern]) {
    if concerns.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nConcerns");
    for concern in concerns {
        let _ = writeln!(
            out,
            "  {:?}: {} [{}]",
            concern.category, concern.message, concern.id
        );
    }
}

/// What the VM must offer.
pub fn target(out: &mut String, target: &Target) {
    let firmware = format!("{:?}", target.firmware).to_uppercase();
    let bus = format!("{:?}", target.disk_bus).to_lowercase();
    let _ = writeln!(
        out,
        "\nThe KubeVirt VM: machine {}, firmware {firmware}, disk bus {bus}, NIC model {}, clock {}",
        target.machine, target.nic_model, target.clock
    );
}

/// The answer of `convert`.
pub fn convert(report: &Report, dry_run: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}: {}", headline(report.readiness), report.guest);
    let took = report.timings_ms.total;
    for path in &report.output {
        let _ = writeln!(out, "New disk: {path}");
    }
    let _ = match (report.committed, dry_run, report.readiness) {
        (true, _, _) if !report.output.is_empty() => writeln!(
            out,
            "Written: {} in {took} ms, read back from the new disks. What was given is as it was.",
            size(report.committed_bytes)
        ),
        (true, _, _) => writeln!(
            out,
            "Written: {} in {took} ms, read back from the disk. guestfix undo takes it back.",
            size(report.committed_bytes)
        ),
        (false, true, _) => writeln!(out, "Dry run: nothing was written ({took} ms)."),
        (false, false, Readiness::NotReady) => {
            writeln!(out, "Nothing was written: the disks are as they were.")
        }
        (false, false, _) => writeln!(out, "Nothing had to be written ({took} ms)."),
    };
    changes(&mut out, report);
    verdicts(&mut out, report);
    concerns(&mut out, &report.concerns);
    if let Some(vm) = &report.target {
        target(&mut out, vm);
    }
    out
}

/// The answer of `verify`.
pub fn verify(report: &Report) -> String {
    let mut out = format!("{}: {}\n", headline(report.readiness), report.guest);
    verdicts(&mut out, report);
    concerns(&mut out, &report.concerns);
    out
}

/// The answer of `doctor`.
pub fn doctor(report: &Report) -> String {
    let mut out = String::new();
    let answer = if report.readiness.is_ready() {
        "This guest would boot on KubeVirt"
    } else {
        "This guest would not boot on KubeVirt"
    };
    let _ = writeln!(out, "{answer}: {}", report.guest);
    verdicts(&mut out, report);
    concerns(&mut out, &report.concerns);
    if report.changes.is_empty() {
        let _ = writeln!(out, "\nNothing to fix.");
    } else {
        let _ = writeln!(out, "\nguestfix convert would fix it:");
        for change in &report.changes {
            let _ = writeln!(out, "  {} {}: {}", change.kind, change.path, change.why);
        }
    }
    out
}

fn headline(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Ready => "Ready",
        Readiness::ReadyWithWarnings => "Ready, with warnings",
        Readiness::NotReady => "Not ready",
    }
}

fn changes(out: &mut String, report: &Report) {
    let _ = writeln!(out, "\nChanges");
    // A package's removal touches hundreds of files: they are for the document.
    let touched = |change: &&ChangeReport| change.kind == "touched";
    let count = report.changes.iter().filter(touched).count();
    for change in report.changes.iter().filter(|change| !touched(change)) {
        let _ = match &change.outcome {
            ChangeOutcome::Changed => {
                writeln!(
                    out,
                    "  changed     {} {}: {}",
                    change.kind, change.path, change.why
                )
            }
            ChangeOutcome::AlreadySo if change.path.is_empty() => {
                writeln!(out, "  already so  {}", change.topic)
            }
            ChangeOutcome::AlreadySo => {
                writeln!(out, "  already so  {} {}", change.kind, change.path)
            }
            ChangeOutcome::Skipped(why) => {
                writeln!(out, "  skipped     {} {}: {why}", change.kind, change.path)
            }
        };
    }
    if count > 0 {
        let _ = writeln!(
            out,
            "  touched     {count} paths, by the guest's own programs; --format json lists them"
        );
    }
}

fn verdicts(out: &mut String, report: &Report) {
    let _ = writeln!(out, "\nChecks");
    for verdict in &report.verdicts {
        let word = match (verdict.result, verdict.severity) {
            (Outcome::Pass, _) => "pass",
            (Outcome::Skip, _) => "skip",
            (Outcome::Fail, Severity::Required) => "FAIL",
            (Outcome::Fail, Severity::Advised) => "warn",
        };
        let _ = writeln!(out, "  {word:5} {:28} {}", verdict.check, verdict.detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        for (bytes, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (2 << 30, "2.0 GiB"),
            (10 << 40, "10.0 TiB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }
}
