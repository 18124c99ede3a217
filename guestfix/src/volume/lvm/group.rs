// SPDX-License-Identifier: Apache-2.0
//! A volume group as its newest metadata describes it (field names: lvm2 source,
//! lib/format_text/export.c and the segment types' `text_export`).

use std::collections::BTreeMap;

use super::text::{Section, Value, parse};
use crate::error::{Error, Result};

/// Bytes of the unit in which LVM counts.
const SECTOR: u64 = 512;

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    /// 32 characters without dashes.
    pub(super) id: String,
    pub(super) seqno: u64,
    /// Bytes of an extent.
    pub(super) extent: u64,
    /// By the name that segments use.
    pub(super) physical: BTreeMap<String, Physical>,
    pub(super) logical: BTreeMap<String, Logical>,
}

/// A physical volume as the group knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Physical {
    pub(super) id: String,
    /// First extent, bytes from the volume's start.
    pub(super) start: u64,
    /// Extents.
    pub(super) count: u64,
    /// The group has given it up; what it holds may be old.
    pub(super) missing: bool,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logical {
    pub(super) id: String,
    /// It is one that users see.
    pub(super) visible: bool,
    pub(super) segments: Vec<Segment>,
}

/// A run of extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Extents.
    pub(super) count: u64,
    pub(super) kind: Kind,
}

/// A part of a segment: a physical or logical volume, and the extent in it.
pub(super) type Area = (String, u64);

/// How a segment lies on its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Chunks of so many bytes round the areas; one area: linear.
    Striped { chunk: u64, areas: Vec<Area> },
    /// The old mirror: each logical volume holds everything.
    Mirror { areas: Vec<Area> },
    /// Images, each with its metadata.
    Raid {
        level: String,
        chunk: u64,
        images: Vec<(Option<String>, String)>,
    },
    /// A volume of a thin pool.
    Thin {
        pool: String,
        device: u64,
        origin: bool,
    },
    /// A pool: its metadata and its data, and bytes of a block.
    ThinPool {
        metadata: String,
        data: String,
        chunk: u64,
        /// Counts changes of the pool's volumes.
        transaction: u64,
    },
    /// A copy-on-write snapshot: the volume that it is of, and where it keeps what changed.
    Snapshot { origin: String, store: String },
    /// Reads as zeros.
    Zero,
    /// Anything else, by its name.
    Other(String),
}

/// Reads a metadata text.
///
/// # Errors
/// `Corrupt`/`lvm-metadata`.
pub(super) fn read_group(text: &[u8]) -> Result<Group> {
    let all = parse(text)?;
    let [(name, group)] = all.sections.as_slice() else {
        return Err(bad("it does not describe one volume group"));
    };
    check_name(name)?;
    let extent = group.number("extent_size")?.saturating_mul(SECTOR);
    if extent == 0 || extent > 1 << 40 {
        return Err(bad("the size of an extent makes no sense"));
    }
    let mut out = Group {
        name: name.clone(),
        id: id_of(group)?,
        seqno: group.number("seqno")?,
        extent,
        physical: BTreeMap::new(),
        logical: BTreeMap::new(),
    };
    let none = Section::default();
    let physical = group.section("physical_volumes").unwrap_or(&none);
    for (name, section) in &physical.sections {
        let one = Physical {
            id: id_of(section)?,
            start: section.number("pe_start")?.saturating_mul(SECTOR),
            count: section.number("pe_count")?,
            missing: section.has("flags", "MISSING") || section.has("status", "MISSING"),
        };
        out.physical.insert(name.clone(), one);
    }
    let logical = group.section("logical_volumes").unwrap_or(&none);
    for (name, section) in &logical.sections {
        check_name(name)?;
        let one = read_logical(section).map_err(|e| e.because(format!("in volume {name}")))?;
        out.logical.insert(name.clone(), one);
    }
    Ok(out)
}

fn bad(what: &str) -> Error {
    Error::corrupt("lvm-metadata", format!("LVM's metadata: {what}"))
}

/// Names become parts of device names (lvm(8), "Valid names").
fn check_name(name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte);
    let dots = name.bytes().all(|byte| byte == b'.');
    if name.len() > 127 || dots || name.starts_with('-') || !name.bytes().all(fine) {
        return Err(bad("a name is not one that LVM allows"));
    }
    Ok(())
}

fn id_of(section: &Section) -> Result<String> {
    let id: String = section.text("id")?.chars().filter(|c| *c != '-').collect();
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(bad("an id is not one of LVM's"));
    }
    Ok(id)
}

fn read_logical(section: &Section) -> Result<Logical> {
    let mut segments = Vec::new();
    let mut end = 0_u64;
    for (_, segment) in &section.sections {
        if segment.value("start_extent").is_none() {
            continue;
        }
        let count = segment.number("extent_count")?;
        if segment.number("start_extent")? != end || count == 0 {
            return Err(bad("segments do not follow one another"));
        }
        end = end
            .checked_add(count)
            .ok_or_else(|| bad("a volume is too long"))?;
        segments.push(Segment {
            count,
            kind: read_kind(segment)?,
        });
    }
    Ok(Logical {
        id: id_of(section)?,
        visible: section.has("status", "VISIBLE"),
        segments,
    })
}

fn read_kind(segment: &Section) -> Result<Kind> {
    let kind = segment.text("type")?;
    // Words behind a plus are flags of the segment type.
    let kind = kind.split('+').next().unwrap_or_default();
    let owned = |name: &str| segment.text(name).map(str::to_owned);
    let bytes = |name: &str| Ok::<_, Error>(segment.number(name)?.saturating_mul(SECTOR));
    Ok(match kind {
        "striped" | "linear" => {
            let areas = areas(segment.list("stripes"))?;
            let chunk = match areas.len() {
                1 => 0,
                _ => bytes("stripe_size")?,
            };
            Kind::Striped { chunk, areas }
        }
        "mirror" => Kind::Mirror {
            areas: areas(segment.list("mirrors"))?,
        },
        "raid0" | "raid0_meta" => Kind::Raid {
            level: "raid0".to_owned(),
            chunk: bytes("stripe_size")?,
            images: raid0_images(kind, segment)?,
        },
        level if level.starts_with("raid") => Kind::Raid {
            level: level.to_owned(),
            chunk: match segment.value("stripe_size") {
                Some(_) => bytes("stripe_size")?,
                None => 0,
            },
            images: pairs(segment.list("raids"))?,
        },
        "thin" => Kind::Thin {
            pool: owned("thin_pool")?,
            device: segment.number("device_id")?,
            origin: segment.value("external_origin").is_some(),
        },
        "thin-pool" => Kind::ThinPool {
            metadata: owned("metadata")?,
            data: owned("pool")?,
            chunk: bytes("chunk_size")?,
            transaction: segment.number("transaction_id")?,
        },
        "snapshot" => Kind::Snapshot {
            origin: owned("origin")?,
            store: owned("cow_store").or_else(|_| owned("merging_store"))?,
        },
        "zero" => Kind::Zero,
        other => Kind::Other(other.to_owned()),
    })
}

fn name_of(value: &Value) -> Result<String> {
    match value {
        Value::Text(name) => Ok(name.clone()),
        _ => Err(bad("a name is expected in a list of parts")),
    }
}

fn areas(list: &[Value]) -> Result<Vec<Area>> {
    let pair = |pair: &[Value]| match pair {
        [name, Value::Number(extent)] => Ok((name_of(name)?, *extent)),
        _ => Err(bad("a list of parts is not one of names and extents")),
    };
    let out: Vec<Area> = list.chunks(2).map(pair).collect::<Result<_>>()?;
    if out.is_empty() {
        return Err(bad("a segment has no parts"));
    }
    Ok(out)
}

fn pairs(list: &[Value]) -> Result<Vec<(Option<String>, String)>> {
    let pair = |pair: &[Value]| match pair {
        [meta, data] => Ok((Some(name_of(meta)?), name_of(data)?)),
        _ => Err(bad("a list of images is not one of pairs")),
    };
    let out: Vec<_> = list.chunks(2).map(pair).collect::<Result<_>>()?;
    if out.is_empty() {
        return Err(bad("a segment has no images"));
    }
    Ok(out)
}

fn raid0_images(kind: &str, segment: &Section) -> Result<Vec<(Option<String>, String)>> {
    let list = segment.list("raid0_lvs");
    if kind == "raid0_meta" {
        return pairs(list);
    }
    let images: Vec<_> = list
        .iter()
        .map(|value| Ok((None, name_of(value)?)))
        .collect::<Result<_>>()?;
    if images.is_empty() {
        return Err(bad("a segment has no images"));
    }
    Ok(images)
}
