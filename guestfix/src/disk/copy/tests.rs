// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use super::*;
use crate::disk::Raw;

/// A disk of many MiB with a few bytes here and there, as a sparse file.
fn sample(len: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(len).unwrap();
    for (index, place) in [
        0,
        5000,
        65_535,
        (1 << 20) - 1,
        700 << 20,
        (700 << 20) + 70_000,
        len - 1,
    ]
    .into_iter()
    .enumerate()
    {
        file.as_file()
            .write_all_at(&[index as u8 + 1], place)
            .unwrap();
    }
    file.as_file().write_all_at(&[0; 300_000], 2 << 20).unwrap();
    file.as_file()
        .write_all_at(&[9; 3_000_000], 600 << 20)
        .unwrap();
    file
}

fn qemu_img(args: &[&str]) -> String {
    let out = Command::new("qemu-img").args(args).output();
    let out = out.expect("qemu-img is needed by this test");
    assert!(out.status.success(), "{args:?}: {out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn copies_are_the_same_disk_in_little_room_and_qemu_finds_no_fault() {
    let len = (1100 << 20) + 512;
    let from = sample(len);
    let raw = Raw::open(from.path(), false).unwrap();
    let path = from.path().to_str().unwrap();
    for format in ["raw", "qcow2"] {
        let to = tempfile::NamedTempFile::new().unwrap();
        let file = to.as_file().try_clone().unwrap();
        let mut sink: Box<dyn Sink> = match format {
            "raw" => Box::new(NewRaw::new(file, len).unwrap()),
            _ => Box::new(NewQcow2::new(file, len).unwrap()),
        };
        let mut told = Vec::new();
        let written = copy(&raw, sink.as_mut(), &mut |at| {
            told.push(at);
            Ok(())
        });
        let written = written.unwrap();
        assert!(
            (3_000_000..4_500_000).contains(&written),
            "{format}: {written}"
        );
        assert!(told.len() > 3 && told.last() == Some(&len) && told.is_sorted());
        let room = to.as_file().metadata().unwrap().blocks() * 512;
        assert!(room < 6 << 20, "{format}: {room}");
        let to = to.path().to_str().unwrap();
        qemu_img(&["compare", "-f", "raw", "-F", format, path, to]);
        if format == "qcow2" {
            let said = qemu_img(&["check", "-f", "qcow2", to]);
            assert!(said.contains("No errors"), "{said}");
            let image = Raw::container_from_file(File::open(to).unwrap(), "new", false).unwrap();
            crate::disk::qcow2::check(&image, image.len()).unwrap();
        }
    }
}

#[test]
fn an_image_of_many_counts_is_whole() {
    // More than one block of reference counts: over 2 GiB of data, all of it a hole in the file
    // but for its last byte.
    let to = tempfile::NamedTempFile::new().unwrap();
    let len = 3 << 30;
    let mut sink = NewQcow2::new(to.as_file().try_clone().unwrap(), len).unwrap();
    let data = vec![3; 65_536];
    for cluster in [0, 8191, 8192, 49_151] {
        sink.put(&data, cluster * CLUSTER).unwrap();
    }
    // As if 2.2 GiB lay between.
    let many = 36_000 * CLUSTER;
    sink.take(many);
    sink.finish().unwrap();
    let out = Command::new("qemu-img")
        .args(["check", "-f", "qcow2"])
        .arg(to.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    // What lies between is counted and not used.
    assert!(
        said.contains("36000 leaked clusters") && !said.contains("ERROR"),
        "{said}"
    );
}

const CLUSTER: u64 = 65_536;

#[test]
fn a_copy_that_is_stopped_is_no_image() {
    let from = sample(1100 << 20);
    let raw = Raw::open(from.path(), false).unwrap();
    let to = tempfile::NamedTempFile::new().unwrap();
    let mut sink = NewQcow2::new(to.as_file().try_clone().unwrap(), raw.len()).unwrap();
    let stop = |_| {
        Err(Error::new(
            crate::error::Kind::Cancelled,
            "cancelled",
            "stop",
        ))
    };
    assert_eq!(
        copy(&raw, &mut sink, &mut { stop }).unwrap_err().code,
        "cancelled"
    );
    let mut head = [0; 4];
    to.as_file().read_exact_at(&mut head, 0).unwrap();
    assert_eq!(head, [0; 4]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    for len in [511, (1 << 51) + 512] {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(NewQcow2::new(file, len).unwrap_err().code, "qcow2-size");
    }
    assert!(is_zeros(&[0; 37]) && !is_zeros(&[0, 0, 1]) && is_zeros(&[]));
}
