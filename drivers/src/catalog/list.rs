// SPDX-License-Identifier: Apache-2.0
//! The list inside a catalogue.
//!
//! `CTL ::= SEQUENCE { version?, subjectUsage, listIdentifier?, sequenceNumber?, thisUpdate,
//! nextUpdate?, subjectAlgorithm, trustedSubjects SEQUENCE OF { identifier, attributes }, ...}`:
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-caesar/ed3717c3-e5d3-4d4b-8f0c-cd6dd7bd3a0d>.

use std::collections::HashSet;

use super::authenticode::indirect_digest;
use super::der::{Element, OCTETS, OID, SEQUENCE, SET};
use super::signed::SignedData;

/// `szOID_CTL`, 1.3.6.1.4.1.311.10.1.
const CTL: &[u8] = &[0x2B, 6, 1, 4, 1, 0x82, 0x37, 10, 1];
/// `szOID_CATALOG_LIST`, 1.3.6.1.4.1.311.12.1.1.
const CATALOG_LIST: &[u8] = &[0x2B, 6, 1, 4, 1, 0x82, 0x37, 12, 1, 1];
/// `SPC_INDIRECT_DATA_OBJID`, 1.3.6.1.4.1.311.2.1.4.
const INDIRECT_DATA: &[u8] = &[0x2B, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 4];

/// Digests of the files that a catalogue lists; `None` where the content is no such list.
pub(super) fn members(signed: &SignedData<'_>) -> Option<HashSet<Vec<u8>>> {
    if signed.content_type != CTL {
        return None;
    }
    let parts: Vec<Element<'_>> = signed.content.inside().collect();
    let usage = parts.iter().find(|part| part.tag == SEQUENCE)?;
    if usage.inside().oid()? != CATALOG_LIST {
        return None;
    }
    // The algorithm begins with an object identifier, the list of files with a sequence.
    let subjects = parts.iter().skip(1).find(|part| {
        let first = part.value.first();
        part.tag == SEQUENCE && (first == Some(&SEQUENCE) || first.is_none())
    });
    let mut out = HashSet::new();
    for subject in subjects.iter().flat_map(|subjects| subjects.inside()) {
        take(subject, &mut out);
    }
    Some(out)
}

/// The digest of one file: in its attributes, and as what it is sorted by.
fn take(subject: Element<'_>, out: &mut HashSet<Vec<u8>>) {
    let mut parts = subject.inside();
    let identifier = parts.need(OCTETS).map(|element| element.value);
    out.extend(identifier.and_then(tag_digest));
    for attribute in parts.need(SET).iter().flat_map(|set| set.inside()) {
        let mut attribute = attribute.inside();
        if attribute.need(OID).map(|oid| oid.value) == Some(INDIRECT_DATA) {
            let data = attribute.need(SET).and_then(|set| set.inside().next());
            let digest = data.and_then(|data| indirect_digest(data.value));
            out.extend(digest.map(|(_, digest)| digest.to_vec()));
        }
    }
}

/// Version 1 of the list sorts by the digest's digits in UTF-16, version 2 by the digest.
fn tag_digest(identifier: &[u8]) -> Option<Vec<u8>> {
    if matches!(identifier.len(), 20 | 32) {
        return Some(identifier.to_vec());
    }
    let (units, _) = identifier.as_chunks::<2>();
    let digits: Option<Vec<u8>> = units
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|unit| *unit != 0)
        .map(|unit| char::from_u32(u32::from(unit))?.to_digit(16))
        .map(|digit| u8::try_from(digit?).ok())
        .collect();
    let digits = digits?;
    let (pairs, odd) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    (odd.is_empty() && matches!(digits.len(), 40 | 64)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_by_digits_or_by_digests() {
        let wide =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let digits = "00FF".repeat(10);
        assert_eq!(
            tag_digest(&wide(&format!("{digits}\0"))).unwrap(),
            [0, 255].repeat(10)
        );
        assert_eq!(tag_digest(&[7; 32]).unwrap(), [7; 32]);
        assert_eq!(tag_digest(&wide("no digest")), None);
        assert_eq!(tag_digest(&wide("00")), None);
    }
}
