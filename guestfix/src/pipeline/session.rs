// SPDX-License-Identifier: Apache-2.0
//! The process tree of one guest: the worker, the mounter when something must be mounted, and the
//! FUSE connection between them. Dropping it ends them all.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use serde_bytes::ByteBuf;

use super::Context;
use super::destination::Destination;
use super::disks::{Disk, Disks};
use super::hives::{self, EditedHive};
use super::opening::{self, OpeningChoice};
use super::opinions::{self, Opinions};
use super::process::Process;
use super::protocol::{Answer, Ask, DiskSpec, FatChange, Mark, Order, Run, Told};
use crate::error::{Error, Result};
use crate::fs::{FileType, GuestPath};
use crate::host::mounter::{MountReply, MountRequest};
use crate::host::{fuse, signal};
use crate::inspect::Facts;
use crate::inspect::facts::MountFacts;
use crate::linux::selinux::contexts::Label;
use crate::plan::{Action, Bus, Plan, Policy};
use crate::verify::Verdict;
use crate::vm::Vm;

/// What a re-read saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) facts: Facts,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) marks: Vec<Mark>,
}

/// The processes that work on one guest.
pub(super) struct Session {
    /// Dropped before the worker, so that its mounts go while somebody still answers for them.
    mounter: Option<Process>,
    worker: Process,
    /// A private directory of this session; the mounter's tmpfs lies over it.
    dir: tempfile::TempDir,
    deltas: Vec<File>,
    /// The machine as an OVA describes it, where nobody else does.
    vm: Option<Vm>,
}

impl Session {
    /// Starts the worker and hands it the disks. Deltas lie in `scratch`.
    pub(super) fn start(disks: &Disks, scratch: &Path, opening: &OpeningChoice) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("session-")
            .tempdir_in(scratch)
            .map_err(|e| Error::io(format!("making a directory in {}", scratch.display()), e))?;
        let mut session = Self {
            worker: Process::spawn(if opening.copies { "copier" } else { "worker" })?,
            mounter: None,
            dir,
            deltas: Vec::new(),
            vm: disks.vm.clone(),
        };
        session.open(disks, scratch)?;
        if !opening.is_default() {
            let order = opening.order()?;
            let answer = session.order(&order);
            opening::forget(order);
            answer?;
        }
        Ok(session)
    }

    fn open(&mut self, disks: &Disks, scratch: &Path) -> Result<()> {
        // One by one: a message carries few descriptors, a guest may have many disks.
        for disk in disks.iter() {
            let spec = DiskSpec {
                name: disk.name.clone(),
                path: disk.path.display().to_string(),
                sector_size: disk.sector_size,
                overlay_limit: disk.overlay_limit,
                format: disk.format,
                part: disk.part,
            };
            let file = disk.for_worker()?;
            let delta = tempfile::tempfile_in(scratch)
                .map_err(|e| Error::io(format!("making a file in {}", scratch.display()), e))?;
            let kept = delta
                .try_clone()
                .map_err(|e| Error::io("duplicating a descriptor", e))?;
            self.deltas.push(kept);
            let fds = [file.as_fd(), delta.as_fd()];
            self.worker.send(&Order::Open(vec![spec]), &fds)?;
            self.opened(disk)?;
        }
        Ok(())
    }

    /// Waits until a disk is open, giving the worker the files that its image names.
    fn opened(&mut self, disk: &Disk) -> Result<()> {
        while let Answer::Ask(ask) = self.worker.recv()? {
            let file = match ask {
                Ask::File { name } => disk.beside(&name),
                _ => Err(Error::internal("the worker may ask for files only")),
            };
            let told = file.as_ref().map(|_| Told::File).map_err(Error::clone);
            let fds: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).collect();
            self.worker.send(&Order::Told(told), &fds)?;
        }
        Ok(())
    }

    /// Has the disks, as the overlays leave them, written into new ones: the bytes written.
    pub(super) fn fill(&mut self, context: &Context<'_>, to: &Destination) -> Result<u64> {
        signal::check()?;
        to.fill(context, &mut self.worker, self.deltas.len())
    }

    /// Unmounts what is only looked at: the kernel knows a btrfs by its UUID, and its copy would be
    /// taken for it.
    pub(super) fn look_no_more(&mut self) {
        self.mounter = None;
    }

    /// How many disks there are.
    pub(super) fn disks(&self) -> usize {
        self.deltas.len()
    }

    /// The delta of a disk, for the commit.
    pub(super) fn delta(&self, disk: usize) -> Result<&File> {
        self.deltas
            .get(disk)
            .ok_or_else(|| Error::internal(format!("there is no disk {disk}")))
    }

    fn order(&mut self, order: &Order) -> Result<Answer> {
        signal::check()?;
        self.worker.send(order, &[])?;
        self.answer()
    }

    /// Waits for the answer, serving what the worker asks for meanwhile.
    fn answer(&mut self) -> Result<Answer> {
        loop {
            match self.worker.recv()? {
                Answer::Ask(ask) => {
                    let told = self.told(ask);
                    self.worker.send(&Order::Told(told), &[])?;
                }
                answer => return Ok(answer),
            }
        }
    }

    fn told(&mut self, ask: Ask) -> Result<Told> {
        match ask {
            Ask::Mount { volume, fstype } => {
                match self.mount(&MountRequest::Look { volume, fstype })? {
                    MountReply::Looked { replayed } => Ok(Told::Mounted { replayed }),
                    _ => Err(unexpected("look")),
                }
            }
            Ask::Read(
                request @ (MountRequest::Subvolumes { .. }
                | MountRequest::Lstat { .. }
                | MountRequest::ReadLink { .. }
                | MountRequest::List { .. }
                | MountRequest::Read { .. }
                | MountRequest::Space { .. }),
            ) => Ok(Told::Read(self.mount(&request)?)),
            // A worker that was taken over must not reach further than its own mounts.
            Ask::Read(_) | Ask::File { .. } | Ask::Heard { .. } => {
                Err(Error::internal("the worker may ask for reads only"))
            }
        }
    }

    /// Lays bytes of a pending journal under what is read.
    pub(super) fn lay(&mut self, disk: usize, offset: u64, content: Vec<u8>) -> Result<()> {
        self.order(&Order::Lay {
            disk,
            offset,
            content,
        })
        .map(drop)
    }

    /// Orders something that reads the guest; where the worker's own readers do not suffice, with
    /// the mounter at hand.
    fn order_reading(&mut self, order: impl Fn(bool) -> Order) -> Result<Answer> {
        match self.order(&order(self.mounter.is_some())) {
            Err(error) if error.code == "needs-mount" => {
                self.export().map_err(|e| e.because(error))?;
                self.order(&order(true))
            }
            answer => answer,
        }
    }

    /// Gathers the facts.
    pub(super) fn inspect(&mut self, root: Option<&str>) -> Result<Facts> {
        match self.order_reading(|mounts| Order::Inspect {
            root: root.map(str::to_owned),
            mounts,
        })? {
            Answer::Facts(facts) => Ok(*facts),
            _ => Err(unexpected("inspect")),
        }
    }

    pub(super) fn plan(&mut self, policy: &Policy, bus: Bus) -> Result<Plan> {
        let mut policy = Box::new(policy.clone());
        if policy.vm.is_none() {
            policy.vm.clone_from(&self.vm);
        }
        match self.order(&Order::Plan { policy, bus })? {
            Answer::Plan(plan) => Ok(*plan),
            _ => Err(unexpected("plan")),
        }
    }

    pub(super) fn verify(&mut self, root: &str, bus: Bus) -> Result<Seen> {
        match self.order_reading(|mounts| Order::Verify {
            root: root.to_owned(),
            bus,
            mounts,
        })? {
            Answer::Verified {
                facts,
                verdicts,
                marks,
            } => Ok(Seen {
                facts: *facts,
                verdicts,
                marks,
            }),
            _ => Err(unexpected("verify")),
        }
    }

    /// What the overlay holds now; an error when any write to it failed.
    pub(super) fn seal(&mut self) -> Result<Vec<Run>> {
        match self.order(&Order::Seal)? {
            Answer::Sealed(runs) => Ok(runs),
            _ => Err(unexpected("seal")),
        }
    }

    /// Builds the archives of a plan, before the guest is mounted: its files still lie as the
    /// reader found them.
    pub(super) fn archives(&mut self, plan: &Plan) -> Result<BTreeMap<GuestPath, Vec<u8>>> {
        let mut built = BTreeMap::new();
        for change in &plan.changes {
            if let Some(Action::AppendInitramfs { path, members }) = &change.action {
                match self.order(&Order::Archive {
                    path: path.clone(),
                    members: members.clone(),
                })? {
                    Answer::Archive(bytes) => built.insert(path.clone(), bytes),
                    _ => return Err(unexpected("archive")),
                };
            }
        }
        Ok(built)
    }

    /// Edits the hives of a plan in the worker's memory, before the guest is mounted, one after the
    /// other: each has tens of MiB.
    pub(super) fn hives(&mut self, plan: &Plan) -> Result<BTreeMap<GuestPath, EditedHive>> {
        let mut edited = BTreeMap::new();
        for (path, (before, scripts)) in hives::scripts(plan) {
            let order = Order::Hive {
                path: path.clone(),
                before,
                scripts,
            };
            match self.order(&order)? {
                Answer::Hive(hive) => edited.insert(path, hive),
                _ => return Err(unexpected("hive")),
            };
        }
        Ok(edited)
    }

    /// How the guest's filesystems spell the paths of a plan.
    pub(super) fn spelling(&mut self, plan: &Plan) -> Result<BTreeMap<GuestPath, GuestPath>> {
        match self.order(&Order::Spell(hives::paths(plan)))? {
            Answer::Spelled(spelled) => Ok(spelled),
            _ => Err(unexpected("spell")),
        }
    }

    /// Starts the mounter and connects it with the worker.
    pub(super) fn export(&mut self) -> Result<()> {
        if self.mounter.is_some() {
            return Ok(());
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(
                Error::host("needs-root", "only root can mount the guest's filesystems")
                    .hint("run as root, or in a privileged container"),
            );
        }
        let fuse::Connection { device, mount, .. } = fuse::open_connection()?;
        self.worker.send(&Order::Serve, &[device.as_fd()])?;
        drop(device);
        self.answer()?;
        let mut mounter = Process::spawn("mounter")?;
        mounter.mount(
            &MountRequest::Begin {
                dir: self.dir.path().to_owned(),
            },
            &[],
            &mut self.worker,
        )?;
        mounter.mount(&MountRequest::Export, &[mount.as_fd()], &mut self.worker)?;
        self.mounter = Some(mounter);
        Ok(())
    }

    pub(super) fn mount(&mut self, request: &MountRequest) -> Result<MountReply> {
        signal::check()?;
        let mounter = self
            .mounter
            .as_mut()
            .ok_or_else(|| Error::internal("nothing is mounted"))?;
        mounter.mount(request, &[], &mut self.worker)
    }

    /// Mounts the guest's whole tree for writing.
    pub(super) fn mount_guest(&mut self, facts: &Facts) -> Result<()> {
        self.export()?;
        self.mount(&MountRequest::Unmount)?;
        for mount in facts.mounts.iter().filter(|mount| !is_fat(facts, mount)) {
            self.mount(&MountRequest::Mount {
                volume: mount.volume.clone(),
                fstype: kind_of(facts, mount).to_owned(),
                at: GuestPath::new(&mount.at),
                from: mount.from(),
                read_only: false,
            })?;
        }
        Ok(())
    }

    /// Asks the node's checkers about every volume that was written and that no reader of ours
    /// reads. Their mounter ends with them: what is read meanwhile and afterwards is mounted afresh,
    /// by another process.
    pub(super) fn second_opinions(&mut self, facts: &Facts) -> Result<Opinions> {
        let Some(mounter) = self.mounter.take() else {
            return Ok(Opinions::none());
        };
        let questions = opinions::questions(facts);
        let asked = !questions.is_empty();
        let opinions = Opinions::ask(mounter, questions);
        if asked {
            self.export()?;
        }
        Ok(opinions)
    }

    /// The SELinux labels that paths get.
    pub(super) fn labels(&mut self, paths: Vec<(GuestPath, FileType)>) -> Result<Vec<Label>> {
        match self.order(&Order::Labels(paths))? {
            Answer::Labels(labels) => Ok(labels),
            _ => Err(unexpected("labels")),
        }
    }

    /// Changes a file of a FAT volume.
    pub(super) fn change_fat(&mut self, volume: String, change: FatChange) -> Result<bool> {
        match self.order(&Order::Fat { volume, change })? {
            Answer::Changed(changed) => Ok(changed),
            _ => Err(unexpected("fat")),
        }
    }

    /// Reads a file of a FAT volume whole.
    pub(super) fn read_fat(&mut self, volume: String, path: GuestPath) -> Result<Vec<u8>> {
        let gone = Error::internal(format!("{path} is no longer there"));
        match self.order(&Order::FatRead { volume, path })? {
            Answer::Content(content) => content.map(ByteBuf::into_vec).ok_or(gone),
            _ => Err(unexpected("fat-read")),
        }
    }

    /// Flushes the mounted guest into the overlay and unmounts it; checked at each step.
    pub(super) fn unmount_guest(&mut self) -> Result<()> {
        self.mount(&MountRequest::Sync)?;
        self.mount(&MountRequest::Unmount).map(drop)
    }

    /// Highest resident memory of worker and mounter so far, and of this process, bytes.
    pub(super) fn peak_rss(&self) -> u64 {
        let children = std::iter::once(&self.worker).chain(&self.mounter);
        let pids = children
            .map(|process| process.child.pid())
            .chain([std::process::id()]);
        pids.map(peak_rss_of_tree).fold(0, u64::saturating_add)
    }
}

/// Highest resident memory of a process, bytes, from `VmHWM` in /proc (proc_pid_status(5)); with the
/// mounter's serving process, which is a child of the one that was started.
fn peak_rss_of_tree(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

pub(super) fn kind_of<'a>(facts: &'a Facts, mount: &MountFacts) -> &'a str {
    facts
        .volume(&mount.volume)
        .map_or("", |volume| volume.content.kind.as_str())
}

/// FAT is read and written by the worker; nothing of it is mounted.
pub(super) fn is_fat(facts: &Facts, mount: &MountFacts) -> bool {
    kind_of(facts, mount) == "vfat"
}

pub(super) fn unexpected(order: &str) -> Error {
    Error::internal(format!("the worker answered {order} with something else"))
}
