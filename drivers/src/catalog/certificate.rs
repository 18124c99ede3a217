// SPDX-License-Identifier: Apache-2.0
//! X.509 certificates and the chain that they make: RFC 5280, <https://www.rfc-editor.org/rfc/rfc5280>.
//!
//! Dates are not looked at: Windows goes by a timestamp's, and a driver is signed once for good.

use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};

use super::der::{BITS, Element, INTEGER, OCTETS, OID, Reader, SEQUENCE, context};
use super::digest;
use crate::package::{DigestKind, SignatureCheck};

/// Attribute types 2.5.4.3 (common name), 2.5.4.11 (unit) and 2.5.4.10 (organisation).
const NAMES: [&[u8]; 3] = [&[0x55, 4, 3], &[0x55, 4, 11], &[0x55, 4, 10]];
/// `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
/// `BMPString`.
const BMP: u8 = 0x1E;
/// `subjectKeyIdentifier`, 2.5.29.14.
const KEY_ID: &[u8] = &[0x55, 0x1D, 14];
/// `[0]` of something that holds no elements.
const PRIMITIVE_0: u8 = 0x80;
/// Certificates on the way to a root; Microsoft's have two or three.
const MAX_CHAIN: usize = 8;

/// A certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Certificate<'a> {
    /// What its issuer signed.
    signed: &'a [u8],
    serial: &'a [u8],
    issuer: Element<'a>,
    subject: Element<'a>,
    key_algorithm: &'a [u8],
    key: &'a [u8],
    key_id: Option<&'a [u8]>,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads one; `None` for anything else.
    pub(super) fn parse(element: Element<'a>) -> Option<Self> {
        let mut outer = element.inside();
        let body = outer.need(SEQUENCE)?;
        let algorithm = outer.sequence()?.oid()?;
        let signature = bits(outer.need(BITS)?)?;
        let mut parts = body.inside();
        parts.maybe(context(0));
        let serial = parts.need(INTEGER)?.value;
        parts.need(SEQUENCE)?;
        let issuer = parts.need(SEQUENCE)?;
        parts.need(SEQUENCE)?;
        let subject = parts.need(SEQUENCE)?;
        let mut key = parts.sequence()?;
        let key_algorithm = key.sequence()?.oid()?;
        Some(Self {
            signed: body.whole,
            serial,
            issuer,
            subject,
            key_algorithm,
            key: bits(key.need(BITS)?)?,
            key_id: parts.find(|part| part.tag == context(3)).and_then(key_id),
            algorithm,
            signature,
        })
    }

    fn is_named_by(&self, id: Element<'_>) -> bool {
        if id.tag == PRIMITIVE_0 {
            return self.key_id == Some(id.value);
        }
        let mut parts = id.inside();
        let issuer = parts.need(SEQUENCE).map(|name| name.whole);
        let serial = parts.need(INTEGER).map(|number| number.value);
        issuer == Some(self.issuer.whole) && serial == Some(self.serial)
    }

    fn is_its_own_issuer(&self) -> bool {
        self.issuer.whole == self.subject.whole
    }

    /// Whether this one's key made a signature of a digest.
    fn signed_it(
        &self,
        algorithm: &[u8],
        kind: DigestKind,
        digest: &[u8],
        signature: &[u8],
    ) -> Made {
        if algorithm != RSA && digest::kind(algorithm) != Some(kind) || self.key_algorithm != RSA {
            return Made::Unknown;
        }
        let Some(key) = rsa_key(self.key) else {
            return Made::Unknown;
        };
        let scheme = Pkcs1v15Sign {
            hash_len: Some(digest.len()),
            prefix: digest::rsa_prefix(kind).into(),
        };
        match key.verify(scheme, digest, signature) {
            Ok(()) => Made::Yes,
            Err(_) => Made::No,
        }
    }
}

/// Whether a key made a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Yes,
    No,
    /// The algorithm is not known here.
    Unknown,
}

/// A signer's certificate and those above it, as far as the file carries them.
#[derive(Debug)]
pub(super) struct Chain<'a>(Vec<Certificate<'a>>);

impl<'a> Chain<'a> {
    /// The chain from the certificate that a signer names.
    pub(super) fn of(id: Element<'_>, all: &[Certificate<'a>]) -> Self {
        let mut chain = Vec::new();
        let mut next = all.iter().find(|one| one.is_named_by(id));
        while let Some(one) = next.filter(|one| !chain.contains(*one)) {
            chain.push(*one);
            if one.is_its_own_issuer() || chain.len() >= MAX_CHAIN {
                break;
            }
            next = all
                .iter()
                .find(|above| above.subject.whole == one.issuer.whole);
        }
        Self(chain)
    }

    /// The signer's name.
    pub(super) fn signer(&self) -> String {
        self.0.first().map_or_else(unknown, |one| name(one.subject))
    }

    /// The name of who issued the signer's certificate.
    pub(super) fn issuer(&self) -> String {
        self.0.first().map_or_else(unknown, |one| name(one.issuer))
    }

    /// The name at the end: of the root, or of who issued the last one.
    pub(super) fn root(&self) -> String {
        self.0.last().map_or_else(unknown, |one| name(one.issuer))
    }

    /// Checks a signature and every certificate by the one above it.
    pub(super) fn check(
        &self,
        algorithm: &[u8],
        kind: DigestKind,
        digest: &[u8],
        signature: &[u8],
    ) -> SignatureCheck {
        let broken = |why: String| SignatureCheck::Broken { why };
        let open = |why: &str| SignatureCheck::NotChecked {
            why: why.to_owned(),
        };
        let Some(signer) = self.0.first() else {
            return open("the signer's certificate is not in the file");
        };
        match signer.signed_it(algorithm, kind, digest, signature) {
            Made::Yes => {}
            Made::No => return broken("the signature is not the signer's".to_owned()),
            Made::Unknown => return open("its algorithm is not known here"),
        }
        let last = self.0.last().filter(|one| one.is_its_own_issuer());
        let above = self.0.iter().skip(1).chain(last);
        for (one, above) in self.0.iter().zip(above) {
            let Some(kind) = digest::kind(one.algorithm) else {
                return open("a certificate's algorithm is not known here");
            };
            let digest = digest::of(kind, &[one.signed]);
            match above.signed_it(one.algorithm, kind, &digest, one.signature) {
                Made::Yes => {}
                Made::No => {
                    return broken(format!(
                        "the certificate of {} is forged",
                        name(one.subject)
                    ));
                }
                Made::Unknown => return open("a certificate's algorithm is not known here"),
            }
        }
        match last {
            Some(_) => SignatureCheck::ChainConsistent,
            None => SignatureCheck::ChainOpen,
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A bit string's bytes, without those that say how many bits are unused.
fn bits(element: Element<'_>) -> Option<&[u8]> {
    let (unused, bytes) = element.value.split_first()?;
    (*unused == 0).then_some(bytes)
}

fn key_id(extensions: Element<'_>) -> Option<&[u8]> {
    extensions.inside().sequence()?.find_map(|extension| {
        let mut parts = extension.inside();
        if parts.need(OID)?.value != KEY_ID {
            return None;
        }
        let value = parts.find(|part| part.tag == OCTETS)?;
        Some(value.inside().need(OCTETS)?.value)
    })
}

/// `RSAPublicKey ::= SEQUENCE { modulus, exponent }`; the crate refuses more than 4096 bits.
fn rsa_key(bytes: &[u8]) -> Option<RsaPublicKey> {
    let mut parts = Reader::new(bytes).sequence()?;
    let modulus = BigUint::from_bytes_be(parts.need(INTEGER)?.value);
    let exponent = BigUint::from_bytes_be(parts.need(INTEGER)?.value);
    RsaPublicKey::new(modulus, exponent).ok()
}

/// The common name, or what comes nearest to it.
fn name(name: Element<'_>) -> String {
    let find = |wanted: &[u8]| {
        let attributes = name.inside().flat_map(|set| set.inside());
        attributes.into_iter().find_map(|attribute| {
            let mut parts = attribute.inside();
            (parts.need(OID)?.value == wanted)
                .then(|| parts.next())?
                .map(text)
        })
    };
    NAMES.into_iter().find_map(find).unwrap_or_else(unknown)
}

/// A string of any sort, without control characters.
fn text(element: Element<'_>) -> String {
    let text = if element.tag == BMP {
        let (units, _) = element.value.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(element.value).into_owned()
    };
    text.chars().filter(|c| !c.is_control()).collect()
}
