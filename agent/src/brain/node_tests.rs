// SPDX-License-Identifier: Apache-2.0
//! The node's decisions, case by case.

use super::fixtures::*;
use super::node::{Action, Holder, Observed, Run, Why, next};
use crate::api::status::Commit;
use crate::api::{GuestConversion, Mode};

fn here(run: Run) -> Observed {
    Observed {
        now: now(),
        node: "n1".into(),
        leading: true,
        draining: false,
        slot: true,
        timeout_s: 3600,
        holder: Holder::Running,
        run,
    }
}

fn commit(node: &str) -> Commit {
    Commit {
        node: node.into(),
        claims: vec!["u-0".into()],
    }
}

#[test]
fn a_run_from_its_start_to_its_end() {
    let conversion = assigned(Mode::Convert);
    assert_eq!(
        next(&conversion, &here(Run::Idle)),
        Action::Start { recover: false }
    );
    assert_eq!(next(&conversion, &here(Run::Working)), Action::Wait);
    assert_eq!(
        next(&conversion, &here(Run::Asking)),
        Action::RecordCommit(commit("n1"))
    );
    let recorded = committing(conversion);
    assert_eq!(next(&recorded, &here(Run::Asking)), Action::Go);
    assert_eq!(next(&recorded, &here(Run::Committing)), Action::Wait);
    assert_eq!(next(&recorded, &here(Run::Ended)), Action::TellEnd);
    assert_eq!(
        next(&ended(Mode::Convert, true), &here(Run::Told)),
        Action::Forget
    );
    assert_eq!(
        next(&ended(Mode::Convert, true), &here(Run::Idle)),
        Action::Wait
    );
}

#[test]
fn nothing_begins_without_a_slot_a_holder_and_the_lease() {
    let conversion = assigned(Mode::Convert);
    for seen in [
        Observed {
            slot: false,
            ..here(Run::Idle)
        },
        Observed {
            holder: Holder::Waiting,
            ..here(Run::Idle)
        },
        Observed {
            holder: Holder::Gone,
            ..here(Run::Idle)
        },
        Observed {
            leading: false,
            ..here(Run::Idle)
        },
        Observed {
            draining: true,
            ..here(Run::Idle)
        },
    ] {
        assert_eq!(next(&conversion, &seen), Action::Wait, "{seen:?}");
    }
}

#[test]
fn what_another_node_has_is_left_alone_and_what_it_took_is_stopped() {
    let mut conversion = assigned(Mode::Convert);
    conversion.status.get_or_insert_default().node_name = Some("n2".into());
    for (run, action) in [
        (Run::Idle, Action::Wait),
        (Run::Working, Action::Stop(Why::NotOurs)),
        (Run::Asking, Action::Stop(Why::NotOurs)),
        (Run::Committing, Action::Abort),
        (Run::Stopping, Action::Wait),
        (Run::Stopped(Why::NotOurs), Action::Forget),
        (Run::Ended, Action::Forget),
    ] {
        assert_eq!(next(&conversion, &here(run.clone())), action, "{run:?}");
    }
}

#[test]
fn before_a_commit_everything_can_stop_it() {
    let conversion = assigned(Mode::Convert);
    let cancelled = {
        let mut conversion = conversion.clone();
        conversion.spec.cancel = true;
        conversion
    };
    let late = Observed {
        timeout_s: 5,
        ..here(Run::Idle)
    };
    let cases: Vec<(GuestConversion, Observed, Why)> = vec![
        (cancelled, here(Run::Idle), Why::Cancelled),
        (deleted(conversion.clone()), here(Run::Idle), Why::Cancelled),
        (conversion.clone(), late, Why::TimedOut),
        (
            conversion.clone(),
            Observed {
                holder: Holder::Gone,
                ..here(Run::Idle)
            },
            Why::HolderGone,
        ),
        (
            conversion.clone(),
            Observed {
                leading: false,
                ..here(Run::Idle)
            },
            Why::LeaseLost,
        ),
        (
            conversion,
            Observed {
                draining: true,
                ..here(Run::Idle)
            },
            Why::Draining,
        ),
    ];
    for (conversion, seen, why) in cases {
        for run in [Run::Working, Run::Asking] {
            let seen = Observed {
                run,
                ..seen.clone()
            };
            assert_eq!(next(&conversion, &seen), Action::Stop(why));
        }
        let begun = Observed {
            run: Run::Committing,
            ..seen.clone()
        };
        let finished = match why {
            // Without the Lease somebody else may finish it.
            Why::LeaseLost => Action::Abort,
            _ => Action::Wait,
        };
        assert_eq!(next(&conversion, &begun), finished, "{why:?}");
        let stopped = Observed {
            run: Run::Stopped(why),
            ..seen
        };
        let expected = if why.ends() {
            Action::TellStopped(why)
        } else {
            Action::Forget
        };
        assert_eq!(next(&conversion, &stopped), expected);
    }
}

#[test]
fn cancelled_or_late_before_it_began_it_ends_without_running() {
    let mut conversion = assigned(Mode::Convert);
    let late = Observed {
        timeout_s: 5,
        slot: false,
        ..here(Run::Idle)
    };
    assert_eq!(next(&conversion, &late), Action::TellStopped(Why::TimedOut));
    conversion.spec.cancel = true;
    assert_eq!(
        next(&conversion, &here(Run::Idle)),
        Action::TellStopped(Why::Cancelled)
    );
}

#[test]
fn a_commit_found_at_the_start_is_finished_first() {
    let mut conversion = committing(assigned(Mode::Convert));
    assert_eq!(
        next(&conversion, &here(Run::Idle)),
        Action::Start { recover: true }
    );
    assert_eq!(
        next(&conversion, &here(Run::Recovered)),
        Action::Start { recover: false }
    );
    conversion.spec.cancel = true;
    let late = Observed {
        timeout_s: 5,
        ..here(Run::Idle)
    };
    assert_eq!(next(&conversion, &late), Action::Start { recover: true });
    assert_eq!(
        next(&deleted(conversion), &late),
        Action::Start { recover: true }
    );
}

#[test]
fn a_commit_of_a_lost_node_becomes_ours_by_a_record_of_its_own() {
    let mut conversion = committing(assigned(Mode::Convert));
    conversion.status.get_or_insert_default().commit = Some(commit("n0"));
    for mode in [Mode::Convert, Mode::Undo] {
        conversion.spec.mode = mode;
        let taken = Action::RecordCommit(commit("n1"));
        assert_eq!(next(&conversion, &here(Run::Idle)), taken, "{mode:?}");
        let ours = committing(conversion.clone());
        let finish = Action::Start { recover: true };
        assert_eq!(next(&ours, &here(Run::Idle)), finish, "{mode:?}");
    }
}

#[test]
fn a_commit_whose_disks_went_away_is_handed_back_once() {
    let conversion = committing(assigned(Mode::Convert));
    let seen = Observed {
        holder: Holder::Gone,
        ..here(Run::Idle)
    };
    assert_eq!(next(&conversion, &seen), Action::HandBack);
    assert_eq!(next(&handed_back(conversion), &seen), Action::Wait);
}

#[test]
fn undo_is_recorded_before_it_begins() {
    let conversion = assigned(Mode::Undo);
    assert_eq!(
        next(&conversion, &here(Run::Idle)),
        Action::RecordCommit(commit("n1"))
    );
    let recorded = committing(conversion);
    assert_eq!(
        next(&recorded, &here(Run::Recorded)),
        Action::Start { recover: false }
    );
    assert_eq!(
        next(&recorded, &here(Run::Idle)),
        Action::Start { recover: true }
    );
}

#[test]
fn what_cannot_begin_yet_is_tried_again() {
    let conversion = assigned(Mode::Convert);
    assert_eq!(next(&conversion, &here(Run::Later(at(1005)))), Action::Wait);
    assert_eq!(
        next(&conversion, &here(Run::Later(at(1000)))),
        Action::Start { recover: false }
    );
    let mut cancelled = conversion;
    cancelled.spec.cancel = true;
    let stopped = Action::TellStopped(Why::Cancelled);
    assert_eq!(next(&cancelled, &here(Run::Later(at(1005)))), stopped);
}

#[test]
fn without_the_lease_nothing_is_told() {
    let conversion = assigned(Mode::Convert);
    for run in [Run::Ended, Run::Stopped(Why::Cancelled)] {
        let seen = Observed {
            leading: false,
            ..here(run)
        };
        assert_eq!(next(&conversion, &seen), Action::Wait);
    }
}
