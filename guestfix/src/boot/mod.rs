// SPDX-License-Identifier: Apache-2.0
//! The boot proof: a throw-away overlay of the guest's disks, started in QEMU as KubeVirt would.
//!
//! Evidence decides, never a timeout: lines on the serial console (to which the BIOS and its boot
//! loaders are copied), the VGA screen of guests without a serial console, an answer of the
//! guest agent, and resets. The guest has no network.

pub mod accel;
pub mod console;
pub mod evidence;
mod image;
pub mod machine;
mod passphrase;
mod pixels;
mod process;
mod qemu;
mod qmp;
pub mod report;
mod screen;
pub mod session;
mod shell;
mod wiring;

pub use accel::Accel;
pub use evidence::Reason;
pub use machine::{Arch, Controller, Drive, Format, Machine, Network, Nic, NicModel};
pub use passphrase::Passphrase;
pub use report::{BootReport, BootResult, SCHEMA};
pub use session::Session;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::Result;

/// How often the screen is looked at.
const SCREEN_EVERY: Duration = Duration::from_secs(2);

/// How long to watch, and what to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// How long to wait for evidence.
    pub timeout: Duration,
    /// Where to put a picture (PNG) of the screen at the end.
    pub screenshot: Option<PathBuf>,
    /// What is typed, one after the other, when the guest asks for a passphrase.
    pub passphrases: Vec<Passphrase>,
}

/// Starts the machine and waits for evidence. `on_progress` gets what is done and every line of
/// the guest's console.
///
/// # Errors
/// As [`Session::start`] and [`watch`]. A guest that does not boot is not an error.
pub fn run(
    machine: &Machine,
    watch: &Watch,
    on_progress: &mut dyn FnMut(&str),
) -> Result<BootReport> {
    let accel = accel::best(machine.arch);
    let how = match accel {
        Accel::Kvm => "KVM",
        Accel::Tcg => "emulation: KVM does not work here, so this takes longer",
    };
    on_progress(&format!("starting QEMU ({how})"));
    let mut session = Session::start_with(machine, accel)?;
    self::watch(&mut session, watch, on_progress)
}

/// Waits for evidence of a started guest, which keeps running: a caller may log in afterwards.
///
/// # Errors
/// `Host`/`qemu-stopped`; `Host`/`qmp` or `Host`/`io` when the picture cannot be taken.
pub fn watch(
    session: &mut Session,
    watch: &Watch,
    on_progress: &mut dyn FnMut(&str),
) -> Result<BootReport> {
    let deadline = Instant::now() + watch.timeout;
    session.unlock_with(watch.passphrases.clone());
    let mut next_look = Instant::now() + SCREEN_EVERY;
    while session.evidence().conclusion().is_none() && !session.ended() {
        let now = Instant::now();
        if now >= deadline {
            break;
        }
        if now >= next_look {
            // The serial console may still tell when the screen cannot be read.
            if let Err(error) = session.look_at_screen() {
                tracing::debug!(%error, "the screen cannot be read");
            }
            next_look = Instant::now() + SCREEN_EVERY;
            continue;
        }
        session.step(deadline.min(next_look).saturating_duration_since(now))?;
        session
            .take_lines()
            .iter()
            .for_each(|line| on_progress(line));
    }
    let seconds = session.age().as_secs_f64();
    settle(session)?;
    session
        .take_lines()
        .iter()
        .for_each(|line| on_progress(line));
    if let Some(to) = watch.screenshot.as_ref().filter(|_| !session.ended()) {
        session.screenshot(to)?;
    }
    Ok(conclude(session, seconds))
}

/// Takes the lines that are already under way: the tail then shows what followed the evidence,
/// and an ending QEMU has said why.
fn settle(session: &mut Session) -> Result<()> {
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until && !session.ended() {
        session.step(until.saturating_duration_since(Instant::now()))?;
    }
    Ok(())
}

fn conclude(session: &mut Session, seconds: f64) -> BootReport {
    let (result, reason, evidence) = match session.evidence().conclusion() {
        Some(found) => {
            let result = match found.failure {
                None => BootResult::Booted,
                Some(Reason::Locked) => BootResult::Inconclusive,
                Some(_) => BootResult::Failed,
            };
            (result, found.failure, Some(found.line.clone()))
        }
        None if session.ended() => {
            let said = Some(session.complaints()).filter(|said| !said.is_empty());
            (BootResult::Inconclusive, Some(Reason::QemuEnded), said)
        }
        None => {
            let hint = session.evidence().hint().map(|hint| hint.line.clone());
            (BootResult::Inconclusive, Some(Reason::Timeout), hint)
        }
    };
    BootReport {
        schema: SCHEMA.to_owned(),
        result,
        reason,
        evidence,
        seconds,
        console_tail: session.tail(),
        accel: session.accel(),
        machine: session.machine().clone(),
    }
}

#[cfg(test)]
mod tests;
