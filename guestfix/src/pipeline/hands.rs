// SPDX-License-Identifier: Apache-2.0
//! The hands that write into the mounted guest: each asks the mounter.

use std::collections::BTreeMap;

use super::session::Session;
use crate::apply::{Hands, ProgramEnd};
use crate::error::{Error, Result};
use crate::fs::GuestPath;
use crate::host::mounter::{MountReply, MountRequest, Outcome};
use crate::host::sandbox::{End, Exit};
use crate::plan::{Attrs, Member};

/// The mounter's hands, with the archives that were built beforehand.
pub(super) struct MountedGuest<'a> {
    pub(super) session: &'a mut Session,
    pub(super) archives: BTreeMap<GuestPath, Vec<u8>>,
}

impl MountedGuest<'_> {
    fn outcome(&mut self, request: MountRequest) -> Result<bool> {
        match self.session.mount(&request)? {
            MountReply::Outcome(outcome) => Ok(outcome == Outcome::Changed),
            other => Err(Error::internal(format!("the mounter answered {other:?}"))),
        }
    }
}

impl Hands for MountedGuest<'_> {
    fn write(
        &mut self,
        path: &GuestPath,
        before: Option<&str>,
        content: &[u8],
        attrs: Attrs,
    ) -> Result<bool> {
        self.outcome(MountRequest::Write {
            path: path.clone(),
            before: before.map(str::to_owned),
            content: content.to_vec(),
            mode: attrs.mode,
            uid: attrs.uid,
            gid: attrs.gid,
        })
    }

    fn remove(&mut self, path: &GuestPath) -> Result<bool> {
        self.outcome(MountRequest::Remove { path: path.clone() })
    }

    fn symlink(&mut self, path: &GuestPath, target: &str) -> Result<bool> {
        self.outcome(MountRequest::Symlink {
            path: path.clone(),
            target: target.to_owned(),
        })
    }

    fn append_archive(&mut self, path: &GuestPath, _: &[Member]) -> Result<bool> {
        let content = self
            .archives
            .remove(path)
            .ok_or_else(|| Error::internal(format!("no archive was built for {path}")))?;
        let request = MountRequest::Append {
            path: path.clone(),
            content,
            align: 1,
        };
        match self.session.mount(&request)? {
            MountReply::Appended { .. } => Ok(true),
            other => Err(Error::internal(format!("the mounter answered {other:?}"))),
        }
    }

    fn run(&mut self, argv: &[String], timeout_s: u32) -> Result<ProgramEnd> {
        match self.session.mount(&MountRequest::Run {
            argv: argv.to_vec(),
            timeout_s,
        })? {
            MountReply::Ran(exit) => Ok(program_end(&exit, timeout_s)),
            other => Err(Error::internal(format!("the mounter answered {other:?}"))),
        }
    }
}

fn program_end(exit: &Exit, timeout_s: u32) -> ProgramEnd {
    let how = match exit.end {
        End::Code(code) => format!("exit {code}"),
        End::Signal(signal) => format!("ended by signal {signal}"),
        End::TimedOut => format!("still running after {timeout_s} s"),
    };
    let output = String::from_utf8_lossy(&exit.output).into_owned();
    ProgramEnd {
        success: exit.success(),
        how,
        output,
    }
}
