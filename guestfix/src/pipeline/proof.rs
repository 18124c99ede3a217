// SPDX-License-Identifier: Apache-2.0
//! Boot: the proof on top of the street. The guest's facts say how to wire the machine.

use std::path::PathBuf;
use std::time::Duration;

use super::disks::Disks;
use super::progress::Stage;
use super::{Context, inspect};
use crate::boot::{self, Arch, BootReport, Drive, Format, Machine, Nic, NicModel, Watch};
use crate::disk;
use crate::error::{Error, Result};
use crate::inspect::Facts;
use crate::plan::Bus;

/// What to boot in, and how long to watch.
#[derive(Debug)]
pub struct BootOptions {
    /// The bus of the disks.
    pub bus: Bus,
    /// How long to wait for evidence.
    pub timeout: Duration,
    /// Where to put a picture of the screen.
    pub screenshot: Option<PathBuf>,
}

/// Boots the guest on a throw-away overlay. Writes nothing to its disks.
///
/// # Errors
/// As [`inspect`]; `Refused`/`pending-journal`; `Host` when QEMU is missing or fails.
pub fn boot(context: &Context<'_>, paths: &[PathBuf], options: &BootOptions) -> Result<BootReport> {
    refuse_pending(context, paths)?;
    let facts = inspect(context, paths, None)?;
    let machine = machine(context, &facts, paths, options.bus)?;
    let watch = Watch {
        timeout: options.timeout,
        screenshot: options.screenshot.clone(),
        passphrases: context.opening.passphrases()?,
    };
    boot::run(&machine, &watch, &mut |line| {
        context.progress.step(Stage::Boot, line, 0, 0);
    })
}

/// QEMU reads the disks by itself, so it cannot read through a journal.
fn refuse_pending(context: &Context<'_>, paths: &[PathBuf]) -> Result<()> {
    if Disks::open_read(paths, context.opening)?.pending(context.state_dir)? {
        return Err(Error::refused(
            "pending-journal",
            "an interrupted commit of this guest waits",
        )
        .hint("run guestfix recover with the same disks first"));
    }
    Ok(())
}

/// The machine that KubeVirt would make of the recommended target: one NIC for each that the guest
/// configures, with its hardware address where that is known.
fn machine(context: &Context<'_>, facts: &Facts, paths: &[PathBuf], bus: Bus) -> Result<Machine> {
    let disks = Disks::open_read(paths, context.opening)?;
    let drives = paths.iter().zip(disks.iter()).map(|(path, disk)| {
        let format = match disk.format {
            disk::Format::Qcow2 => Format::Qcow2,
            disk::Format::Raw => Format::Raw,
            disk::Format::Vmdk => {
                let what = "a VMDK is not booted as it is";
                return Err(Error::refused("read-only-format", what)
                    .on(path.display().to_string())
                    .hint(
                        "convert it (guestfix convert --to qcow2 NEW.qcow2 DISK...) and boot that",
                    ));
            }
        };
        let path = path.clone();
        Ok(Drive { path, format })
    });
    let mut drives: Vec<Drive> = drives.collect::<Result<_>>()?;
    if let Some(boot) = facts.disks.iter().position(|disk| disk.boot) {
        drives.get_mut(..=boot).unwrap_or_default().rotate_right(1);
    }
    let mut machine = Machine::new(facts.firmware, bus, drives);
    machine.arch = Arch::of_guest(&facts.guest.arch)?;
    if !facts.network.is_empty() {
        machine.nics = facts
            .network
            .iter()
            .map(|nic| Nic {
                model: NicModel::Virtio,
                mac: nic.mac.clone(),
            })
            .collect();
    }
    Ok(machine)
}
