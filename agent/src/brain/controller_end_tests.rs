// SPDX-License-Identifier: Apache-2.0
//! The controller's brain where something is lost, ends or goes: table tests.

use super::controller::{Action, next};
use super::controller_tests::{published, reason};
use super::fixtures::*;
use super::observed::{Holder, Node, Observed, Vm};
use crate::api::condition::Kind;
use crate::api::conversion::{ObjectName, VmPatch};
use crate::api::status::Phase;
use crate::api::{Mode, names};

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
    let conversion = handed_back(committing(assigned(Mode::Convert)));
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
