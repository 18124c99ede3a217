// SPDX-License-Identifier: Apache-2.0
//! Bringing the disks to what a record says. Commit, recovery and undo all end here, and all of it
//! may be done again: that is what makes an interrupted one harmless.

use std::fs::File;

use super::record::{Entry, Fingerprinted, Header, Reader, Summary, check_of};
use super::{CHUNK, Durable, OpenDisk, SECTOR, Storage, fault, read_padded};
use crate::error::{Error, Result};

/// A record that is known to be whole, with the disks it is about in its own order.
pub(crate) struct Settlement<'a> {
    file: File,
    /// The record's header.
    pub(crate) header: Header,
    /// What it holds.
    pub(crate) summary: Summary,
    disks: Vec<&'a dyn Durable>,
}

impl<'a> Settlement<'a> {
    /// Validates a record and finds its disks among those given.
    ///
    /// # Errors
    /// `Corrupt`/`record`; `Refused`/`disk-replaced` when a disk is not there or has another length.
    pub(crate) fn new(file: File, given: &'a [OpenDisk]) -> Result<Self> {
        let copy = file
            .try_clone()
            .map_err(|e| Error::io("cannot read a record", e))?;
        let (reader, summary) = Reader::new(copy)?.validate()?;
        let header = reader.header().clone();
        let mut disks = Vec::new();
        for wanted in &header.disks {
            let name = &wanted.identity.path;
            let found = given
                .iter()
                .find(|disk| disk.identity.key() == wanted.identity.key());
            let disk = found
                .ok_or_else(|| replaced("it was not given", name))?
                .disk
                .as_ref();
            let low = wanted.len_before.min(wanted.len_after);
            let high = wanted.len_before.max(wanted.len_after);
            if !(low..=high).contains(&disk.len()) {
                let len = disk.len();
                return Err(replaced(
                    &format!("it is {len} bytes long and was {low}"),
                    name,
                ));
            }
            disks.push(disk);
        }
        Ok(Self {
            file,
            header,
            summary,
            disks,
        })
    }

    /// Every sector must hold what the record replaces or what it writes.
    ///
    /// # Errors
    /// `Refused`/`disk-replaced` with disk and offset.
    pub(crate) fn check(&self) -> Result<()> {
        self.each_sector(&|entry_disk, at, now, wanted, replaces| {
            if now == wanted || check_of(now) == *replaces {
                return Ok(());
            }
            let why = "its content is neither what was there before nor what was to be written";
            Err(replaced(why, self.name(entry_disk)).at(at))
        })
    }

    /// Every sector must hold what was committed, and every fingerprint must match.
    ///
    /// # Errors
    /// `Refused`/`has-run-since` with disk, offset and what differs.
    pub(crate) fn check_untouched(&self) -> Result<()> {
        for (disk, known) in self.disks.iter().zip(&self.header.disks) {
            if disk.len() != known.len_before {
                return Err(has_run("its length", &known.identity.path));
            }
        }
        for print in &self.header.fingerprints {
            let disk = self.disk(print.disk)?;
            if disk.len() < print.offset.saturating_add(print.len)
                || sha256_range(disk, print.offset, print.len)? != print.sha256
            {
                return Err(has_run(&print.name, self.name(print.disk)).at(print.offset));
            }
        }
        self.each_sector(&|disk, at, now, _, replaces| {
            if check_of(now) == *replaces {
                return Ok(());
            }
            Err(has_run("a part that the conversion wrote", self.name(disk)).at(at))
        })
    }

    /// Writes everything, makes it durable and reads it back past the page cache.
    ///
    /// # Errors
    /// `Host`/`commit-incomplete`: the journal must stay.
    pub(crate) fn apply(&self) -> Result<()> {
        self.write()
            .and_then(|()| self.reread())
            .map_err(incomplete)
    }

    fn write(&self) -> Result<()> {
        for (disk, known) in self.disks.iter().zip(&self.header.disks) {
            disk.set_len(known.len_before.max(known.len_after))?;
        }
        let mut n = 0;
        self.each(&mut |entry| {
            fault::point("commit.apply", n)?;
            n = n.saturating_add(1);
            self.disk(entry.disk)?
                .write_at(&entry.data, entry.offset)
                .map_err(|e| self.place(e, &entry))
        })?;
        fault::point("commit.applied", 0)?;
        for (n, (disk, known)) in (0..).zip(self.disks.iter().zip(&self.header.disks)) {
            disk.set_len(known.len_after)?;
            disk.sync().map_err(|e| e.on(&known.identity.path))?;
            fault::point("commit.synced", n)?;
        }
        Ok(())
    }

    fn reread(&self) -> Result<()> {
        let mut buf = vec![0; CHUNK];
        self.each(&mut |entry| {
            let disk = self.disk(entry.disk)?;
            let inside = usize::try_from(disk.len().saturating_sub(entry.offset)).unwrap_or(CHUNK);
            let len = entry.data.len().min(inside).min(CHUNK);
            let (now, _) = buf.split_at_mut(len);
            if len > 0 {
                disk.reread(now, entry.offset)
                    .map_err(|e| self.place(e, &entry))?;
            }
            if entry.data.get(..len) == Some(&*now) {
                return Ok(());
            }
            let differs = now
                .iter()
                .zip(&entry.data)
                .take_while(|(a, b)| a == b)
                .count();
            Err(Error::host(
                "reread-differs",
                "what was read back is not what was written",
            )
            .on(self.name(entry.disk))
            .at(entry.offset.saturating_add(differs as u64)))
        })?;
        fault::point("commit.reread", 0)
    }

    fn each(&self, act: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let copy = self
            .file
            .try_clone()
            .map_err(|e| Error::io("cannot read a record", e))?;
        let mut reader = Reader::new(copy)?;
        while let Some(entry) = reader.next_entry()? {
            act(entry)?;
        }
        Ok(())
    }

    /// Hands over disk, offset, its content now, the data and the digest of what that replaces.
    fn each_sector(&self, check: &SectorCheck<'_>) -> Result<()> {
        let mut buf = vec![0; CHUNK];
        self.each(&mut |entry| {
            let (now, _) = buf.split_at_mut(entry.data.len().min(CHUNK));
            read_padded(self.disk(entry.disk)?, now, entry.offset)
                .map_err(|e| self.place(e, &entry))?;
            let sectors = now
                .chunks(SECTOR)
                .zip(entry.data.chunks(SECTOR))
                .zip(&entry.checks);
            for (n, ((now, data), replaces)) in (0_u64..).zip(sectors) {
                let at = entry.offset.saturating_add(n.saturating_mul(SECTOR as u64));
                check(entry.disk, at, now, data, replaces)?;
            }
            Ok(())
        })
    }

    fn disk(&self, index: usize) -> Result<&'a dyn Durable> {
        let known = self.disks.get(index).copied();
        known.ok_or_else(|| Error::corrupt("record", "a record names a disk that is not there"))
    }

    fn name(&self, index: usize) -> &str {
        self.header
            .disks
            .get(index)
            .map_or("disk", |disk| &disk.identity.path)
    }

    fn place(&self, error: Error, entry: &Entry) -> Error {
        error.on(self.name(entry.disk)).at(entry.offset)
    }
}

type SectorCheck<'a> = dyn Fn(usize, u64, &[u8], &[u8], &super::record::Check) -> Result<()> + 'a;

fn replaced(why: &str, disk: &str) -> Error {
    Error::refused(
        "disk-replaced",
        format!("this is not the disk of the interrupted commit: {why}"),
    )
    .on(disk)
    .hint("give the disks that were being converted, unchanged; the journal was kept")
}

fn has_run(what: &str, disk: &str) -> Error {
    Error::refused(
        "has-run-since",
        format!("the guest has run since it was converted: {what} differs"),
    )
    .on(disk)
    .hint("undo would destroy what the guest has written; restore a backup instead")
}

fn incomplete(cause: Error) -> Error {
    let mut error = Error::host(
        "commit-incomplete",
        "the commit stopped while the disks were being written; its journal is complete and was kept",
    )
    .hint("do not start the guest; run `guestfix recover` with the same disks to finish it");
    (error.disk, error.offset) = (cause.disk.clone(), cause.offset);
    error.because(Error {
        disk: None,
        offset: None,
        ..cause
    })
}

/// SHA-256 of a range, hexadecimal.
pub(crate) fn sha256_range(
    storage: &(impl Storage + ?Sized),
    offset: u64,
    len: u64,
) -> Result<String> {
    use sha2::{Digest, Sha256};

    let mut hash = Sha256::new();
    let mut buf = vec![0; CHUNK];
    let mut done = 0;
    while done < len {
        let left = usize::try_from(len.saturating_sub(done)).unwrap_or(CHUNK);
        let (piece, _) = buf.split_at_mut(left.min(CHUNK));
        storage.read_at(piece, offset.saturating_add(done))?;
        hash.update(&*piece);
        done = done.saturating_add(piece.len() as u64);
    }
    Ok(crate::digest::hex(&hash.finalize()))
}

impl Fingerprinted {
    /// Hashes a named range of the new content.
    pub(crate) fn of(print: &super::Fingerprint, new: &dyn Storage) -> Result<Self> {
        Ok(Self {
            disk: print.disk,
            name: print.name.clone(),
            offset: print.offset,
            len: print.len,
            sha256: sha256_range(new, print.offset, print.len)?,
        })
    }
}
