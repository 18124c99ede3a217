// SPDX-License-Identifier: Apache-2.0
//! From a group's metadata to the bytes of its logical volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::group::{Area, Group, Kind, Logical, Segment};
use super::images::{self, Head};
use super::thin::Pool;
use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::mapped::{Leg, Linear, Mapped, Mirrored, Striped};
use crate::volume::md::geometry::Ten;
use crate::volume::md::parity::{self, Parity};
use crate::volume::{Volume, Window};

/// Logical volumes in logical volumes, deepest: a raid image of a pool's data is three.
const MAX_DEPTH: usize = 8;

/// Storages, and where a segment begins on each.
type Parts = (Vec<Arc<dyn Storage>>, Vec<Leg>);

/// Builds the volumes of one group.
pub(super) struct Builder<'a> {
    pub(super) group: &'a Group,
    /// The volume of each physical volume that is there, by its name in the group.
    pub(super) physical: BTreeMap<&'a str, &'a Volume>,
    /// What was built before.
    pub(super) built: BTreeMap<String, Arc<dyn Storage>>,
    /// The thin pools that were opened.
    pub(super) pools: BTreeMap<String, Arc<Pool>>,
    pub(super) allow_degraded: bool,
}

/// The images' data, what their metadata says, and the order in which they stand.
type Chunked<'a> = (Vec<Arc<dyn Storage>>, &'a [Option<Head>], &'a [usize]);

impl Builder<'_> {
    /// The bytes of a logical volume.
    pub(super) fn logical(&mut self, name: &str, depth: usize) -> Result<Arc<dyn Storage>> {
        if let Some(built) = self.built.get(name) {
            return Ok(Arc::clone(built));
        }
        if depth > MAX_DEPTH {
            return Err(self.bad(
                "lvm-loop",
                format!("{name} is a part of itself, or nested too deep"),
            ));
        }
        let group = self.group;
        let logical = group
            .logical
            .get(name)
            .ok_or_else(|| self.bad("lvm-metadata", format!("there is no volume {name}")))?;
        let storage = self.segments(name, logical, depth)?;
        self.built.insert(name.to_owned(), Arc::clone(&storage));
        Ok(storage)
    }

    fn bad(&self, code: &str, what: impl std::fmt::Display) -> Error {
        Error::corrupt(code, format!("volume group {}: {what}", self.group.name))
    }

    fn segments(
        &mut self,
        name: &str,
        logical: &Logical,
        depth: usize,
    ) -> Result<Arc<dyn Storage>> {
        let mut members: Vec<Arc<dyn Storage>> = Vec::new();
        let mut linear = Linear::default();
        for segment in &logical.segments {
            let len = self.bytes(segment.count)?;
            let part = match &segment.kind {
                // The most frequent kind needs no storage of its own.
                Kind::Striped { areas, .. } if areas.len() == 1 => {
                    let area = areas.first().ok_or_else(|| Error::internal("no area"))?;
                    self.area(area, segment.count, depth)?
                }
                _ => {
                    let storage = self.segment(name, segment, len, depth)?;
                    (storage, 0)
                }
            };
            let leg = Leg {
                member: members.len(),
                offset: part.1,
            };
            members.push(part.0);
            linear.push(leg, len);
        }
        Ok(Arc::new(Mapped {
            name: format!("{}/{name}", self.group.name),
            members,
            geometry: linear,
        }))
    }

    fn bytes(&self, extents: u64) -> Result<u64> {
        extents
            .checked_mul(self.group.extent)
            .ok_or_else(|| self.bad("lvm-metadata", "a volume is too long"))
    }

    fn segment(
        &mut self,
        name: &str,
        segment: &Segment,
        len: u64,
        depth: usize,
    ) -> Result<Arc<dyn Storage>> {
        match &segment.kind {
            Kind::Striped { chunk, areas } => self.striped(name, segment, *chunk, areas, depth),
            Kind::Mirror { areas } => {
                let (members, starts) = self.areas(areas, segment.count, depth)?;
                let geometry = Mirrored { starts, len };
                Ok(self.mapped(name, members, geometry))
            }
            Kind::Raid {
                level,
                chunk,
                images,
            } => self.raid(name, (level, *chunk), images, len, depth),
            Kind::Thin {
                pool,
                device,
                origin: false,
            } => {
                let full = format!("{}/{name}", self.group.name);
                let pool = self.pool(pool, depth)?;
                Ok(Arc::new(pool.device(&full, *device, len)?))
            }
            Kind::Zero
            | Kind::Other(_)
            | Kind::ThinPool { .. }
            | Kind::Snapshot { .. }
            | Kind::Thin { .. } => Err(self.unsupported(name, &segment.kind)),
        }
    }

    fn mapped<G: crate::volume::mapped::Geometry + 'static>(
        &self,
        name: &str,
        members: Vec<Arc<dyn Storage>>,
        geometry: G,
    ) -> Arc<dyn Storage> {
        Arc::new(Mapped {
            name: format!("{}/{name}", self.group.name),
            members,
            geometry,
        })
    }

    fn unsupported(&self, name: &str, kind: &Kind) -> Error {
        let what = match kind {
            Kind::Thin { .. } => "a thin volume over an external origin",
            Kind::ThinPool { .. } => "a thin pool",
            Kind::Snapshot { .. } => "a snapshot",
            Kind::Zero => "a volume of zeros",
            Kind::Other(kind) => kind,
            _ => "a volume of another kind",
        };
        unsupported(&self.group.name, name, what)
    }

    /// Opens a thin pool, once for all its volumes.
    fn pool(&mut self, name: &str, depth: usize) -> Result<Arc<Pool>> {
        if let Some(open) = self.pools.get(name) {
            return Ok(Arc::clone(open));
        }
        let group = self.group;
        let segments = group.logical.get(name).map(|pool| pool.segments.as_slice());
        let Some(
            [
                Segment {
                    kind:
                        Kind::ThinPool {
                            metadata,
                            data,
                            chunk,
                            transaction,
                        },
                    ..
                },
            ],
        ) = segments
        else {
            return Err(self.bad("lvm-metadata", format!("{name} is no thin pool")));
        };
        let deeper = depth.saturating_add(1);
        let parts = (self.logical(metadata, deeper)?, self.logical(data, deeper)?);
        let full = format!("{}/{name}", group.name);
        let pool = Pool::open(&full, parts, (*chunk, *transaction))?;
        self.pools.insert(name.to_owned(), Arc::clone(&pool));
        Ok(pool)
    }

    fn striped(
        &mut self,
        name: &str,
        segment: &Segment,
        chunk: u64,
        areas: &[Area],
        depth: usize,
    ) -> Result<Arc<dyn Storage>> {
        let each = segment.count.checked_div(areas.len() as u64).unwrap_or(0);
        let uneven = each.checked_mul(areas.len() as u64) != Some(segment.count);
        if uneven || chunk == 0 || !self.group.extent.is_multiple_of(chunk) {
            return Err(self.bad(
                "lvm-metadata",
                format!("the stripes of {name} make no sense"),
            ));
        }
        let (members, starts) = self.areas(areas, each, depth)?;
        let len = self.bytes(segment.count)?;
        Ok(self.mapped(name, members, Striped { starts, chunk, len }))
    }

    fn raid(
        &mut self,
        name: &str,
        (level, chunk): (&str, u64),
        images: &[(Option<String>, String)],
        len: u64,
        depth: usize,
    ) -> Result<Arc<dyn Storage>> {
        let deeper = depth.saturating_add(1);
        let mut data = Vec::new();
        let mut heads = Vec::new();
        for (meta, image) in images {
            data.push(self.logical(image, deeper)?);
            if let Some(meta) = meta {
                heads.push(images::read(self.logical(meta, deeper)?.as_ref())?);
            }
        }
        let full = format!("{}/{name}", self.group.name);
        let order = images::usable(&full, data.len(), &heads, self.allow_degraded)?;
        let each = match level {
            "raid1" => len,
            "raid0" => len.checked_div(data.len() as u64).unwrap_or(0),
            _ => return self.chunked(name, (level, chunk), (data, &heads, &order), len),
        };
        if data.iter().any(|image| image.len() < each) || (level == "raid0" && chunk == 0) {
            return Err(self.bad("lvm-metadata", format!("an image of {name} is too short")));
        }
        let starts = order.into_iter().map(|member| Leg { member, offset: 0 });
        let starts: Vec<Leg> = starts.collect();
        Ok(match level {
            "raid1" => self.mapped(name, data, Mirrored { starts, len }),
            _ => self.mapped(name, data, Striped { starts, chunk, len }),
        })
    }

    /// Images with parity, or mirrored chunk by chunk: how, the kernel wrote on them.
    fn chunked(
        &self,
        name: &str,
        (level, chunk): (&str, u64),
        (data, heads, order): Chunked<'_>,
        len: u64,
    ) -> Result<Arc<dyn Storage>> {
        let kind = || unsupported(&self.group.name, name, level);
        let first = order.first().and_then(|index| heads.get(*index));
        let head = first.and_then(Option::as_ref).ok_or_else(kind)?;
        let (number, layout) = head.layout(chunk).ok_or_else(kind)?;
        let used = data.iter().map(|image| image.len()).min().unwrap_or(0);
        let used = used.checked_div(chunk).unwrap_or(0).saturating_mul(chunk);
        let starts = vec![0; data.len()];
        let full = format!("{}/{name}", self.group.name);
        let storage: Arc<dyn Storage> = if number == 10 {
            let usable = (0..data.len())
                .map(|index| order.contains(&index))
                .collect();
            let ten = Ten::new(starts, usable, layout, chunk, used).ok_or_else(kind)?;
            self.mapped(name, data, ten)
        } else {
            if order.len() < data.len() {
                let what = "a volume with parity that lacks an image";
                return Err(unsupported(&self.group.name, name, what));
            }
            if !heads.iter().flatten().all(|head| head.synced) && !self.allow_degraded {
                let what = "its parity was not yet computed, or it was not stopped cleanly";
                return Err(Error::refused("raid-degraded", what)
                    .on(full)
                    .hint("let it recover in the guest; --allow-degraded converts it as it is"));
            }
            let how = parity::layout(number, layout).ok_or_else(kind)?;
            Arc::new(Parity::new(full.clone(), data, starts, (chunk, used), how).ok_or_else(kind)?)
        };
        if storage.len() < len {
            return Err(self.bad("lvm-metadata", format!("an image of {name} is too short")));
        }
        // The last stripe may reach beyond the volume.
        Ok(Arc::new(Window::new(full, storage, 0, len)?))
    }

    fn areas(&mut self, areas: &[Area], count: u64, depth: usize) -> Result<Parts> {
        let mut members = Vec::new();
        let mut starts = Vec::new();
        for area in areas {
            let (storage, offset) = self.area(area, count, depth)?;
            let member = members.len();
            members.push(storage);
            starts.push(Leg { member, offset });
        }
        Ok((members, starts))
    }

    /// A run of extents of a physical or logical volume: its storage and where the run begins.
    fn area(
        &mut self,
        (name, extent): &Area,
        count: u64,
        depth: usize,
    ) -> Result<(Arc<dyn Storage>, u64)> {
        let (storage, start) = match self.group.physical.get(name) {
            None => (self.logical(name, depth.saturating_add(1))?, 0),
            Some(physical) => {
                let volume = self
                    .physical
                    .get(name.as_str())
                    .filter(|_| !physical.missing);
                let volume = volume.ok_or_else(|| missing(self.group, &physical.id))?;
                let end = extent.checked_add(count);
                if end.is_none_or(|end| end > physical.count) {
                    let what =
                        format!("extent {extent} and {count} more leave the physical volume");
                    return Err(self.bad("lvm-beyond-volume", what).on(&volume.name));
                }
                (Arc::clone(&volume.storage), physical.start)
            }
        };
        let offset = start
            .checked_add(self.bytes(*extent)?)
            .ok_or_else(|| self.bad("lvm-metadata", "an extent lies too far out"))?;
        let on = self
            .physical
            .get(name.as_str())
            .map_or(name.as_str(), |v| &v.name);
        // Only the check: the piece itself is reached through the whole.
        Window::new(on, Arc::clone(&storage), offset, self.bytes(count)?)
            .map_err(|e| e.because(format!("volume group {}", self.group.name)))?;
        Ok((storage, offset))
    }
}

pub(super) fn missing(group: &Group, id: &str) -> Error {
    Error::refused(
        "lvm-missing-pv",
        format!(
            "volume group {} lacks the physical volume {}",
            group.name,
            super::dashed(id)
        ),
    )
    .hint("give all disks of the guest; a physical volume that is lost for good must be removed in the guest (vgreduce --removemissing)")
}

pub(super) fn unsupported(group: &str, name: &str, what: &str) -> Error {
    Error::unsupported(
        "lvm-segment-type",
        format!("{group}/{name} is {what}, which guestfix does not assemble"),
    )
    .on(format!("{group}/{name}"))
    .hint("in the guest, lvconvert it to a linear or mirrored volume first (lvconvert --uncache, lvremove of the snapshots)")
}
