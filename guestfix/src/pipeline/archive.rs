// SPDX-License-Identifier: Apache-2.0
//! OVAs as the supervisor sees them: a worker of their own reads the list, and sums what the
//! manifest names.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::Context;
use super::process::Process;
use super::progress::Stage;
use super::protocol::{Answer, Ask, Order, Summed, Told};
use super::session::unexpected;
use crate::disk::raw::open_disk;
use crate::disk::{Raw, SECTOR, Storage, read_padded};
use crate::error::{Error, Result};
use crate::vm::ova::{self, Digest, Ova};

/// True for a file that begins as an OVA does.
pub(super) fn is_ova(path: &Path) -> bool {
    let head = || -> Result<bool> {
        let raw = Raw::container_from_file(open_disk(path, false)?, "", false)?;
        let mut head = [0; SECTOR];
        read_padded(&raw, &mut head, 0)?;
        Ok(!raw.is_device() && raw.len() > SECTOR as u64 && ova::is_ova(&head))
    };
    head().unwrap_or(false)
}

/// The list of an OVA; `None` for anything else.
pub(super) fn look(path: &Path) -> Result<Option<Ova>> {
    if !is_ova(path) {
        return Ok(None);
    }
    let shown = path.display().to_string();
    let file = open_disk(path, false)?;
    let mut worker = Process::spawn("worker")?;
    worker.send(&Order::Ova(shown.clone()), &[file.as_fd()])?;
    match worker.recv()? {
        Answer::Ova(ova) => Ok(Some(*ova)),
        _ => Err(unexpected("ova")),
    }
    .map_err(|e: Error| e.on(shown))
}

/// Sums everything that manifests name.
///
/// # Errors
/// `Corrupt`/`ova-manifest` for a file whose sum is another one.
pub(super) fn check(context: &Context<'_>, digests: &[(PathBuf, Digest)]) -> Result<()> {
    if digests.is_empty() {
        return Ok(());
    }
    let mut worker = Process::spawn("copier")?;
    for (path, digest) in digests {
        let shown = path.display().to_string();
        let have = sum(context, &mut worker, path, digest).map_err(|e| e.on(&shown))?;
        if have != digest.sum {
            let what = format!(
                "{} is not what the manifest says: its {:?} is {have} and not {}",
                digest.part.name, digest.algorithm, digest.sum
            );
            return Err(Error::corrupt("ova-manifest", what)
                .on(shown)
                .at(digest.part.start)
                .hint("copy or download the OVA again"));
        }
    }
    Ok(())
}

fn sum(
    context: &Context<'_>,
    worker: &mut Process,
    path: &Path,
    digest: &Digest,
) -> Result<String> {
    let file: File = open_disk(path, false)?;
    let order = Order::Sum(Summed {
        part: digest.part.clone(),
        algorithm: digest.algorithm,
    });
    worker.send(&order, &[file.as_fd()])?;
    let what = format!("checking {} against the manifest", digest.part.name);
    match hearing(worker, |done, total| {
        context.progress.step(Stage::Check, &what, done, total);
    })? {
        Answer::Sum(sum) => Ok(sum),
        _ => Err(unexpected("sum")),
    }
}

/// Waits for an answer and hears how far it is.
pub(super) fn hearing(worker: &mut Process, mut hear: impl FnMut(u64, u64)) -> Result<Answer> {
    loop {
        match worker.recv()? {
            Answer::Ask(Ask::Heard { done, total }) => {
                hear(done, total);
                let told: Result<Told> = Ok(Told::Heard);
                worker.send(&Order::Told(told), &[])?;
            }
            answer => return Ok(answer),
        }
    }
}
