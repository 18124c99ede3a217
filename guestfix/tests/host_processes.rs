// SPDX-License-Identifier: Apache-2.0
//! The three processes together, on an ext4 image in memory: export by FUSE, loop device, mount,
//! change files, run programs, unmount; and what is left when one of them is killed.
//!
//! Needs root, e2fsprogs and a shell; without root the tests pass without testing.
//!
//! The worker and the supervisor that gets killed are this test binary again: the "tests" whose
//! name ends in `_role` are their main functions, and do nothing unless asked by `ROLE`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use guestfix::disk::Storage;
use guestfix::error::{Error, Result};
use guestfix::host::confine::{Limits, confine_worker};
use guestfix::host::fuse;
use guestfix::host::mounter::{MountReply, MountRequest, Outcome, call};
use guestfix::host::sandbox::{End, Exit};
use guestfix::host::{Channel, Child};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

// The worker.

struct Memory(Mutex<Vec<u8>>, Mutex<Fault>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fault {
    #[default]
    None,
    /// Writes fail from now on.
    NoSpace,
}

impl Storage for Memory {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let start = offset as usize;
        buf.copy_from_slice(&self.0.lock().unwrap()[start..start + buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        if *self.1.lock().unwrap() == Fault::NoSpace {
            return Err(Error::host("no-space", "the state directory is full"));
        }
        let start = offset as usize;
        self.0.lock().unwrap()[start..start + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
enum ToWorker {
    Serve(Vec<(String, ByteBuf)>),
    Fault(Fault),
    /// What a confined process can still reach.
    Escape,
    /// The images as they are now, and the server's first error.
    Give,
}

#[derive(Serialize, Deserialize)]
enum FromWorker {
    Ready,
    Reached(Vec<String>),
    Images(Vec<(String, ByteBuf)>, Option<Error>),
}

#[test]
fn worker_role() {
    if !is_role("worker") {
        return;
    }
    let channel = Channel::inherited().unwrap();
    let confinement = confine_worker(&Limits::default()).unwrap();
    assert!(confinement.namespaces);
    let mut volumes: Vec<(String, Arc<Memory>)> = Vec::new();
    let mut server = None;
    while let Some((message, mut fds)) = channel.recv::<ToWorker>().unwrap() {
        let reply = match message {
            ToWorker::Serve(images) => {
                volumes.extend(images.into_iter().map(|(name, image)| {
                    let image = Memory(Mutex::new(image.into_vec()), Mutex::default());
                    (name, Arc::new(image))
                }));
                let storages = volumes
                    .iter()
                    .map(|(name, volume)| (name.clone(), Arc::clone(volume) as Arc<dyn Storage>))
                    .collect();
                server = Some(fuse::serve(fds.remove(0), storages).unwrap());
                FromWorker::Ready
            }
            ToWorker::Fault(fault) => {
                for (_, volume) in &volumes {
                    *volume.1.lock().unwrap() = fault;
                }
                FromWorker::Ready
            }
            ToWorker::Escape => FromWorker::Reached(escape()),
            ToWorker::Give => FromWorker::Images(
                volumes
                    .iter()
                    .map(|(name, v)| (name.clone(), ByteBuf::from(v.0.lock().unwrap().clone())))
                    .collect(),
                server.as_ref().and_then(fuse::Server::first_error),
            ),
        };
        channel.send(&reply, &[]).unwrap();
    }
    std::process::exit(0);
}

/// Tries what a confined worker must not be able to do; what worked.
fn escape() -> Vec<String> {
    let mut reached = Vec::new();
    let mut tried = |what: &str, worked: bool| {
        if worked {
            reached.push(what.to_owned());
        }
    };
    tried("open", fs::File::open("/etc/passwd").is_ok());
    tried("proc", fs::read("/proc/self/status").is_ok());
    tried("list", fs::read_dir("/").is_ok());
    tried("make", fs::File::create("/x").is_ok());
    tried("socket", std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
    tried("unix", std::os::unix::net::UnixDatagram::unbound().is_ok());
    tried("exec", Command::new("/bin/true").status().is_ok());
    tried(
        "root",
        rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).is_ok(),
    );
    tried("mount", rustix::mount::mount_bind("/", "/").is_ok());
    tried(
        "kill",
        rustix::process::getppid()
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()),
    );
    tried(
        "capabilities",
        rustix::thread::capabilities(None).is_ok_and(|sets| !sets.permitted.is_empty()),
    );
    // Threads must work.
    let sum = std::thread::spawn(|| 1 + 1).join().ok();
    tried("no thread", sum != Some(2));
    reached
}

// The supervisor.

fn is_role(role: &str) -> bool {
    std::env::var("ROLE").is_ok_and(|asked| asked == role)
}

fn role(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", &format!("{role}_role"), "--nocapture"])
        .env("ROLE", role);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Mounts and unmounts without end.
    Mounting,
    /// Writes and syncs without end.
    Writing,
    /// A guest program writes without end.
    Running,
    /// Unmounts with much to write back, without end.
    Unmounting,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Started {
    worker: u32,
    mounter: u32,
    connection: u32,
}

/// A supervisor that does one thing until it, or a child, is killed.
#[test]
fn supervisor_role() {
    if !is_role("supervisor") {
        return;
    }
    let channel = Channel::inherited().unwrap();
    let (stage, dir): (Stage, String) = channel.recv().unwrap().unwrap().0;
    let guest = Guest::new(two_volumes(), Path::new(&dir));
    let started = Started {
        worker: guest.worker.pid(),
        mounter: guest.mounter.pid(),
        connection: guest.connection,
    };
    let mut told = false;
    let mut tell = || {
        if !std::mem::replace(&mut told, true) {
            channel.send(&started, &[]).unwrap();
        }
    };
    let died = loop {
        if let Err(error) = guest.go_on(stage, &mut tell) {
            break error;
        }
    };
    drop(guest);
    channel.send(&died, &[]).unwrap();
    std::process::exit(0);
}

struct Guest {
    // Killed in this order.
    mounter: Child,
    worker: Child,
    to_mounter: Channel,
    to_worker: Channel,
    connection: u32,
}

impl Guest {
    fn new(images: Vec<(String, ByteBuf)>, dir: &Path) -> Self {
        let connection = fuse::open_connection().unwrap();
        let (worker, to_worker) = Child::spawn_command("worker", role("worker")).unwrap();
        let mut mounter = Command::new(env!("CARGO_BIN_EXE_guestfix"));
        mounter.arg("__mounter");
        let (mounter, to_mounter) = Child::spawn_command("mounter", mounter).unwrap();
        let guest = Self {
            mounter,
            worker,
            to_mounter,
            to_worker,
            connection: connection.id,
        };
        guest
            .to_worker
            .send(&ToWorker::Serve(images), &[connection.device.as_fd()])
            .unwrap();
        drop(connection.device);
        assert!(matches!(guest.from_worker(), FromWorker::Ready));
        guest.ask(MountRequest::Begin { dir: dir.into() }).unwrap();
        call(
            &guest.to_mounter,
            &MountRequest::Export,
            &[connection.mount.as_fd()],
        )
        .unwrap();
        guest
    }

    fn from_worker(&self) -> FromWorker {
        self.to_worker.recv().unwrap().unwrap().0
    }

    fn tell_worker(&self, message: &ToWorker) -> FromWorker {
        self.to_worker.send(message, &[]).unwrap();
        self.from_worker()
    }

    fn ask(&self, request: MountRequest) -> Result<MountReply> {
        call(&self.to_mounter, &request, &[])
    }

    fn mount(&self, number: u32, at: &str) -> Result<MountReply> {
        self.ask(MountRequest::Mount {
            volume: volume(number),
            fstype: "ext4".into(),
            at: at.into(),
            read_only: false,
        })
    }

    fn write(&self, path: &str, before: Option<&[u8]>, content: &[u8]) -> Result<Outcome> {
        let reply = self.ask(MountRequest::Write {
            path: path.into(),
            before: before.map(hex_digest),
            content: content.to_vec(),
            mode: 0o640,
            uid: 7,
            gid: 8,
        })?;
        match reply {
            MountReply::Outcome(outcome) => Ok(outcome),
            other => panic!("{other:?}"),
        }
    }

    fn run(&self, argv: &[&str], timeout_s: u32) -> Exit {
        let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        match self.ask(MountRequest::Run { argv, timeout_s }).unwrap() {
            MountReply::Ran(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    fn shell(&self, script: &str) -> String {
        let exit = self.run(&["/bin/sh", "-c", script], 20);
        let output = String::from_utf8_lossy(&exit.output).into_owned();
        assert_eq!(exit.end, End::Code(0), "{script}: {output}");
        output
    }

    fn go_on(&self, stage: Stage, tell: &mut impl FnMut()) -> Result<()> {
        if stage == Stage::Mounting {
            tell();
        }
        self.mount(1, "/")?;
        self.mount(2, "/boot")?;
        let mut big = vec![0_u8; 12 << 20];
        match stage {
            Stage::Mounting => {}
            Stage::Writing => loop {
                tell();
                let before = Some(big.clone()).filter(|big| big[0] > 0);
                let next = big[0] % 250 + 1;
                big.fill(next);
                self.write("/big", before.as_deref(), &big)?;
                self.ask(MountRequest::Sync)?;
            },
            Stage::Running => {
                tell();
                let script = "(while :; do head -c 1000000 /dev/zero > /x; done) & sleep 100";
                let argv = ["/bin/sh", "-c", script].map(str::to_owned).into();
                self.ask(MountRequest::Run {
                    argv,
                    timeout_s: 100,
                })?;
            }
            Stage::Unmounting => {
                big.fill(1);
                let old = self.ask(MountRequest::Remove {
                    path: "/big".into(),
                });
                old.and_then(|_| self.write("/big", None, &big))?;
                tell();
            }
        }
        self.ask(MountRequest::Unmount)?;
        Ok(())
    }

    fn images(&self) -> (Vec<(String, ByteBuf)>, Option<Error>) {
        match self.tell_worker(&ToWorker::Give) {
            FromWorker::Images(images, error) => (images, error),
            _ => panic!("no images"),
        }
    }
}

fn hex_digest(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

// Fixtures.

/// A directory with `/bin/sh`, a few tools and their libraries, as a guest has them.
fn guest_tree(dir: &Path) {
    for name in ["bin", "dev", "proc", "sys", "run", "tmp", "etc", "boot"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    for tool in [
        "sh", "true", "cat", "ls", "sleep", "mknod", "mount", "id", "chown", "head",
    ] {
        let path = ["/bin", "/usr/bin"]
            .iter()
            .map(|at| Path::new(at).join(tool))
            .find(|path| path.exists())
            .unwrap();
        copy_with_libraries(&path, &dir.join("bin").join(tool), dir);
    }
    fs::write(dir.join("etc/motd"), "old\n").unwrap();
    std::os::unix::fs::symlink("/etc/motd", dir.join("etc/absolute")).unwrap();
    std::os::unix::fs::symlink("../../../../etc/passwd", dir.join("etc/outside")).unwrap();
}

fn copy_with_libraries(from: &Path, to: &Path, root: &Path) {
    fs::copy(from, to).unwrap();
    let ldd = Command::new("ldd").arg(from).output().unwrap();
    for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
        if word.starts_with('/') {
            let copy = root.join(word.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            if !copy.exists() {
                fs::copy(word, copy).unwrap();
            }
        }
    }
}

fn ext4(megabytes: u32, tree: Option<&Path>) -> ByteBuf {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-t", "ext4"]);
    if let Some(tree) = tree {
        command.arg("-d").arg(tree);
    }
    let made = command.arg(&image).arg(format!("{megabytes}m")).status();
    assert!(made.unwrap().success());
    ByteBuf::from(fs::read(image).unwrap())
}

/// A volume's name that no other process's loop devices show.
fn volume(number: u32) -> String {
    let owner = std::env::var("OWNER").unwrap_or_else(|_| std::process::id().to_string());
    format!("owner{owner}-p{number}")
}

fn two_volumes() -> Vec<(String, ByteBuf)> {
    let tree = tempfile::tempdir().unwrap();
    guest_tree(tree.path());
    vec![
        (volume(1), ext4(64, Some(tree.path()))),
        (volume(2), ext4(16, None)),
    ]
}

/// Checks an image and reads files from it with another reader than the kernel.
fn fsck(image: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, image).unwrap();
    let checked = Command::new("e2fsck")
        .arg("-fn")
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
}

fn content(image: &[u8], path: &str) -> Vec<u8> {
    ext4_view::Ext4::load(Box::new(image.to_vec()))
        .unwrap()
        .read(path)
        .unwrap()
}

// What must not be left over.

/// Loop devices in use whose file is one of ours, and FUSE connections.
fn leftovers(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let marker = dir.to_string_lossy().into_owned();
    let owner = format!("owner{}-", std::process::id());
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let backing =
            fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        // Seen from outside its mount namespace the path begins at the FUSE root.
        if backing.contains(&owner) || backing.contains(&marker) {
            found.insert(format!("{:?}: {backing}", entry.file_name()));
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        if line.contains(&marker) {
            found.insert(line.to_owned());
        }
    }
    found
}

fn connection_lives(id: u32) -> bool {
    // Not every machine has it mounted; the abort file is then looked for by fuse::abort itself.
    Path::new("/sys/fs/fuse/connections")
        .join(id.to_string())
        .exists()
}

fn assert_gone(dir: &Path, connection: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = leftovers(dir);
        let lives = connection_lives(connection);
        if left.is_empty() && !lives {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left over: {left:?}, connection: {lives}"
        );
        sleep(Duration::from_millis(20));
    }
}

// The tests run one after the other: loop devices are the machine's, not a test's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn scratch() -> (tempfile::TempDir, std::sync::MutexGuard<'static, ()>) {
    let lock = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    (tempfile::tempdir().unwrap(), lock)
}

#[test]
fn a_change_made_through_all_three_processes_is_on_the_image() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = Guest::new(two_volumes(), dir.path());
    guest.mount(1, "/").unwrap();
    guest.mount(2, "/boot").unwrap();
    assert_eq!(
        guest.write("/etc/motd", Some(b"old\n"), b"new\n").unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        guest.write("/boot/a/b", None, b"deep").unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        guest.shell("echo hello; cat /etc/motd; id -u"),
        "hello\nnew\n0\n"
    );
    guest.shell("echo by-program > /boot/program");
    guest.ask(MountRequest::Sync).unwrap();
    guest.ask(MountRequest::Unmount).unwrap();
    let (images, error) = guest.images();
    assert_eq!(error, None);
    fsck(&images[0].1);
    fsck(&images[1].1);
    assert_eq!(content(&images[0].1, "/etc/motd"), b"new\n");
    assert_eq!(content(&images[1].1, "/a/b"), b"deep");
    assert_eq!(content(&images[1].1, "/program"), b"by-program\n");
    guest.ask(MountRequest::Quit).unwrap();
    let connection = guest.connection;
    guest.mounter.finish(Duration::from_secs(5)).unwrap();
    drop(guest.worker);
    assert_gone(dir.path(), connection);
}

#[test]
fn a_confined_worker_reaches_nothing() {
    if !is_root() {
        return;
    }
    let (worker, channel) = Child::spawn_command("worker", role("worker")).unwrap();
    channel.send(&ToWorker::Escape, &[]).unwrap();
    match channel.recv().unwrap().unwrap().0 {
        FromWorker::Reached(reached) => assert_eq!(reached, Vec::<String>::new()),
        _ => panic!("no answer"),
    }
    drop(worker);
}

fn alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state
        .rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Supervisor,
    Worker,
    Mounter,
}

fn kill_at(victim: Victim, stage: Stage, after: Duration) {
    let (dir, _lock) = scratch();
    let mut command = role("supervisor");
    command.env("OWNER", std::process::id().to_string());
    let (mut supervisor, channel) = Child::spawn_command("supervisor", command).unwrap();
    channel.send(&(stage, dir.path()), &[]).unwrap();
    let (started, _) = channel.recv::<Started>().unwrap().expect("it started");
    sleep(after);
    match victim {
        Victim::Supervisor => supervisor.kill(),
        Victim::Worker => kill(started.worker),
        Victim::Mounter => kill(started.mounter),
    }
    assert_gone(dir.path(), started.connection);
    let deadline = Instant::now() + Duration::from_secs(5);
    while alive(started.worker) || alive(started.mounter) {
        assert!(
            Instant::now() < deadline,
            "{victim:?} at {stage:?}: a process is left"
        );
        sleep(Duration::from_millis(10));
    }
    if victim != Victim::Supervisor {
        let (error, _) = channel
            .recv::<Error>()
            .unwrap()
            .expect("the supervisor lives");
        assert!(!error.code.is_empty());
    }
}

fn kill_everybody_at(stage: Stage) {
    if !is_root() {
        return;
    }
    for victim in [Victim::Supervisor, Victim::Worker, Victim::Mounter] {
        for after in [0, 7, 40, 150] {
            kill_at(victim, stage, Duration::from_millis(after));
        }
    }
}

#[test]
fn nothing_is_left_of_a_kill_while_mounting() {
    kill_everybody_at(Stage::Mounting);
}

#[test]
fn nothing_is_left_of_a_kill_while_writing() {
    kill_everybody_at(Stage::Writing);
}

#[test]
fn nothing_is_left_of_a_kill_while_a_guest_program_runs() {
    kill_everybody_at(Stage::Running);
}

#[test]
fn nothing_is_left_of_a_kill_while_unmounting() {
    kill_everybody_at(Stage::Unmounting);
}
