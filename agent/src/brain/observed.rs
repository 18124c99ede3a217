// SPDX-License-Identifier: Apache-2.0
//! What the controller sees around a conversion, as plain values.

use k8s_openapi::jiff::Timestamp;

use crate::api::profile::GuestConversionProfileSpec;

/// What the controller sees.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Now.
    pub now: Timestamp,
    /// The profile that the conversion names; none where there is none of that name.
    pub profile: Option<GuestConversionProfileSpec>,
    /// The VM that the conversion names; none where there is none of that name.
    pub vm: Option<Vm>,
    /// The guest's claims in the order of its disks; empty where nobody can tell.
    pub claims: Vec<Claim>,
    /// How many claims are still to be annotated.
    pub awaited: usize,
    /// Mode Undo: what became of the conversion to take back.
    pub source: Source,
    /// The state claim, where it exists.
    pub state: Option<Claim>,
    /// The holder pod.
    pub holder: Holder,
    /// The node that the conversion was given to.
    pub node: Node,
    /// Who else uses the claims: running VMs and pods, by name.
    pub users: Vec<String>,
    /// Another conversion that stands on one of the claims and came first.
    pub rival: Option<String>,
}

/// A VirtualMachine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vm {
    /// Its runStrategy.
    pub run_strategy: String,
    /// The runStrategy that it gets when Ready, as annotated.
    pub restore: Option<String>,
    /// The conversion that it is annotated with.
    pub conversion: Option<String>,
    /// It runs: there is a VirtualMachineInstance.
    pub running: bool,
}

/// A claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub seen: ClaimSeen,
}

/// What is known of a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClaimSeen {
    /// There is none, and nothing announces it.
    #[default]
    Missing,
    /// It is announced or being filled: by whom, how far.
    Importing(String),
    /// It is there and not bound.
    Unbound,
    /// It is being deleted.
    Going,
    /// It is bound and whole.
    Bound(Bound),
}

/// A bound claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// Its uid.
    pub uid: String,
    /// Its PersistentVolume.
    pub volume: String,
    /// `Block` and not `Filesystem`.
    pub block: bool,
    /// More than one node may mount it for writing.
    pub shared: bool,
}

impl Claim {
    /// What binds it, where it is bound.
    pub fn bound(&self) -> Option<&Bound> {
        match &self.seen {
            ClaimSeen::Bound(bound) => Some(bound),
            _ => None,
        }
    }
}

/// Mode Undo: the conversion to take back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// The mode is another.
    #[default]
    NotAsked,
    /// There is no conversion of that name.
    Missing,
    /// It has not ended.
    Unfinished,
    /// It is there; its claims are the ones observed.
    Found,
}

/// The holder pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Holder {
    /// There is none.
    #[default]
    Absent,
    /// It is there and does not run yet: why.
    Waiting {
        /// Its uid.
        uid: String,
        /// What is told about it.
        why: String,
    },
    /// It runs.
    Running {
        /// Its uid.
        uid: String,
        /// Where.
        node: String,
    },
    /// It ended by itself, evicted or rejected by the node.
    Ended {
        /// Its uid.
        uid: String,
    },
    /// It is being deleted.
    Going {
        /// Its uid.
        uid: String,
        /// The kubelet, or whoever deleted it by force, says that it is gone: only our finalizer
        /// keeps the object.
        gone: bool,
        /// Our finalizer is on it.
        held: bool,
    },
}

impl Holder {
    /// True when no kubelet runs it any more.
    pub fn gone(&self) -> bool {
        matches!(self, Self::Absent | Self::Going { gone: true, .. })
    }

    /// Its uid.
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Waiting { uid, .. }
            | Self::Running { uid, .. }
            | Self::Ended { uid }
            | Self::Going { uid, .. } => Some(uid),
        }
    }

    /// True when there is something to release: a pod that is not deleted yet, or our finalizer.
    pub fn stands(&self) -> bool {
        !matches!(self, Self::Absent | Self::Going { held: false, .. })
    }
}

/// The node that the conversion was given to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Node {
    /// Its agent's Lease has not expired.
    pub alive: bool,
    /// It is tainted out-of-service, or there is no such node any more.
    pub out_of_service: bool,
}
