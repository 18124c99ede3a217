// SPDX-License-Identifier: Apache-2.0
//! The hands that write into the guest: each asks the mounter, or the worker.

use std::collections::BTreeMap;
use std::io::Read;

use serde_bytes::ByteBuf;

use super::bundle::Drivers;
use super::hives::EditedHive;
use super::protocol::FatChange;
use super::session::Session;
use crate::apply::{Hands, ProgramEnd};
use crate::error::{Error, Result};
use crate::fs::GuestPath;
use crate::hive::script::Edit;
use crate::host::fanotify::{How, Touched};
use crate::host::mounter::{MountReply, MountRequest, Outcome, Product};
use crate::host::sandbox::{End, Exit};
use crate::host::scratch::ScratchFile;
use crate::inspect::Facts;
use crate::inspect::facts::MountFacts;
use crate::plan::policy::AgentPackages;
use crate::plan::{Attrs, Member};

/// Bytes that one request of a copy moves.
const PART: u64 = 8 << 20;

/// A package of the agent has 1 MiB.
const MAX_PACKAGE: u64 = 64 << 20;

/// The guest's hands: the mounter's, and the worker's own for files of FAT volumes. With them what
/// was made beforehand.
pub(super) struct MountedGuest<'a> {
    session: &'a mut Session,
    /// Every mount point with its volume, where that one is FAT, the longest first.
    places: Vec<(GuestPath, Option<String>)>,
    packages: Option<&'a AgentPackages>,
    drivers: &'a Drivers,
    made: Prepared,
}

/// What was made of a plan before the guest was mounted, while its files lay as the reader found
/// them.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Archives, by the initramfs that they are appended to.
    pub(super) archives: BTreeMap<GuestPath, Vec<u8>>,
    /// Edited hives, by their files.
    pub(super) hives: BTreeMap<GuestPath, EditedHive>,
    /// Paths as the guest's filesystem spells them; those not here are spelled right.
    pub(super) spelling: BTreeMap<GuestPath, GuestPath>,
}

impl<'a> MountedGuest<'a> {
    pub(super) fn new(
        session: &'a mut Session,
        facts: &Facts,
        made: Prepared,
        packages: Option<&'a AgentPackages>,
        drivers: &'a Drivers,
    ) -> Self {
        let place = |mount: &MountFacts| {
            let fat = super::session::is_fat(facts, mount).then(|| mount.volume.clone());
            (GuestPath::new(&mount.at), fat)
        };
        let mut places: Vec<_> = facts.mounts.iter().map(place).collect();
        places.sort_by_key(|(at, _)| std::cmp::Reverse(at.as_bytes().len()));
        Self {
            session,
            places,
            packages,
            drivers,
            made,
        }
    }

    /// The FAT volume that holds a path, and the path there.
    fn on_fat(&self, path: &GuestPath) -> Option<(String, GuestPath)> {
        let mut places = self.places.iter();
        let (rest, volume) = places.find_map(|(at, fat)| Some((path.below(at)?, fat)))?;
        Some((volume.clone()?, rest))
    }

    /// A path as the guest's filesystem spells it.
    fn spelled(&self, path: &GuestPath) -> GuestPath {
        self.made.spelling.get(path).unwrap_or(path).clone()
    }

    fn outcome(&mut self, request: MountRequest) -> Result<bool> {
        match self.session.mount(&request)? {
            MountReply::Outcome(outcome) => Ok(outcome == Outcome::Changed),
            other => Err(unexpected(&other)),
        }
    }

    fn set(
        &mut self,
        path: &GuestPath,
        before: Option<String>,
        content: Vec<u8>,
        attrs: Attrs,
    ) -> Result<bool> {
        let path = &self.spelled(path);
        if let Some((volume, path)) = self.on_fat(path) {
            let change = FatChange::Write {
                path,
                before,
                content,
            };
            return self.session.change_fat(volume, change);
        }
        self.outcome(MountRequest::Write {
            path: path.clone(),
            before,
            content,
            mode: attrs.mode,
            uid: attrs.uid,
            gid: attrs.gid,
        })
    }

    /// A file's content, wherever it lies.
    fn content(&mut self, path: &GuestPath) -> Result<Vec<u8>> {
        let path = &self.spelled(path);
        if let Some((volume, path)) = self.on_fat(path) {
            return self.session.read_fat(volume, path);
        }
        let mut content = Vec::new();
        loop {
            let request = MountRequest::Read {
                path: path.clone(),
                offset: content.len() as u64,
                len: PART,
            };
            match self.session.mount(&request)? {
                MountReply::Bytes(part) if part.is_empty() => return Ok(content),
                MountReply::Bytes(part) => content.extend_from_slice(&part),
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn program(
        &mut self,
        argv: &[String],
        timeout_s: u32,
        scratch: Vec<ScratchFile>,
        product: Option<Product>,
    ) -> Result<ProgramEnd> {
        let timeout_s = allowed(timeout_s);
        match self.session.mount(&MountRequest::Run {
            argv: argv.to_vec(),
            timeout_s,
            scratch,
            product,
        })? {
            MountReply::Ran { exit, touched } => Ok(program_end(&exit, touched, timeout_s)),
            other => Err(unexpected(&other)),
        }
    }
}

/// The seconds that a program gets. A test of one that hangs cannot wait for all of them.
fn allowed(timeout_s: u32) -> u32 {
    #[cfg(feature = "fault-injection")]
    if let Ok(less) = std::env::var("GUESTFIX_PROGRAM_TIMEOUT_S") {
        return less.parse().unwrap_or(timeout_s).min(timeout_s);
    }
    timeout_s
}

pub(super) fn unexpected(reply: &MountReply) -> Error {
    Error::internal(format!("the mounter answered {reply:?}"))
}

impl Hands for MountedGuest<'_> {
    fn write(
        &mut self,
        path: &GuestPath,
        before: Option<&str>,
        content: &[u8],
        attrs: Attrs,
    ) -> Result<bool> {
        self.set(path, before.map(str::to_owned), content.to_vec(), attrs)
    }

    fn copy(&mut self, from: &GuestPath, path: &GuestPath) -> Result<bool> {
        let content = self.content(from)?;
        self.set(path, None, content, Attrs::PROGRAM)
    }

    fn remove(&mut self, path: &GuestPath) -> Result<bool> {
        let path = &self.spelled(path);
        if let Some((volume, path)) = self.on_fat(path) {
            return self.session.change_fat(volume, FatChange::Remove { path });
        }
        self.outcome(MountRequest::Remove { path: path.clone() })
    }

    fn remove_dir(&mut self, path: &GuestPath) -> Result<bool> {
        let path = self.spelled(path);
        self.outcome(MountRequest::RemoveDir { path })
    }

    fn symlink(&mut self, path: &GuestPath, target: &str) -> Result<bool> {
        self.outcome(MountRequest::Symlink {
            path: self.spelled(path),
            target: target.to_owned(),
        })
    }

    fn append_archive(&mut self, path: &GuestPath, _: &[Member]) -> Result<bool> {
        let content = self
            .made
            .archives
            .remove(path)
            .ok_or_else(|| Error::internal(format!("no archive was built for {path}")))?;
        if let Some((volume, path)) = self.on_fat(path) {
            let change = FatChange::Append { path, content };
            return self.session.change_fat(volume, change);
        }
        let request = MountRequest::Append {
            path: path.clone(),
            content,
            align: 1,
        };
        match self.session.mount(&request)? {
            MountReply::Appended { .. } => Ok(true),
            other => Err(unexpected(&other)),
        }
    }

    fn edit_hive(&mut self, path: &GuestPath, _: &str, _: &[Edit]) -> Result<bool> {
        let hive = self.made.hives.get_mut(path);
        let changed = hive.and_then(|hive| hive.changed.pop_front());
        changed.ok_or_else(|| Error::internal(format!("no edit was prepared for {path}")))
    }

    /// A file that is there is not overwritten: it may be one that Windows keeps compressed in a
    /// form that ntfs-3g does not write, or have other names, by which it belongs to others.
    fn place(&mut self, path: &GuestPath, member: &str, len: u64, sha256: &str) -> Result<bool> {
        let content = self.drivers.read(member, len, sha256)?;
        self.remove(path)?;
        self.set(path, None, content, Attrs::FILE)
    }

    fn finish(&mut self) -> Result<()> {
        for (path, hive) in std::mem::take(&mut self.made.hives) {
            let len = hive.len;
            let patch = |path: GuestPath, len, parts| MountRequest::Patch { path, len, parts };
            for part in hive.parts {
                self.outcome(patch(path.clone(), len, vec![part]))?;
            }
            for log in hive.logs {
                self.outcome(patch(log, 0, Vec::new()))?;
            }
        }
        Ok(())
    }

    fn run(&mut self, argv: &[String], timeout_s: u32) -> Result<ProgramEnd> {
        self.program(argv, timeout_s, Vec::new(), None)
    }

    fn install(&mut self, files: &[String], argv: &[String], timeout_s: u32) -> Result<ProgramEnd> {
        let laid = files.iter().map(|name| {
            let content = ByteBuf::from(package(self.packages, name)?);
            let name = name.clone();
            Ok(ScratchFile { name, content })
        });
        let laid = laid.collect::<Result<Vec<_>>>()?;
        self.program(argv, timeout_s, laid, None)
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

/// Reads a package of the operator's. Only a name that was listed beforehand is opened: the plan was
/// made by a process that reads guests, and must not choose files of this machine.
fn package(packages: Option<&AgentPackages>, name: &str) -> Result<Vec<u8>> {
    let listed = packages.filter(|packages| packages.files.iter().any(|file| file == name));
    let packages =
        listed.ok_or_else(|| Error::internal(format!("{name} is none of the packages given")))?;
    let path = packages.dir.join(name);
    let failed = |e| Error::io(format!("reading {}", path.display()), e);
    let file = std::fs::File::open(&path).map_err(failed)?;
    let mut content = Vec::new();
    let mut part = file.take(MAX_PACKAGE.saturating_add(1));
    part.read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_PACKAGE {
        return Err(Error::unsupported(
            "file-too-large",
            format!("{} is larger than {MAX_PACKAGE} bytes", path.display()),
        ));
    }
    Ok(content)
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
