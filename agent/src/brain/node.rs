// SPDX-License-Identifier: Apache-2.0
//! The node agent's brain: the one thing to do next for a conversion.

use k8s_openapi::jiff::Timestamp;

use super::stand::{Stand, passed};
use crate::api::status::Commit;
use crate::api::{GuestConversion, Mode};

/// What a node agent sees.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Now.
    pub now: Timestamp,
    /// This node.
    pub node: String,
    /// Our Lease is ours and fresh: no other agent acts for this node.
    pub leading: bool,
    /// The agent is ending.
    pub draining: bool,
    /// Another guest may be begun.
    pub slot: bool,
    /// Seconds that the run may take.
    pub timeout_s: u32,
    /// The holder pod named in the status.
    pub holder: Holder,
    /// What we run for this conversion.
    pub run: Run,
}

/// The holder pod named in the status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Holder {
    /// Not there, another pod, or being deleted.
    #[default]
    Gone,
    /// There, and its containers do not run (yet).
    Waiting,
    /// Runs on this node.
    Running,
}

/// What we run for a conversion.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Run {
    /// Nothing.
    #[default]
    Idle,
    /// A process tree works, and has written nothing.
    Working,
    /// It waits for leave to write to the disks.
    Asking,
    /// It writes, or was told to.
    Committing,
    /// It was told to stop and has not ended.
    Stopping,
    /// It was stopped.
    Stopped(Why),
    /// It ended by itself and its end is not in the status yet.
    Ended,
    /// Its end is in the status.
    Told,
    /// An interrupted commit is finished; the run itself comes now.
    Recovered,
    /// Its commit is recorded and it has not begun: a mode that writes from its first step on.
    Recorded,
    /// It cannot begin for now, and is tried again when this is over.
    Later(Timestamp),
}

/// Why a run is stopped, or not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The conversion was cancelled or deleted.
    Cancelled,
    /// It took too long.
    TimedOut,
    /// It is another's now, or nobody's.
    NotOurs,
    /// The holder pod goes.
    HolderGone,
    /// Our Lease is lost.
    LeaseLost,
    /// The agent ends.
    Draining,
}

impl Why {
    /// True when the conversion ends with it; otherwise it is begun again, here or elsewhere.
    pub fn ends(self) -> bool {
        matches!(self, Self::Cancelled | Self::TimedOut)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing until something changes.
    Wait,
    /// Begin; roll an interrupted commit forward first.
    Start {
        /// A commit stands.
        recover: bool,
    },
    /// End the process tree, which has written nothing.
    Stop(Why),
    /// Kill it in the middle of a commit, which is finished from its journal, here or elsewhere.
    Abort,
    /// Record the commit in the status, at the version that was seen.
    RecordCommit(Commit),
    /// The commit is recorded: let it write.
    Go,
    /// Write how the run ended into the status.
    TellEnd,
    /// Write that it ended without having run, or stopped.
    TellStopped(Why),
    /// Write that the disks are gone while a commit stands: another node may finish it.
    HandBack,
    /// Forget what we knew of it.
    Forget,
}

/// Decides.
pub fn next(conversion: &GuestConversion, seen: &Observed) -> Action {
    if conversion.node() != Some(&seen.node) || conversion.finished() {
        return not_ours(seen);
    }
    match &seen.run {
        Run::Idle | Run::Told | Run::Recovered | Run::Recorded => idle(conversion, seen),
        Run::Later(until) if seen.now < *until => {
            stop_reason(conversion, seen).map_or(Action::Wait, |why| stopped(seen, why))
        }
        Run::Later(_) => idle(conversion, seen),
        Run::Working => stop_reason(conversion, seen).map_or(Action::Wait, Action::Stop),
        Run::Asking => asking(conversion, seen),
        // Whoever finds the Lease expired may act on these disks: by then nothing of ours writes to
        // them any more. The journal is whole, or nothing was written.
        Run::Committing if !seen.leading => Action::Abort,
        Run::Committing | Run::Stopping => Action::Wait,
        Run::Stopped(why) => stopped(seen, *why),
        Run::Ended if seen.leading => Action::TellEnd,
        Run::Ended => Action::Wait,
    }
}

fn not_ours(seen: &Observed) -> Action {
    match seen.run {
        Run::Idle => Action::Wait,
        Run::Working | Run::Asking => Action::Stop(Why::NotOurs),
        Run::Committing => Action::Abort,
        Run::Stopping => Action::Wait,
        Run::Stopped(_)
        | Run::Ended
        | Run::Told
        | Run::Recovered
        | Run::Recorded
        | Run::Later(_) => Action::Forget,
    }
}

/// Why a run without a commit must not go on.
fn stop_reason(conversion: &GuestConversion, seen: &Observed) -> Option<Why> {
    // What was begun on the disks is finished, also when nobody wants it any more.
    let committed = conversion.commit().is_some();
    if !seen.leading {
        Some(Why::LeaseLost)
    } else if conversion.unwanted() && !committed {
        Some(Why::Cancelled)
    } else if seen.holder == Holder::Gone {
        Some(Why::HolderGone)
    } else if passed(conversion.assigned_at(), seen.timeout_s, seen.now) && !committed {
        Some(Why::TimedOut)
    } else if seen.draining {
        Some(Why::Draining)
    } else {
        None
    }
}

fn idle(conversion: &GuestConversion, seen: &Observed) -> Action {
    match stop_reason(conversion, seen) {
        Some(Why::HolderGone) if conversion.handed_back() => Action::Wait,
        Some(Why::HolderGone) if conversion.commit().is_some() => Action::HandBack,
        Some(why) if why.ends() && seen.run != Run::Told => Action::TellStopped(why),
        Some(_) => Action::Wait,
        None if seen.run == Run::Told => Action::Wait,
        None if seen.slot && seen.holder == Holder::Running => begin(conversion, seen),
        None => Action::Wait,
    }
}

fn begin(conversion: &GuestConversion, seen: &Observed) -> Action {
    match conversion.commit() {
        // Another node's, lost: whoever finishes it is recorded before it writes.
        Some(standing) if standing.node != seen.node => {
            Action::RecordCommit(wanted(conversion, seen))
        }
        Some(_) => Action::Start {
            recover: !matches!(seen.run, Run::Recovered | Run::Recorded),
        },
        // Undo writes from its first step on: it is recorded before it begins.
        None if conversion.spec.mode == Mode::Undo => {
            Action::RecordCommit(wanted(conversion, seen))
        }
        None => Action::Start { recover: false },
    }
}

fn asking(conversion: &GuestConversion, seen: &Observed) -> Action {
    if let Some(why) = stop_reason(conversion, seen) {
        return Action::Stop(why);
    }
    let wanted = wanted(conversion, seen);
    match conversion.commit() {
        Some(standing) if *standing == wanted => Action::Go,
        _ => Action::RecordCommit(wanted),
    }
}

/// The commit as it is recorded.
fn wanted(conversion: &GuestConversion, seen: &Observed) -> Commit {
    let claims = conversion.status.iter().flat_map(|s| &s.claims);
    Commit {
        node: seen.node.clone(),
        claims: claims.filter_map(|claim| claim.uid.clone()).collect(),
    }
}

fn stopped(seen: &Observed, why: Why) -> Action {
    match (why.ends(), seen.leading) {
        (true, true) => Action::TellStopped(why),
        (true, false) => Action::Wait,
        (false, _) => Action::Forget,
    }
}
