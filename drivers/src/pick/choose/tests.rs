// SPDX-License-Identifier: Apache-2.0
//! Choices among INFs of a few lines, with evidence as each test wants it.

use std::collections::BTreeMap;

use super::*;
use crate::inf::Copy;
use crate::package::{DriverFile, Image, Member, Signature, SignatureCheck};
use crate::source::Memory;

const PNP: &str = "PCI\\VEN_1AF4&DEV_1042";

/// An INF for a disk: decoration, version.
fn disk(decoration: &str, version: &str) -> String {
    inf(
        decoration,
        version,
        PNP,
        "[I.Services]\nAddService=disk,2,S\n",
    )
}

fn inf(decoration: &str, version: &str, id: &str, more: &str) -> String {
    format!(
        "[Version]\nSignature=\"$Windows NT$\"\nDriverVer=1/1/2024,{version}\nCatalogFile=disk.cat\n\
         [Manufacturer]\n%M%=D,{decoration}\n[D.{decoration}]\n%T%=I,{id}\n[I]\nCopyFiles=@disk.sys\n{more}\
         [S]\nServiceType=1\nStartType=0\nServiceBinary=%12%\\disk.sys\n\
         [DestinationDirs]\nDefaultDestDir=12\n[Strings]\nM=\"Maker\"\nT=\"Disk\"\n"
    )
}

/// Evidence by path of INF; what is not named is sound.
#[derive(Default)]
struct Fake {
    by_inf: BTreeMap<String, fn(&mut Evidence)>,
}

fn signature() -> Signature {
    Signature {
        signer: "Publisher".to_owned(),
        issuer: "Issuer".to_owned(),
        root: "Root".to_owned(),
        digest: DigestKind::Sha256,
        check: SignatureCheck::ChainOpen,
    }
}

fn vouched() -> Vouch {
    Vouch::Catalog {
        catalog: "disk.cat".to_owned(),
        digests: vec![DigestKind::Sha256],
        signature: Some(signature()),
    }
}

fn member(path: &str) -> Member {
    Member {
        path: path.to_owned(),
        len: 1,
        sha256: "00".repeat(32),
    }
}

impl Witness for Fake {
    fn examine(&self, inf: &str, _: Option<&str>, copies: &[Copy]) -> Result<Evidence> {
        let arch = if inf.contains("x86") {
            Arch::X86
        } else {
            Arch::Amd64
        };
        let files = copies.iter().map(|copy| DriverFile {
            member: member(&copy.source),
            place: copy.place.clone(),
            vouch: vouched(),
            image: Some(Image {
                machine: arch.machine(),
                arch: Some(arch),
                subsystem: 1,
                version: None,
            }),
        });
        let mut out = Evidence {
            inf: member(inf),
            inf_vouch: vouched(),
            catalog: Some(member("disk.cat")),
            files: files.collect(),
            missing: Vec::new(),
            damaged: Vec::new(),
            signed_with: vec![DigestKind::Sha256],
        };
        if let Some(change) = self.by_inf.get(inf) {
            change(&mut out);
        }
        Ok(out)
    }
}

fn index(infs: &[(&str, String)]) -> Index {
    let list: Vec<(&str, &[u8])> = infs
        .iter()
        .map(|(path, text)| (*path, text.as_bytes()))
        .collect();
    Index::of(&Memory::files(&list))
}

fn choose(infs: &[(&str, String)], fake: &Fake, release: &str) -> Result<Pick, Missing> {
    let release = release.parse().unwrap();
    one(&index(infs), &release, Role::Block, fake).unwrap()
}

fn path(infs: &[(&str, String)], release: &str) -> String {
    choose(infs, &Fake::default(), release)
        .unwrap()
        .package
        .inf
        .path
}

const TEN: &str = "NTamd64.10.0...14393";

fn tree() -> Vec<(&'static str, String)> {
    vec![
        ("viostor/w7/amd64/disk.inf", disk("NTamd64.6.1", "1.7")),
        ("viostor/2k16/amd64/disk.inf", disk(TEN, "1.16")),
        ("viostor/2k22/amd64/disk.inf", disk(TEN, "1.22")),
        ("viostor/w10/amd64/disk.inf", disk(TEN, "1.10")),
        ("viostor/w10/x86/disk.inf", disk("NTx86.10.0", "1.10")),
    ]
}

#[test]
fn the_releases_own_folder_wins() {
    let pick = choose(&tree(), &Fake::default(), "2k16/amd64").unwrap();
    assert_eq!(pick.package.inf.path, "viostor/2k16/amd64/disk.inf");
    assert!(pick.fit.exact && pick.flags.is_empty());
    assert_eq!(pick.fit.models, "D.NTamd64.10.0...14393");
    assert!(
        pick.reason.contains("Windows Server 2016"),
        "{}",
        pick.reason
    );
}

#[test]
fn without_its_own_folder_the_nearest_older_one_serves_and_says_so() {
    let pick = choose(&tree(), &Fake::default(), "2k19/amd64").unwrap();
    assert_eq!(pick.package.inf.path, "viostor/w10/amd64/disk.inf");
    assert_eq!(
        pick.flags,
        [Flag::NearVersion {
            folder: Product::Ten
        }]
    );
    assert!(
        pick.reason
            .contains("nothing in a folder of Windows Server 2019")
    );
    assert_eq!(path(&tree(), "2k25/amd64"), "viostor/2k22/amd64/disk.inf");
    assert_eq!(path(&tree(), "2k12/amd64"), "viostor/w7/amd64/disk.inf");
}

#[test]
fn decorations_come_before_folders() {
    let mut tree = tree();
    tree.push(("viostor/w8/amd64/disk.inf", disk(TEN, "1.8")));
    assert_eq!(path(&tree, "w8/amd64"), "viostor/w7/amd64/disk.inf");
    let pick = choose(&tree, &Fake::default(), "w8/amd64").unwrap();
    let own = pick
        .rejected
        .iter()
        .find(|r| r.inf.contains("/w8/"))
        .unwrap();
    assert!(own.why.contains("NTamd64.10.0...14393"), "{own:?}");
}

#[test]
fn in_a_flat_folder_the_closest_and_newest_wins() {
    let flat = [
        ("a.inf", disk("NTamd64.6.1", "9.0")),
        ("b.inf", disk("NTamd64.10.0", "1.0")),
        ("c.inf", disk("NTamd64.10.0", "2.0")),
    ];
    assert_eq!(path(&flat, "w11/amd64"), "c.inf");
    assert_eq!(path(&flat, "w7/amd64"), "a.inf");
}

#[test]
fn an_image_for_another_processor_is_passed_over() {
    let mut fake = Fake::default();
    fake.by_inf
        .insert("viostor/w10/amd64/disk.inf".to_owned(), |evidence| {
            evidence.files[0].image.as_mut().unwrap().arch = Some(Arch::X86);
        });
    let pick = choose(&tree(), &fake, "w10/amd64").unwrap();
    assert_eq!(pick.package.inf.path, "viostor/2k16/amd64/disk.inf");
    assert_eq!(
        pick.rejected[0].why,
        "disk.sys is an image for x86, not for amd64"
    );
}

#[test]
fn a_package_without_a_file_is_passed_over() {
    let mut fake = Fake::default();
    let gone = |evidence: &mut Evidence| evidence.missing.push("disk.sys".to_owned());
    fake.by_inf
        .insert("viostor/w10/amd64/disk.inf".to_owned(), gone);
    let pick = choose(&tree(), &fake, "w10/amd64").unwrap();
    assert_eq!(pick.package.inf.path, "viostor/2k16/amd64/disk.inf");
    assert_eq!(pick.rejected[0].why, "its file disk.sys is missing");
}

#[test]
fn what_nobody_vouches_for_is_taken_only_where_there_is_nothing_else() {
    let unsigned = |evidence: &mut Evidence| {
        evidence.files[0].vouch = Vouch::Nobody {
            why: "disk.cat does not list it".to_owned(),
        };
    };
    let mut fake = Fake::default();
    fake.by_inf
        .insert("viostor/w10/amd64/disk.inf".to_owned(), unsigned);
    let pick = choose(&tree(), &fake, "w10/amd64").unwrap();
    assert_eq!(pick.package.inf.path, "viostor/2k16/amd64/disk.inf");
    let only = [("viostor/w10/amd64/disk.inf", disk(TEN, "1"))];
    let pick = choose(&only, &fake, "w10/amd64").unwrap();
    assert!(!pick.is_vouched());
    assert!(
        matches!(&pick.flags[0], Flag::Unvouched { why, .. } if why == "disk.cat does not list it")
    );
}

#[test]
fn digests_are_flagged_where_the_release_minds() {
    let mut fake = Fake::default();
    let flags = |fake: &Fake, release: &str| choose(&tree(), fake, release).unwrap().flags;
    assert_eq!(flags(&fake, "w7/amd64"), [Flag::Sha256Only]);
    assert!(flags(&fake, "w10/amd64").is_empty());
    for path in ["viostor/w7/amd64/disk.inf", "viostor/w10/amd64/disk.inf"] {
        fake.by_inf
            .insert(path.to_owned(), |e| e.signed_with = vec![DigestKind::Sha1]);
    }
    assert!(flags(&fake, "w7/amd64").is_empty());
    assert_eq!(flags(&fake, "w10/amd64"), [Flag::Sha1Only]);
}

#[test]
fn a_driver_is_preferred_to_a_null_driver() {
    let both = [
        (
            "a/w10/amd64/null.inf",
            inf("NTamd64.10.0", "9.9", PNP, "[I.Services]\nAddService=,2\n"),
        ),
        ("b/w10/amd64/disk.inf", disk("NTamd64.10.0", "1.0")),
    ];
    assert_eq!(path(&both, "w10/amd64"), "b/w10/amd64/disk.inf");
}

#[test]
fn what_is_missing_is_explained() {
    let why = |infs: &[(&str, String)], release: &str| {
        choose(infs, &Fake::default(), release).unwrap_err()
    };
    assert_eq!(
        why(&[("readme.inf", "x".to_owned())], "w10/amd64").why,
        "the bundle has no driver for block"
    );
    assert_eq!(
        why(&tree(), "w11/arm64").why,
        "the bundle has its driver for amd64 and x86 only"
            .replace("amd64 and x86", "x86 and amd64")
    );
    let old = why(&tree(), "2k3/amd64");
    assert!(
        old.why.contains("can be used on Windows Server 2003"),
        "{}",
        old.why
    );
    assert!(
        old.rejected.iter().any(|r| r.why.contains("NTamd64.6.1")),
        "{:?}",
        old.rejected
    );
}

#[test]
fn a_damaged_inf_is_told_where_it_would_have_been_picked() {
    let broken = [("viostor/w10/amd64/disk.inf", "[Version\n".to_owned())];
    let missing = choose(&broken, &Fake::default(), "w10/amd64").unwrap_err();
    assert_eq!(missing.rejected[0].inf, "viostor/w10/amd64/disk.inf");
    assert!(
        missing.rejected[0].why.contains("does not end"),
        "{:?}",
        missing.rejected
    );
}

#[test]
fn a_pick_carries_what_the_database_of_drivers_needs() {
    let pick = choose(&tree(), &Fake::default(), "w10/amd64").unwrap();
    let package = &pick.package;
    assert_eq!(
        package.strings,
        [("m", "Maker"), ("t", "Disk")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    );
    assert_eq!(package.store_name(), "disk.inf_amd64_0000000000000000");
    assert_eq!(pick.service().unwrap().name, "disk");
    assert_eq!(package.devices[0].description.token(), "%t%");
    let json = serde_json::to_string(&pick).unwrap();
    assert_eq!(serde_json::from_str::<Pick>(&json).unwrap(), pick);
}
