// SPDX-License-Identifier: Apache-2.0
//! How a conversion stands, read from the object alone: both brains ask the same questions.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::condition::{self, Kind};
use crate::api::names;
use crate::api::status::{Commit, GuestConversionStatus};
use crate::api::{GuestConversion, Mode};

/// What a node says of a holder that went away while a commit stands.
pub const HOLDER_GONE: &str = "HolderGone";

/// Questions about a conversion.
pub trait Stand {
    /// Its status, empty where there is none yet.
    fn stands(&self) -> GuestConversionStatus;
    /// It has ended, however.
    fn finished(&self) -> bool;
    /// It ended by a conversion that was verified.
    fn ready(&self) -> bool;
    /// It is being deleted.
    fn deleting(&self) -> bool;
    /// The operator wants it gone whatever stands.
    fn forced(&self) -> bool;
    /// It carries our finalizer.
    fn holds(&self) -> bool;
    /// The node that it was given to.
    fn node(&self) -> Option<&str>;
    /// The commit that stands.
    fn commit(&self) -> Option<&Commit>;
    /// Nobody wants it any more.
    fn unwanted(&self) -> bool;
    /// The operator vouches that this node no longer writes.
    fn vouched(&self, node: &str) -> bool;
    /// Its node says that the holder it was given went away: it writes no more.
    fn handed_back(&self) -> bool;
    /// When its node was assigned.
    fn assigned_at(&self) -> Option<Timestamp>;
    /// When it was made.
    fn made_at(&self) -> Option<Timestamp>;
    /// Journal and undo record are needed.
    fn needs_state(&self) -> bool;
}

impl Stand for GuestConversion {
    fn stands(&self) -> GuestConversionStatus {
        self.status.clone().unwrap_or_default()
    }

    fn finished(&self) -> bool {
        has(self, Kind::Finished)
    }

    fn ready(&self) -> bool {
        has(self, Kind::Ready)
    }

    fn deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn forced(&self) -> bool {
        self.annotations()
            .get(names::FORCE_RELEASE)
            .is_some_and(|v| v == "true")
    }

    fn holds(&self) -> bool {
        self.finalizers()
            .iter()
            .any(|name| name == names::FINALIZER)
    }

    fn node(&self) -> Option<&str> {
        self.status.as_ref()?.node_name.as_deref()
    }

    fn commit(&self) -> Option<&Commit> {
        self.status.as_ref()?.commit.as_ref()
    }

    fn unwanted(&self) -> bool {
        self.spec.cancel || self.deleting()
    }

    fn vouched(&self, node: &str) -> bool {
        self.annotations()
            .get(names::CONFIRM_NODE_LOST)
            .is_some_and(|v| v == node)
    }

    fn handed_back(&self) -> bool {
        let Some(status) = &self.status else {
            return false;
        };
        let holder = status.holder.as_ref().map(|holder| holder.uid.as_str());
        condition::find(&status.conditions, Kind::Converted).is_some_and(|c| {
            let named = holder.is_some_and(|uid| c.message.contains(uid));
            c.status == "False" && c.reason == HOLDER_GONE && named
        })
    }

    fn assigned_at(&self) -> Option<Timestamp> {
        let status = self.status.as_ref()?;
        condition::find(&status.conditions, Kind::NodeAssigned)
            .filter(|c| c.status == "True")
            .map(|c| c.last_transition_time.0)
    }

    fn made_at(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|t| t.0)
    }

    fn needs_state(&self) -> bool {
        self.spec.mode.writes()
    }
}

fn has(conversion: &GuestConversion, kind: Kind) -> bool {
    let conditions = conversion.status.as_ref().map(|s| s.conditions.as_slice());
    condition::is_true(conditions.unwrap_or_default(), kind)
}

/// Whether so many seconds have passed since then.
pub fn passed(since: Option<Timestamp>, seconds: u32, now: Timestamp) -> bool {
    since
        .is_some_and(|since| now.duration_since(since) >= SignedDuration::from_secs(seconds.into()))
}

/// Seconds until so many have passed since then; 0 when they have.
pub fn left(since: Option<Timestamp>, seconds: u32, now: Timestamp) -> u64 {
    let Some(since) = since else {
        return seconds.into();
    };
    let gone = now.duration_since(since).as_secs();
    u64::try_from(i64::from(seconds).saturating_sub(gone)).unwrap_or(0)
}

/// The mode's verb of the command line.
pub fn verb(mode: Mode) -> &'static str {
    match mode {
        Mode::Inspect => "inspect",
        Mode::Plan => "plan",
        Mode::Convert => "convert",
        Mode::Boot => "boot",
        Mode::Undo => "undo",
    }
}
