// SPDX-License-Identifier: Apache-2.0
//! How ends are read, case by case.

use serde_json::{Value, json};

use super::fixtures::*;
use super::node::Why;
use super::outcome::{Outcome, read, undone};
use crate::api::Mode;
use crate::api::condition::{self, Kind};
use crate::api::status::Phase;

fn end(mode: Mode, exit: i32, document: &Value) -> Outcome {
    read(&assigned(mode), exit, document)
}

fn is(outcome: &Outcome, kind: Kind) -> Option<String> {
    let conditions = outcome.conditions(&[], now());
    condition::find(&conditions, kind).map(|c| c.status.clone())
}

fn report(readiness: &str, committed: bool) -> Value {
    json!({
        "schema": "guestfix.io/report/v1", "readiness": readiness, "guest": "Debian 13",
        "verdicts": [{"check": "initramfs", "severity": "required", "result": "fail", "detail": "no virtio"}],
        "changes": [
            {"kind": "write-file", "outcome": "Changed"},
            {"kind": "topic", "outcome": "AlreadySo"},
            {"kind": "write-file", "outcome": {"Skipped": "why"}},
        ],
        "concerns": [], "target": {"disk_bus": "virtio"}, "committed": committed,
        "undo": {"available": true, "id": "undo-0001"},
    })
}

#[test]
fn a_conversion_that_is_ready_says_so_and_how() {
    for readiness in ["Ready", "ReadyWithWarnings"] {
        let outcome = end(Mode::Convert, 0, &report(readiness, true));
        assert_eq!(
            (outcome.phase, outcome.reason.as_str()),
            (Phase::Succeeded, readiness)
        );
        for kind in [
            Kind::Inspected,
            Kind::Planned,
            Kind::Converted,
            Kind::Verified,
            Kind::Ready,
        ] {
            assert_eq!(is(&outcome, kind).as_deref(), Some("True"), "{kind:?}");
        }
        let changes = outcome.changes.unwrap();
        assert_eq!((changes.total, changes.changed), (2, 1));
    }
}

#[test]
fn a_conversion_that_is_not_ready_names_what_stands_in_the_way() {
    let outcome = end(Mode::Convert, 1, &report("NotReady", false));
    assert_eq!(
        (outcome.phase, outcome.reason.as_str()),
        (Phase::Failed, "CheckFailed")
    );
    assert!(
        outcome.message.contains("initramfs: no virtio"),
        "{}",
        outcome.message
    );
    assert_eq!(is(&outcome, Kind::Ready).as_deref(), Some("False"));
    assert_eq!(is(&outcome, Kind::Finished).as_deref(), Some("True"));
    assert_eq!(is(&outcome, Kind::Converted).as_deref(), Some("False"));
    let mut critical = report("NotReady", false);
    critical["concerns"] = json!([
        {"id": "x", "category": "Information", "message": "i"},
        {"id": "no-driver", "category": "Critical", "message": "none for w11"},
    ]);
    let outcome = end(Mode::Convert, 1, &critical);
    assert_eq!(outcome.reason, "NoDriverBundle");
    assert_eq!(outcome.concerns.first().unwrap().category, "Critical");
    // Written all the same, because the profile says so: converted and not ready.
    let anyway = end(Mode::Convert, 1, &report("NotReady", true));
    assert_eq!(is(&anyway, Kind::Converted).as_deref(), Some("True"));
    assert_eq!(is(&anyway, Kind::Ready).as_deref(), Some("False"));
}

#[test]
fn errors_keep_their_code_as_the_reason() {
    let error = |kind: &str, code: &str| {
        json!({"schema": "guestfix.io/error/v1", "kind": kind, "code": code,
               "message": "m", "hint": "do this"})
    };
    for mode in [Mode::Convert, Mode::Inspect, Mode::Undo, Mode::Boot] {
        let outcome = end(mode, 3, &error("refused", "windows-hibernated"));
        assert_eq!(
            (outcome.phase, outcome.reason.as_str()),
            (Phase::Failed, "WindowsHibernated")
        );
        assert_eq!(outcome.message, "m; do this");
        assert_eq!(is(&outcome, Kind::Ready).as_deref(), Some("False"));
    }
    let cancelled = end(Mode::Convert, 130, &error("cancelled", "no-leave"));
    assert_eq!(cancelled.phase, Phase::Cancelled);
}

#[test]
fn a_death_without_a_word_is_no_success() {
    for document in [Value::Null, json!({}), json!([1])] {
        let outcome = end(Mode::Convert, 137, &document);
        assert_eq!(
            (outcome.phase, outcome.reason.as_str()),
            (Phase::Failed, "GuestfixDied")
        );
        assert!(outcome.message.contains("137"));
    }
}

#[test]
fn only_convert_decides_about_ready() {
    let facts = json!({"schema": "guestfix.io/facts/v1", "guest": {
        "family": "linux", "pretty_name": "Debian 13"}, "concerns": []});
    let looked = end(Mode::Inspect, 0, &facts);
    assert_eq!(is(&looked, Kind::Ready).as_deref(), Some("Unknown"));
    assert_eq!(looked.guest.unwrap().family.as_deref(), Some("linux"));
    let plan = json!({"schema": "guestfix.io/plan/v1", "changes": [{}, {}], "concerns": []});
    let planned = end(Mode::Plan, 0, &plan);
    assert_eq!(is(&planned, Kind::Planned).as_deref(), Some("True"));
    assert_eq!(planned.message, "2 changes would be made");
    let boot = |result: &str| json!({"schema": "guestfix.io/boot/v1", "result": result, "reason": "panic"});
    assert_eq!(end(Mode::Boot, 0, &boot("booted")).phase, Phase::Succeeded);
    let failed = end(Mode::Boot, 1, &boot("failed"));
    assert_eq!(
        (failed.phase, failed.reason.as_str()),
        (Phase::Failed, "BootFailed")
    );
    assert_eq!(is(&failed, Kind::Ready).as_deref(), Some("Unknown"));
    assert_eq!(is(&undone(1), Kind::Ready).as_deref(), Some("False"));
}

#[test]
fn what_was_stopped_says_that_nothing_was_written() {
    for (why, phase, reason) in [
        (Why::Cancelled, Phase::Cancelled, "Cancelled"),
        (Why::TimedOut, Phase::Failed, "TimedOut"),
    ] {
        let outcome = Outcome::stopped(why);
        assert_eq!((outcome.phase, outcome.reason.as_str()), (phase, reason));
        assert!(outcome.message.contains("nothing was written"));
    }
}

#[test]
fn a_bundle_that_is_not_there_is_no_bundle() {
    let absent = json!({"schema": "guestfix.io/error/v1", "kind": "usage", "code": "no-bundle",
        "message": "/drivers.iso is not there"});
    let outcome = end(Mode::Convert, 2, &absent);
    assert_eq!(outcome.reason, "NoDriverBundle");
    assert_eq!(is(&outcome, Kind::Ready).as_deref(), Some("False"));
}
