// SPDX-License-Identifier: Apache-2.0
//! Files of FAT volumes, changed by the worker itself: they need no mount, and many nodes' kernels
//! have no driver for them.

use std::io::Read;
use std::sync::Arc;

use super::protocol::FatChange;
use crate::digest::sha256_hex;
use crate::error::{Error, Kind, Result};
use crate::fs::fat::Fat;
use crate::fs::{FileType, GuestFs, GuestPath};
use crate::volume::Volume;

/// A file larger than this is no loader.
const MAX_FILE: u64 = 64 << 20;

/// Makes one change; says whether anything is different now.
pub(super) fn change(volume: &Volume, change: FatChange) -> Result<bool> {
    let fat = Fat::load(Arc::clone(&volume.storage)).map_err(|e| e.on(&volume.name))?;
    let changed = match change {
        FatChange::Write {
            path,
            before,
            content,
        } => write(&fat, &path, before.as_deref(), &content)?,
        FatChange::Append { path, content } => {
            fat.append(&path, &content)?;
            true
        }
        FatChange::Remove { path } => fat.remove(&path)?,
    };
    fat.close()?;
    Ok(changed)
}

fn write(fat: &Fat, path: &GuestPath, before: Option<&str>, content: &[u8]) -> Result<bool> {
    let have = read_from(fat, path)?;
    if have.as_deref() == Some(content) {
        return Ok(false);
    }
    if have.as_deref().map(sha256_hex).as_deref() != before {
        return Err(Error::new(
            Kind::Internal,
            "changed-underneath",
            format!("{path} is not what the plan was made from"),
        ));
    }
    fat.write(path, content)?;
    Ok(true)
}

/// A file's content; `None` when there is none.
pub(super) fn read(volume: &Volume, path: &GuestPath) -> Result<Option<Vec<u8>>> {
    let fat = Fat::load(Arc::clone(&volume.storage)).map_err(|e| e.on(&volume.name))?;
    read_from(&fat, path)
}

fn read_from(fat: &Fat, path: &GuestPath) -> Result<Option<Vec<u8>>> {
    match fat.lstat(path)? {
        Some(meta) if meta.file_type == FileType::File && meta.len <= MAX_FILE => {
            let mut content = Vec::new();
            fat.open(path)?
                .read_to_end(&mut content)
                .map_err(|e| Error::corrupt("fat", format!("reading {path}")).because(e))?;
            Ok(Some(content))
        }
        Some(_) => Err(Error::unsupported(
            "not-a-file",
            format!("{path} is not a file of a boot loader"),
        )),
        None => Ok(None),
    }
}
