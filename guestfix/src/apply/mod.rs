// SPDX-License-Identifier: Apache-2.0
//! Doing: executes a plan's changes one by one through [`Hands`], and says what became of each.
//! Knows actions, not operating systems.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fs::GuestPath;
use crate::hive::script::Edit;
use crate::inspect::Concern;
use crate::plan::{Action, Attrs, Change, Member, Plan};

/// Lines of a failed program's output that are told.
const LAST_LINES: usize = 5;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramEnd {
    /// It ended by itself with status 0.
    pub success: bool,
    /// `exit 1`, `signal 9`, `timeout after 120 s`.
    pub how: String,
    /// The last of what it printed.
    pub output: String,
    /// The guest's paths that it touched, and how: `created`, `changed` or `removed`.
    pub touched: Vec<(GuestPath, &'static str)>,
    /// Paths that it touched beyond these.
    pub more: u64,
    /// Why the paths may not be all, one clause each.
    pub unseen: Vec<String>,
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
    /// Removes a directory, unless something is in it.
    ///
    /// # Errors
    /// When the guest's filesystem or the host refuses.
    fn remove_dir(&mut self, path: &GuestPath) -> Result<bool>;
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
    /// Edits a hive; says whether any edit was not so already. The file is written by
    /// [`Hands::finish`].
    ///
    /// # Errors
    /// `hive-damaged` and the like; when the file is no longer what `before` says.
    fn edit_hive(&mut self, path: &GuestPath, before: &str, edits: &[Edit]) -> Result<bool>;
    /// Places a file of the driver bundle, so many bytes long, whose SHA-256 must be `sha256`. What is
    /// there already is replaced.
    ///
    /// # Errors
    /// When the bundle or the guest's filesystem refuses.
    fn place(&mut self, path: &GuestPath, member: &str, len: u64, sha256: &str) -> Result<bool>;
    /// Writes what was collected; called once, after the last change.
    ///
    /// # Errors
    /// When the guest's filesystem or the host refuses.
    fn finish(&mut self) -> Result<()>;
    /// Runs a guest program in the sandbox.
    ///
    /// # Errors
    /// When it cannot be started. Its own failure is no error.
    fn run(&mut self, argv: &[String], timeout_s: u32) -> Result<ProgramEnd>;
    /// Runs a guest program that installs packages of the operator's, which lie in
    /// [`crate::plan::SCRATCH`] meanwhile.
    ///
    /// # Errors
    /// When a package cannot be read or the program cannot be started. Its own failure is no
    /// error.
    fn install(&mut self, files: &[String], argv: &[String], timeout_s: u32) -> Result<ProgramEnd>;
    /// Runs a guest program that makes a file, and puts that in the place of `path` when it ended
    /// well. `scratch` lies in [`crate::plan::SCRATCH`] meanwhile.
    ///
    /// # Errors
    /// When it cannot be started, or when what it made does not fit in. Its own failure is no
    /// error.
    fn rebuild(
        &mut self,
        path: &GuestPath,
        argv: &[String],
        scratch: &[(String, String)],
        product: &str,
        timeout_s: u32,
    ) -> Result<ProgramEnd>;
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
        let mut ran = None;
        let outcome = match execute(change, hands, &mut ran) {
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
        if let Some(end) = ran {
            applied.touched(change, end);
        }
    }
    hands.finish()?;
    Ok(applied)
}

impl Applied {
    /// Tells what a guest's program did, also one that failed.
    fn touched(&mut self, change: &Change, end: ProgramEnd) {
        let touched = |path: String, why: String| ChangeReport {
            topic: change.topic.clone(),
            kind: "touched".to_owned(),
            path,
            why,
            outcome: ChangeOutcome::Changed,
        };
        let by = format!(
            "by the guest's own program: {} {}",
            change.kind, change.path
        );
        for (path, how) in end.touched {
            self.changes
                .push(touched(path.display(), format!("{how} {by}")));
        }
        if end.more > 0 {
            let why = format!("{} more paths were touched {by}", end.more);
            self.changes.push(touched(String::new(), why));
        }
        if !end.unseen.is_empty() {
            self.concerns.push(Concern::warning(
                "guest-changes-unseen",
                format!(
                    "not all that was touched {by} is known: {}",
                    end.unseen.join("; ")
                ),
            ));
        }
    }
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

fn execute(change: &Change, hands: &mut dyn Hands, ran: &mut Option<ProgramEnd>) -> Result<bool> {
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
        Action::RemoveFiles { files, dirs, .. } => remove_all(hands, files, dirs),
        Action::Symlink { path, target } => hands.symlink(path, target),
        Action::AppendInitramfs { path, members } => hands.append_archive(path, members),
        Action::RebuildInitramfs {
            path,
            argv,
            scratch,
            product,
            timeout_s,
        } => program(ran.insert(hands.rebuild(path, argv, scratch, product, *timeout_s)?)),
        Action::InstallPackage {
            files,
            argv,
            timeout_s,
        } => program(ran.insert(hands.install(files, argv, *timeout_s)?)),
        Action::EditHive {
            path,
            before,
            edits,
            ..
        } => hands.edit_hive(path, before, edits),
        Action::PlaceFile {
            path,
            member,
            sha256,
            len,
        } => hands.place(path, member, *len, sha256),
        Action::RunGuest { argv, timeout_s } => program(ran.insert(hands.run(argv, *timeout_s)?)),
    }
}

fn remove_all(hands: &mut dyn Hands, files: &[GuestPath], dirs: &[GuestPath]) -> Result<bool> {
    let mut changed = false;
    for path in files {
        changed |= hands.remove(path)?;
    }
    for path in dirs {
        changed |= hands.remove_dir(path)?;
    }
    Ok(changed)
}

fn program(end: &ProgramEnd) -> Result<bool> {
    if end.success {
        return Ok(true);
    }
    let mut error = Error::unsupported(
        "guest-program-failed",
        format!("the guest's program: {}", end.how),
    )
    .hint("run again with --no-guest-code to convert without running the guest's programs");
    let lines: Vec<&str> = end.output.lines().map(str::trim_end).collect();
    let said: Vec<&&str> = lines.iter().filter(|line| !line.is_empty()).collect();
    for line in said.iter().skip(said.len().saturating_sub(LAST_LINES)) {
        error = error.because(line);
    }
    Err(error)
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
        fn remove_dir(&mut self, path: &GuestPath) -> Result<bool> {
            self.calls.push(format!("remove-dir {path}"));
            Ok(true)
        }
        fn symlink(&mut self, path: &GuestPath, target: &str) -> Result<bool> {
            self.calls.push(format!("symlink {path} {target}"));
            Ok(true)
        }
        fn append_archive(&mut self, path: &GuestPath, members: &[Member]) -> Result<bool> {
            self.calls.push(format!("append {path} {}", members.len()));
            Ok(true)
        }
        fn edit_hive(&mut self, path: &GuestPath, _: &str, edits: &[Edit]) -> Result<bool> {
            self.calls.push(format!("edit-hive {path} {}", edits.len()));
            Ok(true)
        }
        fn place(&mut self, path: &GuestPath, member: &str, _: u64, _: &str) -> Result<bool> {
            self.calls.push(format!("place {path} {member}"));
            Ok(true)
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
        fn run(&mut self, argv: &[String], _: u32) -> Result<ProgramEnd> {
            self.calls.push(format!("run {}", argv.join(" ")));
            Ok(ProgramEnd {
                success: !self.program_fails,
                how: "exit 1".into(),
                output: "one\ntwo\n\nthree\nfour\nfive\nboom\n".into(),
                touched: vec![("/etc/x".into(), "changed")],
                more: 3,
                unseen: vec!["why".into()],
            })
        }
        fn install(
            &mut self,
            files: &[String],
            argv: &[String],
            timeout_s: u32,
        ) -> Result<ProgramEnd> {
            self.calls.push(format!("install {}", files.join(" ")));
            self.run(argv, timeout_s)
        }
        fn rebuild(
            &mut self,
            path: &GuestPath,
            argv: &[String],
            _: &[(String, String)],
            product: &str,
            timeout_s: u32,
        ) -> Result<ProgramEnd> {
            self.calls.push(format!("rebuild {path} {product}"));
            self.run(argv, timeout_s)
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
        let changed = || ChangeOutcome::Changed;
        let (touched, more) = (changed(), changed());
        assert_eq!(
            outcomes,
            [changed(), touched, more, ChangeOutcome::AlreadySo]
        );
        assert_eq!(applied.changes[1].kind, "touched");
        assert_eq!(applied.changes[1].path, "/etc/x");
        assert!(applied.changes[2].why.starts_with("3 more paths"));
        assert_eq!(applied.concerns[0].id, "guest-changes-unseen");
    }

    #[test]
    fn many_files_go_before_their_directories() {
        let action = Action::RemoveFiles {
            path: "/db".into(),
            files: vec!["/a/b/c".into(), "/db".into()],
            dirs: vec!["/a/b".into(), "/a".into()],
        };
        let mut hands = Recorder::default();
        let change = Change::new("tools", "why", action, None);
        let applied = apply(&plan(vec![change]), &mut hands, &mut |_| {}).unwrap();
        assert_eq!(
            hands.calls,
            [
                "remove /a/b/c",
                "remove /db",
                "remove-dir /a/b",
                "remove-dir /a"
            ]
        );
        assert_eq!(applied.changes[0].outcome, ChangeOutcome::Changed);
    }

    #[test]
    fn a_fallback_is_left_out_where_nothing_failed() {
        let mut hands = Recorder::default();
        let changes = vec![run_change().optional(), remove_change().fallback()];
        let applied = apply(&plan(changes), &mut hands, &mut |_| {}).unwrap();
        assert_eq!(hands.calls, ["run /bin/x"]);
        assert_eq!(applied.changes[0].outcome, ChangeOutcome::Changed);
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
        assert!(
            error
                .to_string()
                .ends_with(": two: three: four: five: boom")
        );
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
