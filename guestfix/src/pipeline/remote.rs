// SPDX-License-Identifier: Apache-2.0
//! Filesystems as the worker opens them: by its own reader, or, where that refuses a feature, by
//! asking the mounter through the supervisor.

use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;

use serde_bytes::ByteBuf;

use super::protocol::{Answer, Ask, Order, Told};
use crate::error::{Error, Result};
use crate::fs::ext4::Ext4;
use crate::fs::{FileType, GuestFs, GuestPath, Metadata, ReadSeek, Space};
use crate::host::channel::Channel;
use crate::host::mounter::{MountReply, MountRequest};
use crate::inspect::Opener;
use crate::volume::Volume;

/// How much one read request brings, bytes.
const READ_AHEAD: u64 = 1 << 20;

/// Opens volumes for inspection.
pub(super) struct Remote {
    channel: Rc<Channel>,
    /// The mounter stands by.
    mounts: bool,
}

impl Remote {
    pub(super) fn new(channel: Rc<Channel>, mounts: bool) -> Self {
        Self { channel, mounts }
    }
}

impl Opener for Remote {
    fn open(&self, volume: &Volume) -> Result<Option<Box<dyn GuestFs>>> {
        match volume.content.kind.as_str() {
            "ext2" | "ext3" | "ext4" => match Ext4::load(Arc::clone(&volume.storage)) {
                Ok(fs) => Ok(Some(Box::new(fs))),
                Err(error) if error.code == "ext4-feature" => self.mounted(volume, error).map(Some),
                Err(error) => Err(error),
            },
            _ => Ok(None),
        }
    }
}

impl Remote {
    fn mounted(&self, volume: &Volume, refused: Error) -> Result<Box<dyn GuestFs>> {
        if !self.mounts {
            return Err(
                Error::host("needs-mount", "this filesystem needs a private mount")
                    .on(&volume.name)
                    .because(refused),
            );
        }
        let fs = Mounted {
            channel: Rc::clone(&self.channel),
            volume: volume.name.clone(),
            at: GuestPath::root().join(&volume.name),
        };
        let fstype = volume.content.kind.clone();
        fs.ask(Ask::Mount {
            volume: volume.name.clone(),
            fstype,
        })?;
        Ok(Box::new(fs))
    }
}

/// A privately mounted volume, read by requests.
struct Mounted {
    channel: Rc<Channel>,
    volume: String,
    at: GuestPath,
}

impl Mounted {
    fn ask(&self, ask: Ask) -> Result<Told> {
        let question: Result<Answer> = Ok(Answer::Ask(ask));
        self.channel.send(&question, &[])?;
        match self.channel.recv::<Order>()? {
            Some((Order::Told(told), _)) => told,
            Some(_) => Err(Error::internal("got an order where an answer was due")),
            None => Err(Error::internal("the supervisor hung up")),
        }
    }

    fn read(&self, request: MountRequest) -> Result<MountReply> {
        match self.ask(Ask::Read {
            volume: self.volume.clone(),
            request,
        })? {
            Told::Read(reply) => Ok(reply),
            Told::Mounted => Err(Error::internal("a read was answered by a mount")),
        }
    }

    fn place(&self, path: &GuestPath) -> GuestPath {
        self.at.join(path.as_bytes())
    }
}

fn surprise(reply: &MountReply) -> Error {
    Error::internal(format!("the mounter answered {reply:?}"))
}

impl GuestFs for Mounted {
    fn reader(&self) -> &'static str {
        "private mount"
    }

    fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        match self.read(MountRequest::Lstat {
            path: self.place(path),
        })? {
            MountReply::Metadata(meta) => Ok(meta),
            other => Err(surprise(&other)),
        }
    }

    fn read_link(&self, path: &GuestPath) -> Result<Vec<u8>> {
        match self.read(MountRequest::ReadLink {
            path: self.place(path),
        })? {
            MountReply::Bytes(target) => Ok(target.into_vec()),
            other => Err(surprise(&other)),
        }
    }

    fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
        match self.read(MountRequest::List {
            path: self.place(path),
        })? {
            MountReply::Names(names) => Ok(names.into_iter().map(ByteBuf::into_vec).collect()),
            other => Err(surprise(&other)),
        }
    }

    fn open(&self, path: &GuestPath) -> Result<Box<dyn ReadSeek + '_>> {
        match self.lstat(path)? {
            Some(meta) if meta.file_type == FileType::File => Ok(Box::new(RemoteFile {
                fs: self,
                path: self.place(path),
                len: meta.len,
                at: 0,
                ahead: Vec::new(),
                ahead_at: 0,
            })),
            _ => Err(Error::corrupt(
                "wrong-file-type",
                format!("{path} is no regular file"),
            )),
        }
    }

    fn space(&self) -> Result<Space> {
        match self.read(MountRequest::Space {
            path: self.at.clone(),
        })? {
            MountReply::Space(space) => Ok(space),
            other => Err(surprise(&other)),
        }
    }
}

struct RemoteFile<'a> {
    fs: &'a Mounted,
    path: GuestPath,
    len: u64,
    at: u64,
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl RemoteFile<'_> {
    /// The bytes at the cursor that are already here.
    fn here(&self) -> &[u8] {
        self.at
            .checked_sub(self.ahead_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .and_then(|skip| self.ahead.get(skip..))
            .unwrap_or_default()
    }
}

impl Read for RemoteFile<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.here().is_empty() && self.at < self.len {
            let request = MountRequest::Read {
                path: self.path.clone(),
                offset: self.at,
                len: READ_AHEAD,
            };
            match self.fs.read(request).map_err(io::Error::other)? {
                MountReply::Bytes(bytes) => {
                    self.ahead = bytes.into_vec();
                    self.ahead_at = self.at;
                }
                other => return Err(io::Error::other(surprise(&other))),
            }
        }
        let mut here = self.here();
        let count = here.read(buf)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for RemoteFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
