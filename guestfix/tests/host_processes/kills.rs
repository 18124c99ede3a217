// SPDX-License-Identifier: Apache-2.0
//! What is left when one of the processes is killed: nothing, within 5 s.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use guestfix::error::{Error, Result};
use guestfix::host::mounter::MountRequest;
use guestfix::host::{Channel, Child, fuse};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::fixtures::{assert_gone, leftovers, scratch, two_volumes};
use crate::guest::{Guest, is_role, is_root, role, run_request};

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
    let (stage, dir, images): (Stage, String, Vec<(String, ByteBuf)>) =
        channel.recv().unwrap().unwrap().0;
    let guest = Guest::new(images, Path::new(&dir));
    let started = Started {
        worker: guest.worker.lock().unwrap().pid(),
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

impl Guest {
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
                self.ask(run_request(&["/bin/sh", "-c", script], 100))?;
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
    let dir = tempfile::tempdir().unwrap();
    let mut command = role("kills", "supervisor");
    command.env("OWNER", std::process::id().to_string());
    let (mut supervisor, channel) = Child::spawn_command("supervisor", command).unwrap();
    let order = (stage, dir.path(), two_volumes());
    channel.send(&order, &[]).unwrap();
    let (started, _) = channel.recv::<Started>().unwrap().expect("it started");
    if matches!(stage, Stage::Writing | Stage::Running) {
        assert!(!leftovers(dir.path()).is_empty(), "nothing to be left over");
        assert!(fuse::is_alive(started.connection).unwrap());
    }
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
    let _lock = scratch();
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
