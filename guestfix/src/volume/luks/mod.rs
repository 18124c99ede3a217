// SPDX-License-Identifier: Apache-2.0
//! LUKS: encrypted volumes, opened in this process by keys that the operator names.

mod cipher;
mod header;
mod kdf;
mod storage;

use std::sync::{Arc, RwLock};

use super::assemble::{Made, Opening, Unopened};
use super::field::read;
use super::{Stack, Volume};
use crate::error::{Error, Kind, Result};
use cipher::SectorCipher;
use header::{Header, Slot, read_header};
use kdf::{Secret, bad};
use storage::Opened;

/// Opens the LUKS volumes among `volumes` that were not looked at before.
///
/// # Errors
/// `Refused`/`luks-duplicate` when two have the same UUID; `Host`. All else that keeps one shut is
/// said of that one.
pub(super) fn open(
    volumes: &[Volume],
    seen: &mut Vec<(String, String)>,
    opening: &Opening,
) -> Result<Made> {
    let mut made = Made::default();
    for volume in volumes.iter().filter(|v| v.content.kind == "luks") {
        if seen.iter().any(|(name, _)| *name == volume.name) {
            continue;
        }
        let uuid = volume
            .content
            .uuid
            .clone()
            .unwrap_or_else(|| volume.name.clone());
        if let Some((other, _)) = seen.iter().find(|(_, have)| *have == uuid) {
            return Err(Error::refused(
                "luks-duplicate",
                format!(
                    "{other} and {} are the same LUKS volume {uuid}: one is a copy of the other",
                    volume.name
                ),
            )
            .on(&volume.name)
            .hint("give every disk of the guest once, and no copies of it"));
        }
        seen.push((volume.name.clone(), uuid.clone()));
        let name = format!("luks-{uuid}");
        match open_one(volume, &name, opening) {
            Ok(opened) => made.volumes.push(opened),
            Err(error) if error.kind == Kind::Host => return Err(error.on(&volume.name)),
            Err(error) => made.unopened.push(Unopened {
                devices: vec![format!("/dev/mapper/{name}")],
                name,
                made_of: vec![volume.name.clone()],
                error: error.on(&volume.name),
            }),
        }
    }
    Ok(made)
}

fn open_one(volume: &Volume, name: &str, opening: &Opening) -> Result<Volume> {
    let header = read_header(volume.storage.as_ref())?;
    let key = unlock(volume, &header, opening)?;
    let whole = volume.len.saturating_sub(header.start);
    let len = header.len.unwrap_or(whole);
    if header.start > volume.len || len > whole {
        return Err(
            Error::corrupt("out-of-range", "the encrypted part leaves its volume").at(header.start),
        );
    }
    let sector = usize::try_from(header.sector).unwrap_or(512);
    let opened = Opened {
        name: name.to_owned(),
        inner: Arc::clone(&volume.storage),
        start: header.start,
        len: len
            .checked_div(header.sector)
            .unwrap_or(0)
            .saturating_mul(header.sector),
        cipher: SectorCipher::new(&header.cipher, &key, sector)?,
        sector: header.sector,
        first: header.first,
        parts: RwLock::new(()),
    };
    let storage: Arc<dyn crate::disk::Storage> = Arc::new(opened);
    let stack = Stack {
        made_by: Some(format!("luks{}", header.version)),
        made_of: vec![volume.name.clone()],
        devices: vec![
            format!("/dev/mapper/{name}"),
            format!("/dev/disk/by-id/dm-name-{name}"),
        ],
    };
    Volume::assembled(name.to_owned(), volume.disk, storage, stack)
}

/// The volume's key, by the keys that were given for it.
fn unlock(volume: &Volume, header: &Header, opening: &Opening) -> Result<Secret> {
    let label = header.slots.first().map(|slot| slot.digest.digest.clone());
    let label = (header.uuid.clone(), label.unwrap_or_default());
    if let Some(key) = opening.opened(&label) {
        return Ok(key);
    }
    let luks = format!("luks-{}", header.uuid);
    let names = ["all", &volume.name, &header.uuid, &luks];
    let keys: Vec<&[u8]> = opening.keys_of(&names).collect();
    if keys.is_empty() {
        return Err(Error::refused(
            "encrypted",
            format!(
                "{} is encrypted (LUKS{}) and no key was given for it",
                volume.name, header.version
            ),
        )
        .hint(format!(
            "put its passphrase into a file and give --key {}=file:PATH",
            volume.name
        )));
    }
    for key in keys {
        for slot in &header.slots {
            if let Some(found) = try_slot(volume, slot, key)? {
                opening.remember(label, &found);
                return Ok(found);
            }
        }
    }
    Err(Error::refused(
        "wrong-key",
        format!("no key that was given opens {}", volume.name),
    )
    .hint("the file's bytes, all of them or all but a line's end, must be the passphrase"))
}

/// The volume's key, where the secret is that slot's; a line's end behind it is tried without.
fn try_slot(volume: &Volume, slot: &Slot, secret: &[u8]) -> Result<Option<Secret>> {
    let bare = secret.strip_suffix(b"\n");
    let bare = bare.map(|bare| bare.strip_suffix(b"\r").unwrap_or(bare));
    for secret in [Some(secret), bare].into_iter().flatten() {
        if let Some(key) = try_secret(volume, slot, secret)? {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn try_secret(volume: &Volume, slot: &Slot, secret: &[u8]) -> Result<Option<Secret>> {
    let material = &slot.material;
    let len = usize::try_from(material.stripes)
        .ok()
        .and_then(|stripes| stripes.checked_mul(material.key))
        .ok_or_else(|| bad("the key material is too long"))?;
    // Encrypted sector by sector; the last one may be filled up.
    let padded = len.next_multiple_of(512);
    let pieces = read(volume.storage.as_ref(), material.offset, padded)?;
    let mut pieces = Secret::new(pieces.ok_or_else(|| bad("a key slot leaves the volume"))?);
    let area_key = slot.kdf.derive(secret, &slot.salt, material.area_key)?;
    SectorCipher::new(&material.cipher, &area_key, 512)?.decrypt(&mut pieces, 0);
    let key = material
        .hash
        .merge(pieces.get(..len).unwrap_or_default(), material.key);
    Ok(slot.digest.fits(&key)?.then_some(key))
}

#[cfg(test)]
mod tests;
