// SPDX-License-Identifier: Apache-2.0
//! Second opinions on what the kernel wrote: the node's own checkers of filesystems, asked while
//! the guest is read again by another mounter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::process::Process;
use super::session::{kind_of, unexpected};
use crate::error::{Error, Kind, Result};
use crate::host::fsck::{self, Opinion};
use crate::host::mounter::{MountReply, MountRequest};
use crate::inspect::Facts;
use crate::verify::{Outcome, Severity, Verdict};

/// How long a checker of filesystems may take, seconds. It reads all metadata, which on a large
/// volume takes longer than the whole conversion.
const CHECK_TIMEOUT_S: u32 = 60;

/// A volume whose filesystem has a checker on this node's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    volume: String,
    fstype: String,
    reader: &'static str,
}

/// One question for each volume that was mounted and that no reader of ours reads.
pub(super) fn questions(facts: &Facts) -> Vec<Question> {
    let mut asked = BTreeSet::new();
    let mut out = Vec::new();
    for mount in &facts.mounts {
        let fstype = kind_of(facts, mount);
        if let Some(reader) = fsck::checker(fstype)
            && asked.insert(&mount.volume)
        {
            out.push(Question {
                volume: mount.volume.clone(),
                fstype: fstype.to_owned(),
                reader,
            });
        }
    }
    out
}

/// Opinions that are being formed. Dropping them ends the checkers.
pub(super) struct Opinions {
    given_up: Arc<AtomicBool>,
    asking: Option<JoinHandle<Result<Vec<Verdict>>>>,
}

impl Opinions {
    /// Nobody is asked.
    pub(super) fn none() -> Self {
        Self {
            given_up: Arc::default(),
            asking: None,
        }
    }

    /// Asks by way of `mounter`, which has unmounted the guest, and ends it afterwards.
    pub(super) fn ask(mut mounter: Process, questions: Vec<Question>) -> Self {
        let given_up = Arc::<AtomicBool>::default();
        let heard = Arc::clone(&given_up);
        let asking = std::thread::spawn(move || {
            let verdicts = questions
                .iter()
                .map(|question| answer(&mut mounter, question, &heard))
                .collect::<Result<_>>()?;
            mounter.ask(&MountRequest::Quit, &[], || listen(&heard))?;
            Ok(verdicts)
        });
        Self {
            given_up,
            asking: Some(asking),
        }
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// `Host` when a checker could not be run to its end; cancelled by a signal.
    pub(super) fn collect(mut self) -> Result<Vec<Verdict>> {
        match self.asking.take() {
            None => Ok(Vec::new()),
            Some(asking) => Error::joined(asking.join()),
        }
    }
}

impl Drop for Opinions {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        if let Some(asking) = self.asking.take() {
            let _ = asking.join();
        }
    }
}

fn listen(given_up: &AtomicBool) -> Result<()> {
    match given_up.load(Ordering::Relaxed) {
        true => Err(Error::new(Kind::Host, "given-up", "nobody waits any more")),
        false => Ok(()),
    }
}

fn answer(mounter: &mut Process, question: &Question, given_up: &AtomicBool) -> Result<Verdict> {
    let request = MountRequest::Check {
        volume: question.volume.clone(),
        fstype: question.fstype.clone(),
        timeout_s: CHECK_TIMEOUT_S,
    };
    match mounter.ask(&request, &[], || listen(given_up))? {
        MountReply::Checked(opinion) => Ok(verdict(&question.volume, question.reader, opinion)),
        _ => Err(unexpected("check")),
    }
}

fn verdict(volume: &str, reader: &str, opinion: Opinion) -> Verdict {
    let (result, detail) = match opinion {
        Opinion::Sound => (Outcome::Pass, format!("{volume}: no fault")),
        Opinion::Faulty(said) => (Outcome::Fail, format!("{volume}: {said}")),
        Opinion::None(why) => (Outcome::Skip, format!("{volume}: {why}")),
    };
    Verdict {
        check: "filesystem-check".to_owned(),
        severity: Severity::Required,
        result,
        reader: reader.to_owned(),
        detail,
    }
}
