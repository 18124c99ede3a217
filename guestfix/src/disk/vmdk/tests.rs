// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::disk::Raw;

/// Whatever lies in a directory.
struct Beside<'a>(&'a Path);

impl Files for Beside<'_> {
    fn open(&mut self, name: &str) -> Result<Arc<dyn Storage>> {
        let file = std::fs::File::open(self.0.join(name)).map_err(|e| Error::io("test", e))?;
        Ok(Arc::new(Raw::container_from_file(file, name, false)?))
    }
}

/// Nothing.
struct Nobody;

impl Files for Nobody {
    fn open(&mut self, name: &str) -> Result<Arc<dyn Storage>> {
        Err(Error::refused("test", name))
    }
}

fn open_at(path: &Path) -> Result<Vmdk> {
    let dir = path.parent().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let file = Beside(dir).open(name)?;
    open(name, file, &mut Beside(dir))
}

fn qemu_img(args: &[&str], dir: &Path) {
    let out = Command::new("qemu-img")
        .args(args)
        .current_dir(dir)
        .output();
    let out = out.expect("qemu-img is needed by this test");
    assert!(out.status.success(), "{args:?}: {out:?}");
}

/// 11 MiB and a sector with runs of data, zeros and noise.
fn sample() -> Vec<u8> {
    let mut out = vec![0; (11 << 20) + 512];
    let mut seed = 1_u64;
    for (index, block) in out.chunks_mut(4096).enumerate() {
        match index % 64 {
            0..3 | 40 => block.fill(index as u8 | 1),
            20..24 => {
                for byte in block {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    *byte = seed as u8;
                }
            }
            _ => {}
        }
    }
    out
}

fn whole(disk: &Vmdk) -> Vec<u8> {
    let mut out = vec![0; disk.len() as usize];
    // In odd steps, so that pieces begin and end anywhere.
    for (index, part) in out.chunks_mut(100_003).enumerate() {
        disk.read_at(part, index as u64 * 100_003).unwrap();
    }
    out
}

fn made(dir: &Path, kind: &str) -> Vec<u8> {
    let raw = sample();
    std::fs::write(dir.join("raw"), &raw).unwrap();
    let option = format!("subformat={kind}");
    qemu_img(
        &["convert", "-O", "vmdk", "-o", &option, "raw", "disk.vmdk"],
        dir,
    );
    raw
}

#[test]
fn every_kind_that_qemu_makes_reads_as_its_source() {
    for kind in [
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "streamOptimized",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let raw = made(dir.path(), kind);
        let disk = open_at(&dir.path().join("disk.vmdk")).unwrap();
        assert!(whole(&disk) == raw, "{kind}");
        holes_are_zeros(&disk, &raw, kind);
        assert_eq!(disk.write_at(&[0], 0).unwrap_err().code, "read-only");
        let mut head = vec![0; SECTOR];
        let file = Beside(dir.path()).open("disk.vmdk").unwrap();
        read_padded(file.as_ref(), &mut head, 0).unwrap();
        assert!(is_vmdk(&head), "{kind}");
    }
    assert!(!is_vmdk(&[0; 512]) && !is_vmdk(b"QFI\xfb"));
}

fn holes_are_zeros(disk: &Vmdk, raw: &[u8], kind: &str) {
    let mut at = 0;
    let mut holes = 0;
    while at < disk.len() {
        let zeros = disk.zeros(at).unwrap();
        let hole = &raw[at as usize..(at + zeros) as usize];
        assert!(hole.iter().all(|byte| *byte == 0), "{kind} at {at}");
        holes += zeros;
        at += zeros.max(4096);
    }
    assert!(holes > 1 << 20 || kind.contains("Flat"), "{kind}: {holes}");
}

/// Changes the text of a descriptor.
fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_snapshot_reads_through_to_its_parent_and_only_to_that() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut raw = made(dir, "monolithicSparse");
    // A parent that is written to afterwards is no longer the one that the snapshot was made of.
    for (child, parent, writes) in [
        ("one.vmdk", "disk.vmdk", &[(65_536, 0x11)][..]),
        ("two.vmdk", "one.vmdk", &[(69_632, 0x22), (5 << 20, 0x33)]),
    ] {
        let create = ["create", "-f", "vmdk", "-b", parent, "-F", "vmdk", child];
        qemu_img(&create, dir);
        for (at, byte) in writes {
            let write = format!("write -P {byte} {at} 4096");
            let out = Command::new("qemu-io")
                .args(["-f", "vmdk", "-c", &write, child])
                .current_dir(dir)
                .output()
                .unwrap();
            assert!(out.status.success(), "{out:?}");
            raw[*at..at + 4096].fill(*byte as u8);
        }
    }
    let disk = open_at(&dir.join("two.vmdk")).unwrap();
    assert!(whole(&disk) == raw);
    holes_are_zeros(&disk, &raw, "chain");
    // The parent was used since.
    let out = Command::new("qemu-io")
        .args(["-f", "vmdk", "-c", "write 0 512", "disk.vmdk"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let error = open_at(&dir.join("two.vmdk")).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.disk.as_deref()),
        ("vmdk-chain", Some("disk.vmdk"))
    );
    assert_eq!(
        open("x", Beside(dir).open("two.vmdk").unwrap(), &mut Nobody)
            .unwrap_err()
            .code,
        "test"
    );
}

#[test]
fn a_chain_that_is_a_loop_ends() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "# Disk DescriptorFile\nCID=5\nparentCID=5\nparentFileNameHint=\"a.vmdk\"\nRW 8 ZERO\n";
    std::fs::write(dir.path().join("a.vmdk"), text).unwrap();
    let error = open_at(&dir.path().join("a.vmdk")).unwrap_err();
    assert_eq!(error.code, "vmdk-chain");
    assert!(error.message.contains("loop"), "{error}");
}

#[test]
fn files_that_are_cut_short_are_named_with_the_place() {
    for kind in [
        "monolithicSparse",
        "streamOptimized",
        "twoGbMaxExtentSparse",
        "monolithicFlat",
    ] {
        let dir = tempfile::tempdir().unwrap();
        made(dir.path(), kind);
        let data = match kind {
            "twoGbMaxExtentSparse" => "disk-s001.vmdk",
            "monolithicFlat" => "disk-flat.vmdk",
            _ => "disk.vmdk",
        };
        let path = dir.path().join(data);
        let len = std::fs::metadata(&path).unwrap().len();
        for keep in [len - 66_048, len * 2 / 3, len / 3, 70_000, 1000] {
            std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(keep)
                .unwrap();
            let error = open_at(&dir.path().join("disk.vmdk")).and_then(|disk| {
                let mut buf = vec![0; disk.len() as usize];
                disk.read_at(&mut buf, 0)
            });
            let Err(error) = error else {
                panic!("{kind} cut to {keep} bytes is read")
            };
            assert_eq!(
                error.kind,
                crate::error::Kind::Corrupt,
                "{kind} {keep}: {error}"
            );
            assert_eq!(error.disk.as_deref(), Some(data), "{kind} {keep}: {error}");
            assert!(error.offset.is_some(), "{kind} {keep}: {error}");
        }
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A streamOptimized file of two grains: the second entry of its table is `entries[1]`.
fn stream(grains: &[(u64, Vec<u8>)], entries: &[u32]) -> Vec<u8> {
    let text = b"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRW 256 SPARSE \"x\"\n";
    let mut out = vec![0; 512];
    out.extend(text);
    out.resize(1024, 0);
    for (sector, packed) in grains {
        out.extend(sector.to_le_bytes());
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(packed);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    let table = out.len() / 512;
    for entry in entries {
        out.extend(entry.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(2048).max(table * 512 + 2048), 0);
    let directory = out.len() / 512;
    out.extend((table as u32).to_le_bytes());
    out.resize(out.len().next_multiple_of(512), 0);
    let mut head = vec![0; 512];
    head[..4].copy_from_slice(b"KDMV");
    head[4..8].copy_from_slice(&3_u32.to_le_bytes());
    head[8..12].copy_from_slice(&0x3_0001_u32.to_le_bytes());
    for (at, number) in [
        (12, 256_u64),
        (20, 128),
        (28, 1),
        (36, 1),
        (56, directory as u64),
    ] {
        head[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    head[44..48].copy_from_slice(&512_u32.to_le_bytes());
    head[73..79].copy_from_slice(b"\n \r\n\x01\0");
    out[..512].copy_from_slice(&head);
    out
}

fn of_bytes(bytes: Vec<u8>) -> Result<Vmdk> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), bytes).unwrap();
    open_at(&dir.path().join("x"))
}

fn read_second(bytes: Vec<u8>) -> Result<()> {
    of_bytes(bytes)?.read_at(&mut [0; 512], 65_536)
}

#[test]
fn bombs_and_lies_of_compressed_grains_are_refused() {
    let good = deflated(&vec![7; 65_536]);
    let two = [(0, good.clone()), (128, good.clone())];
    read_second(stream(&two, &[2, 3])).unwrap();
    let said = |grain: (u64, Vec<u8>), entry: u32| {
        let error = read_second(stream(&[(0, good.clone()), grain], &[2, entry])).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.disk.as_deref()),
            ("vmdk", Some("x"))
        );
        assert!(error.offset.is_some());
        error.message
    };
    let bomb = deflated(&vec![0; 64 << 20]);
    assert!(said((128, bomb[..65_536.min(bomb.len())].to_vec()), 3).contains("beyond"));
    assert!(said((128, deflated(&[1; 4096])), 3).contains("too short"));
    assert!(said((128, good[..good.len() / 2].to_vec()), 3).contains("too early"));
    assert!(said((128, vec![0xff; 600]), 3).contains("inflated"));
    assert!(said((128, vec![0; 200_000]), 3).contains("length"));
    // One grain for the whole disk.
    assert!(said((128, good.clone()), 2).contains("another place"));
    assert!(said((128, good.clone()), 0x00ff_ffff).contains("leaves the file"));
}

#[test]
fn headers_that_make_no_sense_are_refused_at_once() {
    let good = stream(&[(0, deflated(&vec![7; 65_536]))], &[2, 0]);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        of_bytes(file).unwrap_err()
    };
    let huge = u64::MAX.to_le_bytes();
    for (at, bytes, code) in [
        (4, &[9_u8][..], "vmdk-unsupported"),
        (12, &huge[..], "vmdk"),
        (12, &[0; 8], "vmdk"),
        (20, &huge, "vmdk"),
        (20, &[3], "vmdk"),
        (20, &[0; 8], "vmdk"),
        (28, &huge, "vmdk"),
        (36, &huge, "vmdk"),
        (44, &[0; 4], "vmdk"),
        (44, &[0xff; 4], "vmdk"),
        (56, &[0xff, 0xff, 0xff, 0xff, 0xff], "vmdk"),
        (56, &huge, "vmdk"),
        (73, b"\r", "vmdk"),
        (77, &[2], "vmdk-unsupported"),
    ] {
        let error = with(at, bytes);
        assert_eq!(
            (error.code.as_str(), error.disk.as_deref()),
            (code, Some("x")),
            "{at}: {error}"
        );
    }
    let mut part = good.clone();
    part[28..44].fill(0);
    assert!(
        of_bytes(part)
            .unwrap_err()
            .message
            .contains("a part of a VMDK")
    );
}

#[test]
fn no_mutation_panics_or_reads_without_end() {
    let good = stream(
        &[
            (0, deflated(&vec![7; 65_536])),
            (128, deflated(&sample()[..65_536])),
        ],
        &[2, 3],
    );
    for step in 0..2000_usize {
        let mut file = good.clone();
        let at = (step * 7919) % file.len();
        file[at] ^= 1 << (step % 8);
        if let Ok(disk) = of_bytes(file) {
            let mut buf = [0; 4096];
            for at in [0, 65_536, 131_072 - 4096] {
                let _ = disk.read_at(&mut buf, at);
                let _ = disk.zeros(at);
            }
        }
    }
}

/// A space-efficient file as QEMU describes it: grains of 4 KiB, one table.
fn se_sparse(grains: &BTreeMap<u64, u64>, data: &[[u8; 4096]]) -> Vec<u8> {
    let mut out = vec![0; 512 * 2];
    let words = |file: &mut Vec<u8>, at: usize, word: u64| {
        if file.len() < at + 8 {
            file.resize(at + 8, 0);
        }
        file[at..at + 8].copy_from_slice(&word.to_le_bytes());
    };
    let (directory, tables, start) = (8_u64, 16_u64, 128_u64);
    for (at, word) in [
        (0, 0xcafe_babe_u64),
        (8, 0x0000_0002_0000_0001),
        (16, 4096),
        (24, 8),
        (32, 64),
        (80, 1),
        (88, 1),
        (96, 2),
        (104, 1),
        (112, 3),
        (120, 1),
        (128, directory),
        (136, 1),
        (144, tables),
        (152, 64),
        (160, 80),
        (168, 1),
        (176, 81),
        (184, 1),
        (192, start),
        (200, 64),
        (512, 0xcafe_cafe),
    ] {
        words(&mut out, at, word);
    }
    words(&mut out, directory as usize * 512, 0x1000_0000_0000_0000);
    for (grain, entry) in grains {
        words(&mut out, (tables * 512 + grain * 8) as usize, *entry);
    }
    out.resize(start as usize * 512, 0);
    for grain in data {
        out.extend(grain);
    }
    out.resize(out.len().max(256 << 10), 0);
    out
}

#[test]
fn a_space_efficient_snapshot_reads_as_qemu_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let grains = BTreeMap::from([
        (0, 0x3000_0000_0000_0000),
        (3, 0x3001_0000_0000_0000),
        (5, 0x2000_0000_0000_0000),
        (6, 0x1000_0000_0000_0000),
    ]);
    std::fs::write(
        dir.join("d-sesparse.vmdk"),
        se_sparse(&grains, &[[0xaa; 4096], [0xbb; 4096]]),
    )
    .unwrap();
    let text = "# Disk DescriptorFile\nversion=4\nCID=1\nparentCID=ffffffff\ncreateType=\"seSparse\"\nRW 4096 SESPARSE \"d-sesparse.vmdk\"\n";
    std::fs::write(dir.join("d.vmdk"), text).unwrap();
    let disk = open_at(&dir.join("d.vmdk")).unwrap();
    let mut want = vec![0; 2 << 20];
    want[..4096].fill(0xaa);
    want[3 * 4096..4 * 4096].fill(0xbb);
    assert!(whole(&disk) == want);
    qemu_img(
        &["convert", "-f", "vmdk", "-O", "raw", "d.vmdk", "out"],
        dir,
    );
    assert!(std::fs::read(dir.join("out")).unwrap() == want);
    edit(&dir.join("d.vmdk"), "SESPARSE", "VMFSRDM");
    assert_eq!(
        open_at(&dir.join("d.vmdk")).unwrap_err().code,
        "vmdk-unsupported"
    );
}

#[test]
fn a_snapshot_of_an_old_esx_server_reads_as_qemu_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut file = vec![0; 2048];
    file[..4].copy_from_slice(b"COWD");
    for (at, word) in [(4, 1_u32), (8, 3), (12, 4096), (16, 1), (20, 4), (24, 1)] {
        file[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    file.extend(8_u32.to_le_bytes());
    file.resize(4096 + 4096 * 4, 0);
    let data = (file.len() / 512) as u32;
    file[4096 + 8..4096 + 12].copy_from_slice(&data.to_le_bytes());
    file.extend([0xcd; 512]);
    std::fs::write(dir.join("d-delta.vmdk"), file).unwrap();
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"vmfsSparse\"\nRW 4096 VMFSSPARSE \"d-delta.vmdk\"\n";
    std::fs::write(dir.join("d.vmdk"), text).unwrap();
    let mut want = vec![0; 2 << 20];
    want[1024..1536].fill(0xcd);
    assert!(whole(&open_at(&dir.join("d.vmdk")).unwrap()) == want);
    qemu_img(
        &["convert", "-f", "vmdk", "-O", "raw", "d.vmdk", "out"],
        dir,
    );
    assert!(std::fs::read(dir.join("out")).unwrap() == want);
}
