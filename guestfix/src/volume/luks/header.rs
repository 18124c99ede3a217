// SPDX-License-Identifier: Apache-2.0
//! LUKS headers of both versions (LUKS1 On-Disk Format Specification 1.2.3; LUKS2 On-Disk Format
//! Specification 1.1.3, both on <https://gitlab.com/cryptsetup/LUKS2-docs>).

use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::cipher::Material;
use super::kdf::{Argon, Hash, LONGEST_KEY, Secret, bad};
use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{be16, be32, be64, has, label, read};

const SECTOR: u64 = 512;
/// Pieces of the splitter; more make no sense.
const MOST_STRIPES: u64 = 65_536;
/// The sizes that a LUKS2 header may have, which is where its second copy lies.
const SIZES: [u64; 9] = [
    0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000,
];

/// What is needed to open a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u16,
    pub(super) uuid: String,
    pub(super) slots: Vec<Slot>,
    /// The encrypted bytes: start, and length where it is fixed.
    pub(super) start: u64,
    pub(super) len: Option<u64>,
    /// dm-crypt's name of the cipher.
    pub(super) cipher: String,
    /// Bytes that are encrypted together.
    pub(super) sector: u64,
    /// Number of the first sector.
    pub(super) first: u64,
}

/// A key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) kdf: Kdf,
    pub(super) salt: Vec<u8>,
    pub(super) material: Material,
    pub(super) priority: u64,
    pub(super) digest: KeyDigest,
}

/// How a slot's key is derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kdf {
    Pbkdf2(Hash, u32),
    Argon(Argon),
}

impl Kdf {
    pub(super) fn derive(&self, secret: &[u8], salt: &[u8], len: usize) -> Result<Secret> {
        match self {
            Self::Pbkdf2(hash, rounds) => hash.pbkdf2(secret, salt, *rounds, len),
            Self::Argon(argon) => argon.derive(secret, salt, len),
        }
    }
}

/// Tells the volume's key from any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyDigest {
    pub(super) hash: Hash,
    pub(super) rounds: u32,
    pub(super) salt: Vec<u8>,
    pub(super) digest: Vec<u8>,
}

impl KeyDigest {
    pub(super) fn fits(&self, key: &[u8]) -> Result<bool> {
        let made = self
            .hash
            .pbkdf2(key, &self.salt, self.rounds, self.digest.len())?;
        Ok(*made == self.digest)
    }
}

/// Reads the header of a LUKS volume.
///
/// # Errors
/// `Corrupt`/`luks-header`; `Unsupported`/`luks-...` for what is not supported, by name; `Host`/`io`.
pub(super) fn read_header(storage: &dyn Storage) -> Result<Header> {
    let head = read(storage, 0, 592)?.ok_or_else(|| bad("it is cut short"))?;
    match be16(&head, 6) {
        Some(1) => version_1(&head),
        Some(2) => version_2(storage, &head),
        version => Err(Error::unsupported(
            "luks-version",
            format!("LUKS version {} is not known", version.unwrap_or(0)),
        )),
    }
}

fn bytes(from: &[u8], at: usize, len: usize) -> Result<Vec<u8>> {
    at.checked_add(len)
        .and_then(|end| from.get(at..end))
        .map(<[u8]>::to_vec)
        .ok_or_else(|| bad("it is cut short"))
}

fn word(from: &[u8], at: usize) -> Result<u32> {
    be32(from, at).ok_or_else(|| bad("it is cut short"))
}

fn version_1(head: &[u8]) -> Result<Header> {
    let name = |at| label(head, at, 32).ok_or_else(|| bad("a name is empty"));
    let cipher = format!("{}-{}", name(8)?, name(40)?);
    let hash = Hash::named(&name(72)?)?;
    let key = key_len(u64::from(word(head, 108)?))?;
    let digest = KeyDigest {
        hash,
        rounds: word(head, 164)?,
        salt: bytes(head, 132, 32)?,
        digest: bytes(head, 112, 20)?,
    };
    let mut slots = Vec::new();
    for slot in head.get(208..592).unwrap_or_default().chunks_exact(48) {
        if word(slot, 0)? != 0x00ac_71f3 {
            continue;
        }
        slots.push(Slot {
            kdf: Kdf::Pbkdf2(hash, word(slot, 4)?),
            salt: bytes(slot, 8, 32)?,
            material: Material {
                cipher: cipher.clone(),
                offset: u64::from(word(slot, 40)?).saturating_mul(SECTOR),
                stripes: stripes(u64::from(word(slot, 44)?))?,
                hash,
                key,
                area_key: key,
            },
            priority: 1,
            digest: digest.clone(),
        });
    }
    Ok(Header {
        version: 1,
        uuid: label(head, 168, 40).ok_or_else(|| bad("there is no UUID"))?,
        slots,
        start: u64::from(word(head, 104)?).saturating_mul(SECTOR),
        len: None,
        cipher,
        sector: SECTOR,
        first: 0,
    })
}

fn key_len(len: u64) -> Result<usize> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len == 0 || len > LONGEST_KEY {
        return Err(bad(format!("a key of {len} bytes makes no sense")));
    }
    Ok(len)
}

fn stripes(number: u64) -> Result<u64> {
    if number == 0 || number > MOST_STRIPES {
        return Err(bad(format!("{number} stripes make no sense")));
    }
    Ok(number)
}

/// Both copies of a LUKS2 header; the newer one that is sound counts.
fn version_2(storage: &dyn Storage, head: &[u8]) -> Result<Header> {
    let uuid = label(head, 168, 40).ok_or_else(|| bad("there is no UUID"))?;
    let mut best = copy(storage, 0, b"LUKS\xba\xbe")?;
    for size in SIZES {
        let second = copy(storage, size, b"SKUL\xba\xbe")?;
        let newer = |(number, _): &(u64, Value)| best.as_ref().is_none_or(|b| b.0 < *number);
        if let Some(second) = second.filter(newer) {
            best = Some(second);
        }
    }
    let (_, json) = best.ok_or_else(|| bad("no copy of it has a right checksum"))?;
    from_json(&json, uuid)
}

/// A copy's number and its JSON; `None` where there is no sound one.
fn copy(storage: &dyn Storage, at: u64, magic: &[u8]) -> Result<Option<(u64, Value)>> {
    let Some(head) = read(storage, at, 4096)? else {
        return Ok(None);
    };
    let size = be64(&head, 8).unwrap_or(0);
    let here = be64(&head, 256) == Some(at);
    if !has(&head, 0, magic) || be16(&head, 6) != Some(2) || !SIZES.contains(&size) || !here {
        return Ok(None);
    }
    let len = usize::try_from(size).unwrap_or(0);
    let Some(mut all) = read(storage, at, len)? else {
        return Ok(None);
    };
    let sum = all.get(448..512).unwrap_or_default().to_vec();
    all.get_mut(448..512).unwrap_or_default().fill(0);
    let made = match label(&head, 72, 32).as_deref() {
        Some("sha256") => Sha256::digest(&all).as_slice().to_vec(),
        Some("sha512") => Sha512::digest(&all).as_slice().to_vec(),
        _ => return Ok(None),
    };
    if !sum.starts_with(&made) {
        return Ok(None);
    }
    let text = all.get(4096..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let json = serde_json::from_slice(text).map_err(|e| bad(format!("its JSON: {e}")).at(at))?;
    Ok(Some((be64(&head, 16).unwrap_or(0), json)))
}

fn unsupported(code: &str, what: String) -> Error {
    Error::unsupported(code, what).hint("convert it in the guest first, with cryptsetup")
}

fn from_json(json: &Value, uuid: String) -> Result<Header> {
    let needs = json.pointer("/config/requirements/mandatory");
    if let Some(needs) = needs
        .and_then(Value::as_array)
        .filter(|needs| !needs.is_empty())
    {
        let names: Vec<&str> = needs.iter().filter_map(Value::as_str).collect();
        let what = format!("this LUKS2 volume requires {}", names.join(", "));
        return Err(unsupported("luks-requirements", what));
    }
    let segments = json.get("segments").and_then(Value::as_object);
    let segments = segments.ok_or_else(|| bad("there are no segments"))?;
    let mut all = segments.iter();
    let (Some((id, segment)), None) = (all.next(), all.next()) else {
        return Err(unsupported(
            "luks-segments",
            format!(
                "this LUKS2 volume has {} segments, as during re-encryption",
                segments.len()
            ),
        ));
    };
    if text(segment, "type")? != "crypt" {
        return Err(bad("its segment is not encrypted"));
    }
    if segment.get("integrity").is_some() {
        let what = "this LUKS2 volume has integrity protection".to_owned();
        return Err(unsupported("luks-integrity", what));
    }
    let sector = number(segment, "sector_size")?;
    if !matches!(sector, 512 | 1024 | 2048 | 4096) {
        return Err(bad(format!("sectors of {sector} bytes make no sense")));
    }
    let mut slots = slots(json, id)?;
    slots.retain(|slot| slot.priority > 0);
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.priority));
    Ok(Header {
        version: 2,
        uuid,
        slots,
        start: number(segment, "offset")?,
        len: match text(segment, "size")? {
            "dynamic" => None,
            _ => Some(number(segment, "size")?),
        },
        cipher: text(segment, "encryption")?.to_owned(),
        sector,
        first: number(segment, "iv_tweak")?,
    })
}

fn text<'a>(from: &'a Value, name: &str) -> Result<&'a str> {
    let value = from.get(name).and_then(Value::as_str);
    value.ok_or_else(|| bad(format!("{name} is missing")))
}

/// A number, which the format writes as text where it may not fit into 32 bits.
fn number(from: &Value, name: &str) -> Result<u64> {
    let value = from.get(name);
    let number = value.and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
    number.ok_or_else(|| bad(format!("{name} is missing, or no number")))
}

fn small(from: &Value, name: &str) -> Result<u32> {
    u32::try_from(number(from, name)?).map_err(|_| bad(format!("{name} is too large")))
}

fn coded(from: &Value, name: &str) -> Result<Vec<u8>> {
    let coded = text(from, name)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded);
    let bytes = bytes.map_err(|_| bad(format!("{name} is not base64")))?;
    if bytes.len() > LONGEST_KEY {
        return Err(bad(format!("{name} is too long")));
    }
    Ok(bytes)
}

fn slots(json: &Value, segment: &str) -> Result<Vec<Slot>> {
    let none = serde_json::Map::new();
    let object = |name: &str| json.get(name).and_then(Value::as_object).unwrap_or(&none);
    let lists = |digest: &Value, name: &str, id: &str| {
        let list = digest.get(name).and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|one| one.as_str() == Some(id)))
    };
    let mut out = Vec::new();
    for (id, slot) in object("keyslots").iter().take(32) {
        let mut digests = object("digests").values();
        let digest = digests.find(|d| lists(d, "keyslots", id) && lists(d, "segments", segment));
        let Some(digest) = digest.filter(|_| text(slot, "type").is_ok_and(|t| t == "luks2")) else {
            continue;
        };
        out.push(one_slot(slot, digest)?);
    }
    Ok(out)
}

fn one_slot(slot: &Value, digest: &Value) -> Result<Slot> {
    let part = |name: &str| {
        slot.get(name)
            .ok_or_else(|| bad(format!("{name} is missing")))
    };
    let (kdf, af, area) = (part("kdf")?, part("af")?, part("area")?);
    let derive = match text(kdf, "type")? {
        "pbkdf2" => Kdf::Pbkdf2(Hash::named(text(kdf, "hash")?)?, small(kdf, "iterations")?),
        name @ ("argon2i" | "argon2id") => Kdf::Argon(Argon {
            id: name == "argon2id",
            passes: small(kdf, "time")?,
            memory: small(kdf, "memory")?,
            lanes: small(kdf, "cpus")?,
        }),
        other => {
            let what = format!("the key derivation {other} is not supported");
            return Err(unsupported("luks-kdf", what));
        }
    };
    Ok(Slot {
        kdf: derive,
        salt: coded(kdf, "salt")?,
        material: Material {
            cipher: text(area, "encryption")?.to_owned(),
            offset: number(area, "offset")?,
            stripes: stripes(number(af, "stripes")?)?,
            hash: Hash::named(text(af, "hash")?)?,
            key: key_len(number(slot, "key_size")?)?,
            area_key: key_len(number(area, "key_size")?)?,
        },
        priority: slot.get("priority").and_then(Value::as_u64).unwrap_or(1),
        digest: KeyDigest {
            hash: Hash::named(text(digest, "hash")?)?,
            rounds: small(digest, "iterations")?,
            salt: coded(digest, "salt")?,
            digest: coded(digest, "digest")?,
        },
    })
}
