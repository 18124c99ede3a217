// SPDX-License-Identifier: Apache-2.0
//! Doing: executes a plan's changes one by one through [`Hands`], and says what became of each.
//! Knows actions, not operating systems.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fs::GuestPath;
use crate::inspect::Concern;
use crate::plan::{Action, Attrs, Change, Member, Plan};

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangeOutcome {
    /// The guest already was so.
    AlreadySo,
    /// Done.
    Changed,
    /// Not done, and why that is acceptable.
    Skipped(String),
}

/// A change and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeReport {
    /// The topic that proposed it.
    pub topic: String,
    /// The action's kind, or `topic` where a whole topic was already settled.
    pub kind: String,
    /// The guest path.
    pub path: String,
    /// Why it was proposed.
    pub why: String,
    /// What became of it.
    pub outcome: ChangeOutcome,
}

/// How a guest program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramEnd {
    /// It ended by itself with status 0.
    pub success: bool,
    /// `exit 1`, `signal 9`, `timeout after 120 s`.
    pub how: String,
    /// The last of what it printed.
    pub output: String,
}

/// The hands that write into the mounted guest. Each says whether anything changed.
pub trait Hands {
    /// Sets a file's whole content in place.
    ///
    /// # Errors
    /// When the guest's filesystem or the host refuses.
    fn write(
        &mut self,
        path: &GuestPath,
        before: Option<&str>,
        content: &[u8],
        attrs: Attrs,
    ) -> Result<bool>;
    /// Copies a file to where nothing is.
    ///
    /// # Errors
    /// When the guest's filesystem or the host refuses.
    fn copy(&mut self, from: &GuestPath, path: &GuestPath) -> Result<bool>;
    /// Removes a file or symlink.
    ///
    /// # Errors
    /// When the guest's filesystem or the host refuses.
    fn remove(&mut self, path: &GuestPath) -> Result<bool>;
    /// Makes a symlink.
    ///
    /// # Errors
    /// When the guest's filesystem or the host refuses.
    fn symlink(&mut self, path: &GuestPath, target: &str) -> Result<bool>;
    /// Builds a cpio archive of the members and appends it.
    ///
    /// # Errors
    /// When the guest's filesystem or the host refuses.
    fn append_archive(&mut self, path: &GuestPath, members: &[Member]) -> Result<bool>;
    /// Runs a guest program in the sandbox.
    ///
    /// # Errors
    /// When it cannot be started. Its own failure is no error.
    fn run(&mut self, argv: &[String], timeout_s: u32) -> Result<ProgramEnd>;
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// In plan order.
    pub changes: Vec<ChangeReport>,
    /// Optional changes that failed.
    pub concerns: Vec<Concern>,
}

/// Executes a plan. `progress` hears each change before it is made.
///
/// # Errors
/// The first failure of a change that is not optional; the overlay is then thrown away.
pub fn apply(
    plan: &Plan,
    hands: &mut dyn Hands,
    progress: &mut dyn FnMut(&Change),
) -> Result<Applied> {
    let mut applied = Applied::default();
    let mut failed: BTreeSet<&str> = BTreeSet::new();
    for change in &plan.changes {
        if change.fallback && !failed.contains(change.topic.as_str()) {
            continue;
        }
        progress(change);
        let outcome = match execute(change, hands) {
            Ok(true) => ChangeOutcome::Changed,
            Ok(false) => ChangeOutcome::AlreadySo,
            Err(error) if change.optional => {
                failed.insert(&change.topic);
                applied.concerns.push(Concern::warning(
                    &format!("{}-incomplete", change.topic),
                    format!("{} {}: {error}", change.kind, change.path),
                ));
                ChangeOutcome::Skipped(error.to_string())
            }
            Err(error) => return Err(error.context(format!("{} {}", change.kind, change.path))),
        };
        applied.changes.push(report(change, outcome));
    }
    Ok(applied)
}

/// A change and its outcome as the report shows them.
pub fn report(change: &Change, outcome: ChangeOutcome) -> ChangeReport {
    ChangeReport {
        topic: change.topic.clone(),
        kind: change.kind.clone(),
        path: change.path.clone(),
        why: change.why.clone(),
        outcome,
    }
}

fn execute(change: &Change, hands: &mut dyn Hands) -> Result<bool> {
    let action = change
        .action
        .as_ref()
        .ok_or_else(|| Error::internal(format!("a change of {} has no action", change.topic)))?;
    match action {
        Action::WriteFile {
            path,
            before,
            content,
            attrs,
        } => hands.write(path, before.as_deref(), content, *attrs),
        Action::CopyFile { from, path, .. } => hands.copy(from, path),
        Action::RemoveFile { path } => hands.remove(path),
        Action::Symlink { path, target } => hands.symlink(path, target),
        Action::AppendInitramfs { path, members } => hands.append_archive(path, members),
        Action::RunGuest { argv, timeout_s } => program(&hands.run(argv, *timeout_s)?),
    }
}

fn program(end: &ProgramEnd) -> Result<bool> {
    if end.success {
        return Ok(true);
    }
    let last = end
        .output
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("");
    Err(Error::unsupported(
        "guest-program-failed",
        format!("the guest's program: {}", end.how),
    )
    .because(last)
    .hint("run again with --no-guest-code to convert without running the guest's programs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::facts::Firmware;
    use crate::plan::{Bus, Target};

    #[derive(Default)]
    struct Recorder {
        calls: Vec<String>,
        program_fails: bool,
    }

    impl Hands for Recorder {
        fn write(
            &mut self,
            path: &GuestPath,
            _: Option<&str>,
            content: &[u8],
            _: Attrs,
        ) -> Result<bool> {
            self.calls.push(format!("write {path} {}", content.len()));
            Ok(true)
        }
        fn copy(&mut self, from: &GuestPath, path: &GuestPath) -> Result<bool> {
            self.calls.push(format!("copy {from} {path}"));
            Ok(true)
        }
        fn remove(&mut self, path: &GuestPath) -> Result<bool> {
            self.calls.push(format!("remove {path}"));
            Ok(false)
        }
        fn symlink(&mut self, path: &GuestPath, target: &str) -> Result<bool> {
            self.calls.push(format!("symlink {path} {target}"));
            Ok(true)
        }
        fn append_archive(&mut self, path: &GuestPath, members: &[Member]) -> Result<bool> {
            self.calls.push(format!("append {path} {}", members.len()));
            Ok(true)
        }
        fn run(&mut self, argv: &[String], _: u32) -> Result<ProgramEnd> {
            self.calls.push(format!("run {}", argv.join(" ")));
            Ok(ProgramEnd {
                success: !self.program_fails,
                how: "exit 1".into(),
                output: "boom\n".into(),
            })
        }
    }

    fn plan(changes: Vec<Change>) -> Plan {
        Plan {
            schema: crate::plan::SCHEMA.into(),
            facts_digest: String::new(),
            changes,
            concerns: Vec::new(),
            target: Target {
                firmware: Firmware::Bios,
                disk_bus: Bus::Virtio,
                nic_model: "virtio".into(),
                machine: "q35".into(),
                secure_boot: false,
                tpm: false,
                clock: "utc".into(),
            },
        }
    }

    fn run_change() -> Change {
        let action = Action::RunGuest {
            argv: vec!["/bin/x".into()],
            timeout_s: 1,
        };
        Change::new("tools", "why", action, None)
    }

    fn remove_change() -> Change {
        Change::new(
            "tools",
            "why",
            Action::RemoveFile { path: "/x".into() },
            None,
        )
    }

    #[test]
    fn changes_run_in_order_and_say_what_became_of_them() {
        let mut hands = Recorder::default();
        let applied = apply(
            &plan(vec![run_change(), remove_change()]),
            &mut hands,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(hands.calls, ["run /bin/x", "remove /x"]);
        let outcomes: Vec<_> = applied.changes.iter().map(|c| c.outcome.clone()).collect();
        assert_eq!(outcomes, [ChangeOutcome::Changed, ChangeOutcome::AlreadySo]);
    }

    #[test]
    fn a_fallback_is_left_out_where_nothing_failed() {
        let mut hands = Recorder::default();
        let changes = vec![run_change().optional(), remove_change().fallback()];
        let applied = apply(&plan(changes), &mut hands, &mut |_| {}).unwrap();
        assert_eq!(hands.calls, ["run /bin/x"]);
        assert_eq!(applied.changes.len(), 1);
    }

    #[test]
    fn a_failing_program_ends_the_conversion_unless_it_is_optional() {
        let mut hands = Recorder {
            program_fails: true,
            ..Recorder::default()
        };
        let error = apply(
            &plan(vec![run_change(), remove_change()]),
            &mut hands,
            &mut |_| {},
        )
        .unwrap_err();
        assert_eq!(error.code, "guest-program-failed");
        assert_eq!(
            hands.calls,
            ["run /bin/x"],
            "nothing is done after a failure"
        );

        let optional = plan(vec![run_change().optional(), remove_change().fallback()]);
        let applied = apply(&optional, &mut hands, &mut |_| {}).unwrap();
        assert!(matches!(
            applied.changes[0].outcome,
            ChangeOutcome::Skipped(_)
        ));
        assert_eq!(applied.concerns[0].id, "tools-incomplete");
    }
}
