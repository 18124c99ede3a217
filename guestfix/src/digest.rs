// SPDX-License-Identifier: Apache-2.0
//! SHA-256 as text: how guestfix names content.

use std::fmt::Write as _;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 in lower-case hexadecimal of all that a reader gives, and how many bytes that is.
///
/// # Errors
/// Those of the reader.
pub fn sha256_of(reader: &mut dyn Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut len = 0_u64;
    let mut part = vec![0; 64 << 10];
    loop {
        match reader.read(&mut part) {
            Ok(0) => return Ok((hex(&hash.finalize()), len)),
            Ok(count) => {
                hash.update(part.get(..count).unwrap_or_default());
                len = len.saturating_add(count as u64);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(digest: &[u8]) -> String {
    let mut out = String::with_capacity(digest.len().saturating_mul(2));
    for byte in digest {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_the_hash_of_its_bytes() {
        let bytes = vec![7; 200_000];
        let (hash, len) = sha256_of(&mut bytes.as_slice()).unwrap();
        assert_eq!((hash, len), (sha256_hex(&bytes), 200_000));
    }
}
