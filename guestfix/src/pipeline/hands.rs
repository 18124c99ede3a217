// SPDX-License-Identifier: Apache-2.0
//! The hands that write into the mounted guest: each asks the mounter.

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;

use super::session::Session;
use crate::apply::{Hands, ProgramEnd};
use crate::error::{Error, Result};
use crate::fs::GuestPath;
use crate::host::fanotify::{How, Touched};
use crate::host::mounter::{MountReply, MountRequest, Outcome, Product};
use crate::host::sandbox::{End, Exit};
use crate::host::scratch::ScratchFile;
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

    fn program(
        &mut self,
        argv: &[String],
        timeout_s: u32,
        scratch: Vec<ScratchFile>,
        product: Option<Product>,
    ) -> Result<ProgramEnd> {
        match self.session.mount(&MountRequest::Run {
            argv: argv.to_vec(),
            timeout_s,
            scratch,
            product,
        })? {
            MountReply::Ran { exit, touched } => Ok(program_end(&exit, touched, timeout_s)),
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
        self.program(argv, timeout_s, Vec::new(), None)
    }

    fn rebuild(
        &mut self,
        path: &GuestPath,
        argv: &[String],
        scratch: &[(String, String)],
        product: &str,
        timeout_s: u32,
    ) -> Result<ProgramEnd> {
        let files = scratch.iter().map(|(name, text)| ScratchFile {
            name: name.clone(),
            content: ByteBuf::from(text.as_bytes()),
        });
        let product = Product {
            from: product.to_owned(),
            to: path.clone(),
        };
        self.program(argv, timeout_s, files.collect(), Some(product))
    }
}

fn program_end(exit: &Exit, touched: Touched, timeout_s: u32) -> ProgramEnd {
    let how = match exit.end {
        End::Code(code) => format!("exit {code}"),
        End::Signal(signal) => format!("ended by signal {signal}"),
        End::TimedOut => format!("still running after {timeout_s} s"),
        End::OutOfMemory(bytes) => format!("needed more memory than {} MiB", bytes >> 20),
    };
    let paths = touched.paths.into_iter().map(|touch| {
        let how = match touch.how {
            How::Created => "created",
            How::Changed => "changed",
            How::Removed => "removed",
        };
        (touch.path, how)
    });
    ProgramEnd {
        success: exit.success(),
        how,
        output: String::from_utf8_lossy(&exit.output).into_owned(),
        touched: paths.collect(),
        more: touched.more,
        unseen: touched.unseen,
    }
}
