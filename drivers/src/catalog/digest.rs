// SPDX-License-Identifier: Apache-2.0
//! Digests of files and of what is signed.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::package::DigestKind;
use crate::pe::{self, Pe};

/// The digests of one file that a catalogue may list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    sha1: Vec<u8>,
    sha256: Vec<u8>,
}

impl Digests {
    /// Those of a file: of a PE image what Authenticode covers, of others all bytes.
    pub(crate) fn of_file(bytes: &[u8]) -> Self {
        let image = pe::is_image(bytes).then(|| Pe::parse(bytes).ok()).flatten();
        let parts = image.map_or_else(|| vec![bytes], |image| image.signed_parts());
        Self {
            sha1: of(DigestKind::Sha1, &parts),
            sha256: of(DigestKind::Sha256, &parts),
        }
    }

    /// The digest of a kind; empty for kinds that catalogues do not list.
    pub(crate) fn of(&self, kind: DigestKind) -> &[u8] {
        match kind {
            DigestKind::Sha1 => &self.sha1,
            DigestKind::Sha256 => &self.sha256,
            DigestKind::Sha384 | DigestKind::Sha512 => &[],
        }
    }
}

/// The digest of parts that follow each other.
pub(super) fn of(kind: DigestKind, parts: &[&[u8]]) -> Vec<u8> {
    fn run<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
        let mut digest = D::new();
        for part in parts {
            digest.update(part);
        }
        digest.finalize().to_vec()
    }
    match kind {
        DigestKind::Sha1 => run::<Sha1>(parts),
        DigestKind::Sha256 => run::<Sha256>(parts),
        DigestKind::Sha384 => run::<Sha384>(parts),
        DigestKind::Sha512 => run::<Sha512>(parts),
    }
}

/// The digest that an object identifier names, or that a signature algorithm of RSA uses:
/// RFC 8017 appendix A.2, <https://www.rfc-editor.org/rfc/rfc8017>.
pub(super) fn kind(oid: &[u8]) -> Option<DigestKind> {
    Some(match oid {
        [0x2B, 14, 3, 2, 26 | 29] => DigestKind::Sha1,
        [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, number] => match number {
            1 => DigestKind::Sha256,
            2 => DigestKind::Sha384,
            3 => DigestKind::Sha512,
            _ => return None,
        },
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, number] => match number {
            5 => DigestKind::Sha1,
            11 => DigestKind::Sha256,
            12 => DigestKind::Sha384,
            13 => DigestKind::Sha512,
            _ => return None,
        },
        _ => return None,
    })
}

/// What stands before a digest in an RSA signature: RFC 8017 section 9.2, note 1.
pub(super) fn rsa_prefix(kind: DigestKind) -> &'static [u8] {
    match kind {
        DigestKind::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        DigestKind::Sha256 => {
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
        }
        DigestKind::Sha384 => {
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"
        }
        DigestKind::Sha512 => {
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"
        }
    }
}
