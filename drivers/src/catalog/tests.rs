// SPDX-License-Identifier: Apache-2.0
//! Catalogues of testdata/bundles, which osslsigncode signed and verifies; and forged ones.

use proptest::prelude::*;

use super::*;
use crate::package::SignatureCheck;
use crate::pe::Pe;
use crate::pe::tests::{PLAIN, SIGNED};

const INF: &[u8] = include_bytes!("../../../testdata/bundles/signed/disk.inf");
const SHA1: &[u8] = include_bytes!("../../../testdata/bundles/signed/sha1.cat");
const SHA256: &[u8] = include_bytes!("../../../testdata/bundles/signed/sha256.cat");
const UNSIGNED: &[u8] = include_bytes!("../../../testdata/bundles/signed/unsigned.cat");

fn only(signatures: &[Signature]) -> &Signature {
    let [one] = signatures else {
        panic!("{signatures:?}")
    };
    one
}

/// The position of a run of bytes.
fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).unwrap()
}

#[test]
fn a_catalogue_lists_images_and_other_files_by_its_own_digest() {
    for (bytes, kind) in [(SHA1, DigestKind::Sha1), (SHA256, DigestKind::Sha256)] {
        let catalog = Catalog::parse(bytes).unwrap();
        assert_eq!(catalog.len(), 2);
        for file in [INF, PLAIN, SIGNED] {
            assert_eq!(catalog.lists(&Digests::of_file(file)), [kind]);
        }
        assert_eq!(catalog.lists(&Digests::of_file(b"other")), []);
    }
}

#[test]
fn the_signer_and_the_end_of_its_chain_are_named() {
    for (bytes, kind) in [(SHA1, DigestKind::Sha1), (SHA256, DigestKind::Sha256)] {
        let catalog = Catalog::parse(bytes).unwrap();
        let signature = only(&catalog.signatures);
        assert_eq!(signature.signer, "guestfix test publisher");
        assert_eq!(signature.issuer, "guestfix test root");
        assert_eq!(signature.root, "guestfix test root");
        assert_eq!(signature.digest, kind);
        assert_eq!(signature.check, SignatureCheck::ChainConsistent);
    }
    assert!(Catalog::parse(UNSIGNED).unwrap().signatures.is_empty());
}

#[test]
fn an_images_own_signature_counts_while_the_image_is_unchanged() {
    let embedded = Embedded::read(&Pe::parse(SIGNED).unwrap());
    assert_eq!(
        only(&embedded.signatures).check,
        SignatureCheck::ChainConsistent
    );
    assert_eq!(embedded.wrong, None);
    let mut changed = SIGNED.to_vec();
    changed[0x400] = 0x90;
    let embedded = Embedded::read(&Pe::parse(&changed).unwrap());
    assert!(embedded.signatures.is_empty());
    assert!(embedded.wrong.unwrap().contains("other bytes"));
}

#[test]
fn a_list_that_was_changed_after_signing_is_broken() {
    let digest = Digests::of_file(INF);
    let mut forged = SHA256.to_vec();
    let at = find(&forged, digest.of(DigestKind::Sha256));
    forged[at] ^= 1;
    let catalog = Catalog::parse(&forged).unwrap();
    let signature = only(&catalog.signatures);
    assert!(!signature.holds());
    assert!(matches!(&signature.check, SignatureCheck::Broken { why } if why.contains("changed")));
}

#[test]
fn a_signature_of_another_key_is_broken() {
    let mut forged = SHA256.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let catalog = Catalog::parse(&forged).unwrap();
    assert!(
        matches!(&only(&catalog.signatures).check, SignatureCheck::Broken { why } if why.contains("signer"))
    );
}

#[test]
fn a_forged_certificate_is_broken() {
    let mut forged = SHA256.to_vec();
    let at = find(&forged, b"guestfix test publisher");
    forged[at] = b'G';
    let catalog = Catalog::parse(&forged).unwrap();
    let signature = only(&catalog.signatures);
    assert_eq!(signature.signer, "Guestfix test publisher");
    assert!(matches!(&signature.check, SignatureCheck::Broken { why } if why.contains("forged")));
}

#[test]
fn a_chain_without_its_root_is_open_and_names_it() {
    // The root's own subject becomes another name: the publisher's issuer is not in the file then.
    let mut open = SHA256.to_vec();
    let name = b"guestfix test root";
    let places: Vec<usize> = (0..open.len() - name.len())
        .filter(|at| open[*at..].starts_with(name))
        .collect();
    let [first, second, third, ..] = places[..] else {
        panic!("{places:?}")
    };
    // Root's issuer and subject come in one certificate, the publisher's issuer in the other.
    let root = if second - first < third - second {
        [first, second]
    } else {
        [second, third]
    };
    for at in root {
        open[at] = b'G';
    }
    let catalog = Catalog::parse(&open).unwrap();
    let signature = only(&catalog.signatures);
    assert_eq!(signature.check, SignatureCheck::ChainOpen);
    assert_eq!(signature.root, "guestfix test root");
}

#[test]
fn other_files_are_no_catalogue() {
    for bytes in [&b""[..], INF, PLAIN, &SHA256[..600]] {
        assert_eq!(Catalog::parse(bytes).unwrap_err().code, "catalog-damaged");
    }
}

proptest! {
    #[test]
    fn a_damaged_catalogue_is_read_or_refused(
        changes in proptest::collection::vec((0..SHA1.len(), any::<u8>()), 1..30),
        len in 0..SHA1.len(),
    ) {
        let mut bytes = SHA1.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let _ = Catalog::parse(&bytes);
        let _ = Catalog::parse(&bytes[..len]);
    }

    #[test]
    fn any_bytes_are_no_catalogue(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Catalog::parse(&bytes).is_err());
    }
}
