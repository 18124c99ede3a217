// SPDX-License-Identifier: Apache-2.0
//! Conversions and surroundings for the brains' tests.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::observed::{Bound, Claim, ClaimSeen, Holder, Node, Observed};
use super::stand::HOLDER_GONE;
use crate::api::condition::{self, Is, Kind};
use crate::api::conversion::{Disk, GuestConversion, GuestConversionSpec};
use crate::api::profile::GuestConversionProfileSpec;
use crate::api::status::{self, Commit, GuestConversionStatus};
use crate::api::{Mode, names};

/// A thousand seconds into time.
pub(crate) fn now() -> Timestamp {
    at(1000)
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A conversion of web01-d0 that the controller holds, without a status.
pub(crate) fn fresh(mode: Mode) -> GuestConversion {
    let mut new = GuestConversion::new(
        "web01",
        GuestConversionSpec {
            mode,
            disks: Some(vec![Disk {
                claim_name: "web01-d0".into(),
            }]),
            ..GuestConversionSpec::default()
        },
    );
    new.metadata.namespace = Some("tenant".into());
    new.metadata.uid = Some("c-1".into());
    new.metadata.resource_version = Some("7".into());
    new.metadata.creation_timestamp = Some(Time(at(900)));
    new.metadata.finalizers = Some(vec![names::FINALIZER.into()]);
    new
}

/// The same, assigned to node n1 ten seconds ago.
pub(crate) fn assigned(mode: Mode) -> GuestConversion {
    let mut conversion = fresh(mode);
    let conditions = vec![
        made(Kind::DisksReady, Is::True, "AllDisks"),
        made(Kind::NodeAssigned, Is::True, "HolderRunning"),
        made(Kind::Finished, Is::False, "Standing"),
        made(Kind::Ready, Is::Unknown, "NotVerified"),
    ];
    conversion.status = Some(GuestConversionStatus {
        node_name: Some("n1".into()),
        holder: Some(status::Holder {
            name: "guestfix-hold-web01".into(),
            uid: "h-1".into(),
        }),
        claims: vec![status::Claim {
            claim_name: "web01-d0".into(),
            uid: Some("u-0".into()),
            volume_name: Some("pv-0".into()),
            volume_mode: Some("Filesystem".into()),
        }],
        conditions,
        ..GuestConversionStatus::default()
    });
    conversion
}

pub(crate) fn made(kind: Kind, is: Is, reason: &str) -> Condition {
    condition::make(&[], kind, is, (reason, ""), at(990))
}

/// Puts a condition in the place of the one of its kind.
pub(crate) fn with(
    mut conversion: GuestConversion,
    kind: Kind,
    is: Is,
    reason: &str,
) -> GuestConversion {
    let status = conversion.status.get_or_insert_default();
    status.conditions.retain(|c| c.type_ != kind.as_str());
    status.conditions.push(made(kind, is, reason));
    conversion
}

/// A commit of n1 stands.
pub(crate) fn committing(mut conversion: GuestConversion) -> GuestConversion {
    conversion.status.get_or_insert_default().commit = Some(Commit {
        node: "n1".into(),
        claims: vec!["u-0".into()],
    });
    conversion
}

/// It ended, ready or not.
pub(crate) fn ended(mode: Mode, ready: bool) -> GuestConversion {
    let is = if ready { Is::True } else { Is::False };
    let conversion = with(assigned(mode), Kind::Ready, is, "Ready");
    let mut conversion = with(conversion, Kind::Finished, Is::True, "Ready");
    conversion.status.get_or_insert_default().completion_time = Some(Time(at(995)));
    conversion
}

pub(crate) fn deleted(mut conversion: GuestConversion) -> GuestConversion {
    conversion.metadata.deletion_timestamp = Some(Time(at(999)));
    conversion
}

pub(crate) fn bound(shared: bool) -> ClaimSeen {
    ClaimSeen::Bound(Bound {
        uid: "u-0".into(),
        volume: "pv-0".into(),
        block: false,
        shared,
    })
}

pub(crate) fn claim(seen: ClaimSeen) -> Claim {
    Claim {
        name: "web01-d0".into(),
        seen,
    }
}

/// Everything is there: disk, state claim, profile, a running holder on a living node.
pub(crate) fn all() -> Observed {
    Observed {
        now: now(),
        profile: Some(GuestConversionProfileSpec::plain()),
        claims: vec![claim(bound(false))],
        state: Some(Claim {
            name: "guestfix-state-u-0".into(),
            seen: bound(false),
        }),
        holder: Holder::Running {
            uid: "h-1".into(),
            node: "n1".into(),
        },
        node: Node {
            alive: true,
            out_of_service: false,
        },
        ..Observed::default()
    }
}

/// With its node's word that the disks went away before the commit ended.
pub(crate) fn handed_back(mut conversion: GuestConversion) -> GuestConversion {
    let words = (HOLDER_GONE, "the disks of holder h-1 went away");
    let said = condition::make(&[], Kind::Converted, Is::False, words, now());
    let status = conversion.status.get_or_insert_default();
    status.conditions.push(said);
    conversion
}
