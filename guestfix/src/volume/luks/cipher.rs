// SPDX-License-Identifier: Apache-2.0
//! The ciphers of dm-crypt that LUKS volumes are made with: AES in XTS and CBC mode
//! (Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst).

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use sha2::{Digest, Sha256};
use xts_mode::Xts128;

use super::kdf::Hash;
use crate::error::{Error, Result};

const BLOCK: usize = 16;

/// A block cipher with its key.
enum Aes {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key)
                .ok()
                .map(Box::new)
                .map(Self::Aes128),
            24 => Aes192::new_from_slice(key)
                .ok()
                .map(Box::new)
                .map(Self::Aes192),
            32 => Aes256::new_from_slice(key)
                .ok()
                .map(Box::new)
                .map(Self::Aes256),
            _ => None,
        }
    }

    fn encrypt(&self, block: &mut [u8; BLOCK]) {
        let mut array = Array::from(*block);
        match self {
            Self::Aes128(aes) => aes.encrypt_block(&mut array),
            Self::Aes192(aes) => aes.encrypt_block(&mut array),
            Self::Aes256(aes) => aes.encrypt_block(&mut array),
        }
        *block = array.into();
    }

    fn decrypt(&self, block: &mut [u8; BLOCK]) {
        let mut array = Array::from(*block);
        match self {
            Self::Aes128(aes) => aes.decrypt_block(&mut array),
            Self::Aes192(aes) => aes.decrypt_block(&mut array),
            Self::Aes256(aes) => aes.decrypt_block(&mut array),
        }
        *block = array.into();
    }
}

enum Mode {
    Xts128(Box<Xts128<Aes128>>),
    Xts256(Box<Xts128<Aes256>>),
    Cbc(Aes, Iv),
}

/// How a sector's number becomes its start value.
enum Iv {
    /// 32 bits of it.
    Plain,
    /// 64 bits of it.
    Plain64,
    /// Encrypted with the hash of the key.
    Essiv(Box<Aes256>),
}

/// A cipher that works on sectors.
pub(super) struct SectorCipher {
    mode: Mode,
    /// `plain` counts in 32 bits only.
    short: bool,
    /// Bytes of a sector.
    sector: usize,
}

impl SectorCipher {
    /// A cipher by dm-crypt's name for it, `aes-xts-plain64`.
    ///
    /// # Errors
    /// `Unsupported`/`luks-cipher` for any that is not known here.
    pub(super) fn new(name: &str, key: &[u8], sector: usize) -> Result<Self> {
        let unknown = || {
            let bits = key.len().saturating_mul(8);
            Error::unsupported(
                "luks-cipher",
                format!("the cipher {name} with a key of {bits} bits is not supported"),
            )
        };
        let mut words = name.split('-');
        let (cipher, mode, iv) = (words.next(), words.next(), words.next());
        if cipher != Some("aes") || words.next().is_some() {
            return Err(unknown());
        }
        let short = iv == Some("plain");
        let mode = match (mode, iv) {
            (Some("xts"), Some("plain" | "plain64")) => xts(key),
            (Some("cbc"), Some("plain")) => Aes::new(key).map(|aes| Mode::Cbc(aes, Iv::Plain)),
            (Some("cbc"), Some("plain64")) => Aes::new(key).map(|aes| Mode::Cbc(aes, Iv::Plain64)),
            (Some("cbc"), Some("essiv:sha256")) => essiv(key),
            _ => None,
        };
        Ok(Self {
            mode: mode.ok_or_else(unknown)?,
            short,
            sector,
        })
    }

    /// Decrypts whole sectors; `number` is the first one's in units of 512 bytes.
    pub(super) fn decrypt(&self, bytes: &mut [u8], number: u64) {
        self.each(bytes, number, |sector, number| match &self.mode {
            Mode::Xts128(xts) => xts.decrypt_sector(sector, tweak(number)),
            Mode::Xts256(xts) => xts.decrypt_sector(sector, tweak(number)),
            Mode::Cbc(aes, iv) => {
                let mut last = iv.of(number);
                for chunk in sector.chunks_exact_mut(BLOCK) {
                    let mut block = [0; BLOCK];
                    block.copy_from_slice(chunk);
                    let coded = block;
                    aes.decrypt(&mut block);
                    xor(&mut block, &last);
                    chunk.copy_from_slice(&block);
                    last = coded;
                }
            }
        });
    }

    /// Encrypts whole sectors.
    pub(super) fn encrypt(&self, bytes: &mut [u8], number: u64) {
        self.each(bytes, number, |sector, number| match &self.mode {
            Mode::Xts128(xts) => xts.encrypt_sector(sector, tweak(number)),
            Mode::Xts256(xts) => xts.encrypt_sector(sector, tweak(number)),
            Mode::Cbc(aes, iv) => {
                let mut last = iv.of(number);
                for chunk in sector.chunks_exact_mut(BLOCK) {
                    let mut block = [0; BLOCK];
                    block.copy_from_slice(chunk);
                    xor(&mut block, &last);
                    aes.encrypt(&mut block);
                    chunk.copy_from_slice(&block);
                    last = block;
                }
            }
        });
    }

    fn each(&self, bytes: &mut [u8], number: u64, mut work: impl FnMut(&mut [u8], u64)) {
        let step = (self.sector / 512) as u64;
        let mut number = number;
        for sector in bytes.chunks_exact_mut(self.sector.max(BLOCK)) {
            work(
                sector,
                if self.short {
                    number & 0xffff_ffff
                } else {
                    number
                },
            );
            number = number.wrapping_add(step);
        }
    }
}

fn tweak(number: u64) -> Array<u8, aes::cipher::consts::U16> {
    xts_mode::get_tweak_default(u128::from(number))
}

fn xor(block: &mut [u8; BLOCK], with: &[u8; BLOCK]) {
    for (to, from) in block.iter_mut().zip(with) {
        *to ^= from;
    }
}

fn xts(key: &[u8]) -> Option<Mode> {
    let (one, two) = key.split_at(key.len() / 2);
    match key.len() {
        32 => {
            let (one, two) = (
                Aes128::new_from_slice(one).ok()?,
                Aes128::new_from_slice(two).ok()?,
            );
            Some(Mode::Xts128(Box::new(Xts128::new(one, two))))
        }
        64 => {
            let (one, two) = (
                Aes256::new_from_slice(one).ok()?,
                Aes256::new_from_slice(two).ok()?,
            );
            Some(Mode::Xts256(Box::new(Xts128::new(one, two))))
        }
        _ => None,
    }
}

fn essiv(key: &[u8]) -> Option<Mode> {
    let salt = Sha256::digest(key);
    let essiv = Aes256::new_from_slice(salt.as_slice()).ok()?;
    Some(Mode::Cbc(Aes::new(key)?, Iv::Essiv(Box::new(essiv))))
}

impl Iv {
    fn of(&self, number: u64) -> [u8; BLOCK] {
        let mut iv = [0; BLOCK];
        for (to, from) in iv.iter_mut().zip(number.to_le_bytes()) {
            *to = from;
        }
        match self {
            Self::Plain | Self::Plain64 => iv,
            Self::Essiv(aes) => {
                let mut block = Array::from(iv);
                aes.encrypt_block(&mut block);
                block.into()
            }
        }
    }
}

/// How a key slot's key material is encrypted and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Material {
    /// dm-crypt's name of the cipher.
    pub(super) cipher: String,
    /// Where it begins, bytes.
    pub(super) offset: u64,
    /// Pieces.
    pub(super) stripes: u64,
    /// The splitter's hash.
    pub(super) hash: Hash,
    /// Bytes of the volume's key.
    pub(super) key: usize,
    /// Bytes of the key that encrypts it.
    pub(super) area_key: usize,
}
