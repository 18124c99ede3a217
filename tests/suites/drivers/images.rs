// SPDX-License-Identifier: Apache-2.0
//! The same bundle in ISO images.

use drivers::{Bundle, Picks, Release, Role};
use tests::virtio_win::{self as bundle, Infs, Names};

const ROLES: &[Role] = &[Role::Block, Role::Scsi, Role::Net];

fn pick(bundle: &Bundle) -> Picks {
    let release: Release = "2k12R2/amd64".parse().unwrap();
    bundle.pick(&release, ROLES).unwrap()
}

#[test]
fn an_image_gives_what_its_folder_gives_under_every_sort_of_names() {
    let tree = bundle::tree(Infs::Own);
    let want = pick(&Bundle::open(&tree).unwrap());
    let dir = tempfile::tempdir().unwrap();
    for names in [Names::Both, Names::Joliet, Names::RockRidge, Names::Plain] {
        let image = dir.path().join(format!("{names:?}.iso"));
        bundle::iso(&tree, names, &image);
        let bundle = Bundle::open(&image).unwrap();
        let got = pick(&bundle);
        if names == Names::Plain {
            let digests = |picks: &Picks| -> Vec<String> {
                picks
                    .picks
                    .iter()
                    .map(|p| p.package.files[0].member.sha256.clone())
                    .collect()
            };
            assert_eq!(digests(&got), digests(&want));
        } else {
            assert_eq!(got, want, "{names:?}");
        }
        for file in got.packages().iter().flat_map(|p| &p.files) {
            assert_eq!(
                bundle.read(&file.member).unwrap().len() as u64,
                file.member.len
            );
        }
    }
}

#[test]
fn a_folder_with_nothing_but_an_image_stands_for_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("disk")).unwrap();
    let image = dir.path().join("disk/virtio-win.iso");
    bundle::iso(&bundle::tree(Infs::Own), Names::Both, &image);
    assert_eq!(
        pick(&Bundle::open(dir.path()).unwrap()).picks.len(),
        ROLES.len()
    );
}

#[test]
fn folders_deeper_than_the_format_allows_are_found_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("in/1/2/3/4/5/6/7/8");
    std::fs::create_dir_all(&deep).unwrap();
    let from = format!("{}/.", bundle::tree(Infs::Own).join("viostor").display());
    tests::tool::run("cp", &["-r", &from, deep.to_str().unwrap()]);
    let image = dir.path().join("deep.iso");
    bundle::iso(&dir.path().join("in"), Names::RockRidge, &image);
    let picks = pick(&Bundle::open(&image).unwrap());
    assert_eq!(
        picks.picks[0].package.inf.path,
        "1/2/3/4/5/6/7/8/2k12R2/amd64/viostor.inf"
    );
}

#[test]
fn an_image_cut_short_anywhere_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("cut.iso");
    bundle::iso(&bundle::tree(Infs::Own), Names::Both, &image);
    let whole = std::fs::metadata(&image).unwrap().len();
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    // genisoimage fills up the end with 300 KiB of nothing.
    for percent in [85, 60, 30, 10, 2] {
        file.set_len(whole * percent / 100).unwrap();
        let error = Bundle::open(&image).unwrap_err();
        assert!(
            ["iso-cut-short", "no-bundle"].contains(&error.code.as_str()),
            "{percent} %: {error:?}"
        );
        assert!(error.message.contains("cut.iso"), "{error}");
    }
}
