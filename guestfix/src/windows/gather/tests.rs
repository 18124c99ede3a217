// SPDX-License-Identifier: Apache-2.0
use super::super::fixture::{bare, hive, software, system, volume};
use super::*;
use crate::fs::MemoryFs;
use crate::hive::script::Edit;

fn read<T>(volume: MemoryFs, work: impl FnOnce(&mut Gatherer<'_>) -> T) -> (T, Gathered) {
    let tree = Tree::new(Box::new(volume));
    let facts = bare();
    let mut gather = Gatherer::new(&tree, &facts).unwrap();
    let out = work(&mut gather);
    (out, gather.close().unwrap())
}

#[test]
fn keys_are_recorded_of_the_hive_that_is_open_and_of_no_other() {
    let ((), gathered) = read(volume(&system(), &software()), |gather| {
        gather.open("SYSTEM").unwrap();
        assert_eq!(gather.control_sets(), ["ControlSet001", "ControlSet002"]);
        assert!(gather.key("SYSTEM", "select").unwrap());
        assert!(!gather.key("SYSTEM", "Selection").unwrap());
        assert!(!gather.key("SOFTWARE", "Microsoft").unwrap());
        gather.open("SOFTWARE").unwrap();
        assert!(gather.key("SYSTEM", "SELECT").unwrap());
        assert!(gather.subtree("SOFTWARE", "microsoft", 1).unwrap());
        assert!(gather.recorded("SOFTWARE", "Microsoft").is_some());
        assert!(gather.recorded("SYSTEM", "Select").is_some());
        gather.open("DRIVERS").unwrap();
        assert!(!gather.has_hive("DRIVERS"));
    });
    let registry = gathered.sources.registry;
    assert_eq!(registry.dword("SYSTEM", "Select", "LastKnownGood"), Some(2));
    assert_eq!(registry.subkeys("SOFTWARE", "Microsoft"), ["Windows NT"]);
    assert!(registry.key("SOFTWARE", "Microsoft\\Windows NT").is_some());
    let deeper = "Microsoft\\Windows NT\\CurrentVersion";
    assert!(registry.key("SOFTWARE", deeper).is_none());
}

#[test]
fn a_scan_sees_every_key_once() {
    let (seen, gathered) = read(volume(&system(), &software()), |gather| {
        gather.open("SYSTEM").unwrap();
        let mut seen = Vec::new();
        let mut wanted = |path: &str, key: &Key<'_>| {
            seen.push(path.to_owned());
            Ok(key.value("Hostname")?.is_some())
        };
        gather.scan("SYSTEM", &mut wanted).unwrap();
        seen
    });
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert!(seen.contains(&"ControlSet001\\Services\\Tcpip".to_owned()));
    let registry = gathered.sources.registry;
    let below: Vec<_> = registry.below("SYSTEM", "").map(KeyFacts::name).collect();
    assert_eq!(below, ["Parameters"]);
}

#[test]
fn a_dirty_hive_that_windows_needs_is_refused_and_another_is_left_alone() {
    let mut dirty = hive(&software());
    dirty[4] = dirty[4].wrapping_add(1);
    let volume = volume(&system(), &software())
        .file("/Windows/System32/config/SOFTWARE", dirty.clone())
        .file("/Windows/System32/config/DRIVERS", dirty);
    let ((), gathered) = read(volume, |gather| {
        let error = gather.open("SOFTWARE").unwrap_err();
        assert_eq!(error.code, "hive-dirty");
        gather.open("DRIVERS").unwrap();
        assert!(!gather.has_hive("DRIVERS"));
    });
    assert_eq!(gathered.concerns[0].id, "hive-unreadable");
}

#[test]
fn more_keys_than_any_windows_has_are_refused() {
    let many: Vec<Edit> = (0..64)
        .map(|n| Edit::create(format!("Many\\k{n}")))
        .collect();
    let edits = [system(), many].concat();
    let (error, _) = read(volume(&edits, &software()), |gather| {
        gather.keys_left = 20;
        gather.open("SYSTEM").unwrap();
        gather.subtree("SYSTEM", "Many", 3).unwrap_err()
    });
    assert_eq!(error.code, "registry-too-large");
}

#[test]
fn files_are_found_in_any_case_and_recorded_with_their_stored_names() {
    let ((), gathered) = read(volume(&system(), &software()), |gather| {
        gather.digest("/WINDOWS/system32/CMD.EXE").unwrap();
        gather.digest("/Windows/System32/none.exe").unwrap();
    });
    let digests = gathered.sources.digests;
    let digest = digests.get("/WINDOWS/system32/CMD.EXE").unwrap();
    assert_eq!(digest.real, GuestPath::new("/Windows/System32/cmd.exe"));
    assert_eq!((digest.len, digest.sha256.len()), (512, 64));
    assert_eq!(digests.len(), 1);
}

#[test]
fn a_damaged_key_that_a_topic_reads_is_told_with_the_name_of_its_hive() {
    use crate::inspect::Recognise as _;
    let mut bytes = hive(&system());
    // Of an nk record, from its start: the list of subkeys at 28, the name at 76.
    let name = bytes.windows(8).position(|name| name == b"Services");
    let list = name.unwrap() - 76 + 28;
    bytes[list..list + 4].copy_from_slice(&0x0012_3450_u32.to_le_bytes());
    let volume = volume(&system(), &software()).file("/Windows/System32/config/SYSTEM", bytes);
    let tree = Tree::new(Box::new(volume));
    let error = crate::windows::Windows.gather(&tree, &mut bare());
    let error = error.unwrap_err();
    assert_eq!(error.code, "hive-damaged");
    let place = error.disk.unwrap_or_default();
    assert!(place.ends_with("/config/SYSTEM"), "{place}");
}
