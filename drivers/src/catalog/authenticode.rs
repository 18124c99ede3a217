// SPDX-License-Identifier: Apache-2.0
//! Signatures inside PE images: Authenticode.
//! <https://learn.microsoft.com/windows-hardware/drivers/install/authenticode>

use super::der::{OCTETS, Reader, SEQUENCE};
use super::digest;
use super::signed::SignedData;
use crate::package::{DigestKind, Signature};
use crate::pe::Pe;

/// `SPC_INDIRECT_DATA_OBJID`, 1.3.6.1.4.1.311.2.1.4.
const INDIRECT_DATA: &[u8] = &[0x2B, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 4];

/// What an image's own signatures say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Embedded {
    /// Signatures over the image as it is, nested ones among them.
    pub signatures: Vec<Signature>,
    /// Why a signature in the image says nothing about it.
    pub wrong: Option<String>,
}

impl Embedded {
    /// Reads the signatures of an image and compares their digests with the image's.
    pub(crate) fn read(pe: &Pe<'_>) -> Self {
        let mut out = Self::default();
        let parts = pe.signed_parts();
        for bytes in pe.signatures() {
            match SignedData::parse(bytes) {
                Some(signed) => out.take(&signed, &parts),
                None => out.wrong = Some("its own signature is no PKCS #7".to_owned()),
            }
        }
        out
    }

    fn take(&mut self, signed: &SignedData<'_>, parts: &[&[u8]]) {
        for signed in signed.with_nested() {
            let claimed = (signed.content_type == INDIRECT_DATA)
                .then(|| indirect_digest(signed.content.value))
                .flatten();
            match claimed {
                Some((kind, claimed)) if digest::of(kind, parts) == claimed => {
                    self.signatures.extend(signed.own_signatures());
                }
                Some(_) => self.wrong = Some("its own signature is of other bytes".to_owned()),
                None => self.wrong = Some("its own signature names no digest".to_owned()),
            }
        }
    }
}

/// `SpcIndirectDataContent ::= SEQUENCE { data, messageDigest SEQUENCE { algorithm, digest } }`;
/// `inside` is what the sequence holds.
pub(super) fn indirect_digest(inside: &[u8]) -> Option<(DigestKind, &[u8])> {
    let mut parts = Reader::new(inside);
    parts.need(SEQUENCE)?;
    let mut info = parts.sequence()?;
    let kind = digest::kind(info.sequence()?.oid()?)?;
    Some((kind, info.need(OCTETS)?.value))
}
