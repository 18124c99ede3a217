// SPDX-License-Identifier: Apache-2.0
//! Volumes that ntfs-3g writes, read by ours. Needs root, mkntfs and ntfs-3g.
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;

use super::*;
use crate::fs::Tree;
use crate::volume::sample::Bytes;

/// A volume of 32 MiB that `fill` has written to.
fn volume(fill: impl FnOnce(&Path)) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (image, point) = (dir.path().join("ntfs.img"), dir.path().join("mnt"));
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    fs::create_dir(&point).unwrap();
    let made = Command::new("mkntfs")
        .args(["-F", "-q", "-f"])
        .arg(&image)
        .output();
    assert!(made.unwrap().status.success());
    let below = fs::metadata(&point).unwrap().dev();
    let mut server = Command::new("ntfs-3g")
        .args(["-o", "no_detach,compression"])
        .args([&image, &point])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&point).unwrap().dev() == below {
        assert!(Instant::now() < deadline && server.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    fill(&point);
    let unmounted = Command::new("umount").arg(&point).status().unwrap();
    assert!(unmounted.success() && server.wait().unwrap().success());
    fs::read(image).unwrap()
}

fn tree(volume: Vec<u8>) -> Tree {
    Tree::new(Box::new(Ntfs::load(Bytes::shared(volume)).unwrap()))
}

fn read(tree: &Tree, path: &str) -> Vec<u8> {
    let content = tree.read_up_to(&path.into(), 32 << 20).unwrap();
    content.unwrap_or_else(|| panic!("{path} is not there"))
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Bytes that do not repeat soon.
fn bytes(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 15 & 0xff).unwrap())
        .collect()
}

#[test]
fn files_of_every_shape_read_as_they_were_written() {
    let large = bytes(3_000_001);
    let text = b"the quick brown fox ".repeat(20_000);
    let disk = volume(|top| {
        fs::write(top.join("empty"), b"").unwrap();
        fs::write(top.join("resident"), b"small").unwrap();
        fs::write(top.join("large"), &large).unwrap();
        // A hole, data, and a tail that was never written.
        let mut holes = fs::File::create(top.join("holes")).unwrap();
        holes.seek(SeekFrom::Start(1 << 20)).unwrap();
        holes.write_all(&large[..10_000]).unwrap();
        holes.set_len(3 << 20).unwrap();
        // FILE_ATTRIBUTE_COMPRESSED: what is made there is compressed.
        fs::create_dir(top.join("packed")).unwrap();
        set(
            &top.join("packed"),
            "system.ntfs_attrib",
            &0x810_u32.to_le_bytes(),
        );
        fs::write(top.join("packed/text"), &text).unwrap();
        fs::write(top.join("packed/noise"), &large).unwrap();
    });
    let tree = tree(disk);
    assert_eq!(read(&tree, "/empty"), b"");
    assert_eq!(read(&tree, "/resident"), b"small");
    assert!(read(&tree, "/large") == large);
    let holes = read(&tree, "/holes");
    assert_eq!(holes.len(), 3 << 20);
    assert!(holes[1 << 20..(1 << 20) + 10_000] == large[..10_000]);
    assert!(holes.iter().filter(|byte| **byte != 0).count() <= 10_000);
    assert!(read(&tree, "/packed/text") == text);
    assert!(read(&tree, "/packed/noise") == large);
    let mut file = tree.open(&"/packed/text".into()).unwrap().unwrap();
    let mut part = vec![0; 100_000];
    file.seek(SeekFrom::Start(123_456)).unwrap();
    file.read_exact(&mut part).unwrap();
    assert!(part == text[123_456..223_456]);
}

#[test]
fn a_file_in_many_pieces_is_put_together() {
    let piece = bytes(4096);
    let disk = volume(|top| {
        let mut files: Vec<_> = (0..2)
            .map(|n| fs::File::create(top.join(format!("f{n}"))).unwrap())
            .collect();
        // One cluster each in turn, with a third one's between: runs that cannot be joined.
        for round in 0..600_u32 {
            for file in &mut files {
                file.write_all(&piece).unwrap();
                file.write_all(&round.to_le_bytes()).unwrap();
                file.sync_all().unwrap();
            }
        }
    });
    let tree = tree(disk);
    for name in ["/f0", "/f1"] {
        let content = read(&tree, name);
        assert_eq!(content.len(), 600 * 4100);
        for (round, part) in content.chunks(4100).enumerate() {
            assert!(part[..4096] == piece, "{name} {round}");
            assert_eq!(part[4096..], u32::try_from(round).unwrap().to_le_bytes());
        }
    }
}

#[test]
fn names_are_found_in_any_case_and_by_their_short_forms() {
    let disk = volume(|top| {
        fs::create_dir_all(top.join("Program Files/Größe")).unwrap();
        fs::write(top.join("Program Files/Größe/Ünï.txt"), b"here").unwrap();
        set(
            &top.join("Program Files"),
            "system.ntfs_dos_name",
            b"PROGRA~1",
        );
        for n in 0..500 {
            fs::write(top.join(format!("Program Files/file number {n}")), b"").unwrap();
        }
    });
    let tree = tree(disk);
    for path in ["/program files/GRÖSSE", "/PROGRA~1/größe/ÜNÏ.TXT"] {
        assert_eq!(
            tree.exists(&path.into()).unwrap(),
            path.contains('~'),
            "{path}"
        );
    }
    let real = tree
        .resolve(&"/progra~1/GRÖßE/ünï.TXT".into())
        .unwrap()
        .unwrap();
    assert_eq!(real.display(), "/Program Files/Größe/Ünï.txt");
    assert_eq!(tree.list(&"/PROGRA~1".into()).unwrap().len(), 501);
    let top = tree.list(&"/".into()).unwrap();
    assert_eq!(
        top,
        [b"Program Files".to_vec()],
        "no short name, and no $MFT"
    );
    assert_eq!(tree.stat(&"/Program Files/none".into()).unwrap(), None);
}

fn reparse(tag: u32, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap();
    [&tag.to_le_bytes()[..], &len.to_le_bytes(), &[0; 2], data].concat()
}

fn junction(target: &str) -> Vec<u8> {
    let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let len = u16::try_from(name.len()).unwrap();
    let head = [0, len, len + 2, 0].map(u16::to_le_bytes).concat();
    reparse(0xa000_0003, &[&head[..], &name, &[0; 4]].concat())
}

#[test]
fn junctions_lead_where_windows_would_go_and_nowhere_else() {
    let disk = volume(|top| {
        fs::create_dir_all(top.join("Users/Public")).unwrap();
        fs::write(top.join("Users/Public/x.txt"), b"here").unwrap();
        for (name, target) in [
            ("Documents and Settings", "\\??\\C:\\Users"),
            ("Elsewhere", "\\??\\D:\\Users"),
            ("Loop", "\\??\\C:\\Loop"),
        ] {
            fs::create_dir(top.join(name)).unwrap();
            set(
                &top.join(name),
                "system.ntfs_reparse_data",
                &junction(target),
            );
        }
    });
    let tree = tree(disk);
    assert_eq!(read(&tree, "/documents and settings/public/X.TXT"), b"here");
    assert!(!tree.exists(&"/Elsewhere/Public".into()).unwrap());
    assert!(!tree.exists(&"/Elsewhere".into()).unwrap());
    let error = tree.resolve(&"/Loop/x".into()).unwrap_err();
    assert_eq!(error.code, "symlink-loop");
}

#[test]
fn files_of_compact_os_read_as_what_they_hold() {
    // The chunk of [MS-XCA]'s second example, and one that is stored.
    let mut packed = vec![0; 256];
    packed[48] = 0x30;
    packed[49] = 0x23;
    packed[128] = 0x02;
    packed[143] = 0x20;
    packed.extend([0xa8, 0xdc, 0x00, 0x00, 0xff, 0x26, 0x01]);
    let plain = b"abc".repeat(100);
    let disk = volume(|top| {
        let wof = |name: &str, algorithm: u32, len: u64, stream: &[u8]| {
            let path = top.join(name);
            fs::File::create(&path).unwrap().set_len(len).unwrap();
            set(&path, "user.WofCompressedData", stream);
            let info = [1, 2, 1, algorithm].map(u32::to_le_bytes).concat();
            let point = reparse(0x8000_0017, &info);
            set(&path, "system.ntfs_reparse_data", &point);
        };
        wof("cmd.exe", 0, 300, &packed);
        wof("stored.exe", 1, 300, &plain);
        wof("unknown.exe", 9, 300, &plain);
        wof("short.exe", 0, 30_000, &[1, 2, 3]);
    });
    let tree = tree(disk);
    assert_eq!(tree.stat(&"/cmd.exe".into()).unwrap().unwrap().len, 300);
    assert_eq!(read(&tree, "/cmd.exe"), plain);
    assert_eq!(read(&tree, "/stored.exe"), plain);
    for name in ["/unknown.exe", "/short.exe"] {
        let read = tree.read(&name.into());
        assert!(
            read.is_err()
                || read
                    .unwrap()
                    .is_some_and(|bytes| bytes.iter().all(|b| *b == 0))
        );
    }
}

#[test]
fn room_is_what_the_bitmap_leaves() {
    let disk = volume(|top| fs::write(top.join("x"), vec![1; 8 << 20]).unwrap());
    let len = disk.len() as u64;
    let space = tree(disk).space(&"/".into()).unwrap();
    assert!(space.free_bytes < len - (8 << 20), "{space:?}");
    assert!(space.free_bytes > len / 4, "{space:?}");
}

#[test]
fn damage_anywhere_is_an_error_or_nothing_and_never_a_panic() {
    let disk = volume(|top| {
        fs::create_dir(top.join("d")).unwrap();
        for n in 0..80 {
            fs::write(top.join(format!("d/{n}")), bytes(n * 300)).unwrap();
        }
    });
    let boot = Boot::parse(&disk[..512]).unwrap();
    let mft = usize::try_from(boot.mft).unwrap();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..40 {
        let mut broken = disk.clone();
        for _ in 0..4 {
            let at = mft + next(120 << 10);
            broken[at] = u8::try_from(next(256)).unwrap();
        }
        let Ok(fs) = Ntfs::load(Bytes::shared(broken)) else {
            continue;
        };
        let _ = fs.space();
        let Ok(names) = fs.list(&"/d".into()) else {
            continue;
        };
        for name in names.iter().take(20) {
            let path = GuestPath::new("/d").join(name);
            let _ = fs.lstat(&path);
            if let Ok(file) = fs.open(&path) {
                let _ = file.take(1 << 20).read_to_end(&mut Vec::new());
            }
        }
    }
}
