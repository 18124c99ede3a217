// SPDX-License-Identifier: Apache-2.0
//! An image of testdata/bundles, whole and damaged.

use proptest::prelude::*;

use super::*;

/// An image for amd64 without a signature, and the same with one.
pub(crate) const PLAIN: &[u8] = include_bytes!("../../../testdata/bundles/signed/disk.sys");
pub(crate) const SIGNED: &[u8] = include_bytes!("../../../testdata/bundles/signed/signed.sys");

#[test]
fn headers_and_version_resource_are_read() {
    let image = Pe::parse(PLAIN).unwrap().image();
    assert_eq!((image.machine, image.arch), (0x8664, Some(Arch::Amd64)));
    assert_eq!(image.subsystem, 1);
    assert_eq!(image.version, Some([100, 95, 104, 26100]));
}

#[test]
fn a_signature_adds_nothing_to_what_is_digested() {
    let plain = Pe::parse(PLAIN).unwrap();
    let signed = Pe::parse(SIGNED).unwrap();
    assert_eq!(
        plain.signed_parts().concat(),
        signed.signed_parts().concat()
    );
    assert!(plain.signatures().is_empty());
    assert_eq!(signed.signatures().len(), 1);
}

#[test]
fn an_odd_length_is_filled_up_to_eight() {
    let mut odd = PLAIN.to_vec();
    odd.extend([1, 2, 3]);
    let image = Pe::parse(&odd).unwrap();
    let parts = image.signed_parts();
    assert_eq!(parts.last(), Some(&&[0_u8; 5][..]));
}

#[test]
fn what_is_no_image_is_told() {
    for bytes in [&b""[..], b"MZ", &PLAIN[..0x80], &[0; 512]] {
        assert_eq!(Pe::parse(bytes).unwrap_err().code, "pe-damaged");
    }
    assert!(!is_image(b"[Version]"));
}

proptest! {
    #[test]
    fn a_damaged_image_is_read_or_refused(
        changes in proptest::collection::vec((0..0x800_usize, any::<u8>()), 1..50),
        len in 0..SIGNED.len(),
    ) {
        let mut bytes = SIGNED.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..len]] {
            if let Ok(pe) = Pe::parse(bytes) {
                pe.image();
                pe.signed_parts();
                pe.signatures();
                crate::catalog::Embedded::read(&pe);
            }
        }
    }
}
