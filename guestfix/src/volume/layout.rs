// SPDX-License-Identifier: Apache-2.0
//! From a disk to its volumes.

use std::sync::Arc;

use gpt::disk::LogicalBlockSize;

use super::probe::{is_boot_sector, probe};
use super::table::{Part, overlaps};
use super::{Layout, Stack, TableKind, Volume, Window, gpt as guid, mbr, wrapped};
use crate::disk::Storage;
use crate::error::{Error, Result};

/// Reads a disk's partition table and the head of every volume.
///
/// `sector_size` is the disk's logical sector size in bytes, 512 or 4096: what the block device
/// says, 512 for a file. A GPT is found with the other size too. A disk without a table is one
/// volume named like the disk, also when it was never written to.
///
/// # Errors
/// - `Unsupported`/`not-a-disk`: neither a table nor anything known; a file in another image
///   format is named, with the way to convert it.
/// - `Corrupt`/`gpt-damaged`: both partition tables of a GPT disk are bad.
/// - `Corrupt`/`truncated`: a partition ends behind the disk.
/// - `Host`/`io`: reading fails.
pub fn read_layout(disk_index: usize, disk: Arc<dyn Storage>, sector_size: u32) -> Result<Layout> {
    let name = format!("disk{disk_index}");
    Reader {
        name: &name,
        index: disk_index,
        disk,
    }
    .read(sector_size)
    .map_err(|error| match error.disk {
        None => error.on(name.clone()),
        Some(_) => error,
    })
}

/// Reads the partition table inside an assembled volume; `None` where there is none.
///
/// # Errors
/// As [`read_layout`].
pub(super) fn read_inside(
    name: &str,
    index: usize,
    storage: Arc<dyn Storage>,
) -> Result<Option<Layout>> {
    let reader = Reader {
        name,
        index,
        disk: storage,
    };
    match reader.read(512) {
        Ok(layout) if layout.table != TableKind::None && !layout.volumes.is_empty() => {
            Ok(Some(layout))
        }
        Ok(_) => Ok(None),
        Err(error) if error.code == "not-a-disk" => Ok(None),
        Err(error) => Err(match error.disk {
            None => error.on(name),
            Some(_) => error,
        }),
    }
}

struct Reader<'a> {
    name: &'a str,
    index: usize,
    disk: Arc<dyn Storage>,
}

impl Reader<'_> {
    fn read(&self, sector_size: u32) -> Result<Layout> {
        let disk = self.disk.as_ref();
        let filesystem = is_boot_sector(disk)?;
        let mbr = mbr::read(disk, u64::from(sector_size), filesystem)?;
        match mbr {
            Some(mbr) if mbr.protective => match self.gpt(sector_size)? {
                Some(gpt) => self.of_gpt(gpt, mbr.parts.len() > 1),
                None => Err(Error::corrupt(
                    "gpt-damaged",
                    "the protective MBR promises a GUID partition table, and there is none",
                )
                .hint("is the image complete? a table may be rebuilt with gdisk, on a copy")),
            },
            Some(mbr) if !mbr.parts.is_empty() => self.of_mbr(mbr),
            blank => {
                let content = probe(disk)?;
                match (blank, self.gpt(sector_size)?) {
                    (None, Some(mut gpt))
                        if content.kind == "unknown" || content.kind == "zeros" =>
                    {
                        gpt.damage.push(
                            "the protective MBR is missing: Linux and Windows see no partitions"
                                .to_owned(),
                        );
                        self.of_gpt(gpt, false)
                    }
                    (Some(mbr), _) if content.kind == "unknown" => self.of_mbr(mbr),
                    (None, _) if content.kind == "unknown" => Err(wrapped::not_a_disk(disk)?),
                    _ => self.bare(),
                }
            }
        }
    }

    /// Looks for a GPT with the disk's sector size, then with the other.
    fn gpt(&self, sector_size: u32) -> Result<Option<guid::Gpt>> {
        let sizes = match sector_size {
            4096 => [LogicalBlockSize::Lb4096, LogicalBlockSize::Lb512],
            _ => [LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096],
        };
        for size in sizes {
            if let Some(gpt) = guid::read(self.disk.as_ref(), size)? {
                return Ok(Some(gpt));
            }
        }
        Ok(None)
    }

    fn of_gpt(&self, mut gpt: guid::Gpt, hybrid: bool) -> Result<Layout> {
        if hybrid {
            gpt.damage.push(
                "the MBR is a hybrid: it names partitions of its own, and the GPT is what counts"
                    .to_owned(),
            );
        }
        self.layout(TableKind::Gpt, Some(gpt.id), gpt.parts, gpt.damage)
    }

    fn of_mbr(&self, mbr: mbr::Mbr) -> Result<Layout> {
        self.layout(TableKind::Mbr, mbr.id, mbr.parts, mbr.damage)
    }

    fn bare(&self) -> Result<Layout> {
        let volume = Volume {
            name: self.name.to_owned(),
            disk: self.index,
            offset: 0,
            len: self.disk.len(),
            part_uuid: None,
            part_type: None,
            part_label: None,
            bootable: false,
            content: probe(self.disk.as_ref())?,
            stack: Stack::default(),
            storage: Arc::clone(&self.disk),
        };
        Ok(Layout {
            table: TableKind::None,
            id: None,
            volumes: vec![volume],
            damage: Vec::new(),
        })
    }

    fn layout(
        &self,
        table: TableKind,
        id: Option<String>,
        parts: Vec<Part>,
        mut damage: Vec<String>,
    ) -> Result<Layout> {
        self.complete(&parts)?;
        damage.extend(overlaps(&parts));
        let volumes = parts.into_iter().map(|part| self.volume(part));
        Ok(Layout {
            table,
            id,
            volumes: volumes.collect::<Result<_>>()?,
            damage,
        })
    }

    /// Every partition must end on the disk; the farthest one tells how much is missing.
    fn complete(&self, parts: &[Part]) -> Result<()> {
        let have = self.disk.len();
        let Some(last) = parts.iter().max_by_key(|part| part.end()) else {
            return Ok(());
        };
        if last.end() <= have {
            return Ok(());
        }
        Err(Error::corrupt(
            "truncated",
            format!(
                "the disk ends at byte {have}, but partition {} ends at byte {}: {} bytes are missing",
                last.number,
                last.end(),
                last.end().saturating_sub(have)
            ),
        )
        .at(last.start)
        .hint("copy the disk again; for a block device, check that the claim is as large as the disk was"))
    }

    fn volume(&self, part: Part) -> Result<Volume> {
        let name = format!("{}p{}", self.name, part.number);
        let window = Window::new(name.clone(), Arc::clone(&self.disk), part.start, part.len)?;
        Ok(Volume {
            name,
            disk: self.index,
            offset: part.start,
            len: part.len,
            part_uuid: part.uuid,
            part_type: Some(part.kind),
            part_label: part.label,
            bootable: part.bootable,
            content: probe(&window)?,
            stack: Stack::default(),
            storage: Arc::new(window),
        })
    }
}

#[cfg(test)]
mod tests;
