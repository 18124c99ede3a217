// SPDX-License-Identifier: Apache-2.0
//! The room against real hives and against hives made here.

use std::path::PathBuf;

use super::{Dirty, Hive, Key, Recovery};

/// A hive of the folder that `GUESTFIX_HIVES` names; `None`, said aloud, where it is not there.
pub(super) fn data(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("GUESTFIX_HIVES").map(PathBuf::from);
    let found = folder.map(|folder| folder.join(name));
    let found = found.filter(|path| path.exists());
    let Some(path) = found else {
        println!("{name} is absent: this test ran on hives made here only");
        return None;
    };
    let raw = std::fs::read(&path).unwrap();
    if path.extension().is_none_or(|e| e != "xz") {
        return Some(raw);
    }
    let mut out = Vec::new();
    let mut reader = lzma_rust2::XzReader::new(&raw[..], true);
    std::io::Read::read_to_end(&mut reader, &mut out).unwrap();
    Some(out)
}

fn all() -> Vec<PathBuf> {
    [
        "odd/BigDataHive",
        "odd/BogusKeyNamesHive",
        "odd/CompHive",
        "odd/DuplicateSubkeysHive",
        "odd/EffectiveSizeHive",
        "odd/GarbageHive",
        "odd/ManySubkeysHive",
        "odd/MultiSzHive",
        "odd/UnicodeHive",
        "odd/WrongOrderHive",
        "win10-uefi-vmware/SYSTEM",
        "win7-x86-vmware/SYSTEM",
        "win7-x86-vmware/SOFTWARE",
    ]
    .iter()
    .map(|name| PathBuf::from(format!("{name}.xz")))
    .collect()
}

/// Every key, value, class and descriptor as one text, for comparing hives.
pub(super) fn dump(hive: &Hive) -> String {
    let mut out = String::new();
    dump_key(hive.root().unwrap(), "", &mut out);
    out
}

fn dump_key(key: Key<'_>, path: &str, out: &mut String) {
    use std::fmt::Write as _;
    writeln!(
        out,
        "[{path}] {:?} {:?}",
        key.class().unwrap(),
        key.security().unwrap()
    )
    .unwrap();
    for value in key.values().unwrap() {
        let value = value.unwrap();
        let (name, kind) = (value.name_units().unwrap(), value.kind().unwrap());
        writeln!(out, "{name:?}={kind:?}:{:?}", value.data().unwrap()).unwrap();
    }
    for sub in key.subkeys().unwrap() {
        let sub = sub.unwrap();
        dump_key(sub, &format!("{path}\\{}", sub.name().unwrap()), out);
    }
}

#[test]
fn every_hive_of_the_data_is_walked_completely() {
    for path in all() {
        let Some(bytes) = data(path.to_str().unwrap()) else {
            continue;
        };
        let hive = Hive::open(bytes, &[], Dirty::Accept).unwrap();
        let summary = hive.check().unwrap();
        println!("{} {:?} {summary:?}", path.display(), hive.recovery());
        assert!(summary.keys > 0);
    }
}

fn logged(folder: &str, name: &str, logs: &[&str]) -> Option<super::Result<Hive>> {
    let bytes = data(&format!("logs/{folder}{name}"))?;
    let logs: Vec<Vec<u8>> = logs
        .iter()
        .map(|log| data(&format!("logs/{folder}{log}")).unwrap())
        .collect();
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    Some(Hive::open(bytes, &logs, Dirty::Refuse))
}

#[test]
fn an_old_log_recovers_what_windows_7_recovers() {
    let Some(ours) = logged("OldDirtyHive/", "OldDirtyHive", &["OldDirtyHive.LOG1"]) else {
        return;
    };
    let ours = ours.unwrap();
    assert_eq!(
        ours.recovery(),
        &Recovery::Replayed {
            entries: 1,
            base_block: false
        }
    );
    let theirs = data("logs/OldDirtyHive/RecoveredHive_Windows7").unwrap();
    let theirs = Hive::open(theirs, &[], Dirty::Refuse).unwrap();
    assert_eq!(dump(&ours), dump(&theirs));
    let both = ours.bytes().iter().zip(theirs.bytes()).enumerate();
    let differing: Vec<usize> = both
        .skip(4096)
        .filter_map(|(at, (a, b))| (a != b).then_some(at))
        .collect();
    // What Windows wrote once it had recovered the hive (its sequence number is two further on):
    // the time in the first bin's header, and the longest value name of the key that it changed.
    let later = |at: &usize| (0x1014..0x101C).contains(at) || *at == 0x6BDC8;
    assert!(differing.iter().all(later), "{differing:#x?}");
    assert_eq!(ours.bytes().len(), theirs.bytes().len());
}

#[test]
fn new_logs_are_replayed_in_the_order_of_their_sequence() {
    let logs = ["NewDirtyHive.LOG1", "NewDirtyHive.LOG2"];
    let Some(hive) = logged("NewDirtyHive2/", "NewDirtyHive", &logs) else {
        return;
    };
    let hive = hive.unwrap();
    assert_eq!(
        hive.recovery(),
        &Recovery::Replayed {
            entries: 3,
            base_block: false
        }
    );
    assert_eq!(hive.sequence(), 6);
}

#[test]
fn a_real_user_hive_is_replayed_and_grows() {
    let Some(bytes) = data("logs/transactions_NTUSER.DAT.xz") else {
        return;
    };
    let one = data("logs/transactions_ntuser.dat.log1.xz").unwrap();
    let two = data("logs/transactions_ntuser.dat.log2.xz").unwrap();
    let refused = Hive::open(bytes.clone(), &[&two], Dirty::Refuse).unwrap_err();
    assert_eq!(refused.code, "hive-dirty");
    let hive = Hive::open(bytes.clone(), &[&one, &two], Dirty::Refuse).unwrap();
    assert_eq!(
        hive.recovery(),
        &Recovery::Replayed {
            entries: 23,
            base_block: false
        }
    );
    assert_eq!(hive.sequence(), 589);
    let swapped = Hive::open(bytes.clone(), &[&two, &one], Dirty::Refuse).unwrap();
    assert_eq!(hive.bytes(), swapped.bytes());
    // A torn tail keeps what came before it.
    let mut torn = one.clone();
    let len = torn.len();
    torn[len - 100] ^= 1;
    let hive = Hive::open(bytes, &[&torn, &two], Dirty::Refuse).unwrap();
    assert_eq!(hive.sequence(), 588);
}

#[test]
fn damaged_logs_never_make_a_hive_worse() {
    let cases: [(&str, &str, &[&str]); 3] = [
        ("BadLogHive1/", "BadLogHive", &["BadLogHive.LOG1"]),
        ("BadLogHive2/", "BadLogHive", &["BadLogHive.LOG1"]),
        (
            "BadLogHive3/",
            "BadLogHive",
            &["BadLogHive.LOG1", "BadLogHive.LOG2"],
        ),
    ];
    for (folder, name, logs) in cases {
        let Some(hive) = logged(folder, name, logs) else {
            return;
        };
        assert_eq!(hive.unwrap_err().code, "hive-dirty", "{folder}");
        let bytes = data(&format!("logs/{folder}{name}")).unwrap();
        let hive = Hive::open(bytes.clone(), &[], Dirty::Accept).unwrap();
        assert!(matches!(hive.recovery(), Recovery::Unrecovered { .. }));
        assert_eq!(hive.bytes(), bytes);
        hive.check().unwrap();
    }
}

#[test]
fn a_bad_base_block_comes_back_from_the_log() {
    let Some(hive) = logged(
        "BadBaseBlockHive/",
        "BadBaseBlockHive",
        &["BadBaseBlockHive.LOG1"],
    ) else {
        return;
    };
    let hive = hive.unwrap();
    assert_eq!(
        hive.recovery(),
        &Recovery::Replayed {
            entries: 1,
            base_block: true
        }
    );
    let same = logged("OldDirtyHive/", "OldDirtyHive", &["OldDirtyHive.LOG1"])
        .unwrap()
        .unwrap();
    assert_eq!(dump(&hive), dump(&same));
}

#[test]
fn a_cut_hive_is_an_error_with_its_place() {
    let Some(bytes) = data("logs/TruncatedDirtyHive") else {
        return;
    };
    let error = Hive::open(bytes, &[], Dirty::Accept).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.offset),
        ("hive-damaged", Some(12288))
    );
}

#[test]
fn links_volatile_and_predefined_keys_are_told() {
    let mut hive = Hive::create(5, 1).unwrap();
    let mut edit = hive.edit(1).unwrap();
    edit.create_key("Link").unwrap();
    let target: Vec<u8> = "\\Registry\\Machine"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let kind = super::ValueType::LINK;
    edit.set_value("Link", "SymbolicLinkValue", kind, &target)
        .unwrap();
    edit.set_class("Link", Some("A class")).unwrap();
    edit.finish().unwrap();
    let key = hive.key("link").unwrap().unwrap();
    let place = 4096 + key.offset() as usize + 4 + 2;
    assert_eq!(key.link_target().unwrap(), None);
    assert_eq!(key.class().unwrap().as_deref(), Some("A class"));
    for (bit, told) in [(0x10, [true, false, false]), (1, [false, true, false])] {
        let flags = flagged(&hive, place, bit);
        assert_eq!(flags, told, "{bit:#x}");
    }
    assert_eq!(flagged(&hive, place, 0x40), [false, false, true]);
    let mut bytes = hive.bytes().to_vec();
    bytes[place] |= 0x10;
    let linked = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
    let key = linked.key("Link").unwrap().unwrap();
    let target = key.link_target().unwrap();
    assert_eq!(target.as_deref(), Some("\\Registry\\Machine"));
}

/// Link, volatile, predefined.
fn flagged(hive: &Hive, place: usize, bit: u8) -> [bool; 3] {
    let mut bytes = hive.bytes().to_vec();
    bytes[place] |= bit;
    let hive = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
    let key = hive.key("Link").unwrap().unwrap();
    let flags = key.flags().unwrap();
    // A predefined key has a handle where others have a list of values.
    assert_eq!(key.values().unwrap().count(), usize::from(bit != 0x40));
    [
        flags.is_symlink(),
        flags.is_volatile(),
        flags.is_predefined(),
    ]
}
