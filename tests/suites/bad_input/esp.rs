// SPDX-License-Identifier: Apache-2.0
//! EFI system partitions that are full or damaged.

use std::fs::File;
use std::os::unix::fs::FileExt;

use tests::case::{Case, concern};
use tests::disk::partition;
use tests::planted::noise;
use tests::small::{Filesystem, Small, SmallDisk};
use tests::tool;

fn guest() -> (Case, SmallDisk) {
    Case::small(Small::on(Filesystem::Ext4).with_esp(16), |_| {})
}

#[test]
fn a_loader_is_written_where_firmware_looks() {
    let (case, disk) = guest();
    let original = case.sha256();
    case.converted(&[]);
    let (offset, _) = partition(&disk.path, 1);
    let inside = format!("{}@@{offset}", disk.path.display());
    for (vendor, fallback) in [("shimx64", "BOOTX64"), ("grubx64", "grubx64")] {
        let read = |path: &str| {
            let to = case.dir().join("read.efi");
            let to = to.to_str().unwrap();
            tool::run("mcopy", &["-n", "-o", "-i", &inside, path, to]);
            std::fs::read(to).unwrap()
        };
        let want = read(&format!("::EFI/debian/{vendor}.efi"));
        assert!(want.len() > 100_000);
        assert!(read(&format!("::EFI/BOOT/{fallback}.efi")) == want);
    }
    case.undone_to(&original);
}

#[test]
fn a_full_esp_says_what_is_needed_and_what_there_is() {
    let (case, disk) = guest();
    let (offset, _) = partition(&disk.path, 1);
    let inside = format!("{}@@{offset}", disk.path.display());
    let filler = case.dir().join("filler");
    std::fs::write(&filler, noise(16_000_000)).unwrap();
    tool::run("mcopy", &["-i", &inside, filler.to_str().unwrap(), "::"]);
    for verb in ["plan", "convert"] {
        let document = case.unharmed(verb, &[], 1);
        let told = concern(&document, "esp-full");
        assert!(told.contains("KiB free"), "{told}");
        // 440,000 bytes of loaders, and the rests of clusters.
        assert!(told.contains(" KiB free and 5"), "{told}");
        assert!(told.contains(" KiB are needed for the loader"), "{told}");
    }
}

/// A kind of damage: what it is, where in the partition, and with which bytes.
type Damage = (&'static str, u64, Vec<u8>);

/// Of the FAT16 that mkfs.vfat makes of 16 MiB: sectors of 512 bytes, 4 reserved, two FATs of 32,
/// 512 names in the root, clusters of 4 sectors.
fn damages(disk: &SmallDisk) -> Vec<Damage> {
    let (offset, _) = partition(&disk.path, 1);
    let mut boot = [0; 512];
    let file = File::open(&disk.path).unwrap();
    file.read_exact_at(&mut boot, offset).unwrap();
    let le16 = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let (sector, reserved, fat) = (le16(11), le16(14), le16(22));
    let tables = reserved * sector;
    let root = tables + 2 * fat * sector;
    let data = root + le16(17) * 32;
    let cluster = sector * u64::from(boot[13]);
    assert_eq!((sector, boot[16]), (512, 2));
    let all_to = |cluster: u16| cluster.to_le_bytes().repeat(4000);
    vec![
        ("a boot sector of noise", 0, noise(512)),
        ("a boot sector of zeros", 0, vec![0; 512]),
        ("sectors of 3 bytes", 11, vec![3, 0]),
        ("clusters of 0 sectors", 13, vec![0]),
        ("clusters of 255 sectors", 13, vec![255]),
        ("no FAT", 16, vec![0]),
        ("a FAT larger than the disk", 22, vec![0xff, 0xff]),
        ("more sectors than there are", 19, vec![0, 0, 0, 0xf8]),
        ("no reserved sectors", 14, vec![0, 0]),
        ("FATs of noise", tables, noise((2 * fat * sector) as usize)),
        (
            "FATs of zeros",
            tables,
            vec![0; (2 * fat * sector) as usize],
        ),
        ("every cluster leads to itself", tables + 4, all_to(2)),
        (
            "every cluster leads beyond the end",
            tables + 4,
            all_to(0xfff0),
        ),
        ("a root directory of noise", root, noise(16384)),
        ("a root directory of zeros", root, vec![0; 16384]),
        ("a directory of noise", data, noise(cluster as usize)),
        (
            "a directory that is its own child",
            data + 64 + 26,
            vec![2, 0],
        ),
        (
            "all directories of noise",
            data,
            noise(8 * cluster as usize),
        ),
    ]
}

#[test]
fn no_damage_of_an_esp_makes_a_conversion_crash_or_lose_anything() {
    let (case, disk) = guest();
    let original = case.disk().to_path_buf();
    let mut case = case;
    let mut refused = 0;
    for (what, place, bytes) in damages(&disk) {
        let damaged = disk.cloned("damaged.img");
        let (offset, _) = partition(&original, 1);
        let file = File::options().write(true).open(&damaged.path).unwrap();
        file.write_all_at(&bytes, offset + place).unwrap();
        drop(file);
        case = case.on(&damaged.path);
        let before = case.sha256();
        let run = case.verb("convert").run();
        let document = run.json();
        match run.code {
            // What nobody reads may be anything.
            Some(0) => case.undone_to(&before),
            Some(1 | 5) => {
                refused += 1;
                assert_eq!(case.sha256(), before, "{what}: {document}");
            }
            code => panic!("{what}: {code:?} {document} {}", run.stderr),
        }
        assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
        std::fs::remove_dir_all(case.dir().join("state")).unwrap();
    }
    assert!(refused >= 12, "{refused}");
}
