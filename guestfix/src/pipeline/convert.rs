// SPDX-License-Identifier: Apache-2.0
//! Convert: the whole street, all or nothing.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::bundle::Drivers;
use super::destination::NewDisks;
use super::hands::{MountedGuest, Prepared};
use super::opinions::Opinions;
use super::place::{Place, Written};
use super::progress::Stage;
use super::session::{Seen, Session};
use super::{Context, families, labels, millis};
use crate::apply::{self, Applied, ChangeOutcome, ChangeReport};
use crate::error::{Error, Kind, Result};
use crate::inspect::{Concern, Facts};
use crate::plan::{Bus, Plan, Policy};
use crate::report::{self, Readiness, Report, Timings};

/// What the operator chose.
#[derive(Debug)]
pub struct ConvertOptions {
    /// About the guest.
    pub policy: Policy,
    /// The bus that the VM will have.
    pub bus: Bus,
    /// `--plan`: convert only if the changes are those.
    pub reviewed: Option<PathBuf>,
    /// `--dry-run`: everything but the commit.
    pub dry_run: bool,
    /// `--commit-anyway`.
    pub commit_anyway: bool,
    /// `--ask-before-commit`: asked once everything but the writing is done. Its error ends the
    /// conversion with nothing written.
    pub leave: Option<fn() -> Result<()>>,
    /// `--to`: new disks are made, and those given are only read.
    pub to: Option<NewDisks>,
}

/// Converts a guest. Its disks are either untouched or fully converted; new ones are either there
/// and complete, or not there.
///
/// # Errors
/// Every kind: see [`crate::error::Kind`]. After an error the disks are untouched, unless the code
/// is `commit-interrupted`: then `guestfix recover` finishes it.
pub fn convert(
    context: &Context<'_>,
    paths: &[PathBuf],
    options: &ConvertOptions,
) -> Result<Report> {
    let start = Instant::now();
    let mut timings = Timings::default();
    let place = Place::open(context, paths, options.to.as_ref())?;
    let mut session = place.session(context)?;

    context
        .progress
        .step(Stage::Inspect, "reading the guest", 0, 0);
    let facts = session.inspect(options.policy.root.as_deref())?;
    timings.inspect = millis(start);
    refuse(&facts)?;

    let step = Instant::now();
    context.progress.step(Stage::Plan, "deciding", 0, 0);
    let (drivers, policy) = Drivers::pick(&facts, &options.policy)?;
    let plan = session.plan(&policy, options.bus)?;
    if let Some(reviewed) = &options.reviewed {
        same_as_reviewed(&plan, reviewed)?;
    }
    timings.plan = millis(step);

    let hopeless = plan.critical().next().is_some() && !options.commit_anyway;
    let step = Instant::now();
    let mut applied = if hopeless {
        skipped(&plan)
    } else {
        apply_plan(context, &mut session, &facts, (&plan, &policy, &drivers))?
    };
    timings.apply = millis(step);
    applied.changes.extend(settled(&facts, &plan)?);

    let step = Instant::now();
    context
        .progress
        .step(Stage::Verify, "re-reading and running every check", 0, 0);
    // Where nothing was written there is nothing to check, and the guest is still being looked at.
    let opinions = match plan.changes.is_empty() || hopeless {
        true => Opinions::none(),
        false => session.second_opinions(&facts)?,
    };
    let mut seen = session.verify(&facts.root, options.bus)?;
    seen.verdicts.extend(opinions.collect()?);
    let runs = session.seal()?;
    timings.verify = millis(step);

    let concerns = concerns(&plan, &applied, &seen);
    let readiness = report::judge(&seen.verdicts, &concerns);
    let step = Instant::now();
    let may = readiness.is_ready() || options.commit_anyway;
    // A log that was replayed in order to be read is no reason to write.
    let changed = applied
        .changes
        .iter()
        .any(|change| change.outcome == ChangeOutcome::Changed);
    let write = place.always() || (changed && !runs.is_empty());
    let written = if may && write && !options.dry_run {
        if let Some(leave) = options.leave {
            let what = "waiting for leave to write";
            context.progress.step(Stage::CommitPending, what, 0, 0);
            leave()?;
        }
        let how = (options.bus, options.commit_anyway);
        place.write(context, &mut session, (&mut seen, &runs), how)?
    } else {
        Written::default()
    };
    let readiness = report::judge(&seen.verdicts, &concerns);
    timings.commit = millis(step);
    timings.total = millis(start);
    Ok(Report {
        schema: report::SCHEMA.to_owned(),
        verb: "convert".to_owned(),
        readiness,
        guest: facts.guest.pretty_name.clone(),
        verdicts: seen.verdicts,
        changes: applied.changes,
        concerns,
        target: Some(plan.target),
        committed: written.bytes > 0,
        committed_bytes: written.bytes,
        output: written.output,
        undo: place.undo()?,
        timings_ms: timings,
        peak_rss_bytes: session.peak_rss(),
    })
}

/// States of a Windows guest in which its files are not what it will see when it goes on.
const REFUSED: [&str; 2] = ["hibernated", "ntfs-log"];

fn refuse(facts: &Facts) -> Result<()> {
    let mut concerns = facts.concerns.iter().filter(|_| facts.windows.is_some());
    match concerns.find(|concern| REFUSED.contains(&concern.id.as_str())) {
        Some(concern) => Err(Error::refused(&concern.id, &concern.message)),
        None => Ok(()),
    }
}

/// Mounts the guest over the overlay, makes the changes and unmounts it. A plan without changes
/// mounts nothing: even a mount writes.
fn apply_plan(
    context: &Context<'_>,
    session: &mut Session,
    facts: &Facts,
    (plan, policy, drivers): (&Plan, &Policy, &Drivers),
) -> Result<Applied> {
    if plan.changes.is_empty() {
        return Ok(Applied::default());
    }
    let mut made = Prepared {
        archives: session.archives(plan)?,
        hives: session.hives(plan)?,
        ..Prepared::default()
    };
    if facts.windows.is_some() {
        made.spelling = session.spelling(plan)?;
    }
    session.mount_guest(facts)?;
    let total = plan.changes.len() as u64;
    let mut done = 0_u64;
    let packages = policy.guest_agent_packages.as_ref();
    let mut hands = MountedGuest::new(session, facts, made, packages, drivers);
    let result = apply::apply(plan, &mut hands, &mut |change| {
        let what = format!("{} {}", change.kind, change.path);
        context.progress.step(Stage::Apply, &what, done, total);
        done = done.saturating_add(1);
    });
    let result = result.and_then(|mut applied| {
        labels::set(session, facts, &mut applied)?;
        Ok(applied)
    });
    let applied = match result {
        Ok(applied) => applied,
        // An overlay that failed explains a guest program's failure better than the program does.
        Err(error) => return Err(session.seal().err().unwrap_or(error)),
    };
    let unmounted = session.unmount_guest();
    session.seal()?;
    unmounted.map(|()| applied)
}

fn skipped(plan: &Plan) -> Applied {
    let why = "a critical concern stands: see concerns".to_owned();
    let changes = plan
        .changes
        .iter()
        .map(|change| apply::report(change, ChangeOutcome::Skipped(why.clone())))
        .collect();
    Applied {
        changes,
        concerns: Vec::new(),
    }
}

/// The topics that had nothing to change.
fn settled(facts: &Facts, plan: &Plan) -> Result<Vec<ChangeReport>> {
    let room = families::family(&facts.guest.family)?.propose;
    Ok(room
        .topics()
        .iter()
        .filter(|topic| !plan.changes.iter().any(|change| change.topic == **topic))
        .map(|topic| ChangeReport {
            topic: (*topic).to_owned(),
            kind: "topic".to_owned(),
            path: String::new(),
            why: "nothing to change".to_owned(),
            outcome: ChangeOutcome::AlreadySo,
        })
        .collect())
}

/// What remains to be said after the conversion: the plan's concerns that no change settled, what
/// applying added, and what re-reading found.
fn concerns(plan: &Plan, applied: &Applied, seen: &Seen) -> Vec<Concern> {
    let mut out: Vec<Concern> = plan.concerns.clone();
    for concern in applied.concerns.iter().chain(&seen.facts.concerns) {
        if !out.iter().any(|have| have.id == concern.id) {
            out.push(concern.clone());
        }
    }
    out
}

fn same_as_reviewed(plan: &Plan, reviewed: &Path) -> Result<()> {
    let text = std::fs::read(reviewed)
        .map_err(|e| Error::io(format!("reading {}", reviewed.display()), e))?;
    let reviewed: Plan = serde_json::from_slice(&text).map_err(|e| {
        Error::new(
            Kind::Usage,
            "not-a-plan",
            format!("{} is no plan", reviewed.display()),
        )
        .because(e)
        .hint("make one with guestfix plan -o FILE DISK...")
    })?;
    if plan.digest()? == reviewed.digest()? {
        return Ok(());
    }
    Err(Error::refused(
        "plan-outdated",
        "the guest or the options differ from the reviewed plan",
    )
    .hint("make a new plan with guestfix plan -o FILE, with the same options, and review it"))
}

impl Readiness {
    /// What the process ends with.
    pub fn exit_code(self) -> u8 {
        u8::from(!self.is_ready())
    }
}
