// SPDX-License-Identifier: Apache-2.0
//! PKCS #7 `SignedData` and its signers.
//! RFC 2315, <https://www.rfc-editor.org/rfc/rfc2315>; RFC 5652, <https://www.rfc-editor.org/rfc/rfc5652>.

use super::certificate::{Certificate, Chain};
use super::der::{Element, INTEGER, OCTETS, OID, Reader, SEQUENCE, SET, context};
use super::digest;
use crate::package::{DigestKind, Signature, SignatureCheck};

/// 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 2];
/// 1.2.840.113549.1.9.4.
const MESSAGE_DIGEST: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 4];
/// `szOID_NESTED_SIGNATURE`, 1.3.6.1.4.1.311.2.4.1.
const NESTED: &[u8] = &[0x2B, 6, 1, 4, 1, 0x82, 0x37, 2, 4, 1];
/// Certificates, signers and nested signatures that are looked at.
const MAX_CERTIFICATES: usize = 64;
const MAX_SIGNERS: usize = 8;
const MAX_NESTED: usize = 4;

/// Signed data.
#[derive(Debug, Clone)]
pub(super) struct SignedData<'a> {
    /// What the content is.
    pub content_type: &'a [u8],
    /// The content, with tag and length.
    pub content: Element<'a>,
    certificates: Vec<Certificate<'a>>,
    signers: Vec<Signer<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Signer<'a> {
    /// Issuer and serial number as they stand, or the key's identifier.
    id: Element<'a>,
    digest_oid: &'a [u8],
    attributes: Option<Element<'a>>,
    algorithm_oid: &'a [u8],
    signature: &'a [u8],
    unsigned: Option<Element<'a>>,
}

impl<'a> SignedData<'a> {
    /// Reads it; `None` for anything else.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut info = Reader::new(bytes).sequence()?;
        if info.oid()? != SIGNED_DATA {
            return None;
        }
        let mut data = info.need(context(0))?.inside().sequence()?;
        data.need(INTEGER)?;
        data.need(SET)?;
        let mut inner = data.sequence()?;
        let content_type = inner.oid()?;
        let content = inner.need(context(0))?.inside().next()?;
        let certificates = data.maybe(context(0));
        data.maybe(context(1));
        let signers = data.need(SET)?;
        Some(Self {
            content_type,
            content,
            certificates: certificates
                .iter()
                .flat_map(|all| all.inside())
                .filter_map(Certificate::parse)
                .take(MAX_CERTIFICATES)
                .collect(),
            signers: signers
                .inside()
                .filter_map(signer)
                .take(MAX_SIGNERS)
                .collect(),
        })
    }

    /// This and what is nested in it.
    pub(super) fn with_nested(&self) -> Vec<Self> {
        let attributes = self.signers.iter().filter_map(|signer| signer.unsigned);
        let nested = attributes
            .flat_map(|attributes| values(attributes, NESTED))
            .filter_map(|value| Self::parse(value.whole));
        std::iter::once(self.clone())
            .chain(nested.take(MAX_NESTED))
            .collect()
    }

    /// Its signatures and those nested in it.
    pub(super) fn signatures(&self) -> Vec<Signature> {
        let all = self.with_nested();
        all.iter().flat_map(Self::own_signatures).collect()
    }

    /// Its own signatures.
    pub(super) fn own_signatures(&self) -> Vec<Signature> {
        self.signers
            .iter()
            .filter_map(|signer| self.signature(signer))
            .collect()
    }

    /// What one signer says; `None` for a digest that is not known.
    fn signature(&self, signer: &Signer<'_>) -> Option<Signature> {
        let kind = digest::kind(signer.digest_oid)?;
        let chain = Chain::of(signer.id, &self.certificates);
        let check = match self.signed_digest(signer, kind) {
            Err(why) => SignatureCheck::Broken {
                why: why.to_owned(),
            },
            Ok(signed) => chain.check(signer.algorithm_oid, kind, &signed, signer.signature),
        };
        Some(Signature {
            signer: chain.signer(),
            issuer: chain.issuer(),
            root: chain.root(),
            digest: kind,
            check,
        })
    }

    /// The digest that the signature is of: of the attributes, which hold the content's, or of the
    /// content.
    fn signed_digest(
        &self,
        signer: &Signer<'_>,
        kind: DigestKind,
    ) -> Result<Vec<u8>, &'static str> {
        let content = digest::of(kind, &[self.content.value]);
        let Some(attributes) = signer.attributes else {
            return Ok(content);
        };
        let claimed = values(attributes, MESSAGE_DIGEST).into_iter().next();
        let claimed = claimed.filter(|value| value.tag == OCTETS);
        let claimed = claimed.ok_or("the signature names no digest")?;
        if claimed.value != content {
            return Err("the content was changed after it was signed");
        }
        // What is signed is the set itself, not its tag here.
        let behind_tag = attributes.whole.get(1..).unwrap_or_default();
        Ok(digest::of(kind, &[&[SET], behind_tag]))
    }
}

fn signer(element: Element<'_>) -> Option<Signer<'_>> {
    let mut parts = element.inside();
    parts.need(INTEGER)?;
    let id = parts.next()?;
    let digest_oid = parts.sequence()?.oid()?;
    let attributes = parts.maybe(context(0));
    let algorithm_oid = parts.need(SEQUENCE)?.inside().oid()?;
    let signature = parts.need(OCTETS)?.value;
    Some(Signer {
        id,
        digest_oid,
        attributes,
        algorithm_oid,
        signature,
        unsigned: parts.maybe(context(1)),
    })
}

/// The values of an attribute.
fn values<'a>(attributes: Element<'a>, oid: &[u8]) -> Vec<Element<'a>> {
    let named = attributes.inside().find_map(|attribute| {
        let mut parts = attribute.inside();
        (parts.need(OID)?.value == oid).then(|| parts.need(SET))?
    });
    named.iter().flat_map(|set| set.inside()).collect()
}
