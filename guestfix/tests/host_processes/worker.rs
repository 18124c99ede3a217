// SPDX-License-Identifier: Apache-2.0
//! The worker of these tests: confined, with volumes in memory.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use guestfix::disk::Storage;
use guestfix::error::{Error, Result};
use guestfix::host::confine::{Limits, confine_worker};
use guestfix::host::{Channel, Child, fuse};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::guest::{is_role, is_root, role};

pub(crate) struct Memory(Mutex<Vec<u8>>, Mutex<Fault>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
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
pub(crate) enum ToWorker {
    Serve(Vec<(String, ByteBuf)>),
    Fault(Fault),
    /// What a confined process can still reach.
    Escape,
    /// The images as they are now, and the server's first error.
    Give,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum FromWorker {
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
pub(crate) fn escape() -> Vec<String> {
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

#[test]
fn a_confined_worker_reaches_nothing() {
    if !is_root() {
        return;
    }
    let (worker, channel) = Child::spawn_command("worker", role("worker", "worker")).unwrap();
    channel.send(&ToWorker::Escape, &[]).unwrap();
    match channel.recv().unwrap().unwrap().0 {
        FromWorker::Reached(reached) => assert_eq!(reached, Vec::<String>::new()),
        _ => panic!("no answer"),
    }
    drop(worker);
}
