// SPDX-License-Identifier: Apache-2.0
//! A folder with one driver, whose catalogue is one of testdata/bundles.

use super::*;
use crate::package::{SignatureCheck, Vouch};
use crate::pick::Flag;
use crate::source::Memory;

const IMAGE: &[u8] = include_bytes!("../../../testdata/bundles/signed/disk.sys");
const SIGNED: &[u8] = include_bytes!("../../../testdata/bundles/signed/signed.sys");
const CATALOG: &[u8] = include_bytes!("../../../testdata/bundles/signed/sha256.cat");
const UNSIGNED: &[u8] = include_bytes!("../../../testdata/bundles/signed/unsigned.cat");

const INF: &str = "[Version]\nSignature=\"$Windows NT$\"\nCatalogFile=Disk.CAT\n\
    [Manufacturer]\nM=D,NTamd64\n[D.NTamd64]\nT=I,PCI\\VEN_1AF4&DEV_1042\n\
    [I]\nCopyFiles=@DISK.sys\n[DestinationDirs]\nDefaultDestDir=12\n";

fn bundle(list: &[(&str, &[u8])]) -> Bundle {
    let files = Memory::files(list);
    let index = Index::of(&files);
    Bundle { files, index }
}

fn pick(list: &[(&str, &[u8])]) -> crate::pick::Pick {
    let release = "w10/amd64".parse().unwrap();
    bundle(list)
        .pick(&release, &[Role::Block])
        .unwrap()
        .picks
        .remove(0)
}

#[test]
fn the_catalogue_vouches_for_the_image_and_not_for_another_inf() {
    let pick = pick(&[
        ("a/disk.inf", INF.as_bytes()),
        ("a/disk.sys", IMAGE),
        ("a/disk.cat", CATALOG),
    ]);
    let file = &pick.package.files[0];
    let Vouch::Catalog {
        catalog, signature, ..
    } = &file.vouch
    else {
        panic!("{file:?}")
    };
    assert_eq!(catalog, "a/disk.cat");
    assert_eq!(
        signature.as_ref().unwrap().check,
        SignatureCheck::ChainConsistent
    );
    assert_eq!(
        pick.flags,
        [Flag::Unvouched {
            file: "a/disk.inf".to_owned(),
            why: "Disk.CAT does not list it".to_owned(),
        }]
    );
}

#[test]
fn an_images_own_signature_does_without_a_catalogue() {
    let pick = pick(&[("disk.inf", INF.as_bytes()), ("disk.sys", SIGNED)]);
    assert!(matches!(
        pick.package.files[0].vouch,
        Vouch::Embedded { .. }
    ));
    assert_eq!(pick.package.catalog, None);
    assert!(
        matches!(&pick.flags[0], Flag::Unvouched { why, .. } if why == "the catalogue Disk.CAT is missing")
    );
}

#[test]
fn a_catalogue_that_nobody_signed_or_that_is_damaged_vouches_for_nothing() {
    for (catalog, word) in [(UNSIGNED, "nobody signed"), (&CATALOG[..99], "no PKCS #7")] {
        let pick = pick(&[
            ("disk.inf", INF.as_bytes()),
            ("disk.sys", IMAGE),
            ("disk.cat", catalog),
        ]);
        let whys: Vec<String> = pick.flags.iter().map(|flag| format!("{flag:?}")).collect();
        assert!(
            whys.iter()
                .any(|why| why.contains("disk.sys") && why.contains(word)),
            "{whys:?}"
        );
    }
}

#[test]
fn members_are_read_again_only_while_they_are_the_same() {
    let list: &[(&str, &[u8])] = &[("disk.inf", INF.as_bytes()), ("disk.sys", SIGNED)];
    let mut member = pick(list).package.files[0].member.clone();
    assert_eq!(bundle(list).read(&member).unwrap(), SIGNED);
    member.sha256 = "00".repeat(32);
    assert_eq!(
        bundle(list).read(&member).unwrap_err().code,
        "bundle-changed"
    );
}

#[test]
fn the_guest_agent_is_found_for_its_processor() {
    let bundle = bundle(&[
        ("disk.inf", INF.as_bytes()),
        ("guest-agent/qemu-ga-x86_64.msi", b"msi"),
    ]);
    let agent = |release: &str| bundle.pick(&release.parse().unwrap(), &[]).unwrap().agent;
    assert_eq!(agent("w10/amd64").unwrap().name(), "qemu-ga-x86_64.msi");
    assert_eq!(agent("w10/x86"), None);
}

#[test]
fn a_survey_tells_of_every_inf() {
    let survey = bundle(&[
        ("a/disk.inf", INF.as_bytes()),
        ("a/disk.sys", IMAGE),
        ("b/broken.inf", b"MZ"),
        ("c/sriov/other.inf", b"MZ"),
    ])
    .survey()
    .unwrap();
    let [row] = &survey.rows[..] else {
        panic!("{survey:?}")
    };
    assert_eq!(
        (row.roles.as_slice(), row.archs.as_slice()),
        (&[Role::Block][..], &[crate::Arch::Amd64][..])
    );
    assert_eq!(row.problem, None);
    assert_eq!(survey.damaged.len(), 1);
}

#[test]
fn a_folder_without_drivers_is_no_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let error = Bundle::open(dir.path()).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (Kind::Unsupported, "no-bundle")
    );
    std::fs::write(dir.path().join("disk.inf"), INF).unwrap();
    assert!(Bundle::open(dir.path()).is_ok());
}
