// SPDX-License-Identifier: Apache-2.0
//! A guest under work, as the supervisor has it: a worker, a mounter and their channels.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use guestfix::error::{Error, Result};
use guestfix::host::fanotify::Touched;
use guestfix::host::mounter::{MountReply, MountRequest, Outcome, call};
use guestfix::host::sandbox::{End, Exit};
use guestfix::host::{Channel, Child, fuse};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use crate::fixtures::{fsck, volume};
use crate::worker::{Fault, FromWorker, ToWorker};

pub(crate) fn is_role(role: &str) -> bool {
    std::env::var("ROLE").is_ok_and(|asked| asked == role)
}

/// This test binary again, running nothing but the main function of a role.
pub(crate) fn role(module: &str, role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", &format!("{module}::{role}_role"), "--nocapture"])
        .env("ROLE", role);
    command
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) struct Guest {
    // Killed in this order.
    pub(crate) mounter: Child,
    // Looked at by every call.
    pub(crate) worker: Mutex<Child>,
    to_mounter: Channel,
    to_worker: Channel,
    pub(crate) connection: u32,
}

impl Guest {
    pub(crate) fn new(images: Vec<(String, ByteBuf)>, dir: &Path) -> Self {
        let connection = fuse::open_connection().unwrap();
        let (worker, to_worker) = Child::spawn_command("worker", role("worker", "worker")).unwrap();
        let mut mounter = Command::new(env!("CARGO_BIN_EXE_guestfix"));
        mounter.arg("__mounter");
        let (mounter, to_mounter) = Child::spawn_command("mounter", mounter).unwrap();
        let guest = Self {
            mounter,
            worker: Mutex::new(worker),
            to_mounter,
            to_worker,
            connection: connection.id,
        };
        guest
            .to_worker
            .send(&ToWorker::Serve(images), &[connection.device.as_fd()])
            .unwrap();
        drop(connection.device);
        assert!(matches!(guest.hear_worker(), FromWorker::Ready));
        guest.ask(MountRequest::Begin { dir: dir.into() }).unwrap();
        call(
            &guest.to_mounter,
            &MountRequest::Export,
            &[connection.mount.as_fd()],
            || Ok(()),
        )
        .unwrap();
        guest
    }

    pub(crate) fn hear_worker(&self) -> FromWorker {
        self.to_worker.recv().unwrap().unwrap().0
    }

    pub(crate) fn tell_worker(&self, message: &ToWorker) -> FromWorker {
        self.to_worker.send(message, &[]).unwrap();
        self.hear_worker()
    }

    pub(crate) fn ask(&self, request: MountRequest) -> Result<MountReply> {
        call(&self.to_mounter, &request, &[], || {
            self.worker.lock().unwrap().check()
        })
    }

    pub(crate) fn mount(&self, number: u32, at: &str) -> Result<MountReply> {
        self.mount_as(number, at, "ext4")
    }

    pub(crate) fn mount_as(&self, number: u32, at: &str, fstype: &str) -> Result<MountReply> {
        self.ask(MountRequest::Mount {
            volume: volume(number),
            fstype: fstype.into(),
            at: at.into(),
            from: "/".into(),
            read_only: false,
        })
    }

    pub(crate) fn write(
        &self,
        path: &str,
        before: Option<&[u8]>,
        content: &[u8],
    ) -> Result<Outcome> {
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

    pub(crate) fn run(&self, argv: &[&str], timeout_s: u32) -> Exit {
        self.run_watched(argv, timeout_s).0
    }

    pub(crate) fn run_watched(&self, argv: &[&str], timeout_s: u32) -> (Exit, Touched) {
        let request = run_request(argv, timeout_s);
        match self.ask(request).unwrap() {
            MountReply::Ran { exit, touched } => (exit, touched),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn shell(&self, script: &str) -> String {
        let exit = self.run(&["/bin/sh", "-c", script], 20);
        let output = String::from_utf8_lossy(&exit.output).into_owned();
        assert_eq!(exit.end, End::Code(0), "{script}: {output}");
        output
    }

    pub(crate) fn fault(&self, fault: Fault) {
        assert!(matches!(
            self.tell_worker(&ToWorker::Fault(fault)),
            FromWorker::Ready
        ));
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = path.into();
        let (offset, len) = (0, 1 << 20);
        match self.ask(MountRequest::Read { path, offset, len })? {
            MountReply::Bytes(content) => Ok(content.into_vec()),
            other => panic!("{other:?}"),
        }
    }

    /// Unmounts; the images, healthy by another program's word.
    pub(crate) fn finish(&self) -> Vec<Vec<u8>> {
        self.ask(MountRequest::Unmount).unwrap();
        let (images, error) = self.images();
        assert_eq!(error, None);
        let images: Vec<Vec<u8>> = images.into_iter().map(|(_, i)| i.into_vec()).collect();
        images.iter().for_each(|image| fsck(image));
        images
    }

    pub(crate) fn images(&self) -> (Vec<(String, ByteBuf)>, Option<Error>) {
        match self.tell_worker(&ToWorker::Give) {
            FromWorker::Images(images, error) => (images, error),
            _ => panic!("no images"),
        }
    }
}

pub(crate) fn run_request(argv: &[&str], timeout_s: u32) -> MountRequest {
    MountRequest::Run {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        timeout_s,
        scratch: Vec::new(),
        product: None,
    }
}

pub(crate) fn hex_digest(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
