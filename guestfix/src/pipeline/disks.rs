// SPDX-License-Identifier: Apache-2.0
//! The supervisor's side of the disks: open, locked, with a home in the state directory. It moves
//! bytes and never looks at what they mean.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::archive;
use super::opening::OpeningChoice;
use super::protocol::{Mark, Run};
use super::session::Session;
use crate::disk::{
    self, Commit, CommitDisk, DiskIdentity, Extent, Fingerprint, Format, Home, ImageLock, OpenDisk,
    Overlay, Raw, Recovered, Storage, in_use,
};
use crate::error::{Error, Result};
use crate::vm::Vm;
use crate::vm::ova::{Digest, Part};

/// How much one conversion may write, bytes: far above any initramfs and package purge, far below
/// what would surprise a node.
const OVERLAY_LIMIT: u64 = 8 << 30;

/// One disk, open and locked.
pub(super) struct Disk {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) sector_size: u32,
    pub(super) overlay_limit: u64,
    /// How the file holds the disk; a qcow2 image may grow.
    pub(super) format: Format,
    /// The part of an OVA that it is: start and length, bytes.
    pub(super) part: Option<(u64, u64)>,
    /// The qcow2 image may be backed by other files.
    allow_backing: bool,
    identity: DiskIdentity,
    file: File,
    /// Locks of QEMU's kind live as long as the open file: those of this one, and of the files that
    /// it names.
    locks: Mutex<Vec<ImageLock>>,
}

impl Disk {
    fn open(index: usize, source: &Source, writable: bool) -> Result<Self> {
        let path = source.path.as_path();
        let shown = path.display().to_string();
        let file = disk::raw::open_disk(path, writable).map_err(|e| named(e, &shown))?;
        let copy = duplicate(&file)?;
        let raw = Raw::container_from_file(copy, &shown, writable).map_err(|e| named(e, &shown))?;
        in_use::refuse_used_device(&file, &shown).map_err(|e| named(e, &shown))?;
        let lock = if raw.is_device() {
            None
        } else if writable {
            Some(ImageLock::exclusive(&file).map_err(|e| named(e, &shown))?)
        } else {
            Some(ImageLock::shared_read(&file).map_err(|e| named(e, &shown))?)
        };
        let part = source.part.as_ref();
        let format = part.map_or_else(
            || Format::of(&raw),
            |part| Format::of_head(&raw, part.start),
        );
        if writable && format == Format::Vmdk {
            return Err(new_image_first("a VMDK").on(&shown));
        }
        Ok(Self {
            name: format!("disk{index}"),
            path: part.map_or_else(|| path.to_owned(), |part| path.join(&part.name)),
            sector_size: raw.logical_sector(),
            overlay_limit: OVERLAY_LIMIT,
            format,
            part: part.map(|part| (part.start, part.len)),
            allow_backing: source.allow_backing,
            identity: DiskIdentity::of_path(path, raw.len())?,
            file,
            locks: Mutex::new(lock.into_iter().collect()),
        })
    }

    /// Opens a file that the image names.
    pub(super) fn beside(&self, name: &str) -> Result<File> {
        let allowed = match (self.format, self.part) {
            (Format::Vmdk, None) => true,
            (Format::Qcow2, None) => self.allow_backing,
            _ => false,
        };
        if !allowed {
            let shown = self.path.display().to_string();
            return Err(match self.part {
                Some(_) => Error::refused(
                    "file-outside",
                    format!("a disk of an OVA names another file, {name}, which is not opened"),
                ),
                None => Error::refused(
                    "qcow2-backing",
                    format!("the qcow2 image is backed by {name}, which is not opened"),
                )
                .hint("--allow-backing reads backing files in the image's own directory; or make it one plain image first: qemu-img convert -O qcow2 FILE NEW.qcow2"),
            }
            .on(shown));
        }
        let file = super::beside::open(&self.path, name)?;
        let lock = ImageLock::shared_read(&file).map_err(|e| named(e, name))?;
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(lock);
        Ok(file)
    }

    /// A descriptor for the worker: a fresh open of the same file, for reading only.
    pub(super) fn for_worker(&self) -> Result<File> {
        use std::os::fd::AsRawFd;
        // Through /proc so that a path replaced meanwhile cannot slip in another disk.
        let same = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        File::open(same).map_err(|e| Error::io("reopening the disk", e).on(&self.name))
    }

    fn raw(&self, writable: bool) -> Result<Raw> {
        Raw::container_from_file(
            duplicate(&self.file)?,
            &self.path.display().to_string(),
            writable,
        )
    }
}

/// What to say of a disk that is not written in place.
fn new_image_first(what: &str) -> Error {
    Error::refused(
        "read-only-format",
        format!("{what} is not written in place"),
    )
    .hint("convert it into a new image: guestfix convert --to qcow2 NEW.qcow2 DISK...")
}

fn duplicate(file: &File) -> Result<File> {
    file.try_clone()
        .map_err(|e| Error::io("duplicating a descriptor", e))
}

fn named(error: Error, path: &str) -> Error {
    if error.disk.is_some() {
        error
    } else {
        error.on(path)
    }
}

/// A disk as it was given.
#[derive(Clone)]
struct Source {
    path: PathBuf,
    part: Option<Part>,
    allow_backing: bool,
}

impl Source {
    fn whole(path: &Path, opening: &OpeningChoice) -> Self {
        Self {
            path: path.to_owned(),
            part: None,
            allow_backing: opening.allow_backing,
        }
    }
}

/// Refuses a disk that is given twice.
fn unlike(paths: &[PathBuf]) -> Result<()> {
    let mut seen: Vec<(PathBuf, &Path)> = Vec::new();
    for path in paths {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if let Some((_, first)) = seen.iter().find(|(have, _)| *have == real) {
            let (one, two) = (first.display(), path.display());
            return Err(Error::new(
                crate::error::Kind::Usage,
                "same-disk-twice",
                format!("{one} and {two} are the same disk"),
            )
            .hint("give every disk of the guest once"));
        }
        seen.push((real, path));
    }
    Ok(())
}

/// The disks of one guest.
pub(super) struct Disks {
    all: Vec<Disk>,
    /// The machine, where an OVA describes it.
    pub(super) vm: Option<Vm>,
    /// What the manifests of OVAs say, with the archive's path.
    pub(super) digests: Vec<(PathBuf, Digest)>,
}

impl Disks {
    /// Opens disks that nobody writes to, for reading: of an OVA those in it.
    pub(super) fn open_read(paths: &[PathBuf], opening: &OpeningChoice) -> Result<Self> {
        let mut sources = Vec::new();
        let mut vm = None;
        let mut digests = Vec::new();
        unlike(paths)?;
        for path in paths {
            let source = Source::whole(path, opening);
            match archive::look(path)? {
                None => sources.push(source),
                Some(ova) => {
                    let part = |part| Source {
                        part: Some(part),
                        ..source.clone()
                    };
                    sources.extend(ova.disks.into_iter().map(part));
                    digests.extend(ova.digests.into_iter().map(|d| (path.clone(), d)));
                    vm.get_or_insert(ova.vm);
                }
            }
        }
        let mut disks = Self::open(&sources, false)?;
        (disks.vm, disks.digests) = (vm, digests);
        Ok(disks)
    }

    /// Opens disks that nobody uses, for writing.
    pub(super) fn open_write(paths: &[PathBuf], opening: &OpeningChoice) -> Result<Self> {
        unlike(paths)?;
        let mut sources = Vec::new();
        for path in paths {
            if archive::is_ova(path) {
                return Err(new_image_first("an OVA").on(path.display().to_string()));
            }
            sources.push(Source::whole(path, opening));
        }
        Self::open(&sources, true)
    }

    fn open(sources: &[Source], writable: bool) -> Result<Self> {
        let disks = sources
            .iter()
            .enumerate()
            .map(|(index, source)| Disk::open(index, source, writable));
        Ok(Self {
            all: disks.collect::<Result<_>>()?,
            vm: None,
            digests: Vec::new(),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Disk> {
        self.all.iter()
    }

    fn identities(&self) -> Vec<DiskIdentity> {
        self.all.iter().map(|disk| disk.identity.clone()).collect()
    }

    /// The guest's home, to look at only; none where the state directory is root's and we are not.
    fn look(&self, state_dir: &Path) -> Result<Option<Home>> {
        // Nothing was ever committed to what is not written in place.
        let read_only = |disk: &Disk| disk.format == Format::Vmdk || disk.part.is_some();
        if self.all.iter().any(read_only) {
            return Ok(None);
        }
        match Home::look(state_dir, &self.identities()) {
            Err(error) if error.code == "state-dir" => {
                tracing::info!(%error, "no look at pending journals");
                Ok(None)
            }
            other => other,
        }
    }

    /// True when an interrupted commit of this guest waits.
    pub(super) fn pending(&self, state_dir: &Path) -> Result<bool> {
        Ok(self.look(state_dir)?.is_some_and(|home| home.has_journal()))
    }

    /// Lays what a pending journal holds under what the worker reads.
    pub(super) fn lay_pending(&self, state_dir: &Path, session: &mut Session) -> Result<()> {
        let Some(home) = self.look(state_dir)? else {
            return Ok(());
        };
        let Some(journal) = disk::pending(&home)? else {
            return Ok(());
        };
        tracing::warn!("a commit of this guest was interrupted: reading through its journal");
        for (index, disk) in self.all.iter().enumerate() {
            let delta = tempfile::tempfile().map_err(|e| Error::io("making a file", e))?;
            let base = disk.raw(false)?;
            let grows = disk.format == Format::Qcow2;
            let room = if grows { disk.overlay_limit } else { 0 };
            let len = base.len().saturating_add(room);
            let overlay = Overlay::with_len(Arc::new(base), len, delta, disk.overlay_limit);
            journal.lay(&disk.identity, &overlay)?;
            overlay.read_changed(|offset, bytes| session.lay(index, offset, bytes.to_vec()))?;
        }
        Ok(())
    }

    /// Opens the guest's home for writing.
    pub(super) fn home(&self, state_dir: &Path) -> Result<Writable> {
        let home = Home::open(state_dir, &self.identities())?;
        let disks = self
            .all
            .iter()
            .map(|disk| {
                let raw = Box::new(disk.raw(true)?);
                Ok(OpenDisk {
                    identity: disk.identity.clone(),
                    disk: raw,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Writable { home, disks })
    }
}

/// Disks that may be committed to, recovered and undone.
pub(super) struct Writable {
    home: Home,
    disks: Vec<OpenDisk>,
}

impl Writable {
    /// Where a session keeps what it will throw away.
    pub(super) fn scratch(&self) -> &Path {
        self.home.dir()
    }

    /// Finishes or drops an interrupted commit: the word for what was done.
    pub(super) fn recover(&mut self) -> Result<&'static str> {
        Ok(match disk::recover(&self.home, &self.disks)? {
            Recovered::RolledForward => "rolled-forward",
            Recovered::Dropped => "dropped",
            Recovered::Nothing => "nothing",
        })
    }

    /// Undoes the last conversion or all: how many were undone, how many are left.
    pub(super) fn undo(&mut self, all: bool) -> Result<(u64, u64)> {
        let undone = disk::undo(&self.home, &self.disks, all)?;
        Ok((undone.records.len() as u64, undone.left as u64))
    }

    /// The newest undo record's name.
    pub(super) fn newest_undo(&self) -> Result<Option<String>> {
        Ok(self
            .home
            .undo_records()?
            .last()
            .map(|number| format!("undo-{number:04}")))
    }

    /// What every disk holds: for files that fit into memory.
    pub(super) fn contents(&self, most: u64) -> Result<Vec<Vec<u8>>> {
        let read = |open: &OpenDisk| super::hive::whole(open.disk.as_ref(), most);
        self.disks.iter().map(read).collect()
    }

    /// Commits whole new contents; all of each, named so, tells later whether anybody wrote since.
    pub(super) fn commit_whole(&self, news: Vec<Arc<dyn Storage>>, name: &str) -> Result<u64> {
        let whole = |new: &Arc<dyn Storage>| Extent {
            offset: 0,
            len: new.len(),
            delta: 0,
        };
        let fingerprints: Vec<Fingerprint> = news
            .iter()
            .enumerate()
            .map(|(disk, new)| Fingerprint {
                disk,
                name: name.to_owned(),
                offset: 0,
                len: new.len(),
            })
            .collect();
        let news: Vec<CommitDisk> = news
            .into_iter()
            .map(|new| CommitDisk {
                changed: vec![whole(&new)],
                new,
            })
            .collect();
        self.run(&news, &fingerprints)
    }

    fn run(&self, news: &[CommitDisk], fingerprints: &[Fingerprint]) -> Result<u64> {
        let commit = Commit {
            home: &self.home,
            disks: &self.disks,
            news,
            fingerprints,
        };
        Ok(commit.run()?.bytes)
    }

    /// Commits what the overlays hold: the bytes that differed.
    pub(super) fn commit(&self, session: &Session, runs: &[Run], marks: &[Mark]) -> Result<u64> {
        let mut news = Vec::new();
        for (index, open) in self.disks.iter().enumerate() {
            let changed: Vec<Extent> = runs
                .iter()
                .filter(|run| run.disk == index)
                .map(|run| Extent {
                    offset: run.offset,
                    len: run.len,
                    delta: run.delta,
                })
                .collect();
            let path = Path::new(&open.identity.path);
            let file = disk::raw::open_disk(path, false)?;
            let base = Raw::container_from_file(file, &open.identity.path, false)?;
            let delta = duplicate(session.delta(index)?)?;
            let ends = changed.iter().map(|run| run.offset.saturating_add(run.len));
            let grows = Format::of(&base) == Format::Qcow2;
            let grown = ends.max().filter(|_| grows).unwrap_or(0);
            let len = base.len().max(grown);
            let new = Overlay::from_changed(Arc::new(base), len, delta, &changed, OVERLAY_LIMIT)?;
            news.push(CommitDisk {
                new: Arc::new(new),
                changed,
            });
        }
        let fingerprints: Vec<Fingerprint> = marks
            .iter()
            .map(|mark| Fingerprint {
                disk: mark.disk,
                name: mark.name.clone(),
                offset: mark.offset,
                len: mark.len,
            })
            .collect();
        self.run(&news, &fingerprints)
    }
}
