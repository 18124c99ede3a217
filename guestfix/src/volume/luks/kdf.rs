// SPDX-License-Identifier: Apache-2.0
//! From a passphrase to a volume's key: key derivation and the anti-forensic splitter
//! (LUKS1 On-Disk Format Specification, sections 2.4 and 5; LUKS2 On-Disk Format, section 3.2).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hmac::{EagerHash, Hmac};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};

/// More memory than this is refused to argon2, KiB: the default of cryptsetup is half of it.
const MOST_MEMORY: u32 = 2 << 20;
/// More rounds of PBKDF2 are refused: minutes on any machine.
const MOST_ROUNDS: u32 = 100_000_000;
/// More passes of argon2 are refused.
const MOST_PASSES: u32 = 1000;
/// The longest key, bytes: XTS with AES-256 takes 64.
pub(super) const LONGEST_KEY: usize = 512;

/// Bytes that are overwritten when they go.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// A hash function by the name that LUKS gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// # Errors
    /// `Unsupported`/`luks-hash` for any other.
    pub(super) fn named(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sha1" => Ok(Self::Sha1),
            "sha224" => Ok(Self::Sha224),
            "sha256" => Ok(Self::Sha256),
            "sha384" => Ok(Self::Sha384),
            "sha512" => Ok(Self::Sha512),
            other => Err(Error::unsupported(
                "luks-hash",
                format!("the hash function {other:?} of this LUKS header is not supported"),
            )),
        }
    }

    /// PBKDF2 (RFC 8018) with HMAC.
    ///
    /// # Errors
    /// `Corrupt`/`luks-header` when the number of rounds makes no sense.
    pub(super) fn pbkdf2(
        self,
        secret: &[u8],
        salt: &[u8],
        rounds: u32,
        len: usize,
    ) -> Result<Secret> {
        fn run<D: EagerHash>(secret: &[u8], salt: &[u8], rounds: u32, out: &mut [u8]) -> Result<()>
        where
            Hmac<D>: pbkdf2::hmac::KeyInit
                + pbkdf2::hmac::digest::Update
                + pbkdf2::hmac::digest::FixedOutput
                + Clone,
        {
            pbkdf2::pbkdf2::<Hmac<D>>(secret, salt, rounds, out)
                .map_err(|e| Error::internal("PBKDF2").because(e))
        }
        if rounds == 0 || rounds > MOST_ROUNDS || len > LONGEST_KEY {
            return Err(bad(format!("{rounds} rounds of PBKDF2 make no sense")));
        }
        let mut out = Secret::new(vec![0; len]);
        let to = out.as_mut_slice();
        match self {
            Self::Sha1 => run::<Sha1>(secret, salt, rounds, to),
            Self::Sha224 => run::<Sha224>(secret, salt, rounds, to),
            Self::Sha256 => run::<Sha256>(secret, salt, rounds, to),
            Self::Sha384 => run::<Sha384>(secret, salt, rounds, to),
            Self::Sha512 => run::<Sha512>(secret, salt, rounds, to),
        }?;
        Ok(out)
    }

    /// The hash of a block's number, big-endian, and the block.
    fn numbered(self, number: u32, block: &[u8]) -> Vec<u8> {
        fn run<D: Digest>(number: u32, block: &[u8]) -> Vec<u8> {
            let mut hash = D::new();
            hash.update(number.to_be_bytes());
            hash.update(block);
            hash.finalize().as_slice().to_vec()
        }
        match self {
            Self::Sha1 => run::<Sha1>(number, block),
            Self::Sha224 => run::<Sha224>(number, block),
            Self::Sha256 => run::<Sha256>(number, block),
            Self::Sha384 => run::<Sha384>(number, block),
            Self::Sha512 => run::<Sha512>(number, block),
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Joins what the anti-forensic splitter made `stripes` pieces of; `len` is a piece's length.
    pub(super) fn merge(self, pieces: &[u8], len: usize) -> Secret {
        let mut out = Secret::new(vec![0; len]);
        let mut pieces = pieces.chunks_exact(len.max(1)).peekable();
        while let Some(piece) = pieces.next() {
            for (to, from) in out.iter_mut().zip(piece) {
                *to ^= from;
            }
            if pieces.peek().is_some() {
                self.diffuse(&mut out);
            }
        }
        out
    }

    fn diffuse(self, bytes: &mut [u8]) {
        for (number, block) in (0..).zip(bytes.chunks_mut(self.size())) {
            let mut hash = self.numbered(number, block);
            for (to, from) in block.iter_mut().zip(&hash) {
                *to = *from;
            }
            hash.zeroize();
        }
    }
}

/// Argon2 (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Argon {
    /// `argon2id`; else `argon2i`.
    pub(super) id: bool,
    pub(super) passes: u32,
    /// KiB.
    pub(super) memory: u32,
    pub(super) lanes: u32,
}

impl Argon {
    /// # Errors
    /// `Refused`/`luks-memory` when it wants more than 2 GiB; `Host`/`no-memory`; `Corrupt`.
    pub(super) fn derive(self, secret: &[u8], salt: &[u8], len: usize) -> Result<Secret> {
        if self.memory > MOST_MEMORY {
            return Err(Error::refused(
                "luks-memory",
                format!(
                    "a key slot wants {} MiB of memory for argon2, more than {} MiB",
                    self.memory / 1024,
                    MOST_MEMORY / 1024
                ),
            )
            .hint("add a key with less: cryptsetup luksAddKey --pbkdf-memory 1048576"));
        }
        if self.passes > MOST_PASSES || len > LONGEST_KEY {
            return Err(bad(format!(
                "{} passes of argon2 make no sense",
                self.passes
            )));
        }
        let wrong = |e: argon2::Error| bad(format!("argon2: {e}"));
        let params = Params::new(self.memory, self.passes, self.lanes, Some(len)).map_err(wrong)?;
        let mut blocks: Vec<Block> = Vec::new();
        let count = params.block_count();
        blocks
            .try_reserve_exact(count)
            .map_err(|e| Error::host("no-memory", "opening a LUKS volume").because(e))?;
        blocks.resize(count, Block::default());
        let algorithm = if self.id {
            Algorithm::Argon2id
        } else {
            Algorithm::Argon2i
        };
        let argon = Argon2::new(algorithm, Version::V0x13, params);
        let mut out = Secret::new(vec![0; len]);
        argon
            .hash_password_into_with_memory(secret, salt, &mut out, &mut blocks)
            .map_err(wrong)?;
        Ok(out)
    }
}

pub(super) fn bad(what: impl std::fmt::Display) -> Error {
    Error::corrupt("luks-header", format!("the LUKS header is damaged: {what}"))
        .hint("restore it from a backup: cryptsetup luksHeaderRestore, on a copy")
}
