// SPDX-License-Identifier: Apache-2.0
use std::process::Command;

use proptest::prelude::*;

use super::super::compress::tests::{TOOLS, pipe};
use super::super::cpio::Writer;
use super::super::lz4;
use super::*;

const V: &str = "6.1.0-1-amd64";

/// A tree as initramfs-tools makes it, packed by the machine's own cpio.
fn by_cpio() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mkdir -p usr/lib/modules/{V}/kernel/drivers/block conf/conf.d etc usr/sbin
         ln -s usr/lib lib
         echo MODULES=dep >conf/initramfs.conf
         echo RESUME=/dev/sda5 >conf/conf.d/resume
         printf 'alias a b\\n' >usr/lib/modules/{V}/modules.alias
         printf 'kernel/drivers/block/vmw-pvscsi.ko:\\n' >usr/lib/modules/{V}/modules.dep
         head -c 70000 /dev/zero >usr/lib/modules/{V}/kernel/drivers/block/vmw-pvscsi.ko
         ln usr/lib/modules/{V}/kernel/drivers/block/vmw-pvscsi.ko usr/lib/modules/{V}/kernel/twin.ko
         touch usr/sbin/modprobe
         find . | LC_ALL=C sort | cpio --quiet -o -H newc"
    );
    let output = Command::new("sh")
        .args(["-ec", &script])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn microcode() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.dir("kernel");
    writer.file("kernel/x86.bin", &[7; 3000]);
    writer.finish(512)
}

fn more(name: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.file(&format!("usr/lib/modules/{V}/kernel/{name}.ko"), b"elf");
    writer.finish(4)
}

#[test]
fn every_compression_is_read_behind_microcode_and_before_a_splice() {
    let main = by_cpio();
    for (format, argv) in TOOLS {
        let mut image = microcode();
        image.extend(pipe(argv, &main));
        if format == Format::Lz4 {
            image.extend(lz4::pack(&more("spliced")));
        } else {
            image.resize(image.len().next_multiple_of(4), 0);
            image.extend(more("spliced"));
        }
        let size = image.len() as u64;
        let Initramfs { facts, contents } = read_initramfs(image.as_slice(), V);
        assert_eq!(facts.damage, None, "{format:?}");
        assert_eq!(facts.size, size);
        let want = match format {
            Format::Lz4 => vec!["none", "lz4"],
            other => vec!["none", other.name(), "none"],
        };
        assert_eq!(facts.archives, want);
        assert_eq!(facts.generator, "initramfs-tools");
        let dir = format!("usr/lib/modules/{V}");
        assert_eq!(facts.modules_dir.as_ref(), Some(&dir));
        let names: Vec<&str> = facts.modules.iter().map(String::as_str).collect();
        assert_eq!(names, ["spliced", "twin", "vmw_pvscsi"]);
        assert_eq!(facts.device_names.len(), 1);
        assert_eq!(facts.device_names[0].file, "conf/conf.d/resume");
        assert_eq!(facts.device_names[0].device, "/dev/sda5");
        assert_eq!(
            contents.index_text(&dir, "modules.alias"),
            Some("alias a b\n")
        );
        assert!(contents.loader && contents.has_dir(&dir));
    }
}

#[test]
fn a_cut_image_is_damaged_with_a_place_and_keeps_what_was_read() {
    let main = by_cpio();
    for (format, argv) in TOOLS {
        let mut image = microcode();
        let start = image.len();
        image.extend(pipe(argv, &main));
        for cut in [1, 5, 100, start - 1, start + 3, start + 40, image.len() - 1] {
            let facts = read_initramfs(&image[..cut.min(image.len())], V).facts;
            // lz4's legacy frame has no end mark: what is lost may be the padding alone.
            let padding = format == Format::Lz4 && cut == image.len() - 1;
            assert!(
                padding || cut == start - 1 || facts.damage.is_some(),
                "{format:?} {cut}"
            );
            if let Some(damage) = facts.damage {
                assert!(damage.contains("near byte"), "{damage}");
            }
        }
    }
}

#[test]
fn what_the_kernel_refuses_is_damage() {
    let mut misaligned = microcode();
    misaligned.extend([0, 0]);
    misaligned.extend(more("x"));
    let mut junk = microcode();
    junk.extend(b"junk");
    let mut behind_lz4 = lz4::pack(&by_cpio());
    behind_lz4.extend(more("x"));
    let lzo = [0x89, b'L', b'Z', b'O', 0, 13];
    for (image, want) in [
        (&misaligned[..], "multiple of 4"),
        (&junk, "no archive where"),
        (&behind_lz4, "longer than a block"),
        (&lzo, "lzo is not decoded"),
        (&[0; 64], "no archive in the image"),
    ] {
        let damage = read_initramfs(image, V).facts.damage.unwrap();
        assert!(damage.contains(want), "{damage}");
    }
}

#[test]
fn a_later_directory_replaces_a_link_as_in_the_kernel() {
    let mut image = by_cpio();
    let link = read_initramfs(image.as_slice(), V);
    assert_eq!(link.contents.resolve("lib/x").as_deref(), Some("usr/lib/x"));
    let mut writer = Writer::new();
    writer.dir("lib");
    image.extend(writer.finish(4));
    let dir = read_initramfs(image.as_slice(), V);
    assert_eq!(dir.contents.resolve("lib/x").as_deref(), Some("lib/x"));
}

#[test]
fn a_later_configuration_replaces_the_earlier_one() {
    let mut image = by_cpio();
    let mut writer = Writer::new();
    writer.file("conf/conf.d/resume", b"RESUME=UUID=1\n");
    image.extend(writer.finish(4));
    assert!(
        read_initramfs(image.as_slice(), V)
            .facts
            .device_names
            .is_empty()
    );
}

#[test]
fn links_in_a_circle_end() {
    let mut writer = Writer::new();
    writer.symlink("lib", "usr");
    writer.symlink("usr", "lib");
    let image = writer.finish(4);
    let read = read_initramfs(image.as_slice(), V);
    assert_eq!(read.contents.resolve("lib/modules"), None);
    assert_eq!(read.facts.modules_dir, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_changed_bytes_make_the_reader_panic(
        tool in 0_usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        static IMAGES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let images = IMAGES.get_or_init(|| {
            let main = by_cpio();
            TOOLS.iter().map(|(_, argv)| [microcode(), pipe(argv, &main)].concat()).collect()
        });
        let mut image = images[tool].clone();
        for (at, byte) in changes {
            let at = at.index(image.len());
            image[at] = byte;
        }
        let _ = read_initramfs(image.as_slice(), V);
    }
}

#[test]
fn a_table_of_encrypted_volumes_that_names_none_is_none() {
    let image = |table: &[u8]| {
        let mut writer = Writer::new();
        writer.dir("cryptroot");
        writer.file("cryptroot/crypttab", table);
        writer.finish(4)
    };
    let files = |image: Vec<u8>| {
        read_initramfs(image.as_slice(), "1")
            .contents
            .listing
            .files
            .clone()
    };
    assert!(files(image(b"root UUID=1 none luks\n")).contains("cryptroot/crypttab"));
    assert!(files(image(b"")).is_empty());
    // A later archive may take it away again.
    let both = [image(b"root UUID=1 none luks\n"), image(b"")].concat();
    assert!(files(both).is_empty());
}
