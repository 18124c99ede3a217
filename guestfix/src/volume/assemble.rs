// SPDX-License-Identifier: Apache-2.0
//! Volumes made of volumes, again and again until nothing new comes of it: arrays, logical
//! volumes and opened LUKS volumes in any order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Volume;
use zeroize::Zeroizing;

use super::lvm::Groups;
use super::md;
use super::{btrfs, inner, luks};
use crate::disk::{Below, Storage};
use crate::error::{Error, Kind, Result};

/// Layers upon layers, most.
const MAX_ROUNDS: usize = 16;
/// Volumes in all, most: LVM itself slows down below this.
const MAX_VOLUMES: usize = 8192;
/// Pieces that one range may be scattered over, most.
const MAX_PIECES: usize = 1 << 16;

/// Volumes that came to be, those that could not, and damage.
#[derive(Default)]
pub(super) struct Made {
    pub(super) volumes: Vec<Volume>,
    pub(super) unopened: Vec<Unopened>,
    pub(super) damage: Vec<String>,
}

/// A LUKS volume: its UUID and the digest of its key.
pub(super) type LockLabel = (String, Vec<u8>);

/// What the operator allows and knows.
#[derive(Default)]
pub struct Opening {
    /// Arrays that lack members are assembled all the same.
    pub allow_degraded: bool,
    /// The first disk is the one that the guest starts from.
    pub boot_disk_first: bool,
    /// Keys of encrypted volumes.
    pub keys: Vec<Key>,
    /// The keys of volumes that were opened before: deriving one takes seconds.
    known: Mutex<BTreeMap<LockLabel, Zeroizing<Vec<u8>>>>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening")
            .field("allow_degraded", &self.allow_degraded)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
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
            boot_disk_first: false,
            keys,
            known: Mutex::default(),
        }
    }

    /// The keys for a volume of one of those names.
    pub(super) fn keys_of<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a [u8]> {
        let mine = |key: &&Key| {
            names
                .iter()
                .any(|name| key.volume.eq_ignore_ascii_case(name))
        };
        self.keys
            .iter()
            .filter(mine)
            .map(|key| key.secret.as_slice())
    }

    /// The key of a volume that was opened before.
    pub(super) fn opened(&self, label: &LockLabel) -> Option<Zeroizing<Vec<u8>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(label).cloned()
    }

    /// Remembers the key of a volume.
    pub(super) fn remember(&self, label: LockLabel, key: &Zeroizing<Vec<u8>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(label, key.clone());
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
    let mut done = Done::default();
    for _ in 0..MAX_ROUNDS {
        // What lacks parts waits until no other layer can bring them.
        if out.round(&mut done, opening, false)? || out.round(&mut done, opening, true)? {
            continue;
        }
        out.unknown_keys(opening)?;
        btrfs::join(&mut out.volumes)?;
        out.damage.sort();
        out.damage.dedup();
        return Ok(out);
    }
    Err(Error::corrupt(
        "stack-too-deep",
        format!("volumes are nested more than {MAX_ROUNDS} deep"),
    ))
}

/// What was looked at before, by kind.
#[derive(Default)]
struct Done {
    groups: Groups,
    arrays: Vec<String>,
    /// Names of volumes whose partition tables were read.
    inside: Vec<String>,
    /// Name and UUID of LUKS volumes.
    locks: Vec<(String, String)>,
}

impl Assembled {
    /// One layer more; false when there is none.
    fn round(&mut self, done: &mut Done, opening: &Opening, partial: bool) -> Result<bool> {
        let arrays = md::assemble(&self.volumes, &mut done.arrays, opening, partial)?;
        let mut any = self.take(arrays)?;
        let opened = luks::open(&self.volumes, &mut done.locks, opening)?;
        any |= self.take(opened)?;
        let groups = done
            .groups
            .assemble(&self.volumes, opening, partial && !any)?;
        any |= self.take(groups)?;
        let inside = inner::partitions(&self.volumes, &mut done.inside)?;
        any |= self.take(inside)?;
        Ok(any)
    }

    /// A key for nothing is a slip of the pen.
    fn unknown_keys(&self, opening: &Opening) -> Result<()> {
        let named = |key: &Key, name: &str| key.volume.eq_ignore_ascii_case(name);
        let fits = |key: &&Key| {
            let luks = self.volumes.iter().filter(|v| v.content.kind == "luks");
            let opened = self.volumes.iter().map(|v| v.name.as_str());
            let shut = self.unopened.iter().map(|v| v.name.as_str());
            let mut names = opened.chain(shut).filter(|name| name.starts_with("luks-"));
            let mut luks = luks.filter(|v| {
                named(key, &v.name) || v.content.uuid.as_deref().is_some_and(|id| named(key, id))
            });
            named(key, "all") || luks.next().is_some() || names.any(|name| named(key, name))
        };
        match opening.keys.iter().find(|key| !fits(key)) {
            None => Ok(()),
            Some(key) => Err(Error::new(
                Kind::Usage,
                "no-such-volume",
                format!("--key {}: there is no such encrypted volume", key.volume),
            )),
        }
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
