// SPDX-License-Identifier: Apache-2.0
//! Damage, one kind a test: the error says where, what was expected and what was found.

use std::time::{Duration, Instant};

use super::base::{put, seal};
use super::cell::{le32, place};
use super::key::at;
use super::{Dirty, Hive, Result, ValueType, export, typed, value};

const NOW: u64 = 0x1d2_9627_f1c8_a860;

/// A hive with two keys and some values; its bytes and the places of the keys `a` and `a\b`.
fn sample() -> (Vec<u8>, u32, u32) {
    let mut hive = Hive::create(5, NOW).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    edit.create_key("a\\b").unwrap();
    edit.create_key("a\\c").unwrap();
    edit.set_value("a", "v", ValueType::SZ, b"x\0y\0z\0\0\0")
        .unwrap();
    edit.set_value("a", "big", ValueType::BINARY, &[9; 40_000])
        .unwrap();
    edit.finish().unwrap();
    let place = |path: &str| hive.key(path).unwrap().unwrap().offset();
    let (a, b) = (place("a"), place("a\\b"));
    (hive.into_bytes(), a, b)
}

fn field(bytes: &[u8], cell: u32, at: usize) -> u32 {
    le32(bytes, place(cell) + 4 + at).unwrap()
}

fn set(bytes: &mut [u8], cell: u32, at: usize, to: u32) {
    put(bytes, place(cell) + 4 + at, &to.to_le_bytes()).unwrap();
}

/// Everything that a reader can do with a hive; the first error.
fn read(bytes: Vec<u8>) -> Result<()> {
    let start = Instant::now();
    let result = Hive::open(bytes, &[], Dirty::Refuse).and_then(|hive| {
        let checked = hive.check();
        // What is not sound may be read still, but not for ever.
        let _ = (hive.key("a\\b\\c\\d"), hive.value("a", "v"));
        let text = export(&hive, "", "");
        let mut edited = hive.clone();
        if let Ok(mut edit) = edited.edit(NOW) {
            let _ = edit.set_value("a", "v", ValueType::BINARY, &[1; 5000]);
            let _ = edit.delete_key("a");
            let _ = edit.finish();
        }
        assert_eq!(checked.is_ok(), text.is_ok());
        checked.map(drop)
    });
    assert!(start.elapsed() < Duration::from_secs(20));
    result
}

/// The damage must be found at `offset`, with what was expected and what was there.
fn damaged(bytes: Vec<u8>, offset: usize, expected: &str, found: &str) {
    let error = read(bytes).unwrap_err();
    assert_eq!(error.code, "hive-damaged", "{error}");
    assert_eq!(error.offset, Some(offset as u64), "{error}");
    let wanted = format!("expected {expected}, found {found}");
    assert_eq!(error.causes, [wanted], "{error}");
    assert!(error.hint.is_some());
}

#[test]
fn the_sample_is_sound() {
    read(sample().0).unwrap();
}

#[test]
fn a_truncated_hive() {
    let (bytes, ..) = sample();
    for len in [4096 + 1, 8192, bytes.len() - 1] {
        let cut = bytes[..len].to_vec();
        damaged(
            cut,
            len,
            &format!("{} bytes", bytes.len()),
            &len.to_string(),
        );
    }
    for len in [0, 3, 4, 511] {
        let error = read(bytes[..len].to_vec()).unwrap_err();
        assert_eq!(error.code, "no-hive", "{len}");
        assert!(error.causes[0].starts_with("expected \"regf\""), "{error}");
    }
}

#[test]
fn zeroed_parts() {
    let (mut bytes, ..) = sample();
    bytes[8192..12288].fill(0);
    let error = read(bytes.clone()).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.offset),
        ("hive-damaged", Some(8192))
    );
    bytes[4096..].fill(0);
    damaged(bytes.clone(), 4096, "\"hbin\"", "\"\\0\\0\\0\\0\"");
    bytes.fill(0);
    assert_eq!(read(bytes).unwrap_err().code, "no-hive");
}

#[test]
fn a_zeroed_cell() {
    let (mut bytes, a, _) = sample();
    let start = place(a);
    bytes[start..start + 8].fill(0);
    damaged(
        bytes,
        start,
        &format!("a multiple of 8 up to {}", 4096 - a),
        "0",
    );
}

#[test]
fn keys_that_loop() {
    let (mut bytes, a, b) = sample();
    // The list of the child is the list that names it.
    let list = field(&bytes, a, at::SUBKEY_LIST);
    set(&mut bytes, b, at::SUBKEYS, 2);
    set(&mut bytes, b, at::SUBKEY_LIST, list);
    damaged(bytes, place(list), "one reference", "another");
}

#[test]
fn a_list_that_names_itself() {
    let (mut bytes, a, _) = sample();
    let list = field(&bytes, a, at::SUBKEY_LIST);
    put(&mut bytes, place(list) + 4, b"ri\x01\x00").unwrap();
    set(&mut bytes, list, 4, list);
    damaged(bytes, place(list), "one reference", "another");
}

#[test]
fn a_key_that_is_its_own_subkey() {
    let (mut bytes, a, _) = sample();
    let list = field(&bytes, a, at::SUBKEY_LIST);
    set(&mut bytes, list, 4, a);
    damaged(bytes, place(a), "one reference", "another");
}

#[test]
fn an_index_that_names_one_leaf_ten_thousand_times() {
    let (_, a, b) = sample();
    let mut hive = Hive::create(5, NOW).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    edit.create_key("a\\b").unwrap();
    // The data of a value becomes the index.
    edit.set_value("", "index", ValueType::BINARY, &[0x41; 16_000])
        .unwrap();
    edit.finish().unwrap();
    let place_of = |path: &str| hive.key(path).unwrap().unwrap().offset();
    assert_eq!((place_of("a"), place_of("a\\b")), (a, b));
    let data = hive.value("", "index").unwrap().unwrap();
    let index = data.cell.u32(value::at::DATA).unwrap();
    let mut bytes = hive.into_bytes();
    let leaf = field(&bytes, a, at::SUBKEY_LIST);
    let count = 3900_u16;
    put(&mut bytes, place(index) + 4, b"ri").unwrap();
    put(&mut bytes, place(index) + 6, &count.to_le_bytes()).unwrap();
    for entry in 0..usize::from(count) {
        set(&mut bytes, index, 4 + entry * 4, leaf);
    }
    set(&mut bytes, a, at::SUBKEY_LIST, index);
    set(&mut bytes, a, at::SUBKEYS, u32::from(count));
    let most = (bytes.len() - 4096) / 80;
    let claimed = place(a) + 4 + at::SUBKEYS;
    damaged(bytes.clone(), place(index), "one reference", "another");
    let hive = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
    let error = hive.key("a\\none").unwrap_err();
    assert_eq!(error.offset, Some(claimed as u64));
    let wanted = format!("expected at most {most}, found {count}");
    assert_eq!(error.causes, [wanted]);
}

#[test]
fn cells_that_overlap() {
    let (mut bytes, _, b) = sample();
    // The inside of a key, dressed up as a key.
    let inside = b + 16;
    put(&mut bytes, place(inside), &(-8_i32).to_le_bytes()).unwrap();
    set(&mut bytes, b, at::SECURITY, inside);
    let error = read(bytes).unwrap_err();
    assert_eq!(error.code, "hive-damaged");
    assert_eq!(error.offset, Some(place(inside) as u64 + 4));
}

#[test]
fn a_cell_that_reaches_into_the_next_bin() {
    let (mut bytes, a, _) = sample();
    put(&mut bytes, place(a), &(-8192_i32).to_le_bytes()).unwrap();
    damaged(
        bytes,
        place(a),
        &format!("a multiple of 8 up to {}", 4096 - a),
        "-8192",
    );
}

#[test]
fn a_cell_whose_size_is_no_size() {
    for size in [i32::MIN, i32::MAX, -1, -12, 4] {
        let (mut bytes, a, _) = sample();
        put(&mut bytes, place(a), &size.to_le_bytes()).unwrap();
        let most = format!("a multiple of 8 up to {}", 4096 - a);
        damaged(bytes, place(a), &most, &size.to_string());
    }
}

#[test]
fn a_bin_of_four_gigabytes_and_a_bin_that_never_ends() {
    for size in [u32::MAX, 0, 0xFFFF_F000, 4095] {
        let (mut bytes, ..) = sample();
        put(&mut bytes, 4096 + 8, &size.to_le_bytes()).unwrap();
        let error = read(bytes).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.offset),
            ("hive-damaged", Some(4096)),
            "{size}"
        );
        assert!(
            error.causes[0].ends_with(&format!("found {size}")),
            "{error}"
        );
    }
}

#[test]
fn a_hive_that_claims_four_gigabytes() {
    for size in [u32::MAX, 0x8000_0000, 0, 100] {
        let (mut bytes, ..) = sample();
        seal(&mut bytes, 9, None, size).unwrap();
        damaged(
            bytes,
            40,
            "a multiple of 4096 below 2 GiB",
            &size.to_string(),
        );
    }
    let (mut bytes, ..) = sample();
    let len = bytes.len();
    seal(&mut bytes, 9, None, 0x7FFF_F000).unwrap();
    damaged(
        bytes,
        len,
        &format!("{} bytes", 0x8000_0000_u32),
        &len.to_string(),
    );
}

#[test]
fn a_value_that_claims_two_gigabytes() {
    let (mut bytes, a, _) = sample();
    let list = field(&bytes, a, at::VALUE_LIST);
    let (short, long) = (field(&bytes, list, 0), field(&bytes, list, 4));
    let data = field(&bytes, short, value::at::DATA);
    set(&mut bytes, short, value::at::SIZE, 16_000);
    damaged(bytes, place(data) + 4, "16000 bytes", "12");
    let (mut bytes, ..) = sample();
    let record = field(&bytes, long, value::at::DATA);
    set(&mut bytes, long, value::at::SIZE, 0x7FFF_FFFF);
    let most = format!("at most {}", bytes.len());
    damaged(
        bytes,
        place(record) + 4,
        &most,
        &0x7FFF_FFFF_u32.to_string(),
    );
    let (mut bytes, ..) = sample();
    set(&mut bytes, long, value::at::SIZE, 50_000);
    damaged(bytes, place(record) + 6, "4", "3");
    let (mut bytes, ..) = sample();
    set(&mut bytes, short, value::at::SIZE, 0xFFFF_FFFF);
    damaged(
        bytes,
        place(short) + 4 + value::at::SIZE,
        "at most 4",
        &0x7FFF_FFFF_u32.to_string(),
    );
}

#[test]
fn keys_with_four_thousand_million_values_or_subkeys() {
    let (mut bytes, a, _) = sample();
    let list = field(&bytes, a, at::VALUE_LIST);
    set(&mut bytes, a, at::VALUES, u32::MAX);
    let error = read(bytes).unwrap_err();
    assert_eq!(error.offset, Some(place(list) as u64 + 4), "{error}");
    let (mut bytes, ..) = sample();
    let most = (bytes.len() - 4096) / 80;
    set(&mut bytes, a, at::SUBKEYS, u32::MAX);
    let most = format!("at most {most}");
    damaged(
        bytes,
        place(a) + 4 + at::SUBKEYS,
        &most,
        &u32::MAX.to_string(),
    );
    let (mut bytes, ..) = sample();
    set(&mut bytes, a, at::SUBKEYS, 3);
    damaged(bytes, place(a) + 4 + at::SUBKEYS, "3", "2");
    let (mut bytes, ..) = sample();
    set(&mut bytes, a, at::SUBKEYS, 1);
    damaged(bytes, place(a) + 4 + at::SUBKEYS, "1", "more");
}

#[test]
fn references_out_of_the_hive_and_to_free_cells() {
    for to in [0x7FFF_FFF8, 0x8000_0020, 33, 0] {
        let (mut bytes, a, _) = sample();
        set(&mut bytes, a, at::SUBKEY_LIST, to);
        let error = read(bytes).unwrap_err();
        assert_eq!(error.code, "hive-damaged", "{to:#x}");
        assert!(error.offset.is_some() && error.causes[0].starts_with("expected "));
    }
    let (mut bytes, a, b) = sample();
    let size = le32(&bytes, place(b)).unwrap().wrapping_neg();
    put(&mut bytes, place(b), &size.to_le_bytes()).unwrap();
    assert_ne!(a, b);
    damaged(bytes, place(b), "a negative size", &size.to_string());
}

#[test]
fn names_that_are_no_utf_16() {
    // An odd length is no name at all.
    let (mut bytes, _, b) = sample();
    put(&mut bytes, place(b) + 4 + at::FLAGS, &[0]).unwrap();
    damaged(bytes, place(b) + 4 + at::NAME, "an even number", "1");
    // Lone surrogates are names for Windows, and so for us; the walk tells of them.
    let mut hive = Hive::create(5, NOW).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    edit.create_key("\u{142}").unwrap();
    edit.set_value("", "\u{142}", ValueType::SZ, &[0x00, 0xD8, 0, 0])
        .unwrap();
    edit.finish().unwrap();
    let key = hive.key("\u{142}").unwrap().unwrap().offset();
    let value = hive.value("", "\u{142}").unwrap().unwrap().cell.offset;
    let mut bytes = hive.into_bytes();
    put(&mut bytes, place(key) + 4 + at::NAME, &[0x00, 0xDC]).unwrap();
    put(
        &mut bytes,
        place(value) + 4 + value::at::NAME,
        &[0x00, 0xDC],
    )
    .unwrap();
    let hive = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
    let findings = hive.check().unwrap().findings;
    let places: Vec<u64> = findings.iter().map(|finding| finding.offset).collect();
    assert!(
        places.contains(&(place(key) as u64 + 4 + at::NAME as u64)),
        "{findings:?}"
    );
    let value_name = place(value) as u64 + 4 + value::at::NAME as u64;
    assert!(places.contains(&value_name), "{findings:?}");
    assert_eq!(export(&hive, "", "").unwrap_err().code, "hive-text");
    let root = hive.root().unwrap();
    let value = root.values().unwrap().next().unwrap().unwrap();
    assert_eq!(typed::string(&value).unwrap_err().code, "hive-value");
    assert_eq!(value.name_units().unwrap(), [0xDC00]);
}

#[test]
fn two_keys_of_one_name_are_read_and_told() {
    let (mut bytes, _, b) = sample();
    put(&mut bytes, place(b) + 4 + at::NAME, b"C").unwrap();
    let hive = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
    let findings = hive.check().unwrap().findings;
    let twice = findings
        .iter()
        .find(|finding| finding.what.contains("same name"));
    assert!(
        twice.is_some_and(|finding| finding.offset != 0),
        "{findings:?}"
    );
    assert_eq!(
        hive.key("a").unwrap().unwrap().subkeys().unwrap().count(),
        2
    );
}

#[test]
fn keys_that_nest_without_end_are_bounded() {
    let mut hive = Hive::create(5, NOW).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    let path = vec!["k"; 511].join("\\");
    edit.create_key(&path).unwrap();
    let deeper = format!("{path}\\k");
    assert_eq!(edit.create_key(&deeper).unwrap_err().code, "hive-depth");
    edit.finish().unwrap();
    hive.check().unwrap();
}
