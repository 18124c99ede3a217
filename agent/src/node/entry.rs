// SPDX-License-Identifier: Apache-2.0
//! What is known of one run, and what the end of its process tree means.

use std::time::Instant;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::child::{Child, End};
use crate::api::{GuestConversion, Mode};
use crate::brain::node::{Run, Why};
use crate::brain::outcome::{self, Outcome};

/// A run that cannot begin because another process still uses the disks is tried again after this.
const AGAIN_S: i64 = 5;
/// How often: what an agent that was killed left behind ends by itself.
const TRIES: u32 = 36;

/// What is known of one run.
#[derive(Debug, Default)]
pub struct Entry {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) run: Run,
    pub(super) child: Option<Child>,
    /// The child finishes an interrupted commit; the conversion's own verb comes after.
    pub(super) recovering: bool,
    pub(super) stopping: Option<Why>,
    pub(super) told: Option<Instant>,
    pub(super) began: Option<Instant>,
    pub(super) tries: u32,
    pub(super) end: Option<(Outcome, Value)>,
    /// The version that we wrote last, until the store shows it.
    pub(super) wrote: Option<GuestConversion>,
}

impl Entry {
    /// The process tree ended: what that means for the run.
    pub(super) fn ended(&mut self, conversion: &GuestConversion, end: End) {
        let text = |at: &str| {
            end.document
                .pointer(at)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let code = text("/code");
        if let Some(why) = self.stopping.take() {
            self.run = Run::Stopped(why);
            return;
        }
        // An agent that was killed leaves a process tree behind that still holds the disks; and
        // what died while it wrote is finished from its journal: no end may be told before.
        let held = matches!(code, "in-use" | "busy");
        if (held || self.cut(&end, code)) && self.tries < TRIES {
            self.tries = self.tries.saturating_add(1);
            let later = SignedDuration::from_secs(AGAIN_S);
            let now = Timestamp::now();
            self.recovering = false;
            self.run = Run::Later(now.checked_add(later).unwrap_or(now));
            return;
        }
        if self.recovering && end.code == 0 {
            self.recovered(conversion, text("/outcome") == "rolled-forward", &end);
            return;
        }
        let mut outcome = outcome::read(conversion, end.code, &end.document);
        if outcome.reason == "GuestfixDied" && !end.tail.is_empty() {
            outcome.message =
                crate::api::condition::clip(&format!("{}: {}", outcome.message, end.tail), 1024);
        }
        self.end = Some((outcome, end.document));
        self.run = Run::Ended;
    }

    /// It ended while it wrote, and not by itself.
    fn cut(&self, end: &End, code: &str) -> bool {
        let said = |at: &str| end.document.pointer(at).and_then(Value::as_str);
        let died = said("/schema").is_none() || code == "commit-interrupted";
        let node_failed = self.recovering && said("/kind") == Some("host");
        self.run == Run::Committing && (died || node_failed)
    }

    fn recovered(&mut self, conversion: &GuestConversion, forward: bool, end: &End) {
        self.recovering = false;
        if conversion.spec.mode != Mode::Undo {
            // What was rolled forward is verified by converting once more: nothing is left to do.
            self.run = Run::Recovered;
            return;
        }
        let outcome = if forward {
            outcome::undone(1)
        } else {
            Outcome::broken(
                "UndoInterrupted",
                "an undo was interrupted and no journal of it is left: it was finished or never \
                 begun; look at the guest with mode Plan before another undo",
            )
        };
        self.end = Some((outcome, end.document.clone()));
        self.run = Run::Ended;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::brain::fixtures::assigned;

    fn ended(run: Run, recovering: bool, document: Value, code: i32) -> Entry {
        let mut entry = Entry {
            run,
            recovering,
            ..Entry::default()
        };
        let end = End {
            code,
            document,
            tail: String::new(),
        };
        entry.ended(&assigned(Mode::Convert), end);
        entry
    }

    fn error(kind: &str, code: &str) -> Value {
        json!({"schema": "guestfix.io/error/v1", "kind": kind, "code": code, "message": "m"})
    }

    #[test]
    fn what_dies_while_it_writes_is_finished_before_any_end_is_told() {
        for document in [Value::Null, error("host", "commit-interrupted")] {
            let entry = ended(Run::Committing, false, document, 137);
            assert!(matches!(entry.run, Run::Later(_)), "{:?}", entry.run);
        }
        let entry = ended(Run::Committing, true, error("host", "io"), 6);
        assert!(
            matches!(entry.run, Run::Later(_)),
            "a recovery is tried again"
        );
        let entry = ended(Run::Committing, true, error("refused", "disk-replaced"), 3);
        assert_eq!(entry.run, Run::Ended);
        let entry = ended(Run::Working, false, Value::Null, 137);
        assert_eq!(entry.run, Run::Ended, "nothing was written");
    }

    #[test]
    fn disks_that_another_process_still_holds_are_waited_for() {
        let entry = ended(Run::Working, false, error("refused", "in-use"), 3);
        assert!(matches!(entry.run, Run::Later(_)));
        let mut tired = Entry {
            run: Run::Working,
            tries: TRIES,
            ..Entry::default()
        };
        let end = End {
            code: 3,
            document: error("refused", "in-use"),
            tail: String::new(),
        };
        tired.ended(&assigned(Mode::Convert), end);
        assert_eq!(tired.run, Run::Ended);
    }

    #[test]
    fn a_recovery_is_followed_by_the_run_itself() {
        let done = json!({"schema": "guestfix.io/recover/v1", "outcome": "rolled-forward"});
        let entry = ended(Run::Committing, true, done.clone(), 0);
        assert_eq!((entry.run, entry.recovering), (Run::Recovered, false));
        let mut undo = Entry {
            run: Run::Committing,
            recovering: true,
            ..Entry::default()
        };
        let nothing = json!({"schema": "guestfix.io/recover/v1", "outcome": "nothing"});
        let end = |document| End {
            code: 0,
            document,
            tail: String::new(),
        };
        undo.ended(&assigned(Mode::Undo), end(nothing));
        let reason = |entry: &Entry| {
            entry
                .end
                .as_ref()
                .map(|(outcome, _)| outcome.reason.clone())
        };
        assert_eq!(reason(&undo).as_deref(), Some("UndoInterrupted"));
        undo.recovering = true;
        undo.run = Run::Committing;
        undo.ended(&assigned(Mode::Undo), end(done));
        assert_eq!(reason(&undo).as_deref(), Some("Undone"));
    }
}
