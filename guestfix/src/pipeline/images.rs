// SPDX-License-Identifier: Apache-2.0
//! The worker's side of disks that are images: what they are made of, opened through the
//! supervisor, and copied into new ones.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use sha2::Digest;

use super::protocol::{Answer, Ask, DiskSpec, NewImage, Order, Summed, Told};
use crate::digest::hex;
use crate::disk::copy::{self, NewQcow2, NewRaw, Sink};
use crate::disk::{self, CHUNK, Format, Raw, Storage, vmdk};
use crate::error::{Error, Result};
use crate::host::channel::Channel;
use crate::host::qcow2::Backing;
use crate::vm::ova::{self, Algorithm};
use crate::volume::Window;

/// Layers of backing files, most.
const DEEPEST: usize = 32;
/// Bytes between two words about a sum.
const STRIDE: u64 = 256 << 20;

/// Asks the supervisor for files.
pub(super) struct Beside<'a>(pub(super) &'a Channel);

impl vmdk::Files for Beside<'_> {
    fn open(&mut self, name: &str) -> Result<Arc<dyn Storage>> {
        let name = name.to_owned();
        let (told, fds) = ask(self.0, Ask::File { name: name.clone() })?;
        match (told, fds.into_iter().next()) {
            (Told::File, Some(fd)) => Ok(Arc::new(Raw::container_from_file(
                File::from(fd),
                &name,
                false,
            )?)),
            _ => Err(Error::internal("asked for a file, got something else")),
        }
    }
}

fn ask(channel: &Channel, ask: Ask) -> Result<(Told, Vec<OwnedFd>)> {
    let question: Result<Answer> = Ok(Answer::Ask(ask));
    channel.send(&question, &[])?;
    match channel.recv::<Order>()? {
        Some((Order::Told(told), fds)) => Ok((told?, fds)),
        Some(_) => Err(Error::internal("got an order where an answer was due")),
        None => Err(Error::internal("the supervisor hung up")),
    }
}

/// Tells the supervisor how far something is; an error when it shall stop.
fn heard(channel: &Channel, done: u64, total: u64) -> Result<()> {
    ask(channel, Ask::Heard { done, total }).map(drop)
}

/// What an overlay lies over: the file's bytes, or those of the disk in a VMDK, which is not
/// written; and what a qcow2 image reads where it holds nothing itself.
pub(super) fn base(
    spec: &DiskSpec,
    file: File,
    channel: &Channel,
) -> Result<(Arc<dyn Storage>, Vec<Backing>)> {
    let raw: Arc<dyn Storage> = Arc::new(Raw::container_from_file(file, &spec.path, false)?);
    let file = match spec.part {
        Some((start, len)) => Arc::new(Window::new(&spec.path, raw, start, len)?),
        None => raw,
    };
    match spec.format {
        Format::Raw => Ok((file, Vec::new())),
        Format::Qcow2 => {
            let backings = backings(file.as_ref(), &mut Beside(channel))?;
            Ok((file, backings))
        }
        Format::Vmdk => {
            let name = spec.path.rsplit('/').next().unwrap_or_default();
            let disk = vmdk::open(name, file, &mut Beside(channel))?;
            Ok((Arc::new(disk), Vec::new()))
        }
    }
}

/// The backing files of an image, the nearest first. The supervisor refuses them unless they are
/// allowed.
fn backings(file: &dyn Storage, files: &mut dyn vmdk::Files) -> Result<Vec<Backing>> {
    let mut out: Vec<Backing> = Vec::new();
    let mut next = disk::qcow2::backing(file)?;
    while let Some((name, format)) = next {
        if out.len() >= DEEPEST {
            let what = format!("more than {DEEPEST} backing files, or a loop of them");
            return Err(Error::corrupt("qcow2-backing", what));
        }
        let storage = files.open(&name)?;
        if format == Format::Qcow2 {
            disk::qcow2::check(storage.as_ref(), storage.len()).map_err(|e| e.on(&name))?;
            next = disk::qcow2::backing(storage.as_ref()).map_err(|e| e.on(&name))?;
        } else {
            next = None;
        }
        out.push(Backing { storage, format });
    }
    Ok(out)
}

/// Copies a disk, as the overlay leaves it, into a new file: the bytes written.
pub(super) fn copy_to(
    from: &dyn Storage,
    file: File,
    image: NewImage,
    channel: &Channel,
) -> Result<u64> {
    let len = from.len();
    let mut sink: Box<dyn Sink> = match image {
        NewImage::Raw => Box::new(NewRaw::new(file, len)?),
        NewImage::Qcow2 => Box::new(NewQcow2::new(file, len)?),
    };
    copy::copy(from, sink.as_mut(), &mut |done| heard(channel, done, len))
}

/// Reads the list of an OVA.
pub(super) fn list(file: File, path: &str) -> Result<ova::Ova> {
    ova::read(&Raw::container_from_file(file, path, false)?)
}

/// The sum of a part of a file, in hex.
pub(super) fn sum(file: File, what: &Summed, channel: &Channel) -> Result<String> {
    let sum = match what.algorithm {
        Algorithm::Sha1 => sum_with::<sha1::Sha1>,
        Algorithm::Sha256 => sum_with::<sha2::Sha256>,
        Algorithm::Sha512 => sum_with::<sha2::Sha512>,
    };
    sum(file, what, channel)
}

fn sum_with<D: Digest>(file: File, what: &Summed, channel: &Channel) -> Result<String> {
    let file = Raw::container_from_file(file, &what.part.name, false)?;
    let (start, len) = (what.part.start, what.part.len);
    let mut sum = D::new();
    let mut buf = vec![0; CHUNK];
    let mut done = 0_u64;
    while done < len {
        let left = usize::try_from(len.saturating_sub(done)).unwrap_or(usize::MAX);
        let part = buf.get_mut(..left.min(CHUNK)).unwrap_or_default();
        file.read_at(part, start.saturating_add(done))?;
        sum.update(&*part);
        done = done.saturating_add(part.len() as u64);
        if done.is_multiple_of(STRIDE) {
            heard(channel, done, len)?;
        }
    }
    Ok(hex(&sum.finalize()))
}
