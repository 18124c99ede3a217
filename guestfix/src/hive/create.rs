// SPDX-License-Identifier: Apache-2.0
//! A new, empty hive.

use super::base::{put, seal};
use super::cell::{BASE, NONE};
use super::key::at;
use super::{Dirty, Hive, security};
use crate::error::{Error, Result};

/// A self-relative descriptor without owner, group and lists: everybody may do everything.
const DESCRIPTOR: [u8; 20] = [
    1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
const ROOT: u32 = 32;
const ROOT_SIZE: u32 = 88;
const SECURITY: u32 = ROOT + ROOT_SIZE;
const SECURITY_SIZE: u32 = 48;
const FREE: u32 = SECURITY + SECURITY_SIZE;
const BIN: u32 = 4096;

impl Hive {
    /// A hive of version 1.`minor` (3 to 6) with nothing but a root key, written at `now`
    /// (FILETIME). The root's descriptor allows everybody everything: see
    /// [`super::Editor::set_security`].
    ///
    /// Errors: `hive-version`.
    pub fn create(minor: u32, now: u64) -> Result<Self> {
        let mut bytes = vec![0_u8; BASE.saturating_add(4096)];
        put(&mut bytes, 0, b"regf")?;
        let words = [
            (20, 1),
            (24, minor),
            (32, 1),
            (36, ROOT),
            (40, BIN),
            (44, 1),
        ];
        for (place, word) in words {
            put32(&mut bytes, place, word)?;
        }
        put(&mut bytes, BASE, b"hbin")?;
        put32(&mut bytes, BASE.saturating_add(8), BIN)?;
        root(&mut bytes, now)?;
        descriptor(&mut bytes)?;
        put32(&mut bytes, cell(FREE), BIN.saturating_sub(FREE))?;
        seal(&mut bytes, 1, Some(now), BIN)?;
        Self::open(bytes, &[], Dirty::Refuse)
    }
}

fn root(bytes: &mut [u8], now: u64) -> Result<()> {
    let key = allocated(bytes, ROOT, ROOT_SIZE)?;
    let field = |place: usize| key.saturating_add(place);
    // The root, undeletable, with a compressed name.
    put(bytes, key, b"nk\x2c\x00")?;
    put(bytes, field(at::TIMESTAMP), &now.to_le_bytes())?;
    for none in [
        at::SUBKEY_LIST,
        at::VOLATILE_LIST,
        at::VALUE_LIST,
        at::CLASS,
    ] {
        put32(bytes, field(none), NONE)?;
    }
    put32(bytes, field(at::SECURITY), SECURITY)?;
    put(bytes, field(at::NAME_LEN), &4_u16.to_le_bytes())?;
    put(bytes, field(at::NAME), b"ROOT")
}

fn descriptor(bytes: &mut [u8]) -> Result<()> {
    let cell = allocated(bytes, SECURITY, SECURITY_SIZE)?;
    put(bytes, cell, b"sk")?;
    let len = u32::try_from(DESCRIPTOR.len()).map_err(|_| Error::internal("a descriptor"))?;
    let words = [
        (security::at::NEXT, SECURITY),
        (security::at::PREVIOUS, SECURITY),
        (security::at::REFERENCES, 1),
        (security::at::LENGTH, len),
    ];
    for (place, word) in words {
        put32(bytes, cell.saturating_add(place), word)?;
    }
    put(
        bytes,
        cell.saturating_add(security::at::DESCRIPTOR),
        &DESCRIPTOR,
    )
}

fn cell(offset: u32) -> usize {
    super::cell::place(offset)
}

/// Marks a cell as allocated and says where its content starts.
fn allocated(bytes: &mut [u8], offset: u32, size: u32) -> Result<usize> {
    let start = cell(offset);
    put32(bytes, start, size.wrapping_neg())?;
    Ok(start.saturating_add(4))
}

fn put32(bytes: &mut [u8], place: usize, word: u32) -> Result<()> {
    put(bytes, place, &word.to_le_bytes())
}
