// SPDX-License-Identifier: Apache-2.0
//! The worker: holds every parser of guest bytes, the overlay and the FUSE server. Confined before
//! the first order; knows nothing of the host but the descriptors it was sent.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::families::{self, FAMILIES};
use super::intact::Heads;
use super::protocol::{Answer, DiskSpec, Mark, NewImage, Order, Run};
use super::remote::Remote;
use super::{esp, hives, images, opening};
use crate::disk::{self, Format, Overlay, Storage};
use crate::error::{Error, Result};
use crate::fs::health;
use crate::host::channel::Channel;
use crate::host::confine::{self, Limits};
use crate::host::fuse;
use crate::host::qcow2::{Backing, Qcow2};
use crate::inspect::{self, Concern, GuestDisk, Inspected, Recognise};
use crate::linux::initramfs::{self, splice};
use crate::linux::selinux;
use crate::plan::{self, Bus, Plan, Policy, Target};
use crate::verify;
use crate::volume::{self, Opening, Volume};

/// The largest file the worker may write: bounds the overlay's deltas.
const LARGEST_DELTA: u64 = 64 << 30;

/// Processor time of a worker that copies disks, seconds: terabytes at what deflate inflates.
const LONGEST_COPY: u64 = 24 * 3600;

struct Worker {
    channel: Rc<Channel>,
    disks: Vec<GuestDisk>,
    overlays: Vec<Arc<Overlay>>,
    /// For each disk in a qcow2 image the bytes that its file had, and what it is backed by.
    containers: Vec<Option<(u64, Vec<Backing>)>>,
    opening: Opening,
    inspected: Option<Inspected>,
    heads: Heads,
    /// One for each mounter; they end with their mounts.
    exports: Vec<fuse::Server>,
}

/// Serves orders until the supervisor hangs up; `copies` disks as a whole if asked.
///
/// # Errors
/// When the worker cannot be confined, or the channel breaks.
pub(super) fn main(copies: bool) -> Result<()> {
    let channel = Rc::new(Channel::inherited()?);
    let mut limits = Limits {
        file_size: LARGEST_DELTA,
        ..Limits::default()
    };
    if copies {
        (limits.file_size, limits.cpu_s) = (u64::MAX, LONGEST_COPY);
    }
    let confined = confine::confine_worker(&limits)?;
    tracing::debug!(?confined, "confined");
    let mut worker = Worker {
        channel: Rc::clone(&channel),
        disks: Vec::new(),
        overlays: Vec::new(),
        containers: Vec::new(),
        opening: Opening::default(),
        inspected: None,
        heads: Heads::default(),
        exports: Vec::new(),
    };
    while let Some((order, fds)) = channel.recv::<Order>()? {
        let answer: Result<Answer> = worker.obey(order, fds);
        channel.send(&answer, &[])?;
    }
    Ok(())
}

/// The descriptor that came along.
fn one(fds: Vec<OwnedFd>) -> Result<File> {
    let fd = fds.into_iter().next();
    fd.map(File::from)
        .ok_or_else(|| Error::internal("a file was promised and did not come"))
}

fn named(error: Error, path: &str) -> Error {
    match error.disk {
        Some(_) => error,
        None => error.on(path),
    }
}

impl Worker {
    fn obey(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<Answer> {
        match order {
            Order::Open(specs) => self.open(specs, fds),
            Order::Opening {
                keys,
                allow_degraded,
                boot_disk_first,
            } => {
                self.opening = opening::of(keys, allow_degraded, boot_disk_first);
                Ok(Answer::Done)
            }
            Order::Lay {
                disk,
                offset,
                content,
            } => {
                self.overlay(disk)?.write_at(&content, offset)?;
                Ok(Answer::Done)
            }
            Order::Inspect { root, mounts } => {
                self.open_images(mounts)?;
                let inspected = self.inspect(root.as_deref(), mounts)?;
                let facts = Box::new(inspected.facts.clone());
                self.heads = Heads::of(&inspected.volumes)?;
                self.inspected = Some(inspected);
                Ok(Answer::Facts(facts))
            }
            Order::Plan { policy, bus } => Ok(Answer::Plan(Box::new(self.plan(&policy, bus)?))),
            Order::Archive { path, members } => Ok(Answer::Archive(splice::build(
                &self.inspected()?.tree,
                &path,
                &members,
            )?)),
            Order::Hive {
                path,
                before,
                scripts,
            } => {
                let tree = &self.inspected()?.tree;
                hives::edited(tree, &path, &before, &scripts).map(Answer::Hive)
            }
            Order::Spell(paths) => {
                hives::spelled(&self.inspected()?.tree, paths).map(Answer::Spelled)
            }
            Order::Labels(paths) => {
                let sources = &self.inspected()?.facts.sources;
                Ok(Answer::Labels(selinux::labels(sources, &paths)))
            }
            Order::Fat { volume, change } => {
                let volume = self.volume(&volume)?;
                esp::change(volume, change).map(Answer::Changed)
            }
            Order::FatRead { volume, path } => {
                let content = esp::read(self.volume(&volume)?, &path)?;
                Ok(Answer::Content(content.map(serde_bytes::ByteBuf::from)))
            }
            Order::Serve => self.serve(fds),
            Order::Seal => self.seal(),
            Order::Copy { disk, image } => self.copy(disk, image, fds),
            Order::Ova(path) => {
                images::list(one(fds)?, &path).map(|ova| Answer::Ova(Box::new(ova)))
            }
            Order::Sum(what) => images::sum(one(fds)?, &what, &self.channel).map(Answer::Sum),
            Order::Verify { root, bus, mounts } => self.verify(&root, bus, mounts),
            Order::Told(_) => Err(Error::internal("told something that was not asked")),
        }
    }

    fn open(&mut self, specs: Vec<DiskSpec>, fds: Vec<OwnedFd>) -> Result<Answer> {
        let mut fds = fds.into_iter();
        for spec in specs {
            let (Some(disk), Some(delta)) = (fds.next(), fds.next()) else {
                return Err(Error::internal("a disk came without its descriptors"));
            };
            let (base, backings) = images::base(&spec, File::from(disk), &self.channel)
                .map_err(|e| named(e, &spec.path))?;
            let size = base.len();
            let qcow2 = spec.format == Format::Qcow2;
            let room = if qcow2 { spec.overlay_limit } else { 0 };
            let overlay = Arc::new(Overlay::with_len(
                base,
                size.saturating_add(room),
                File::from(delta),
                spec.overlay_limit,
            ));
            self.disks.push(GuestDisk {
                name: spec.name,
                path: spec.path,
                sector_size: spec.sector_size,
                storage: Arc::clone(&overlay) as Arc<dyn Storage>,
            });
            self.overlays.push(overlay);
            self.containers.push(qcow2.then_some((size, backings)));
        }
        Ok(Answer::Done)
    }

    /// Opens the images in the overlays, or opens them once more, so that what was written is read
    /// afresh; not while somebody writes through the ones that are open.
    fn open_images(&mut self, mounts: bool) -> Result<()> {
        if mounts {
            return Ok(());
        }
        let all = self
            .disks
            .iter_mut()
            .zip(&self.overlays)
            .zip(&self.containers);
        for ((disk, overlay), container) in all {
            let Some((size, backings)) = container else {
                continue;
            };
            disk.storage.flush()?;
            let ends = overlay.changed().into_iter();
            let ends = ends.map(|extent| extent.offset.saturating_add(extent.len));
            let size = ends.max().unwrap_or(0).max(*size);
            let named = |error: Error| error.on(&disk.path);
            disk::qcow2::check(overlay.as_ref(), size).map_err(named)?;
            let container = Arc::clone(overlay) as Arc<dyn Storage>;
            disk.storage = Arc::new(Qcow2::open(container, size, backings).map_err(named)?);
        }
        Ok(())
    }

    fn overlay(&self, disk: usize) -> Result<&Arc<Overlay>> {
        self.overlays
            .get(disk)
            .ok_or_else(|| Error::internal(format!("there is no disk {disk}")))
    }

    fn inspected(&self) -> Result<&Inspected> {
        self.inspected
            .as_ref()
            .ok_or_else(|| Error::internal("asked before inspection"))
    }

    fn volume(&self, name: &str) -> Result<&Volume> {
        let mut volumes = self.inspected()?.volumes.iter();
        volumes
            .find(|volume| volume.name == name)
            .ok_or_else(|| Error::internal(format!("there is no volume {name}")))
    }

    fn inspect(&self, root: Option<&str>, mounts: bool) -> Result<Inspected> {
        let rooms: Vec<&dyn Recognise> = FAMILIES.iter().map(|family| family.recognise).collect();
        let opener = Remote::new(Rc::clone(&self.channel), mounts);
        let mut inspected = inspect::inspect(&self.disks, &rooms, root, &opener, &self.opening)?;
        for concern in opener.concerns() {
            let known = |have: &Concern| have.id == concern.id;
            if !inspected.facts.concerns.iter().any(known) {
                inspected.facts.concerns.push(concern);
            }
        }
        Ok(inspected)
    }

    fn plan(&self, policy: &Policy, bus: Bus) -> Result<Plan> {
        let facts = &self.inspected()?.facts;
        let target = Target::recommend(facts, bus);
        plan::plan(
            facts,
            &target,
            policy,
            families::family(&facts.guest.family)?.propose,
        )
    }

    fn serve(&mut self, fds: Vec<OwnedFd>) -> Result<Answer> {
        let Some(fd) = fds.into_iter().next() else {
            return Err(Error::internal("asked to serve without a FUSE descriptor"));
        };
        let all = inspect::assembled(&inspect::layouts(&self.disks)?, &self.opening)?;
        // Whoever exported a part of an array or group would offer it to the node's own udev.
        let usable = |volume: &&Volume| !all.is_part(&volume.name) && !volume.is_container();
        let volumes = all
            .volumes
            .iter()
            .filter(usable)
            .map(|volume| (volume.name.clone(), Arc::clone(&volume.storage)))
            .collect();
        self.exports.push(fuse::serve(fd, volumes)?);
        Ok(Answer::Done)
    }

    fn copy(&self, disk: usize, image: NewImage, fds: Vec<OwnedFd>) -> Result<Answer> {
        let gone = || Error::internal(format!("there is no disk {disk}"));
        let from = self.disks.get(disk).ok_or_else(gone)?;
        images::copy_to(from.storage.as_ref(), one(fds)?, image, &self.channel)
            .map(Answer::Copied)
            .map_err(|e| named(e, &from.path))
    }

    fn seal(&mut self) -> Result<Answer> {
        let mut runs = Vec::new();
        for disk in &self.disks {
            disk.storage.flush()?;
        }
        for (disk, overlay) in self.overlays.iter().enumerate() {
            if let Some(error) = overlay.latched() {
                return Err(error);
            }
            overlay.flush()?;
            runs.extend(overlay.changed().into_iter().map(|extent| Run {
                disk,
                offset: extent.offset,
                len: extent.len,
                delta: extent.delta,
            }));
        }
        Ok(Answer::Sealed(runs))
    }

    /// What changes on the disks as soon as a guest uses one of the volumes.
    fn marks(&self, volumes: &[Volume]) -> Vec<Mark> {
        let overlay = |overlay: &Arc<Overlay>| Arc::clone(overlay) as Arc<dyn Storage>;
        let disks: Vec<_> = self.overlays.iter().map(overlay).collect();
        let mut marks = Vec::new();
        for volume in volumes {
            for (what, offset, len) in health::fingerprint_ranges(volume) {
                let places = volume::on_disks(&volume.storage, offset, len, &disks);
                marks.extend(places.into_iter().map(|(disk, offset, len)| Mark {
                    disk,
                    name: format!("{} {what}", volume.name),
                    offset,
                    len,
                }));
            }
        }
        marks
    }

    fn verify(&mut self, root: &str, bus: Bus, mounts: bool) -> Result<Answer> {
        // Inspected afresh: the first inspection's caches must not answer for what was written since.
        // Its facts stay until then, because this is asked again where a mount is needed.
        self.open_images(mounts)?;
        let after = self.inspect(Some(root), mounts)?;
        let before = self.inspected.take().map(|inspected| inspected.facts);
        let target = Target::recommend(&after.facts, bus);
        let checks = (families::family(&after.facts.guest.family)?.checks)();
        let mut verdicts = verify::run(&checks, &after.facts, &target, after.reader);
        verdicts.push(self.heads.verdict(&Heads::of(&after.volumes)?));
        if let Some(before) = before.filter(|before| before.windows.is_none()) {
            verdicts.push(initramfs::complete::verdict(
                &before,
                &after.facts,
                after.reader,
            ));
        }
        let marks = self.marks(&after.volumes);
        let facts = Box::new(after.facts.clone());
        self.inspected = Some(after);
        Ok(Answer::Verified {
            facts,
            verdicts,
            marks,
        })
    }
}
