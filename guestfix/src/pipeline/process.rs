// SPDX-License-Identifier: Apache-2.0
//! A child process and the channel to it, as the supervisor sees them.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::host::channel::Channel;
use crate::host::child::Child;
use crate::host::mounter::{self, MountReply, MountRequest};
use crate::host::signal;

/// How often a waiting supervisor looks for signals and dead processes.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// A process and the channel to it.
pub(super) struct Process {
    pub(super) child: Child,
    channel: Channel,
}

impl Process {
    pub(super) fn spawn(role: &str) -> Result<Self> {
        let (child, channel) = Child::spawn(role)?;
        Ok(Self { child, channel })
    }

    pub(super) fn send<T: Serialize>(&mut self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        // A broken channel means a dead process: how it died is the better news.
        self.channel
            .send(message, fds)
            .map_err(|e| self.child.obituary().because(e))
    }

    pub(super) fn recv<T: DeserializeOwned>(&mut self) -> Result<T> {
        while !self.channel.wait(LOOK_AROUND)? {
            signal::check()?;
        }
        match self.channel.recv::<Result<T>>() {
            Ok(Some((answer, _))) => answer,
            Ok(None) => Err(self.child.obituary()),
            Err(error) => Err(self.child.obituary().because(error)),
        }
    }
}

impl Process {
    /// Asks the mounter. Gives up when the worker is gone: no request can end without it.
    pub(super) fn mount(
        &mut self,
        request: &MountRequest,
        fds: &[BorrowedFd<'_>],
        worker: &mut Self,
    ) -> Result<MountReply> {
        self.ask(request, fds, || worker.child.check())
    }

    /// Asks the mounter, and gives up at a signal and when `look` fails.
    pub(super) fn ask(
        &mut self,
        request: &MountRequest,
        fds: &[BorrowedFd<'_>],
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<MountReply> {
        let look = || signal::check().and_then(|()| look());
        mounter::call(&self.channel, request, fds, look).map_err(|error| {
            match error.code.as_str() {
                "peer-gone" => self.child.obituary().because(error),
                _ => error,
            }
        })
    }
}
