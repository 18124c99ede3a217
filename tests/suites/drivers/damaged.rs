// SPDX-License-Identifier: Apache-2.0
//! Bundles with something wrong in them.

use std::path::Path;

use drivers::{Bundle, Flag, Pick, Release, Role, Vouch};
use tests::virtio_win::{self as bundle, Infs};

const OWN: &str = "viostor/w10/amd64";

/// A bundle with disk drivers only, changed.
fn changed(change: impl Fn(&Path)) -> Bundle {
    let dir = bundle::copy(&bundle::tree(Infs::Own));
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("viostor") {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    change(dir.path());
    Bundle::open(dir.path())
        .map(|bundle| (bundle, dir.keep()).0)
        .unwrap()
}

fn pick(bundle: &Bundle) -> Pick {
    let release: Release = "w10/amd64".parse().unwrap();
    bundle
        .pick(&release, &[Role::Block])
        .unwrap()
        .picks
        .remove(0)
}

/// Why the driver of the release's own folder was passed over.
fn passed_over(pick: &Pick) -> &str {
    let own = format!("{OWN}/viostor.inf");
    &pick.rejected.iter().find(|r| r.inf == own).unwrap().why
}

#[test]
fn a_driver_for_another_processor_is_passed_over() {
    let pick = pick(&changed(|dir| {
        let from = dir.join("viostor/w10/x86/viostor.sys");
        std::fs::copy(from, dir.join(OWN).join("viostor.sys")).unwrap();
    }));
    assert!(!pick.fit.exact);
    assert_eq!(
        passed_over(&pick),
        "viostor.sys is an image for x86, not for amd64"
    );
}

#[test]
fn a_driver_that_was_changed_after_signing_is_vouched_for_by_nobody() {
    let spoil = |dir: &Path| {
        let path = dir.join("viostor.sys");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0x401] = 0x90;
        std::fs::write(path, bytes).unwrap();
    };
    let other = pick(&changed(|dir| spoil(&dir.join(OWN))));
    assert!(
        passed_over(&other).contains("viostor.cat does not list it"),
        "{other:?}"
    );
    let every = pick(&changed(|dir| {
        for release in std::fs::read_dir(dir.join("viostor")).unwrap() {
            let amd64 = release.unwrap().path().join("amd64");
            if amd64.exists() {
                spoil(&amd64);
            }
        }
    }));
    assert!(every.fit.exact && !every.is_vouched());
    assert!(matches!(every.package.files[0].vouch, Vouch::Nobody { .. }));
}

#[test]
fn a_broken_inf_and_a_broken_catalogue_name_themselves() {
    let inf = pick(&changed(|dir| {
        std::fs::write(dir.join(OWN).join("viostor.inf"), b"[Version\n").unwrap();
    }));
    assert!(!inf.fit.exact);
    let catalog = pick(&changed(|dir| {
        std::fs::write(dir.join(OWN).join("viostor.cat"), b"no catalogue").unwrap();
    }));
    assert!(
        passed_over(&catalog).contains("viostor.cat: no catalogue"),
        "{catalog:?}"
    );
}

#[test]
fn a_missing_file_and_a_missing_release_are_told() {
    let bundle = changed(|dir| std::fs::remove_file(dir.join(OWN).join("viostor.sys")).unwrap());
    assert_eq!(
        passed_over(&pick(&bundle)),
        "its file viostor.sys is missing"
    );
    let bundle = changed(|dir| {
        for entry in std::fs::read_dir(dir.join("viostor")).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("w10") {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
    });
    let seven: Release = "w7/amd64".parse().unwrap();
    let picks = bundle.pick(&seven, &[Role::Block, Role::Net]).unwrap();
    assert!(
        picks.missing[0].why.contains("can be used on Windows 7"),
        "{:?}",
        picks.missing
    );
    assert!(
        picks.missing[0].rejected[0]
            .why
            .contains("NTamd64.10.0...14393")
    );
    assert_eq!(picks.missing[1].why, "the bundle has no driver for net");
}

#[test]
fn names_in_another_case_are_the_same_names() {
    let pick = pick(&changed(|dir| {
        let own = dir.join(OWN);
        for name in ["viostor.sys", "viostor.cat", "viostor.inf"] {
            std::fs::rename(own.join(name), own.join(name.to_uppercase())).unwrap();
        }
        std::fs::rename(&own, dir.join("viostor/w10/AMD64")).unwrap();
        std::fs::rename(dir.join("viostor/w10"), dir.join("viostor/W10")).unwrap();
    }));
    assert_eq!(pick.package.inf.path, "viostor/W10/AMD64/VIOSTOR.INF");
    assert!(pick.flags.is_empty() && pick.fit.exact, "{:?}", pick.flags);
}

#[test]
fn sha1_is_flagged_where_it_may_be_refused() {
    let bundle = changed(|dir| {
        for entry in std::fs::read_dir(dir.join("viostor")).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("w7") {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
    });
    assert_eq!(
        pick(&bundle).flags,
        [
            Flag::NearVersion {
                folder: drivers::Product::Seven
            },
            Flag::Sha1Only
        ]
    );
}
