// SPDX-License-Identifier: Apache-2.0

use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::disk::home::DiskIdentity;
use crate::error::{Kind, Result};

fn header() -> Header {
    let disk = |path: &str| RecordDisk {
        identity: DiskIdentity {
            path: path.to_owned(),
            claim_uid: None,
            size: 1 << 20,
        },
        len_before: 1 << 20,
        len_after: 1 << 20,
    };
    Header {
        created: 1,
        made_by: "test".to_owned(),
        disks: vec![disk("/a"), disk("/b")],
        undo: 1,
        fingerprints: Vec::new(),
    }
}

fn entry(disk: usize, offset: u64, len: usize) -> Entry {
    let data: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
    Entry {
        disk,
        offset,
        checks: checks_of(&vec![7; len]),
        data,
    }
}

fn write(entries: &[Entry]) -> Vec<u8> {
    let file = tempfile::tempfile().unwrap();
    let mut writer = Writer::new(file.try_clone().unwrap(), RecordKind::Redo, &header()).unwrap();
    for entry in entries {
        writer.push(entry).unwrap();
    }
    writer.finish().unwrap();
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn file(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn read(bytes: &[u8]) -> Result<(Vec<Entry>, Summary)> {
    let (mut reader, summary) = Reader::new(file(bytes))?.validate()?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok((entries, summary))
}

fn sample() -> Vec<Entry> {
    vec![entry(0, 0, 4096), entry(0, 8192, 700), entry(1, 512, 1024)]
}

#[test]
fn what_was_written_is_read_back_and_has_the_promised_size() {
    let bytes = write(&sample());
    let (entries, summary) = read(&bytes).unwrap();
    assert_eq!(entries, sample());
    assert_eq!(
        summary,
        Summary {
            entries: 3,
            bytes: 4096 + 700 + 1024
        }
    );
    let promised: u64 = sample()
        .iter()
        .map(|e| entry_size(e.data.len() as u64))
        .sum();
    assert_eq!(
        bytes.len() as u64,
        promised + frame_size(&header()).unwrap()
    );
    assert_eq!(read(&write(&[])).unwrap().0, []);
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = write(&sample());
    for len in 0..bytes.len() {
        let error = read(&bytes[..len]).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (Kind::Corrupt, "record"),
            "{len}"
        );
        assert!(error.offset.is_some());
    }
    let longer = [bytes, vec![0]].concat();
    assert_eq!(read(&longer).unwrap_err().code, "record");
}

#[test]
fn an_entry_that_lies_about_its_place_is_refused_even_with_a_right_checksum() {
    for lies in [
        vec![entry(2, 0, 512)],
        vec![entry(0, 1 << 20, 512)],
        vec![entry(0, (1 << 20) - 512, 1024)],
        vec![entry(0, 100, 512)],
        vec![entry(0, u64::MAX - 511, 512)],
        vec![entry(0, 512, 1024), entry(0, 1024, 512)],
        vec![entry(1, 0, 512), entry(0, 0, 512)],
        vec![entry(0, 0, 0)],
    ] {
        assert_eq!(read(&write(&lies)).unwrap_err().code, "record", "{lies:?}");
    }
}

#[test]
fn a_record_of_a_later_version_is_not_called_corrupt() {
    let mut bytes = write(&sample());
    bytes[8] = 9;
    assert_eq!(read(&bytes).unwrap_err().code, "record-version");
}

#[test]
fn a_huge_claimed_header_allocates_nothing() {
    let mut bytes = write(&[]);
    bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read(&bytes).unwrap_err().code, "record");
}

proptest! {
    #[test]
    fn every_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = write(&sample());
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..400), keep in 0_usize..400) {
        let mut bytes = write(&sample());
        bytes.truncate(keep);
        bytes.extend(noise);
        prop_assert!(read(&bytes).is_err());
    }
}
