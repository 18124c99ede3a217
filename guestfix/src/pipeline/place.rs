// SPDX-License-Identifier: Apache-2.0
//! Where a conversion's outcome goes: into the disks that were given, or into new ones.

use std::path::PathBuf;

use super::destination::{Destination, NewDisks};
use super::disks::{Disks, Writable};
use super::opening::OpeningChoice;
use super::progress::Stage;
use super::protocol::Run;
use super::session::{Seen, Session};
use super::{Context, archive};
use crate::error::Result;
use crate::plan::Bus;
use crate::report::{self, UndoInfo};

/// Where the outcome goes.
pub(super) enum Place {
    /// Into the disks themselves.
    Here(Disks, Writable),
    /// Into new disks; those given are only read.
    New(Disks, Destination),
}

/// What was written.
#[derive(Default)]
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) output: Vec<String>,
}

impl Place {
    /// Opens the disks: to be written, or, with new ones to be made, to be read.
    pub(super) fn open(
        context: &Context<'_>,
        paths: &[PathBuf],
        to: Option<&NewDisks>,
    ) -> Result<Self> {
        let Some(to) = to else {
            let disks = Disks::open_write(paths, context.opening)?;
            let mut writable = disks.home(context.state_dir)?;
            writable.recover()?;
            return Ok(Self::Here(disks, writable));
        };
        let destination = Destination::new(to)?;
        let disks = Disks::open_read(paths, context.opening)?;
        archive::check(context, &disks.digests)?;
        Ok(Self::New(disks, destination))
    }

    /// Starts working on the disks.
    pub(super) fn session(&self, context: &Context<'_>) -> Result<Session> {
        match self {
            Self::Here(disks, writable) => {
                Session::start(disks, writable.scratch(), context.opening)
            }
            Self::New(disks, destination) => {
                let opening = OpeningChoice {
                    copies: true,
                    ..context.opening.clone()
                };
                let mut session = Session::start(disks, destination.scratch(), &opening)?;
                disks.lay_pending(context.state_dir, &mut session)?;
                Ok(session)
            }
        }
    }

    /// True when there is something to write though nothing was changed.
    pub(super) fn always(&self) -> bool {
        matches!(self, Self::New(..))
    }

    pub(super) fn undo(&self) -> Result<UndoInfo> {
        let Self::Here(_, writable) = self else {
            return Ok(UndoInfo::default());
        };
        let id = writable.newest_undo()?;
        Ok(UndoInfo {
            available: id.is_some(),
            id,
        })
    }

    /// Writes the outcome. What new disks hold is read back and checked once more; with that,
    /// `seen` becomes what was seen on them.
    pub(super) fn write(
        &self,
        context: &Context<'_>,
        session: &mut Session,
        (seen, runs): (&mut Seen, &[Run]),
        (bus, anyway): (Bus, bool),
    ) -> Result<Written> {
        let destination = match self {
            Self::Here(_, writable) => {
                context
                    .progress
                    .step(Stage::Commit, "writing to the disks", 0, 0);
                let bytes = writable.commit(session, runs, &seen.marks)?;
                let output = Vec::new();
                return Ok(Written { bytes, output });
            }
            Self::New(_, destination) => destination,
        };
        let count = session.disks();
        session.look_no_more();
        let bytes = session.fill(context, destination)?;
        let again = read_back(context, destination, count, (&seen.facts.root, bus))?;
        let good = report::judge(&again.verdicts, &[]).is_ready();
        *seen = again;
        if !good && !anyway {
            return Ok(Written::default());
        }
        let paths = destination.publish(count)?;
        let output = paths.iter().map(|path| path.display().to_string());
        Ok(Written {
            bytes,
            output: output.collect(),
        })
    }
}

/// Runs every check against the new disks.
fn read_back(
    context: &Context<'_>,
    destination: &Destination,
    count: usize,
    (root, bus): (&str, Bus),
) -> Result<Seen> {
    context
        .progress
        .step(Stage::Verify, "reading the new disks back", 0, 0);
    let opening = OpeningChoice {
        allow_backing: false,
        ..context.opening.clone()
    };
    let disks = Disks::open_read(&destination.files(count), &opening)?;
    let mut session = Session::start(&disks, destination.scratch(), &opening)?;
    session.inspect(Some(root))?;
    session.verify(root, bus)
}
