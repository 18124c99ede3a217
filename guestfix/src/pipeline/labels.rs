// SPDX-License-Identifier: Apache-2.0
//! Labels of what applying a plan made, in guests with SELinux: the worker says which, the mounter
//! sets them. Where that cannot be done the guest is told to label everything at its next start.

use super::hands::unexpected;
use super::session::Session;
use crate::apply::{Applied, ChangeOutcome, ChangeReport};
use crate::error::Result;
use crate::host::label::Made;
use crate::host::mounter::{MountReply, MountRequest, Outcome};
use crate::inspect::{Concern, Facts};
use crate::linux::selinux::{self, contexts::Label};

const TOPIC: &str = "selinux";

/// Labels what was made, while the guest is mounted.
///
/// # Errors
/// When the mounter or the worker fails; a refused label is a concern.
pub(super) fn set(session: &mut Session, facts: &Facts, applied: &mut Applied) -> Result<()> {
    if !selinux::is_on(&facts.sources) {
        return Ok(());
    }
    let made = match session.mount(&MountRequest::Made)? {
        MountReply::Made(made) => made,
        other => return Err(unexpected(&other)),
    };
    let paths = made.iter().map(|made| (made.path.clone(), made.file_type));
    let labels = session.labels(paths.collect())?;
    let mut why = None;
    for (made, label) in made.into_iter().zip(labels) {
        match label {
            Label::Set(label) => match set_one(session, &made, &label) {
                Ok(Outcome::Changed) => applied.changes.push(report("label", &made, label)),
                Ok(Outcome::AlreadySo) => {}
                Err(error) if error.code == "label-refused" => {
                    why.get_or_insert(error.to_string());
                }
                Err(error) => return Err(error),
            },
            Label::None => {}
            Label::Unknown(clause) => drop(why.get_or_insert(clause)),
        }
    }
    match why {
        Some(why) => relabel(session, applied, &why),
        None => Ok(()),
    }
}

fn set_one(session: &mut Session, made: &Made, label: &str) -> Result<Outcome> {
    let request = MountRequest::Label {
        path: made.path.clone(),
        label: label.to_owned(),
        only_missing: !made.new,
    };
    match session.mount(&request)? {
        MountReply::Outcome(outcome) => Ok(outcome),
        other => Err(unexpected(&other)),
    }
}

fn report(kind: &str, made: &Made, label: String) -> ChangeReport {
    ChangeReport {
        topic: TOPIC.to_owned(),
        kind: kind.to_owned(),
        path: made.path.display(),
        why: format!("{label}, by the guest's own file contexts"),
        outcome: ChangeOutcome::Changed,
    }
}

fn relabel(session: &mut Session, applied: &mut Applied, why: &str) -> Result<()> {
    let there = session.mount(&MountRequest::Lstat {
        path: selinux::RELABEL.into(),
    })?;
    if there == MountReply::Metadata(None) {
        session.mount(&MountRequest::Write {
            path: selinux::RELABEL.into(),
            before: None,
            content: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
        })?;
    }
    applied.concerns.push(Concern::warning(
        "selinux-relabel",
        format!("not every new file could get its SELinux label ({why}): the guest labels all of its files when it starts first, which takes minutes and one more restart"),
    ));
    Ok(())
}
