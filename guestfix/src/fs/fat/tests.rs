// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::volume::sample::{self, Bytes};

/// A volume made by mkfs.vfat.
fn volume(mib: usize, options: &[&str]) -> Arc<Bytes> {
    let make = |path: &std::path::Path| drop(sample::run("mkfs.vfat", options, path));
    Arc::new(Bytes::new(sample::image(mib, make)))
}

fn load(volume: &Arc<Bytes>) -> Fat {
    Fat::load(Arc::clone(volume) as Arc<dyn Storage>).unwrap()
}

/// What fsck.vfat says, which must be nothing.
fn check(volume: &Arc<Bytes>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), volume.to_vec()).unwrap();
    sample::run("fsck.vfat", &["-n"], file.path());
}

fn content(fat: &Fat, path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut file = fat.open(&path.into()).unwrap();
    file.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn what_is_written_is_read_back_in_every_size_of_fat() {
    for (mib, options) in [
        (2, vec!["-F12"]),
        (32, vec!["-F16"]),
        (64, vec!["-F32", "-s1"]),
    ] {
        let volume = volume(mib, &options);
        let fat = load(&volume);
        let big: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        fat.write(&"/EFI/BOOT/BOOTX64.EFI".into(), &big).unwrap();
        fat.write(&"/EFI/a long name, with spaces.cfg".into(), b"one")
            .unwrap();
        fat.write(&"/efi/boot/grub.cfg".into(), b"a longer text")
            .unwrap();
        fat.write(&"/EFI/BOOT/grub.cfg".into(), b"short").unwrap();
        fat.append(&"/EFI/BOOT/GRUB.CFG".into(), b" tail").unwrap();
        fat.close().unwrap();

        let fat = load(&volume);
        assert_eq!(content(&fat, "/efi/Boot/bootx64.efi"), big);
        assert_eq!(content(&fat, "/EFI/BOOT/grub.cfg"), b"short tail");
        let names = fat.list(&"/EFI".into()).unwrap();
        assert_eq!(names, [&b"BOOT"[..], b"a long name, with spaces.cfg"]);
        let meta = fat.lstat(&"/EFI/BOOT".into()).unwrap().unwrap();
        assert_eq!(meta.file_type, FileType::Dir);
        assert_eq!(fat.lstat(&"/EFI/BOOT/grub.cfg/x".into()).unwrap(), None);
        assert!(fat.remove(&"/EFI/BOOT/grub.cfg".into()).unwrap());
        assert!(!fat.remove(&"/EFI/BOOT/grub.cfg".into()).unwrap());
        fat.close().unwrap();
        check(&volume);
    }
}

#[test]
fn a_full_filesystem_is_told_before_anything_is_written() {
    let volume = volume(2, &["-F12"]);
    let fat = load(&volume);
    let before = fat.space().unwrap();
    let error = fat
        .write(&"/EFI/big".into(), &vec![1; 3 << 20])
        .unwrap_err();
    assert_eq!(error.code, "guest-full");
    assert_eq!(fat.lstat(&"/EFI".into()).unwrap(), None);
    assert_eq!(fat.space().unwrap(), before);
}

#[test]
fn names_that_fat_cannot_hold_are_refused() {
    let volume = volume(2, &["-F12"]);
    let fat = load(&volume);
    for name in ["/", "/a:b", "/EFI/what?"] {
        assert_eq!(
            fat.write(&name.into(), b"").unwrap_err().code,
            "bad-name",
            "{name}"
        );
    }
}

#[test]
fn a_directory_without_an_end_ends() {
    let volume = volume(64, &["-F32", "-s1"]);
    let fat = load(&volume);
    fat.write(&"/EFI/x".into(), b"x").unwrap();
    fat.close().unwrap();
    // The first cluster of the root directory leads to itself, in both tables, and is full of
    // deleted names.
    let mut boot = [0; 512];
    volume.read_at(&mut boot, 0).unwrap();
    let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]]));
    let sectors = u64::from(u32::from_le_bytes([boot[36], boot[37], boot[38], boot[39]]));
    for table in [reserved, reserved + sectors] {
        volume
            .write_at(&2_u32.to_le_bytes(), table * 512 + 8)
            .unwrap();
    }
    volume
        .write_at(&[0xe5; 512], (reserved + 2 * sectors) * 512)
        .unwrap();
    let fat = load(&volume);
    assert_eq!(fat.lstat(&"/EFI".into()).unwrap_err().code, "fat");
    assert_eq!(fat.list(&GuestPath::root()).unwrap_err().code, "fat");
    assert_eq!(fat.write(&"/EFI/y".into(), b"").unwrap_err().code, "fat");
}

#[test]
fn no_flipped_bit_makes_it_panic() {
    let pristine = volume(2, &["-F12"]);
    let fat = load(&pristine);
    fat.write(&"/EFI/BOOT/BOOTX64.EFI".into(), &vec![7; 9000])
        .unwrap();
    fat.close().unwrap();
    let mut image = vec![0; 64 << 10];
    pristine.read_at(&mut image, 0).unwrap();
    for at in (0..64).step_by(2).chain((512..700).step_by(9)) {
        for bit in [0x80, 0xff] {
            let mut hurt = image.clone();
            hurt[at] ^= bit;
            hurt.resize(2 << 20, 0);
            let Ok(fat) = Fat::load(Arc::new(Bytes::new(hurt))) else {
                continue;
            };
            let path = GuestPath::new("/EFI/BOOT/BOOTX64.EFI");
            if let Ok(mut file) = fat.open(&path) {
                let _ = io::copy(&mut file, &mut io::sink());
            }
            let _ = fat.space();
            let _ = fat.write(&"/EFI/new".into(), &[1; 5000]);
        }
    }
}

#[test]
fn dates_follow_the_calendar() {
    for (day, date) in [
        (0, (1980, 1, 1)),
        (11_016, (2000, 2, 29)),
        (11_017, (2000, 3, 1)),
        (20_778, (2026, 11, 21)),
    ] {
        let (year, month, dom) = civil(day);
        assert_eq!((year, month, dom), date, "{day}");
    }
}
