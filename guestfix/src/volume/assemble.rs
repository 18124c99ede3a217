// SPDX-License-Identifier: Apache-2.0
//! Volumes made of volumes, again and again until nothing new comes of it: arrays, logical
//! volumes and opened LUKS volumes in any order.

use std::sync::Arc;

use super::Volume;
use zeroize::Zeroizing;

use super::lvm::{Groups, Made};
use crate::disk::{Below, Storage};
use crate::error::{Error, Result};

/// Layers upon layers, most.
const MAX_ROUNDS: usize = 16;
/// Volumes in all, most: LVM itself slows down below this.
const MAX_VOLUMES: usize = 8192;
/// Pieces that one range may be scattered over, most.
const MAX_PIECES: usize = 1 << 16;

/// What the operator allows and knows.
#[derive(Debug, Default)]
pub struct Opening {
    /// Arrays that lack members are assembled all the same.
    pub allow_degraded: bool,
    /// Keys of encrypted volumes.
    pub keys: Vec<Key>,
}

/// A key of encrypted volumes; its memory is overwritten when it goes.
pub struct Key {
    /// The volume's name or LUKS UUID, or `all`.
    pub volume: String,
    /// The passphrase or the key file's bytes.
    pub secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("volume", &self.volume)
            .finish_non_exhaustive()
    }
}

impl Opening {
    /// With those keys.
    pub fn new(keys: Vec<Key>, allow_degraded: bool) -> Self {
        Self {
            allow_degraded,
            keys,
        }
    }
}

/// A volume that could not be assembled or opened.
#[derive(Debug, Clone)]
pub struct Unopened {
    /// The name that it would have.
    pub name: String,
    /// The names that Linux would give it.
    pub devices: Vec<String>,
    /// The volumes that it is made of.
    pub made_of: Vec<String>,
    /// Why not.
    pub error: Error,
}

/// Every volume of a guest.
#[derive(Debug, Default)]
pub struct Assembled {
    /// Partitions and whole disks first, then what is made of them.
    pub volumes: Vec<Volume>,
    /// What could not be assembled.
    pub unopened: Vec<Unopened>,
    /// Damage that could be worked around, one sentence each.
    pub damage: Vec<String>,
}

/// Assembles all that the volumes of the disks hold.
///
/// # Errors
/// `Refused` when disks are copies of one another, `Corrupt` when metadata contradicts itself or
/// leaves the disk, `Host`/`io`.
pub fn assemble(volumes: Vec<Volume>, opening: &Opening) -> Result<Assembled> {
    let mut out = Assembled {
        volumes,
        ..Assembled::default()
    };
    let mut groups = Groups::default();
    for _ in 0..MAX_ROUNDS {
        if out.round(&mut groups, opening, false)? || out.round(&mut groups, opening, true)? {
            continue;
        }
        out.damage.sort();
        out.damage.dedup();
        return Ok(out);
    }
    Err(Error::corrupt(
        "stack-too-deep",
        format!("volumes are nested more than {MAX_ROUNDS} deep"),
    ))
}

impl Assembled {
    /// One layer more; false when there is none.
    fn round(&mut self, groups: &mut Groups, opening: &Opening, partial: bool) -> Result<bool> {
        let made = groups.assemble(&self.volumes, opening, partial)?;
        self.take(made)
    }

    fn take(&mut self, made: Made) -> Result<bool> {
        let any = !made.volumes.is_empty();
        self.volumes.extend(made.volumes);
        self.unopened.extend(made.unopened);
        self.damage.extend(made.damage);
        if self.volumes.len() > MAX_VOLUMES {
            return Err(Error::corrupt(
                "too-many-volumes",
                format!("there are more than {MAX_VOLUMES} volumes"),
            ));
        }
        Ok(any)
    }

    /// True when another volume is made of this one: nobody but that one may use it.
    pub fn is_part(&self, name: &str) -> bool {
        self.volumes
            .iter()
            .any(|volume| volume.stack.made_of.iter().any(|part| part == name))
    }
}

/// Where a range of a volume lies on the disks: index of the disk, offset and length in bytes;
/// sorted, neighbours joined.
pub fn on_disks(
    storage: &Arc<dyn Storage>,
    offset: u64,
    len: u64,
    disks: &[Arc<dyn Storage>],
) -> Vec<(usize, u64, u64)> {
    let mut out = Vec::new();
    let mut left = vec![Below {
        storage: Arc::clone(storage),
        offset,
        len,
    }];
    while let Some(piece) = left.pop() {
        let disk = disks
            .iter()
            .position(|disk| Arc::ptr_eq(disk, &piece.storage));
        match disk {
            Some(disk) => out.push((disk, piece.offset, piece.len)),
            None => left.extend(piece.storage.below(piece.offset, piece.len)),
        }
        if out.len().saturating_add(left.len()) > MAX_PIECES {
            break;
        }
    }
    out.sort_unstable();
    let mut joined: Vec<(usize, u64, u64)> = Vec::new();
    for (disk, offset, len) in out {
        match joined.last_mut() {
            Some(last) if last.0 == disk && last.1.saturating_add(last.2) >= offset => {
                let end = offset
                    .saturating_add(len)
                    .max(last.1.saturating_add(last.2));
                last.2 = end.saturating_sub(last.1);
            }
            _ => joined.push((disk, offset, len)),
        }
    }
    joined
}
