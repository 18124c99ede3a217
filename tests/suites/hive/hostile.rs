// SPDX-License-Identifier: Apache-2.0
//! The fuzz function on stable: seeds made here, mutated by a small generator. It runs for a few
//! seconds, or for as many as `GUESTFIX_FUZZ_SECONDS` says.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guestfix::hive::{Hive, ValueType};

use crate::exercise::{MARK, fuzz_hive};
use crate::sample::{dirty, old_log};
use crate::script::{Random, Step};

const NOW: u64 = 0x1d2_9627_f1c8_a860;

/// Small hives of every version, with and without a log.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for minor in 3..=6 {
        let mut hive = Hive::create(minor, NOW).unwrap();
        let mut edit = hive.edit(NOW).unwrap();
        edit.create_key("Select").unwrap();
        for name in ["Current", "Default"] {
            let one = 1_u32.to_le_bytes();
            edit.set_value("Select", name, ValueType::DWORD, &one)
                .unwrap();
        }
        edit.create_key("ControlSet001\\Services\\\u{142}").unwrap();
        let mut random = Random::new(u64::from(minor));
        for _ in 0..25 {
            Step::random(&mut random, "", 600).run(&mut edit);
        }
        if minor == 5 {
            edit.set_value("Select", "big", ValueType::BINARY, &[5; 17_000])
                .unwrap();
        }
        edit.finish().unwrap();
        let first = hive.bytes().to_vec();
        let mut edit = hive.edit(NOW).unwrap();
        edit.create_key("Logged\\later").unwrap();
        edit.finish().unwrap();
        let log = old_log(&first, hive.bytes());
        let logged = [&dirty(&first)[..], MARK, &log].concat();
        out.push((format!("clean-1.{minor}"), first));
        if minor % 2 == 1 {
            out.push((format!("logged-1.{minor}"), logged));
        }
    }
    out
}

fn folder() -> PathBuf {
    tests::workspace().join("guestfix/fuzz/seeds")
}

/// One to a few changes of the kinds that hurt parsers.
fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..1 + random.below(6) {
        if out.len() < 16 {
            break;
        }
        let at = random.below(out.len() - 8);
        match random.below(8) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.below(256) as u8,
            2 => {
                const HARD: [u32; 8] = [0, 1, 8, 0x20, 0x1000, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
                let at = at & !3;
                out[at..at + 4].copy_from_slice(&HARD[random.below(8)].to_le_bytes());
            }
            3 => {
                // A reference to some other cell.
                let at = at & !3;
                let to = (random.below(out.len()) & !7) as u32;
                out[at..at + 4].copy_from_slice(&to.to_le_bytes());
            }
            4 => out.truncate(at + 8),
            5 => {
                let len = random.below(64).min(out.len() - at);
                out[at..at + len].fill(0);
            }
            6 => {
                let from = random.below(out.len() - 8);
                let len = random.below(200).min(out.len() - at.max(from));
                out.copy_within(from..from + len, at);
            }
            _ => {
                let from = random.below(other.len() - 8);
                let len = random
                    .below(200)
                    .min(other.len() - from)
                    .min(out.len() - at);
                out[at..at + len].copy_from_slice(&other[from..from + len]);
            }
        }
    }
    out
}

#[test]
fn the_committed_seeds_are_those_that_are_made_here() {
    let write = std::env::var_os("GUESTFIX_WRITE_SEEDS").is_some();
    for (name, bytes) in seeds() {
        let path = folder().join(name);
        if write {
            std::fs::write(&path, &bytes).unwrap();
        }
        let committed = std::fs::read(&path).unwrap();
        assert!(
            committed == bytes,
            "{}: GUESTFIX_WRITE_SEEDS=1 writes it",
            path.display()
        );
        fuzz_hive(&bytes);
    }
}

#[test]
fn mutated_hives_never_panic_and_an_edit_keeps_a_sound_hive_sound() {
    let seconds = std::env::var("GUESTFIX_FUZZ_SECONDS");
    let seconds = seconds.map_or(10, |text| text.parse().unwrap());
    let entropy = std::env::var("GUESTFIX_FUZZ_SEED").map_or(1, |text| text.parse().unwrap());
    let (seeds, mut random) = (seeds(), Random::new(entropy));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut runs, mut slowest) = (0_u64, Duration::ZERO);
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{entropy}"));
    while Instant::now() < end {
        let seed = &seeds[random.below(seeds.len())].1;
        let other = &seeds[random.below(seeds.len())].1;
        let input = mutate(&mut random, seed, other);
        let start = Instant::now();
        let done = std::panic::catch_unwind(|| fuzz_hive(&input));
        slowest = slowest.max(start.elapsed());
        runs += 1;
        if done.is_err() {
            std::fs::write(&last, &input).unwrap();
            panic!("run {runs}: the input is kept as {}", last.display());
        }
    }
    println!("{runs} runs, the slowest took {slowest:?}");
    assert!(runs > 0);
    // Generous: machines are loaded. A loop or a quadratic walk takes longer than any load.
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
}
