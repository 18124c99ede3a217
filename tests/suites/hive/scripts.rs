// SPDX-License-Identifier: Apache-2.0
//! Random edit scripts: their result as other readers see it, their inverse, and the same again.

use guestfix::hive::{Dirty, Hive, diff};
use tests::hive::{Reader, assert_same, dump, given, hivexml_counts};

use crate::script::{Random, Step};

const NOW: u64 = 0x1d2_9627_f1c8_a860;

/// Runs that many random steps below `top`; returns the inverse of all, last first.
fn run(hive: &mut Hive, seed: u64, steps: usize, top: &str) -> Vec<Step> {
    let mut random = Random::new(seed);
    let most = if hive.minor_version() == 4 {
        16344
    } else {
        1 << 20
    };
    let mut edit = hive.edit(NOW + seed).unwrap();
    let mut undo = Vec::new();
    for _ in 0..steps {
        let step = Step::random(&mut random, top, most);
        undo.push(step.inverse(edit.hive()));
        step.run(&mut edit);
    }
    edit.finish().unwrap();
    undo.into_iter().rev().flatten().collect()
}

fn seen_alike(hive: &Hive, what: &str, readers: &[Reader]) {
    let summary = hive.check().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hive");
    std::fs::write(&file, hive.bytes()).unwrap();
    for reader in readers {
        let theirs = reader.dump(&file).unwrap();
        assert_same(
            &dump(hive, *reader),
            &theirs,
            &format!("{what}, {reader:?}"),
        );
    }
    if let Some(counts) = hivexml_counts(&file) {
        let ours = (summary.keys as usize, summary.values as usize);
        assert_eq!(ours, counts, "{what}, hivexml");
    }
}

#[test]
fn after_random_edits_other_readers_see_what_we_see() {
    for (seed, minor) in (1..).zip([3, 4, 5, 6]) {
        let mut hive = Hive::create(minor, NOW).unwrap();
        for round in 0..2 {
            run(&mut hive, seed * 100 + round, 400, "");
            assert_eq!(hive.check().unwrap().findings, []);
            let what = format!("version 1.{minor}, round {round}");
            seen_alike(
                &hive,
                &what,
                &[Reader::Hivex, Reader::Regipy, Reader::Dissect],
            );
        }
    }
}

#[test]
fn a_script_and_its_inverse_leave_a_hive_of_equal_meaning() {
    for seed in 1..=6 {
        let mut hive = Hive::create(3 + seed as u32 % 4, NOW).unwrap();
        run(&mut hive, seed, 300, "");
        let before = hive.clone();
        let inverse = run(&mut hive, seed + 1000, 300, "");
        assert_ne!(diff(&before, &hive).unwrap(), []);
        let mut edit = hive.edit(NOW).unwrap();
        for step in &inverse {
            step.run(&mut edit);
        }
        edit.finish().unwrap();
        assert_eq!(diff(&before, &hive).unwrap(), [], "seed {seed}");
        assert_eq!(hive.check().unwrap().findings, []);
    }
}

#[test]
fn real_hives_bear_random_edits_and_their_inverse() {
    for (name, sample) in given() {
        let Ok(mut hive) = sample.open(Dirty::Refuse) else {
            continue;
        };
        // Readers of Python take minutes for the largest.
        let readers: &[Reader] = match sample.bytes.len() {
            0..20_000_000 => &[Reader::Hivex, Reader::Regipy],
            _ => &[Reader::Hivex],
        };
        let before = hive.clone();
        let findings = before.check().unwrap().findings;
        let inverse = run(&mut hive, 7, 200, "guestfix was here");
        let differing = hive
            .bytes()
            .iter()
            .zip(before.bytes())
            .filter(|(a, b)| a != b);
        println!("{name}: {} bytes differ in place", differing.count());
        assert_eq!(hive.check().unwrap().findings, findings);
        seen_alike(&hive, &name, readers);
        let mut edit = hive.edit(NOW).unwrap();
        for step in &inverse {
            step.run(&mut edit);
        }
        edit.delete_key("guestfix was here").unwrap();
        edit.finish().unwrap();
        assert_eq!(diff(&before, &hive).unwrap(), [], "{name}");
    }
}
