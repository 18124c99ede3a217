// SPDX-License-Identifier: Apache-2.0
//! The QEMU process: found, started in a directory of its own, and gone when its guard is.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::accel::Accel;
use super::machine::{Arch, Drive, Format, Machine, efi_files};
use super::session::Event;
use super::wiring::{self, AGENT_SOCKET, EFI_VARS, QMP_SOCKET};
use crate::error::{Error, Result};
use crate::inspect::facts::Firmware;

/// How long QEMU may take until it connects to us.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What of QEMU's stderr is kept, bytes.
const STDERR_KEPT: usize = 8192;

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

/// A command for a program that the kernel kills when its parent thread ends, where util-linux'
/// setpriv is there to arrange it.
fn dying_with_us(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let works = SETPRIV.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe.args(["--pdeathsig", "KILL", "--no-new-privs", "true"]);
        let quiet = probe.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    });
    if !works {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--no-new-privs", "--"])
        .arg(program);
    command
}

/// Starts a child from a thread that lives until the sender is dropped: the parent-death signal
/// is bound to the thread, and ours may end before the child is to.
fn spawn_on_own_thread(mut command: Command) -> Result<(Child, Sender<()>)> {
    let (hold, held) = mpsc::channel::<()>();
    let (give, given) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = give.send(command.spawn());
        let _ = held.recv();
    });
    match given.recv() {
        Ok(Ok(child)) => Ok((child, hold)),
        Ok(Err(e)) => Err(Error::io("cannot start QEMU", e)),
        Err(_) => Err(Error::internal("the thread that starts QEMU ended")),
    }
}

/// Reads to the end on a thread of its own; an empty slice stands for the end.
fn read_all(mut from: impl Read + Send + 'static, mut take: impl FnMut(&[u8]) + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 4096];
        loop {
            let n = from.read(&mut buffer).unwrap_or(0);
            let bytes = buffer.get(..n).unwrap_or_default();
            take(bytes);
            if bytes.is_empty() {
                return;
            }
        }
    });
}

fn keep_in(kept: Arc<Mutex<Vec<u8>>>) -> impl FnMut(&[u8]) + Send {
    move |bytes| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    }
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

/// The disk's absolute path, after looking whether QEMU may open it.
fn usable(disk: &Drive) -> Result<PathBuf> {
    let name = disk.path.display().to_string();
    let path = disk
        .path
        .canonicalize()
        .map_err(|e| Error::io("cannot open the disk", e).on(&name))?;
    if disk.format == Format::Qcow2 {
        let mut head = [0_u8; 80];
        std::fs::File::open(&path)
            .and_then(|mut file| file.read_exact(&mut head))
            .map_err(|e| Error::io("cannot read the image's header", e).on(&name))?;
        check_qcow2(&head).map_err(|e| e.on(&name))?;
    }
    Ok(path)
}

/// Refuses a qcow2 image that refers to other files: whoever made the image would choose which
/// file of this host the guest reads. Fields as in QEMU's docs/interop/qcow2.txt.
fn check_qcow2(head: &[u8; 80]) -> Result<()> {
    let be = |at: usize| {
        let bytes = head.get(at..at.saturating_add(8)).unwrap_or_default();
        bytes
            .iter()
            .fold(0_u64, |n, &byte| n << 8 | u64::from(byte))
    };
    if be(0) >> 32 != 0x5146_49fb {
        return Err(Error::corrupt("qcow2-magic", "the image is not qcow2").at(0));
    }
    let version = be(0) & 0xffff_ffff;
    let external_data = version >= 3 && be(72) & 4 != 0;
    if be(8) != 0 || external_data {
        return Err(Error::refused(
            "qcow2-refers-to-files",
            "the qcow2 image has a backing file or an external data file",
        )
        .hint("flatten it first: qemu-img convert -O qcow2 OLD NEW"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, backing: u8, features: u8) -> [u8; 80] {
        let mut head = [0; 80];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[7] = version;
        head[15] = backing;
        head[79] = features;
        head
    }

    #[test]
    fn an_image_that_names_other_files_is_refused() {
        assert!(check_qcow2(&header(3, 0, 0)).is_ok());
        assert!(
            check_qcow2(&header(2, 0, 4)).is_ok(),
            "version 2 has no features"
        );
        let code = |head| check_qcow2(&head).unwrap_err().code;
        assert_eq!(code(header(3, 1, 0)), "qcow2-refers-to-files");
        assert_eq!(code(header(3, 0, 4)), "qcow2-refers-to-files");
        assert_eq!(code([0; 80]), "qcow2-magic");
    }

    #[test]
    fn a_lock_held_by_another_qemu_is_a_refusal() {
        let error = did_not_start("qemu: -drive x: Failed to get shared \"write\" lock");
        assert_eq!((error.code.as_str(), error.exit_code()), ("in-use", 3));
        assert_eq!(did_not_start("anything else").exit_code(), 6);
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_but_not_its_guard() {
        let asked = std::thread::spawn(|| {
            let mut command = dying_with_us(Path::new("sleep"));
            command.arg("60");
            spawn_on_own_thread(command).unwrap()
        });
        let (mut child, parent) = asked.join().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(
            child.try_wait().unwrap().is_none(),
            "it died with the asking thread"
        );
        drop(parent);
        if in_path("setpriv").is_none() {
            child.kill().unwrap();
        }
        let started = Instant::now();
        assert!(!child.wait().unwrap().success());
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
