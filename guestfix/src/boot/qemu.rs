// SPDX-License-Identifier: Apache-2.0
//! The QEMU process: found, started in a directory of its own, and gone when its guard is.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::accel::Accel;
use super::image::usable;
use super::machine::{Arch, Machine, efi_files};
use super::process::{dying_with_us, keep_in, read_all, spawn_on_own_thread};
use super::session::Event;
use super::wiring::{self, AGENT_SOCKET, EFI_VARS, QMP_SOCKET};
use crate::error::{Error, Result};
use crate::inspect::facts::Firmware;

/// How long QEMU may take until it connects to us.
const START_LIMIT: Duration = Duration::from_secs(20);

/// QEMU itself is confined: it runs a guest that nobody vouches for.
const SANDBOX: [&str; 2] = [
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
];

/// The QEMU program for an architecture.
///
/// # Errors
/// `Host`/`qemu-missing`.
pub(super) fn find(arch: Arch) -> Result<PathBuf> {
    let (name, package) = match arch {
        Arch::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
        Arch::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
    };
    // RHEL keeps its QEMU out of PATH, under one name for every architecture.
    let rhel = Path::new("/usr/libexec/qemu-kvm");
    in_path(name)
        .or_else(|| is_program(rhel).then(|| rhel.to_owned()))
        .ok_or_else(|| {
            Error::host("qemu-missing", format!("{name} is not installed")).hint(format!(
                "install the package {package} (Debian, Ubuntu) or qemu-kvm (Fedora, RHEL)"
            ))
        })
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A running QEMU. Dropping it kills the process and removes its files.
#[derive(Debug)]
pub(super) struct Qemu {
    child: Child,
    /// To the guest's serial port.
    pub(super) serial: ChildStdin,
    stderr: Arc<Mutex<Vec<u8>>>,
    dir: TempDir,
    /// Dropped last: ends the thread that is QEMU's parent.
    _parent: Sender<()>,
}

/// The sockets over which QEMU is spoken to.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) qmp: UnixStream,
    pub(super) agent: UnixStream,
}

impl Qemu {
    /// Starts QEMU; the serial console's bytes go to `events`.
    ///
    /// # Errors
    /// `Host`/`qemu-missing`, `Host`/`qemu-failed`, `Host`/`io`, `Refused`/`in-use` when another
    /// QEMU has a disk open for writing, and what [`wiring::arguments`] refuses.
    pub(super) fn start(
        machine: &Machine,
        accel: Accel,
        events: &Sender<Event>,
    ) -> Result<(Self, Sockets)> {
        match Self::try_start(machine, accel, events, &SANDBOX) {
            // A QEMU that was built without seccomp names the option when it refuses it.
            Err(error) if error.causes.iter().any(|cause| cause.contains("sandbox")) => {
                Self::try_start(machine, accel, events, &[])
            }
            other => other,
        }
    }

    fn try_start(
        machine: &Machine,
        accel: Accel,
        events: &Sender<Event>,
        sandbox: &[&str],
    ) -> Result<(Self, Sockets)> {
        let program = find(machine.arch)?;
        let mut machine = machine.clone();
        for disk in &mut machine.disks {
            disk.path = usable(disk)?;
        }
        let dir = directory(machine.scratch.as_deref())?;
        let efi = match machine.firmware {
            Firmware::Bios => None,
            Firmware::Efi => Some(efi_files(machine.arch)?),
        };
        if let Some(efi) = &efi {
            copy_vars(&efi.vars, &dir.path().join(EFI_VARS))?;
        }
        let qmp = listen(&dir, QMP_SOCKET)?;
        let agent = listen(&dir, AGENT_SOCKET)?;
        let mut args: Vec<OsString> = sandbox.iter().map(OsString::from).collect();
        args.extend(wiring::arguments(&machine, accel, efi.as_ref())?);
        let mut qemu = Self::spawn(&program, args, dir, events)?;
        let deadline = Instant::now() + START_LIMIT;
        let sockets = Sockets {
            qmp: qemu.accept(&qmp, deadline)?,
            agent: qemu.accept(&agent, deadline)?,
        };
        Ok((qemu, sockets))
    }

    fn spawn(
        program: &Path,
        args: Vec<OsString>,
        dir: TempDir,
        events: &Sender<Event>,
    ) -> Result<Self> {
        let mut command = dying_with_us(program);
        command
            .args(args)
            .current_dir(dir.path())
            // QEMU puts its snapshots there.
            .env("TMPDIR", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        tracing::debug!(?command, "starting QEMU");
        let (mut child, parent) = spawn_on_own_thread(command)?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(serial), Some(stdout), Some(errors)) = pipes else {
            return Err(Error::internal("QEMU was started without pipes"));
        };
        read_all(errors, keep_in(Arc::clone(&stderr)));
        let events = events.clone();
        read_all(stdout, move |bytes| {
            let event = match bytes {
                [] => Event::SerialEnd,
                bytes => Event::Serial(bytes.to_vec()),
            };
            let _ = events.send(event);
        });
        Ok(Self {
            child,
            serial,
            stderr,
            dir,
            _parent: parent,
        })
    }

    /// Its working directory.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The last of what QEMU said on stderr.
    pub(super) fn stderr(&self) -> String {
        let bytes = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// What went wrong when QEMU connected and then ended: it opens the disks after the sockets.
    pub(super) fn why_it_ended(&mut self, error: Error) -> Error {
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                std::thread::sleep(Duration::from_millis(50));
                return did_not_start(&self.stderr());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        error
    }

    /// Sends bytes to the guest's serial port.
    pub(super) fn type_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.serial
            .write_all(bytes)
            .and_then(|()| self.serial.flush())
            .map_err(|e| Error::io("cannot write to the guest's console", e))
    }

    fn accept(&mut self, listener: &UnixListener, deadline: Instant) -> Result<UnixStream> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let blocking = stream.set_nonblocking(false);
                    blocking.map_err(|e| Error::io("cannot use QEMU's socket", e))?;
                    return Ok(stream);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(Error::io("cannot listen for QEMU", e)),
            }
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() >= deadline {
                // The thread that reads stderr may not have been scheduled yet.
                std::thread::sleep(Duration::from_millis(50));
                return Err(did_not_start(&self.stderr()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn did_not_start(stderr: &str) -> Error {
    if stderr.contains("Failed to get") && stderr.contains("lock") {
        return Error::refused("in-use", "another program has the disk open for writing")
            .hint("shut the virtual machine down first")
            .because(stderr);
    }
    Error::host("qemu-failed", "QEMU did not start").because(stderr)
}

fn directory(scratch: Option<&Path>) -> Result<TempDir> {
    let parent = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
    tempfile::Builder::new()
        .prefix("guestfix-boot-")
        .tempdir_in(&parent)
        .map_err(|e| {
            Error::io(
                format!("cannot make a directory in {}", parent.display()),
                e,
            )
        })
}

fn listen(dir: &TempDir, name: &str) -> Result<UnixListener> {
    let path = dir.path().join(name);
    UnixListener::bind(&path)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|e| {
            Error::io(format!("cannot make the socket {}", path.display()), e)
                .hint("set TMPDIR to a directory with a shorter path")
        })
}

/// The template may be read-only; the copy must not be.
fn copy_vars(template: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(template);
    bytes
        .and_then(|bytes| std::fs::write(to, bytes))
        .map_err(|e| Error::io(format!("cannot copy {}", template.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_held_by_another_qemu_is_a_refusal() {
        let error = did_not_start("qemu: -drive x: Failed to get shared \"write\" lock");
        assert_eq!((error.code.as_str(), error.exit_code()), ("in-use", 3));
        assert_eq!(did_not_start("anything else").exit_code(), 6);
    }
}
