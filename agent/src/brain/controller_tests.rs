// SPDX-License-Identifier: Apache-2.0
//! The controller's decisions, case by case.

use super::controller::{Action, next};
use super::fixtures::*;
use super::observed::{ClaimSeen, Holder, Observed, Source, Vm};
use crate::api::condition::{self, Kind};
use crate::api::conversion::{Gate, ObjectName};
use crate::api::status::{GuestConversionStatus, Phase};
use crate::api::{GuestConversion, Mode};

/// What is published, as `Ready reason / DisksReady reason / phase`.
pub(super) fn published(action: &Action) -> &GuestConversionStatus {
    match action {
        Action::Publish(status) => status,
        other => panic!("expected a publication, not {other:?}"),
    }
}

pub(super) fn reason(status: &GuestConversionStatus, kind: Kind) -> (String, String) {
    let found = condition::find(&status.conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

/// What the conversion is after the publication.
pub(super) fn applied(mut conversion: GuestConversion, action: &Action) -> GuestConversion {
    conversion.status = Some(published(action).clone());
    conversion
}

/// A conversion that names its machine and not its disks.
fn by_machine(mode: Mode) -> GuestConversion {
    let mut conversion = fresh(mode);
    conversion.spec.disks = None;
    let name = "web01".into();
    conversion.spec.virtual_machine_ref = Some(ObjectName { name });
    conversion
}

fn halted() -> Vm {
    Vm {
        run_strategy: "Halted".into(),
        ..Vm::default()
    }
}

#[test]
fn disks_that_the_spec_names_are_shut_already_and_told_together_with_the_node() {
    let conversion = fresh(Mode::Convert);
    let mut seen = Observed {
        state: None,
        holder: Holder::Absent,
        now: at(905),
        ..all()
    };
    assert_eq!(next(&conversion, &seen), Action::MakeState);
    seen.state = all().state;
    assert_eq!(next(&conversion, &seen), Action::MakeHolder);
    seen.holder = Holder::Waiting {
        uid: "h-1".into(),
        why: "no node has room".into(),
    };
    assert_eq!(next(&conversion, &seen), Action::WaitFor(10));
    seen.now = at(911);
    let waiting = next(&conversion, &seen);
    let told = reason(published(&waiting), Kind::NodeAssigned);
    assert_eq!(told, ("False".into(), "HolderPending".into()));
    seen.holder = all().holder;
    let given = next(&conversion, &seen);
    let status = published(&given);
    assert_eq!(status.node_name.as_deref(), Some("n1"));
    let ready = reason(status, Kind::DisksReady);
    assert_eq!(ready, ("True".into(), "AllDisks".into()));
    assert_eq!(status.claims.len(), 1);
}

#[test]
fn the_way_from_a_new_conversion_to_its_node() {
    let mut conversion = fresh(Mode::Convert);
    conversion.metadata.finalizers = None;
    let mut seen = all();
    seen.state = None;
    seen.holder = Holder::Absent;
    assert_eq!(next(&conversion, &seen), Action::Hold);

    let conversion = by_machine(Mode::Convert);
    seen.vm = Some(halted());
    let first = next(&conversion, &seen);
    let status = published(&first);
    assert_eq!(
        reason(status, Kind::DisksReady),
        ("True".into(), "AllDisks".into())
    );
    assert_eq!(
        reason(status, Kind::Ready),
        ("Unknown".into(), "NotVerified".into())
    );
    assert_eq!(reason(status, Kind::Finished).0, "False");
    assert_eq!(status.claims.len(), 1);

    let conversion = applied(conversion, &first);
    assert_eq!(next(&conversion, &seen), Action::MakeState);
    seen.state = all().state.map(|mut state| {
        state.seen = ClaimSeen::Unbound;
        state
    });
    assert_eq!(
        next(&conversion, &seen),
        Action::MakeHolder,
        "the scheduler binds the claim"
    );
    seen.holder = Holder::Waiting {
        uid: "h-1".into(),
        why: "no node has room".into(),
    };
    assert_eq!(
        next(&conversion, &seen),
        Action::WaitFor(10),
        "it takes a moment"
    );
    seen.now = at(1010);
    let waiting = next(&conversion, &seen);
    let why = condition::find(&published(&waiting).conditions, Kind::NodeAssigned).unwrap();
    assert_eq!(
        (why.reason.as_str(), why.message.as_str()),
        ("HolderPending", "no node has room")
    );

    seen.holder = all().holder;
    assert_eq!(
        next(&conversion, &seen),
        Action::WaitFor(5),
        "the state claim has no volume yet"
    );
    seen.state = all().state;
    let given = next(&conversion, &seen);
    let status = published(&given);
    assert_eq!(status.node_name.as_deref(), Some("n1"));
    assert_eq!(
        (status.attempts, status.phase),
        (Some(1), Some(Phase::Scheduled))
    );
    let conversion = applied(conversion, &given);
    assert_eq!(
        next(&conversion, &seen),
        Action::WaitFor(60),
        "the node acts"
    );
}

#[test]
fn every_refusal_is_an_end_with_its_reason() {
    let running = Vm {
        running: true,
        ..Vm::default()
    };
    type Case = (&'static str, fn(&mut GuestConversion), Observed);
    let cases: Vec<Case> = vec![
        (
            "ProfileNotFound",
            |_| (),
            Observed {
                profile: None,
                ..all()
            },
        ),
        (
            "VirtualMachineNotFound",
            |c| {
                c.spec.disks = None;
                c.spec.virtual_machine_ref = Some(ObjectName {
                    name: "other".into(),
                });
            },
            Observed {
                claims: vec![],
                ..all()
            },
        ),
        (
            "VMRunning",
            |c| {
                c.spec.virtual_machine_ref = Some(ObjectName {
                    name: "web01".into(),
                })
            },
            Observed {
                vm: Some(running),
                ..all()
            },
        ),
        (
            "SameClaimTwice",
            |_| (),
            Observed {
                claims: vec![claim(bound(false)), claim(bound(false))],
                ..all()
            },
        ),
        (
            "NoDisks",
            |_| (),
            Observed {
                claims: vec![],
                ..all()
            },
        ),
        (
            "DisksInUse",
            |_| (),
            Observed {
                users: vec!["pod x".into()],
                ..all()
            },
        ),
        (
            "ClaimNotFound",
            |_| (),
            Observed {
                claims: vec![claim(ClaimSeen::Missing)],
                ..all()
            },
        ),
        (
            "ClaimDeleted",
            |_| (),
            Observed {
                claims: vec![claim(ClaimSeen::Going)],
                ..all()
            },
        ),
        (
            "UndoOfNotFound",
            |c| c.spec.mode = Mode::Undo,
            Observed {
                source: Source::Missing,
                ..all()
            },
        ),
        (
            "NoUndoRecord",
            |c| c.spec.mode = Mode::Undo,
            Observed {
                source: Source::Found,
                state: None,
                ..all()
            },
        ),
        (
            "NoSuchDisk",
            |c| c.spec.options.get_or_insert_default().boot_disk = Some("other".into()),
            all(),
        ),
    ];
    for (expected, change, mut seen) in cases {
        seen.holder = Holder::Absent;
        let mut conversion = fresh(Mode::Convert);
        change(&mut conversion);
        let action = next(&conversion, &seen);
        let status = published(&action);
        assert_eq!(
            reason(status, Kind::Finished),
            ("True".into(), expected.into())
        );
        assert_eq!(
            reason(status, Kind::Ready),
            ("False".into(), expected.into())
        );
        assert_eq!(status.phase, Some(Phase::Failed), "{expected}");
        assert!(status.completion_time.is_some());
    }
}

#[test]
fn what_will_still_come_is_waited_for() {
    let importing = ClaimSeen::Importing("DataVolume ImportInProgress 40%".into());
    let cases = [
        (
            "WaitingForDisks",
            Observed {
                claims: vec![claim(importing)],
                ..all()
            },
        ),
        (
            "ClaimNotBound",
            Observed {
                claims: vec![claim(ClaimSeen::Unbound)],
                ..all()
            },
        ),
        (
            "AnotherConversion",
            Observed {
                rival: Some("first".into()),
                ..all()
            },
        ),
        (
            "UndoOfUnfinished",
            Observed {
                source: Source::Unfinished,
                ..all()
            },
        ),
        (
            "WaitingForDisks",
            Observed {
                awaited: 1,
                ..all()
            },
        ),
        (
            "ClaimNotFound",
            Observed {
                claims: vec![claim(ClaimSeen::Missing)],
                now: at(910),
                ..all()
            },
        ),
    ];
    for (expected, mut seen) in cases {
        seen.holder = Holder::Absent;
        let conversion = fresh(Mode::Convert);
        let action = next(&conversion, &seen);
        let status = published(&action);
        assert_eq!(
            reason(status, Kind::DisksReady),
            ("False".into(), expected.into())
        );
        assert_eq!(reason(status, Kind::Finished).0, "False");
        let again = next(&applied(conversion, &action), &seen);
        assert_eq!(
            again,
            Action::WaitFor(30),
            "nothing is written twice: {expected}"
        );
    }
}

#[test]
fn a_machine_that_would_start_is_halted_only_behind_a_gate() {
    let machine = Vm {
        run_strategy: "Always".into(),
        ..Vm::default()
    };
    let seen = Observed {
        vm: Some(machine),
        holder: Holder::Absent,
        ..all()
    };
    let first = next(&by_machine(Mode::Convert), &seen);
    let conversion = applied(by_machine(Mode::Convert), &first);
    assert_eq!(next(&conversion, &seen), Action::HaltVm);
    let mut open = conversion.clone();
    open.spec.gate = Gate::Off;
    assert_eq!(next(&open, &seen), Action::MakeHolder);
    let mut plan = conversion;
    plan.spec.mode = Mode::Plan;
    assert_eq!(next(&plan, &seen), Action::MakeHolder);

    // Made when a node has the disks already.
    let mut working = assigned(Mode::Convert);
    working.spec.virtual_machine_ref = open.spec.virtual_machine_ref;
    let seen = Observed {
        holder: all().holder,
        ..seen
    };
    assert_eq!(next(&working, &seen), Action::HaltVm);
    assert_eq!(next(&committing(working), &seen), Action::HaltVm);
}

#[test]
fn modes_that_only_read_need_no_state_claim() {
    for mode in [Mode::Inspect, Mode::Plan, Mode::Boot] {
        let seen = Observed {
            state: None,
            ..all()
        };
        let given = next(&fresh(mode), &seen);
        assert_eq!(
            published(&given).node_name.as_deref(),
            Some("n1"),
            "{mode:?}"
        );
    }
}

#[test]
fn cancelling_ends_what_no_node_has() {
    let mut conversion = fresh(Mode::Convert);
    conversion.spec.cancel = true;
    assert_eq!(next(&conversion, &all()), Action::ReleaseHolder);
    let seen = Observed {
        holder: Holder::Absent,
        ..all()
    };
    let action = next(&conversion, &seen);
    assert_eq!(published(&action).phase, Some(Phase::Cancelled));
    let mut given = assigned(Mode::Convert);
    given.spec.cancel = true;
    assert_eq!(
        next(&given, &all()),
        Action::WaitFor(60),
        "its node ends it"
    );
}
