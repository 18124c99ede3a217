// SPDX-License-Identifier: Apache-2.0
//! `guestfix hive` and what `guestfix undo` and `recover` do for a hive file.

use std::path::{Path, PathBuf};

use guestfix::hive::{Hive, ValueType};
use tests::cli::{Cli, Run};

use crate::sample::{dirty, old_log};

const NOW: u64 = 0x1d2_9627_f1c8_a860;

/// A folder with a hive file and a state directory.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(hive: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("SYSTEM"), hive).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("SYSTEM")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    /// `guestfix hive VERB FILE MORE...`.
    fn cli(&self, verb: &str, more: &[&str]) -> Cli {
        let file = self.file();
        let args = [Path::new(verb), &file];
        Cli::new("hive", &args, &self.path("state")).args(more)
    }

    fn hive(&self, verb: &str, more: &[&str]) -> Run {
        self.cli(verb, more).run()
    }

    /// `guestfix VERB FILE`.
    fn verb(&self, verb: &str) -> Run {
        Cli::new(verb, &[self.file()], &self.path("state")).run()
    }

    /// Files that are not in the state directory.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "state").collect();
        names.sort();
        names
    }
}

/// Two states of a hive: the second has a key and a long value more.
fn states() -> (Vec<u8>, Vec<u8>) {
    let mut hive = Hive::create(5, NOW).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    edit.create_key("Services\\vmci").unwrap();
    let start = [0, 0, 0, 0];
    edit.set_value("Services\\vmci", "Start", ValueType::DWORD, &start)
        .unwrap();
    edit.set_value("Services", "Name", ValueType::SZ, b"x\0\0\0")
        .unwrap();
    edit.finish().unwrap();
    let first = hive.bytes().to_vec();
    let mut edit = hive.edit(NOW + 1).unwrap();
    edit.create_key("Logged").unwrap();
    edit.set_value("Logged", "v", ValueType::BINARY, &[7; 6000])
        .unwrap();
    edit.finish().unwrap();
    (first, hive.into_bytes())
}

const SET: [&str; 3] = ["services\\VMCI", "start", "dword:4"];

#[test]
fn a_value_is_set_once_and_the_second_time_nothing_is_written() {
    let place = Place::new(&states().0);
    let document = place.hive("set", &SET).expect(0);
    assert_eq!(document["changed"], true);
    assert_eq!(document["undo"], "undo-0001");
    let got = place.hive("get", &["Services\\vmci", "Start"]).expect(0);
    assert_eq!(got["values"][0]["data"], "dword:00000004");
    assert_eq!(got["values"][0]["name"], "Start");
    let (bytes, written) = (place.bytes(), std::fs::metadata(place.file()).unwrap());
    let document = place.hive("set", &SET).expect(0);
    assert_eq!(document["changed"], false);
    assert_eq!(document["undo"], serde_json::Value::Null);
    assert_eq!(place.bytes(), bytes);
    let again = std::fs::metadata(place.file()).unwrap();
    assert_eq!(again.modified().unwrap(), written.modified().unwrap());
    assert_eq!(place.files(), ["SYSTEM"]);
}

#[test]
fn undo_gives_every_byte_back_also_of_a_hive_that_grew() {
    let first = states().0;
    let place = Place::new(&first);
    place.hive("set", &SET).expect(0);
    let second = place.bytes();
    let long = format!("sz:{}", "long".repeat(5000));
    place.hive("set", &["A\\B", "v", &long]).expect(0);
    place.hive("delete", &["Services\\vmci"]).expect(0);
    assert!(place.bytes().len() > first.len());
    let document = place.verb("undo").expect(0);
    assert_eq!(
        (&document["undone"], &document["remaining"]),
        (&1.into(), &2.into())
    );
    place.verb("undo").expect(0);
    assert_eq!(place.bytes(), second);
    place.verb("undo").expect(0);
    assert_eq!(place.bytes(), first);
    let error = place.verb("undo").expect(3);
    assert_eq!(error["code"], "no-undo-record");
}

#[test]
fn undo_is_refused_once_another_program_has_written_to_the_hive() {
    let place = Place::new(&states().0);
    place.hive("set", &SET).expect(0);
    let mut hive = Hive::open(place.bytes(), &[], guestfix::hive::Dirty::Refuse).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    edit.create_key("Other").unwrap();
    edit.finish().unwrap();
    std::fs::write(place.file(), hive.bytes()).unwrap();
    let error = place.verb("undo").expect(3);
    assert_eq!(error["code"], "has-run-since");
    assert_eq!(place.bytes(), hive.bytes());
}

#[test]
fn keys_and_values_are_deleted_and_what_is_not_there_is_so_already() {
    let place = Place::new(&states().0);
    let document = place.hive("delete", &["Services\\vmci", "none"]).expect(0);
    assert_eq!(document["changed"], false);
    let document = place.hive("delete", &["Services\\vmci", "Start"]).expect(0);
    assert_eq!(document["changed"], true);
    place.hive("delete", &["Services\\vmci"]).expect(0);
    let document = place.hive("get", &["Services"]).expect(0);
    assert_eq!(document["subkeys"], serde_json::json!([]));
    let error = place.hive("get", &["Services\\vmci"]).expect(2);
    assert_eq!(error["code"], "hive-not-found");
}

#[test]
fn export_check_and_diff_write_nothing() {
    let (first, second) = states();
    let place = Place::new(&first);
    std::fs::write(place.path("other"), &second).unwrap();
    let text = place.hive("export", &["Services", "--prefix", "HKLM\\SYSTEM"]);
    let text = text.expect(0)["text"].as_str().unwrap().to_owned();
    assert!(text.contains("[HKLM\\SYSTEM\\Services\\vmci]\n\"Start\"=dword:00000000\n"));
    let summary = &place.hive("check", &[]).expect(0)["summary"];
    assert_eq!(
        (&summary["keys"], &summary["values"]),
        (&3.into(), &2.into())
    );
    let other = place.path("other");
    let differs = place.hive("diff", &[other.to_str().unwrap()]).expect(1);
    assert_eq!(differs["differences"][0]["key"], "Logged");
    let own = place.file();
    let same = place.hive("diff", &[own.to_str().unwrap()]).expect(0);
    assert_eq!(same["differences"], serde_json::json!([]));
    assert_eq!(place.bytes(), first);
    assert!(!place.path("state").exists());
}

#[test]
fn a_dirty_hive_without_its_log_is_refused_without_policy() {
    let bytes = dirty(&states().0);
    let place = Place::new(&bytes);
    for (verb, more) in [("get", &[][..]), ("set", &SET), ("check", &[])] {
        let error = place.hive(verb, more).expect(3);
        assert_eq!(error["code"], "hive-dirty", "{verb}");
        assert!(error["hint"].as_str().unwrap().contains("shut it down"));
    }
    assert_eq!(place.bytes(), bytes);
}

#[test]
fn a_dirty_hive_that_is_accepted_is_read_with_a_warning_and_written_only_by_an_edit() {
    let bytes = dirty(&states().0);
    let place = Place::new(&bytes);
    let read = place.hive("get", &["--accept-dirty"]);
    assert_eq!(read.expect(0)["recovery"]["state"], "unrecovered");
    assert!(
        read.stderr.contains("last writes are lost"),
        "{}",
        read.stderr
    );
    let same = ["Services\\vmci", "Start", "dword:0", "--accept-dirty"];
    let document = place.hive("set", &same).expect(0);
    assert_eq!(document["changed"], false);
    assert_eq!(place.bytes(), bytes);
    let more = [&SET[..], &["--accept-dirty"]].concat();
    assert_eq!(place.hive("set", &more).expect(0)["changed"], true);
    assert_eq!(
        place.hive("check", &[]).expect(0)["recovery"]["state"],
        "clean"
    );
    place.verb("undo").expect(0);
    assert_eq!(place.bytes(), bytes);
}

#[test]
fn logs_are_replayed_emptied_with_the_edit_and_given_back_by_undo() {
    let (first, second) = states();
    let (bytes, log) = (dirty(&first), old_log(&first, &second));
    let place = Place::new(&bytes);
    std::fs::write(place.path("system.log1"), &log).unwrap();
    std::fs::write(place.path("SYSTEM.LOG2"), b"").unwrap();
    let read = place.hive("get", &["Logged"]).expect(0);
    assert_eq!(read["recovery"]["state"], "replayed");
    // Nothing to edit: the log stays for Windows.
    let same = ["Services\\vmci", "Start", "dword:0"];
    assert_eq!(place.hive("set", &same).expect(0)["changed"], false);
    assert_eq!(
        (
            place.bytes(),
            std::fs::read(place.path("system.log1")).unwrap()
        ),
        (bytes.clone(), log.clone())
    );
    place.hive("set", &SET).expect(0);
    let emptied = std::fs::read(place.path("system.log1")).unwrap();
    assert_eq!(emptied, vec![0; log.len()]);
    let read = place.hive("get", &["Logged"]).expect(0);
    assert_eq!(read["recovery"]["state"], "clean");
    assert_eq!(read["values"][0]["name"], "v");
    place.verb("undo").expect(0);
    assert_eq!(place.bytes(), bytes);
    assert_eq!(std::fs::read(place.path("system.log1")).unwrap(), log);
    assert_eq!(place.files(), ["SYSTEM", "SYSTEM.LOG2", "system.log1"]);
}

#[test]
fn an_edit_that_is_killed_half_way_is_seen_as_done_and_finished_by_recover() {
    let first = states().0;
    let long = format!("sz:{}", "long".repeat(5000));
    let edit = ["A", "v", &long];
    for (point, done) in [
        ("commit.record", false),
        ("commit.journaled", true),
        ("commit.applied", true),
    ] {
        let place = Place::new(&first);
        let killed = place
            .cli("set", &edit)
            .env("GUESTFIX_FAULT", format!("{point}:0"))
            .run();
        assert_ne!(killed.code, Some(0), "{point}");
        let seen = place.hive("get", &["A"]).code == Some(0);
        assert_eq!(seen, done, "{point}");
        let outcome = place.verb("recover").expect(0);
        let word = if done { "rolled-forward" } else { "dropped" };
        assert_eq!(outcome["outcome"], word, "{point}");
        if done {
            place.hive("check", &[]).expect(0);
            place.verb("undo").expect(0);
        }
        assert_eq!(place.bytes(), first, "{point}");
    }
}

#[test]
fn what_is_no_hive_or_damaged_is_an_error_with_its_place() {
    let place = Place::new(&vec![0; 8192]);
    assert_eq!(place.hive("check", &[]).expect(5)["code"], "no-hive");
    let mut bytes = states().0;
    bytes[4096 + 8..4096 + 12].fill(0xFF);
    let place = Place::new(&bytes);
    for (verb, more) in [("check", &[][..]), ("set", &SET)] {
        let error = place.hive(verb, more).expect(5);
        assert_eq!(
            (&error["code"], &error["offset"]),
            (&"hive-damaged".into(), &4096.into())
        );
    }
    let absent = Cli::new("hive", &["get", "/absent/SYSTEM"], &place.path("state"));
    assert_eq!(absent.run().expect(6)["code"], "cannot-open");
    let error = place.hive("set", &["A", "v", "nonsense"]).expect(2);
    assert_eq!(error["code"], "hive-data");
    assert_eq!(place.bytes(), bytes);
}
