// SPDX-License-Identifier: Apache-2.0
//! The recipe, readable from top to bottom: what each verb does with the rooms, in which order.

mod archive;
mod beside;
mod bundle;
mod convert;
mod destination;
mod disks;
mod esp;
mod families;
mod hands;
mod hive;
mod hives;
mod images;
mod intact;
mod labels;
mod opening;
mod opinions;
mod place;
mod process;
pub mod progress;
mod proof;
mod protocol;
mod remote;
mod session;
mod undo;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

pub use convert::{ConvertOptions, convert};
pub use destination::NewDisks;
pub use families::FAMILIES;
pub use hive::{HiveEdit, edit_hive, read_hive};
pub use opening::{KeyFile, OpeningChoice};
pub use proof::{BootOptions, boot};
pub use protocol::NewImage;
pub use undo::{RecoverReport, UndoReport, recover, undo};

use self::bundle::Drivers;
use self::disks::Disks;
use self::progress::{Progress, Stage};
use self::session::Session;
use crate::apply::{self, ChangeOutcome};
use crate::error::Result;
use crate::host::Channel;
use crate::host::mounter::mounter_main;
use crate::inspect::Facts;
use crate::plan::{Bus, Plan, Policy};
use crate::report::{self, Report, Timings, UndoInfo};

/// Runs a hidden role of the program: the process that the supervisor started it to be.
pub fn role(name: &str) -> ExitCode {
    let result = match name {
        "__worker" => worker::main(false),
        "__copier" => worker::main(true),
        _ => Channel::inherited().and_then(mounter_main),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, role = name, "ended");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Where things are kept and who hears of progress.
pub struct Context<'a> {
    /// `--state-dir`.
    pub state_dir: &'a Path,
    /// Hears of every step.
    pub progress: &'a dyn Progress,
    /// How volumes are opened.
    pub opening: &'a OpeningChoice,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

/// Reads a guest. Writes nothing; reads through a pending journal.
///
/// # Errors
/// Every kind: see [`crate::error::Kind`].
pub fn inspect(context: &Context<'_>, paths: &[PathBuf], root: Option<&str>) -> Result<Facts> {
    read_only(context, paths, |session| {
        context
            .progress
            .step(Stage::Inspect, "reading the guest", 0, 0);
        session.inspect(root)
    })
}

/// Decides what a conversion would change. Writes nothing.
///
/// # Errors
/// Every kind: see [`crate::error::Kind`].
pub fn plan(
    context: &Context<'_>,
    paths: &[PathBuf],
    policy: &Policy,
    bus: Bus,
) -> Result<(Facts, Plan)> {
    read_only(context, paths, |session| {
        context
            .progress
            .step(Stage::Inspect, "reading the guest", 0, 0);
        let facts = session.inspect(policy.root.as_deref())?;
        context.progress.step(Stage::Plan, "deciding", 0, 0);
        let (_, policy) = Drivers::pick(&facts, policy)?;
        let plan = session.plan(&policy, bus)?;
        Ok((facts, plan))
    })
}

/// Runs every check against the disks as they are. Writes nothing.
///
/// # Errors
/// Every kind: see [`crate::error::Kind`].
pub fn verify(
    context: &Context<'_>,
    paths: &[PathBuf],
    root: Option<&str>,
    bus: Bus,
) -> Result<Report> {
    let policy = Policy {
        root: root.map(str::to_owned),
        ..Policy::default()
    };
    examine(context, paths, &policy, bus, "verify")
}

/// Explains why a guest would not boot, and what convert would do about it. Writes nothing.
///
/// # Errors
/// Every kind: see [`crate::error::Kind`].
pub fn doctor(
    context: &Context<'_>,
    paths: &[PathBuf],
    policy: &Policy,
    bus: Bus,
) -> Result<Report> {
    examine(context, paths, policy, bus, "doctor")
}

fn examine(
    context: &Context<'_>,
    paths: &[PathBuf],
    policy: &Policy,
    bus: Bus,
    verb: &str,
) -> Result<Report> {
    let start = Instant::now();
    read_only(context, paths, |session| {
        let mut timings = Timings::default();
        context
            .progress
            .step(Stage::Inspect, "reading the guest", 0, 0);
        let facts = session.inspect(policy.root.as_deref())?;
        timings.inspect = millis(start);
        let planning = Instant::now();
        let policy = match verb {
            "doctor" => Drivers::pick(&facts, policy)?.1,
            _ => policy.clone(),
        };
        let plan = session.plan(&policy, bus)?;
        timings.plan = millis(planning);
        let checking = Instant::now();
        context
            .progress
            .step(Stage::Verify, "running every check", 0, 0);
        let seen = session.verify(&facts.root, bus)?;
        timings.verify = millis(checking);
        timings.total = millis(start);
        // What a conversion would worry about is no news of a guest that needs none.
        let proposed = if verb == "doctor" {
            plan.changes.as_slice()
        } else {
            &[]
        };
        let concerns = if verb == "doctor" {
            plan.concerns.clone()
        } else {
            facts.concerns
        };
        Ok(Report {
            schema: report::SCHEMA.to_owned(),
            verb: verb.to_owned(),
            readiness: report::judge(&seen.verdicts, &concerns),
            guest: seen.facts.guest.pretty_name,
            verdicts: seen.verdicts,
            changes: proposed
                .iter()
                .filter(|change| !change.fallback)
                .map(|change| {
                    let skipped = ChangeOutcome::Skipped("proposed: convert would do it".into());
                    apply::report(change, skipped)
                })
                .collect(),
            concerns,
            target: Some(plan.target),
            committed: false,
            committed_bytes: 0,
            output: Vec::new(),
            undo: UndoInfo::default(),
            timings_ms: timings,
            peak_rss_bytes: session.peak_rss(),
        })
    })
}

/// Runs something that writes nothing, on the disks as a pending journal would leave them.
fn read_only<T>(
    context: &Context<'_>,
    paths: &[PathBuf],
    work: impl FnOnce(&mut Session) -> Result<T>,
) -> Result<T> {
    let disks = Disks::open_read(paths, context.opening)?;
    let scratch = std::env::temp_dir();
    let mut session = Session::start(&disks, &scratch, context.opening)?;
    disks.lay_pending(context.state_dir, &mut session)?;
    work(&mut session)
}

/// Milliseconds since then.
fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
