// SPDX-License-Identifier: Apache-2.0
//! Edits against a model, on hives made here and on real ones.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{data, dump};
use super::{Dirty, Hive, ValueType, export, import};

const NOW: u64 = 0x1d2_9627_f1c8_a860;

fn descriptor(extra: usize) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 0x80];
    out.resize(20 + extra * 4, 0);
    out
}

fn open(minor: u32) -> Hive {
    Hive::create(minor, NOW).unwrap()
}

fn sound(hive: &Hive) {
    let again = Hive::open(hive.bytes().to_vec(), &[], Dirty::Refuse).unwrap();
    let summary = again.check().unwrap();
    assert_eq!(summary.findings, []);
    assert_eq!(dump(&again), dump(hive));
}

#[test]
fn a_second_identical_edit_writes_nothing() {
    let mut hive = open(5);
    for round in 0..2 {
        let before = hive.bytes().to_vec();
        let mut edit = hive.edit(NOW + 1).unwrap();
        edit.create_key("Services\\viostor").unwrap();
        edit.set_value("services\\VIOSTOR", "Start", ValueType::DWORD, &[0; 4])
            .unwrap();
        edit.set_value("Services\\viostor", "big", ValueType::BINARY, &[7; 40000])
            .unwrap();
        edit.set_security("Services", &descriptor(1)).unwrap();
        edit.rename_key("Services", "Services").unwrap();
        let outcome = edit.finish().unwrap();
        assert_eq!(outcome.changed, round == 0);
        assert_eq!(hive.bytes() == before, round == 1);
    }
    assert_eq!(hive.sequence(), 2);
    sound(&hive);
}

#[test]
fn a_key_with_thousands_of_subkeys_gets_an_index_and_loses_it_again() {
    for minor in [3, 5] {
        let mut hive = open(minor);
        let before = dump(&hive);
        let mut edit = hive.edit(NOW).unwrap();
        for number in 0..1200_u32 {
            // A stride that visits them out of order.
            edit.create_key(&format!("top\\k{}", number * 7919 % 1200))
                .unwrap();
        }
        edit.finish().unwrap();
        assert_eq!(
            hive.key("top").unwrap().unwrap().subkey_count().unwrap(),
            1200
        );
        assert!(hive.key("TOP\\K1199").unwrap().is_some());
        sound(&hive);
        let mut edit = hive.edit(NOW).unwrap();
        for number in 0..1200 {
            assert!(edit.delete_key(&format!("top\\k{number}")).unwrap());
        }
        edit.delete_key("top").unwrap();
        edit.finish().unwrap();
        assert_eq!(dump(&hive), before);
        sound(&hive);
    }
}

#[test]
fn an_edit_and_its_inverse_leave_a_real_hive_as_it_was() {
    let Some(bytes) = data("win10-uefi-vmware/SYSTEM.xz") else {
        return;
    };
    let mut hive = Hive::open(bytes.clone(), &[], Dirty::Refuse).unwrap();
    let before = dump(&hive);
    let mut edit = hive.edit(NOW).unwrap();
    edit.create_key("ControlSet001\\Services\\viostor\\Parameters")
        .unwrap();
    edit.set_value(
        "ControlSet001\\Services\\viostor",
        "Start",
        ValueType::DWORD,
        &[0; 4],
    )
    .unwrap();
    edit.rename_key("ControlSet001\\Services\\vmci", "vmci-with-a-longer-name")
        .unwrap();
    edit.finish().unwrap();
    let differing = hive
        .bytes()
        .iter()
        .zip(&bytes)
        .filter(|(a, b)| a != b)
        .count();
    assert!(differing < 20_000, "{differing} bytes differ");
    hive.check().unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    edit.rename_key("ControlSet001\\Services\\vmci-with-a-longer-name", "vmci")
        .unwrap();
    edit.delete_key("ControlSet001\\Services\\viostor").unwrap();
    edit.finish().unwrap();
    assert_eq!(dump(&hive), before);
    hive.check().unwrap();
}

#[test]
fn reg_text_goes_out_and_comes_back() {
    let mut hive = open(5);
    let text = "\
Windows Registry Editor Version 5.00

[HKLM\\X]

[HKLM\\X\\a \"b\"]
@=\"default\"
\"path\\\\q\\\"\"=\"C:\\\\x\"
\"n\"=dword:0000002a
\"m\"=hex(7):61,00,00,00,00,00
\"long\"=hex:00,01,02,03,04,05,06,07,08,09,0a,0b,0c,0d,0e,0f,10,11,12,13,14,15,16,17,18,\\
  19,1a
";
    let mut edit = hive.edit(NOW).unwrap();
    let done = import(&mut edit, text, "HKLM").unwrap();
    edit.finish().unwrap();
    assert_eq!((done.keys, done.values), (2, 5));
    assert_eq!(export(&hive, "X", "HKLM").unwrap(), text);
    let mut edit = hive.edit(NOW).unwrap();
    import(
        &mut edit,
        "[HKLM\\X\\a \"b\"]\n\"n\"=-\n[-HKLM\\X\\none]\n",
        "HKLM",
    )
    .unwrap();
    let error = import(&mut edit, "[HKLM\\X]\nnonsense\n", "HKLM").unwrap_err();
    assert_eq!(error.code, "reg-syntax");
    edit.finish().unwrap();
    assert!(hive.value("X\\a \"b\"", "n").unwrap().is_none());
}

#[derive(Debug, Clone)]
enum Op {
    Create(String),
    Delete(String),
    Set(String, String, Vec<u8>),
    Unset(String, String),
    Rename(String, String),
    Secure(String, usize),
    Class(String, Option<String>),
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-f]",
        "[a-c]{30,60}",
        Just("\u{142}x".to_owned()),
        Just("\u{e4}".to_owned())
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 1..4).prop_map(|parts| parts.join("\\"))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        0_usize..6,
        6_usize..200,
        16000_usize..17000,
        30000_usize..50000
    ]
    .prop_map(|len| (0..len).map(|i| (i * 31 + len) as u8).collect())
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => path().prop_map(Op::Create),
        1 => path().prop_map(Op::Delete),
        4 => (path(), part(), bytes()).prop_map(|(p, n, d)| Op::Set(p, n, d)),
        1 => (path(), part()).prop_map(|(p, n)| Op::Unset(p, n)),
        1 => (path(), part()).prop_map(|(p, n)| Op::Rename(p, n)),
        1 => (path(), 0_usize..4).prop_map(|(p, s)| Op::Secure(p, s)),
        1 => (path(), prop::option::of(part())).prop_map(|(p, c)| Op::Class(p, c)),
    ]
}

/// What a key should hold.
#[derive(Debug, Clone, Default)]
struct Wanted {
    values: BTreeMap<String, Vec<u8>>,
    security: usize,
    class: Option<String>,
}

type Model = BTreeMap<String, Wanted>;

fn under(path: &str, top: &str) -> bool {
    path == top
        || path
            .strip_prefix(top)
            .is_some_and(|rest| rest.starts_with('\\'))
}

fn up(path: &str) -> &str {
    path.rsplit_once('\\').map_or("", |(up, _)| up)
}

fn run(model: &mut Model, edit: &mut super::Editor<'_>, op: &Op) {
    match op {
        Op::Create(path) => {
            edit.create_key(path).unwrap();
            let mut at = String::new();
            for name in path.split('\\') {
                let security = model[&at].security;
                at = if at.is_empty() {
                    name.to_owned()
                } else {
                    format!("{at}\\{name}")
                };
                model.entry(at.clone()).or_insert(Wanted {
                    security,
                    ..Wanted::default()
                });
            }
        }
        Op::Delete(path) => {
            assert_eq!(edit.delete_key(path).unwrap(), model.contains_key(path));
            model.retain(|key, _| !under(key, path));
        }
        Op::Set(path, name, data) => {
            let done = edit.set_value(path, name, ValueType::BINARY, data);
            match model.get_mut(path) {
                Some(key) => {
                    done.unwrap();
                    key.values.insert(name.clone(), data.clone());
                }
                None => assert_eq!(done.unwrap_err().code, "hive-no-key"),
            }
        }
        Op::Unset(path, name) => {
            let done = edit.delete_value(path, name);
            match model.get_mut(path) {
                Some(key) => assert_eq!(done.unwrap(), key.values.remove(name).is_some()),
                None => assert_eq!(done.unwrap_err().code, "hive-no-key"),
            }
        }
        Op::Rename(path, name) => {
            let done = edit.rename_key(path, name);
            let above = up(path);
            let new = if above.is_empty() {
                name.clone()
            } else {
                format!("{above}\\{name}")
            };
            if !model.contains_key(path) {
                assert_eq!(done.unwrap_err().code, "hive-no-key");
            } else if new != *path && model.contains_key(&new) {
                assert_eq!(done.unwrap_err().code, "hive-exists");
            } else {
                done.unwrap();
                let moved = std::mem::take(model).into_iter().map(|(key, value)| {
                    let tail = key
                        .strip_prefix(path.as_str())
                        .filter(|_| under(&key, path));
                    (
                        tail.map(|t| format!("{new}{t}")).unwrap_or(key.clone()),
                        value,
                    )
                });
                *model = moved.collect();
            }
        }
        Op::Secure(path, which) => {
            let done = edit.set_security(path, &descriptor(*which));
            match model.get_mut(path) {
                Some(key) => {
                    done.unwrap();
                    key.security = *which;
                }
                None => assert_eq!(done.unwrap_err().code, "hive-no-key"),
            }
        }
        Op::Class(path, class) => {
            let done = edit.set_class(path, class.as_deref());
            match model.get_mut(path) {
                Some(key) => {
                    done.unwrap();
                    key.class.clone_from(class);
                }
                None => assert_eq!(done.unwrap_err().code, "hive-no-key"),
            }
        }
    }
}

fn compare(model: &Model, hive: &Hive) {
    let summary = hive.check().unwrap();
    assert_eq!(summary.findings, []);
    assert_eq!(summary.keys, model.len() as u64);
    for (path, wanted) in model {
        let key = hive.key(path).unwrap().unwrap();
        let security = key.security().unwrap().unwrap();
        assert_eq!(security, descriptor(wanted.security));
        assert_eq!(key.class().unwrap(), wanted.class);
        assert_eq!(key.value_count().unwrap() as usize, wanted.values.len());
        for (name, data) in &wanted.values {
            assert_eq!(*key.value(name).unwrap().unwrap().data().unwrap(), **data);
        }
    }
}

/// Asks for what is so already: nothing may be written. Then takes everything away: an empty hive.
fn again(hive: &mut Hive, model: &Model) {
    let before = hive.bytes().to_vec();
    let mut edit = hive.edit(NOW + 9).unwrap();
    for (path, wanted) in model {
        assert!(!edit.create_key(path).unwrap());
        edit.set_security(path, &descriptor(wanted.security))
            .unwrap();
        edit.set_class(path, wanted.class.as_deref()).unwrap();
        for (name, data) in &wanted.values {
            edit.set_value(path, name, ValueType::BINARY, data).unwrap();
        }
    }
    assert!(!edit.finish().unwrap().changed);
    assert_eq!(hive.bytes(), before);
    let mut edit = hive.edit(NOW + 9).unwrap();
    for path in model
        .keys()
        .filter(|path| !path.is_empty() && !path.contains('\\'))
    {
        edit.delete_key(path).unwrap();
    }
    for name in model[""].values.keys() {
        edit.delete_value("", name).unwrap();
    }
    edit.set_security("", &descriptor(0)).unwrap();
    edit.set_class("", None).unwrap();
    edit.finish().unwrap();
    assert_eq!(dump(hive), dump(&open(hive.minor_version())));
    sound(hive);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_edits_equal_a_model(ops in prop::collection::vec(op(), 100..200), minor in 3_u32..=6) {
        let mut hive = open(minor);
        let mut model: Model = [(String::new(), Wanted::default())].into();
        let mut edit = hive.edit(NOW).unwrap();
        for op in &ops {
            run(&mut model, &mut edit, op);
        }
        edit.finish().unwrap();
        compare(&model, &hive);
        sound(&hive);
        again(&mut hive, &model);
    }

    #[test]
    fn hostile_bytes_never_panic(flips in prop::collection::vec((0_usize..6000, any::<u8>()), 1..40)) {
        let mut hive = open(5);
        let mut edit = hive.edit(NOW).unwrap();
        for number in 0..20 {
            edit.create_key(&format!("k{number}\\sub")).unwrap();
            edit.set_value(&format!("k{number}"), "v", ValueType::SZ, &vec![65; number * 3]).unwrap();
        }
        edit.finish().unwrap();
        let mut bytes = hive.into_bytes();
        for (at, byte) in flips {
            // Weighted to where the cells are.
            let at = if at < 5500 { 4096 + at * bytes.len() / 12000 } else { at - 5500 };
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        if let Ok(mut hive) = Hive::open(bytes, &[], Dirty::Accept) {
            let _ = hive.check();
            let _ = export(&hive, "", "HKLM");
            if let Ok(mut edit) = hive.edit(NOW) {
                for number in 0..20 {
                    let _ = edit.set_value(&format!("k{number}"), "v", ValueType::BINARY, &[1; 99]);
                    let _ = edit.rename_key(&format!("k{number}"), "a-much-longer-name-than-before");
                    let _ = edit.delete_key(&format!("k{number}"));
                }
                let _ = edit.finish();
            }
        }
    }
}
