// SPDX-License-Identifier: Apache-2.0
//! Whole hives, key by key and value by value, as independent readers see them.

use std::path::Path;

use guestfix::hive::{Dirty, Hive, Recovery, ValueType, import};
use tests::hive::{
    Reader, Sample, assert_same, dump, given, hivexml_counts, our_keys, regtree_keys,
};

const NOW: u64 = 0x1d2_9627_f1c8_a860;
const READERS: [Reader; 3] = [Reader::Hivex, Reader::Dissect, Reader::Regipy];

/// Compares with every reader that opens the bytes: which did, and why the others did not.
fn compare(hive: &Hive, bytes: &[u8], what: &str) -> (Vec<Reader>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hive");
    std::fs::write(&file, bytes).unwrap();
    let (mut agree, mut refused) = (Vec::new(), Vec::new());
    for reader in READERS {
        match reader.dump(&file) {
            Ok(theirs) => {
                assert_same(&dump(hive, reader), &theirs, &format!("{what}, {reader:?}"));
                agree.push(reader);
            }
            Err(why) => refused.push(format!("{reader:?}: {why}")),
        }
    }
    if agree.contains(&Reader::Hivex)
        && let Some((keys, values)) = hivexml_counts(&file)
    {
        let summary = hive.check().unwrap();
        let ours = (summary.keys as usize, summary.values as usize);
        assert_eq!(ours, (keys, values), "{what}, hivexml");
    }
    if let (Some(ours), Some(theirs)) = (our_keys(hive), regtree_keys(&file)) {
        assert_eq!(ours, theirs, "{what}, regtree");
        refused.push("and regtree".to_owned());
    }
    (agree, refused)
}

#[test]
fn every_given_hive_is_seen_alike_by_two_other_readers() {
    for (name, sample) in given() {
        let raw = Sample {
            logs: Vec::new(),
            ..sample.clone()
        };
        match raw.open(Dirty::Accept) {
            Ok(hive) => {
                let summary = hive.check().unwrap();
                let (agree, refused) = compare(&hive, &sample.bytes, &name);
                println!(
                    "{name}: {} keys, {} values, {} findings, agree: {agree:?} {refused:?}",
                    summary.keys,
                    summary.values,
                    summary.findings.len()
                );
                assert!(agree.len() >= 2, "{name}: {refused:?}");
            }
            Err(error) => {
                println!("{name}: {error}");
                let codes = ["hive-damaged", "hive-version"];
                assert!(codes.contains(&error.code.as_str()), "{name}");
                assert!(error.offset.is_some());
            }
        }
        let Ok(hive) = sample.open(Dirty::Refuse) else {
            continue;
        };
        if let Recovery::Replayed { entries, .. } = hive.recovery() {
            let (agree, refused) = compare(&hive, hive.bytes(), &name);
            println!("{name}: replayed {entries}, agree: {agree:?} {refused:?}");
            assert_eq!(agree.len(), 3, "{name}: {refused:?}");
        }
    }
}

/// A hive with everything that the format has, made by our own writer.
fn everything(minor: u32) -> Hive {
    let mut hive = Hive::create(minor, NOW).unwrap();
    let mut edit = hive.edit(NOW + 1).unwrap();
    for number in 0..1300 {
        edit.create_key(&format!("Many\\k{}", number * 7919 % 1300))
            .unwrap();
    }
    edit.create_key("Wide\\\u{142}\u{3a9}\\\u{e4}\u{f6}")
        .unwrap();
    edit.create_key("a\\b\\c\\d\\e\\f\\g\\h").unwrap();
    edit.set_class("a\\b", Some("Class \u{142}")).unwrap();
    // Readers disagree about 1.4: the writer of Windows segments from it on, dissect after it.
    let most = if minor == 4 { 16344 } else { 70_000 };
    for len in [0, 1, 4, 5, 16344, 16345, 40_000, 70_000] {
        let data: Vec<u8> = (0..len.min(most)).map(|i| (i * 7) as u8).collect();
        edit.set_value("a", &format!("v{len}"), ValueType::BINARY, &data)
            .unwrap();
    }
    for kind in [0, 1, 2, 4, 5, 6, 7, 8, 11, 0xFFFF_0007] {
        edit.set_value("a\\b", &format!("t{kind}"), ValueType(kind), b"12345678")
            .unwrap();
    }
    edit.set_value("a\\b", "", ValueType::SZ, b"d\0\0\0")
        .unwrap();
    edit.set_value("a\\b", "\u{142}", ValueType::SZ, b"w\0\0\0")
        .unwrap();
    let mut descriptor = vec![1, 0, 0, 0x80];
    descriptor.resize(40, 0);
    edit.set_security("a\\b\\c", &descriptor).unwrap();
    edit.finish().unwrap();
    hive
}

#[test]
fn what_we_write_in_every_version_is_seen_alike_by_three_other_readers() {
    for minor in 3..=6 {
        let hive = everything(minor);
        assert_eq!(hive.check().unwrap().findings, []);
        let (agree, refused) = compare(&hive, hive.bytes(), &format!("version 1.{minor}"));
        assert_eq!(agree.len(), 3, "{refused:?}");
    }
}

#[test]
fn regtree_sees_the_keys_of_a_small_hive() {
    let dir = tempfile::tempdir().unwrap();
    let mut hive = Hive::create(3, NOW).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    for path in ["a\\b", "a\\c\\d", "e"] {
        edit.create_key(path).unwrap();
    }
    edit.finish().unwrap();
    let file = dir.path().join("hive");
    std::fs::write(&file, hive.bytes()).unwrap();
    assert_eq!(regtree_keys(&file).unwrap(), our_keys(&hive).unwrap());
}

const TEXT: &str = "\
Windows Registry Editor Version 5.00

[\\Top]
@=hex(1):78,00,00,00
\"n\"=dword:0000002a

[\\Top\\Below]
\"b\"=hex(3):00,01,02
\"m\"=hex(7):61,00,00,00,62,00,00,00,00,00
";

#[test]
fn what_hivexregedit_writes_we_read_and_edit_and_others_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, text) = (dir.path().join("hive"), dir.path().join("text.reg"));
    let hive = Hive::create(5, NOW).unwrap();
    std::fs::write(&file, hive.bytes()).unwrap();
    std::fs::write(&text, TEXT).unwrap();
    let merge = [Path::new("--merge"), &file, &text];
    tests::tool::run("hivexregedit", &merge);
    let theirs = std::fs::read(&file).unwrap();
    let mut hive = Hive::open(theirs.clone(), &[], Dirty::Refuse).unwrap();
    let (agree, refused) = compare(&hive, &theirs, "hivexregedit's");
    assert_eq!(agree.len(), 3, "{refused:?}");
    // The same text once more, by us: everything is so already.
    let mut edit = hive.edit(NOW).unwrap();
    import(&mut edit, TEXT, "").unwrap();
    let unchanged = edit.finish().unwrap();
    assert!(!unchanged.changed);
    let mut edit = hive.edit(NOW).unwrap();
    edit.rename_key("Top\\Below", "Renamed to something longer")
        .unwrap();
    edit.delete_value("Top", "n").unwrap();
    edit.finish().unwrap();
    let (agree, refused) = compare(&hive, hive.bytes(), "edited");
    assert_eq!(agree.len(), 3, "{refused:?}");
}
