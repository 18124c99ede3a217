// SPDX-License-Identifier: Apache-2.0
//! The controller's decisions, case by case.

use super::controller::{Action, next};
use super::fixtures::*;
use super::observed::{ClaimSeen, Holder, Node, Observed, Source, Vm};
use super::stand::HOLDER_GONE;
use crate::api::condition::{self, Is, Kind};
use crate::api::conversion::{Gate, ObjectName, VmPatch};
use crate::api::status::{GuestConversionStatus, Phase};
use crate::api::{GuestConversion, Mode, names};

/// What is published, as `Ready reason / DisksReady reason / phase`.
fn published(action: &Action) -> &GuestConversionStatus {
    match action {
        Action::Publish(status) => status,
        other => panic!("expected a publication, not {other:?}"),
    }
}

fn reason(status: &GuestConversionStatus, kind: Kind) -> (String, String) {
    let found = condition::find(&status.conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

/// What the conversion is after the publication.
fn applied(mut conversion: GuestConversion, action: &Action) -> GuestConversion {
    conversion.status = Some(published(action).clone());
    conversion
}

#[test]
fn the_way_from_a_new_conversion_to_its_node() {
    let mut conversion = fresh(Mode::Convert);
    conversion.metadata.finalizers = None;
    let mut seen = all();
    seen.state = None;
    seen.holder = Holder::Absent;
    assert_eq!(next(&conversion, &seen), Action::Hold);

    let conversion = fresh(Mode::Convert);
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
    let mut conversion = fresh(Mode::Convert);
    conversion.spec.virtual_machine_ref = Some(ObjectName {
        name: "web01".into(),
    });
    let first = next(&conversion, &seen);
    let conversion = applied(conversion, &first);
    assert_eq!(next(&conversion, &seen), Action::HaltVm);
    let mut open = conversion.clone();
    open.spec.gate = Gate::Off;
    assert_eq!(next(&open, &seen), Action::MakeHolder);
    let mut plan = conversion;
    plan.spec.mode = Mode::Plan;
    assert_eq!(next(&plan, &seen), Action::MakeHolder);
}

#[test]
fn modes_that_only_read_need_no_state_claim() {
    for mode in [Mode::Inspect, Mode::Plan, Mode::Boot] {
        let seen = Observed {
            state: None,
            ..all()
        };
        let first = next(
            &fresh(mode),
            &Observed {
                holder: Holder::Absent,
                ..seen.clone()
            },
        );
        let conversion = applied(fresh(mode), &first);
        let given = next(&conversion, &seen);
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

fn going(gone: bool) -> Holder {
    Holder::Going {
        uid: "h-1".into(),
        gone,
        held: true,
    }
}

const DEAD: Node = Node {
    alive: false,
    out_of_service: false,
};

#[test]
fn a_holder_that_goes_before_a_commit_takes_the_conversion_from_its_node() {
    for holder in [
        Holder::Absent,
        going(false),
        going(true),
        Holder::Ended { uid: "h-1".into() },
    ] {
        let seen = Observed { holder, ..all() };
        let action = next(&assigned(Mode::Convert), &seen);
        let status = published(&action);
        assert_eq!(status.node_name, None);
        assert_eq!(
            reason(status, Kind::NodeAssigned),
            ("False".into(), "HolderGone".into())
        );
        assert_eq!(status.phase, Some(Phase::Pending));
    }
}

#[test]
fn while_a_commit_stands_only_a_lost_node_is_replaced() {
    let conversion = committing(assigned(Mode::Convert));
    // Alive, or its kubelet has not said that the holder is gone: nobody else acts.
    for (holder, node) in [
        (Holder::Absent, all().node),
        (going(true), all().node),
        (going(false), DEAD),
        (all().holder, all().node),
    ] {
        let seen = Observed {
            holder: holder.clone(),
            node,
            ..all()
        };
        assert_eq!(
            next(&conversion, &seen),
            Action::WaitFor(60),
            "{holder:?} {node:?}"
        );
    }
    // Dead, and its holder still stands: it is told to go.
    let seen = Observed {
        node: DEAD,
        ..all()
    };
    assert_eq!(next(&conversion, &seen), Action::DeleteHolder);
    // Dead and gone: another takes over, and the commit stays recorded.
    for holder in [Holder::Absent, going(true)] {
        let seen = Observed {
            holder,
            node: DEAD,
            ..all()
        };
        let action = next(&conversion, &seen);
        let status = published(&action);
        assert_eq!(
            (status.node_name.as_ref(), status.commit.as_ref()),
            (None, None)
        );
        assert_eq!(reason(status, Kind::NodeAssigned).1, "NodeLost");
    }
}

#[test]
fn disks_that_a_lost_node_can_still_reach_need_somebodys_word() {
    let lost = |out_of_service| Observed {
        claims: vec![claim(bound(true))],
        holder: Holder::Absent,
        node: Node {
            alive: false,
            out_of_service,
        },
        ..all()
    };
    let conversion = committing(assigned(Mode::Convert));
    let action = next(&conversion, &lost(false));
    let status = published(&action);
    assert_eq!(status.node_name.as_deref(), Some("n1"), "it stays assigned");
    assert_eq!(
        reason(status, Kind::Ready),
        ("Unknown".into(), "NodeLost".into())
    );

    assert_eq!(published(&next(&conversion, &lost(true))).node_name, None);
    let vouch = |node: &str| {
        let mut vouched = conversion.clone();
        let word = (names::CONFIRM_NODE_LOST.to_owned(), node.to_owned());
        vouched.metadata.annotations = Some([word].into());
        vouched
    };
    assert_eq!(published(&next(&vouch("n1"), &lost(false))).node_name, None);
    let other = next(&vouch("n2"), &lost(false));
    assert_eq!(
        published(&other).node_name.as_deref(),
        Some("n1"),
        "another node's name"
    );
}

#[test]
fn a_node_that_hands_back_is_replaced_while_it_lives() {
    let mut conversion = committing(assigned(Mode::Convert));
    let words = (
        HOLDER_GONE,
        "the disks of holder h-1 went away before the commit ended",
    );
    let handed = condition::make(&[], Kind::Converted, Is::False, words, now());
    conversion
        .status
        .get_or_insert_default()
        .conditions
        .push(handed);
    let seen = Observed {
        holder: going(true),
        ..all()
    };
    assert_eq!(published(&next(&conversion, &seen)).node_name, None);
    // Said of a holder before this one it means nothing.
    let mut next_try = conversion;
    next_try
        .status
        .get_or_insert_default()
        .holder
        .get_or_insert_default()
        .uid = "h-2".into();
    assert_eq!(next(&next_try, &seen), Action::WaitFor(60));
}

#[test]
fn a_commit_that_stands_is_finished_though_nobody_wants_it_any_more() {
    let mut conversion = committing(assigned(Mode::Convert));
    conversion.spec.cancel = true;
    conversion.status.get_or_insert_default().node_name = None;
    let seen = Observed {
        holder: Holder::Absent,
        users: vec!["pod x".into()],
        ..all()
    };
    let action = next(&conversion, &seen);
    assert_eq!(reason(published(&action), Kind::Finished).0, "False");
    let seen = Observed {
        holder: Holder::Absent,
        ..all()
    };
    assert_eq!(next(&conversion, &seen), Action::MakeHolder);
    assert_eq!(next(&deleted(conversion), &seen), Action::MakeHolder);
}

#[test]
fn a_silent_node_that_never_had_an_agent_is_given_up() {
    let seen = Observed {
        node: DEAD,
        ..all()
    };
    let conversion = assigned(Mode::Convert);
    assert_eq!(
        next(&conversion, &seen),
        Action::WaitFor(60),
        "it may be starting"
    );
    let later = Observed {
        now: at(1051),
        ..seen
    };
    assert_eq!(next(&conversion, &later), Action::DeleteHolder);
}

#[test]
fn after_the_end_everything_is_tidied_in_order() {
    let mut conversion = ended(Mode::Convert, true);
    conversion.spec.virtual_machine_ref = Some(ObjectName {
        name: "web01".into(),
    });
    conversion.status.get_or_insert_default().handover = Some("H4s".into());
    let machine = Vm {
        run_strategy: "Halted".into(),
        restore: Some("Always".into()),
        ..Vm::default()
    };
    let mut seen = Observed {
        vm: Some(machine),
        ..all()
    };
    assert_eq!(next(&conversion, &seen), Action::StoreReport);
    conversion.status.get_or_insert_default().handover = None;
    assert_eq!(next(&conversion, &seen), Action::ReleaseHolder);
    seen.holder = Holder::Going {
        uid: "h-1".into(),
        gone: false,
        held: false,
    };
    assert_eq!(next(&conversion, &seen), Action::FinishVm { apply: false });
    conversion.spec.vm_patch = VmPatch::Apply;
    assert_eq!(next(&conversion, &seen), Action::FinishVm { apply: true });
    seen.vm.get_or_insert_default().conversion = Some("web01".into());
    assert_eq!(next(&conversion, &seen), Action::Wait);
    conversion.spec.ttl_seconds_after_finished = Some(60);
    assert_eq!(next(&conversion, &seen), Action::WaitFor(55));
    conversion.spec.ttl_seconds_after_finished = Some(5);
    assert_eq!(next(&conversion, &seen), Action::Retire);
}

#[test]
fn a_machine_is_started_only_by_a_conversion_that_is_ready() {
    let seen = Observed {
        vm: Some(Vm::default()),
        holder: Holder::Absent,
        ..all()
    };
    for (mode, ready) in [
        (Mode::Convert, false),
        (Mode::Undo, false),
        (Mode::Plan, true),
    ] {
        assert_eq!(
            next(&ended(mode, ready), &seen),
            Action::Wait,
            "{mode:?} {ready}"
        );
    }
    assert_eq!(
        next(&ended(Mode::Convert, true), &seen),
        Action::FinishVm { apply: false }
    );
}

#[test]
fn a_deleted_conversion_is_let_go_when_nothing_stands() {
    let absent = Observed {
        holder: Holder::Absent,
        ..all()
    };
    assert_eq!(next(&deleted(fresh(Mode::Convert)), &absent), Action::LetGo);
    assert_eq!(
        next(&deleted(ended(Mode::Convert, true)), &all()),
        Action::ReleaseHolder
    );
    assert_eq!(
        next(&deleted(ended(Mode::Convert, true)), &absent),
        Action::LetGo
    );
    let taken = next(&deleted(assigned(Mode::Convert)), &all());
    assert_eq!(
        published(&taken).node_name,
        None,
        "from now on its node cannot record a commit"
    );
    let committing = deleted(committing(assigned(Mode::Convert)));
    assert_eq!(
        next(&committing, &all()),
        Action::WaitFor(60),
        "rolled forward first"
    );
    let mut free = deleted(fresh(Mode::Convert));
    free.metadata.finalizers = None;
    assert_eq!(next(&free, &absent), Action::Wait);
}

#[test]
fn force_release_lets_go_whatever_stands() {
    let mut conversion = deleted(committing(assigned(Mode::Convert)));
    conversion.metadata.annotations = Some([(names::FORCE_RELEASE.into(), "true".into())].into());
    assert_eq!(next(&conversion, &all()), Action::ReleaseHolder);
    let absent = Observed {
        holder: Holder::Absent,
        node: DEAD,
        ..all()
    };
    assert_eq!(next(&conversion, &absent), Action::LetGo);
}
