// SPDX-License-Identifier: Apache-2.0
//! Replay, with logs written here from pairs of states of a hive.

use super::base::{BaseBlock, checksum, put};
use super::tests::dump;
use super::{Dirty, Hive, Recovery, ValueType, marvin};

const NOW: u64 = 0x1d2_9627_f1c8_a860;
const SECTOR: usize = 512;

/// States of one hive, each an edit later; the second edit makes it grow.
fn states(count: u32) -> Vec<Vec<u8>> {
    let mut hive = Hive::create(5, NOW).unwrap();
    let mut out = vec![hive.bytes().to_vec()];
    for number in 1..count {
        let mut edit = hive.edit(NOW + u64::from(number)).unwrap();
        edit.create_key(&format!("k{number}\\sub")).unwrap();
        let data = vec![number as u8; 3000];
        edit.set_value(&format!("k{number}"), "v", ValueType::BINARY, &data)
            .unwrap();
        edit.finish().unwrap();
        out.push(hive.bytes().to_vec());
    }
    out
}

/// The state as a crash leaves it: the first sequence number says a write began.
fn dirty(state: &[u8]) -> Vec<u8> {
    let mut out = state.to_vec();
    let sequence = BaseBlock::read(state).unwrap().primary_sequence;
    put(&mut out, 4, &(sequence + 1).to_le_bytes()).unwrap();
    rechecksum(&mut out);
    out
}

fn rechecksum(bytes: &mut [u8]) {
    let sum = checksum(bytes);
    put(bytes, 508, &sum.to_le_bytes()).unwrap();
}

/// The entry of a new log that leads from one state to the next.
fn entry(old: &[u8], new: &[u8], sequence: u32) -> Vec<u8> {
    let mut pages = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for (index, page) in new[4096..].chunks(SECTOR).enumerate() {
        let at = 4096 + index * SECTOR;
        if old.get(at..at + SECTOR) != Some(page) {
            pages.extend(((index * SECTOR) as u32).to_le_bytes());
            pages.extend((SECTOR as u32).to_le_bytes());
            data.extend(page);
        }
    }
    let mut out = b"HvLE".to_vec();
    let count = (pages.len() / 8) as u32;
    for word in [0, 0, sequence, (new.len() - 4096) as u32, count] {
        out.extend(u32::to_le_bytes(word));
    }
    out.extend([0; 16]);
    out.extend(pages);
    out.extend(data);
    out.resize(out.len().next_multiple_of(SECTOR), 0);
    let size = out.len() as u32;
    put(&mut out, 4, &size.to_le_bytes()).unwrap();
    let body = marvin::hash(&out[40..]);
    put(&mut out, 24, &body.to_le_bytes()).unwrap();
    let head = marvin::hash(&out[..32]);
    put(&mut out, 32, &head.to_le_bytes()).unwrap();
    out
}

/// A new log with entries of that sequence.
fn log(states: &[Vec<u8>], steps: std::ops::Range<usize>) -> Vec<u8> {
    let first = states[steps.start].as_slice();
    let mut out = first[..SECTOR].to_vec();
    let sequence = |step: usize| BaseBlock::read(&states[step]).unwrap().primary_sequence;
    put(&mut out, 28, &6_u32.to_le_bytes()).unwrap();
    rechecksum(&mut out);
    for step in steps {
        out.extend(entry(&states[step], &states[step + 1], sequence(step)));
    }
    out
}

/// The log of the old format that leads from one state to another.
fn old_log(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = dirty(old)[..SECTOR].to_vec();
    let sequence = BaseBlock::read(old).unwrap().primary_sequence + 1;
    put(&mut out, 8, &sequence.to_le_bytes()).unwrap();
    put(&mut out, 28, &1_u32.to_le_bytes()).unwrap();
    put(&mut out, 40, &((new.len() - 4096) as u32).to_le_bytes()).unwrap();
    rechecksum(&mut out);
    let sectors: Vec<&[u8]> = new[4096..].chunks(SECTOR).collect();
    let mut bitmap = vec![0_u8; sectors.len() / 8];
    let mut data: Vec<u8> = Vec::new();
    for (index, sector) in sectors.iter().enumerate() {
        let at = 4096 + index * SECTOR;
        if old.get(at..at + SECTOR) != Some(*sector) {
            bitmap[index / 8] |= 1 << (index % 8);
            data.extend(*sector);
        }
    }
    out.extend(b"DIRT");
    out.extend(bitmap);
    out.resize(out.len().next_multiple_of(SECTOR), 0);
    out.extend(data);
    out
}

fn open(bytes: Vec<u8>, logs: &[&[u8]]) -> super::Result<Hive> {
    Hive::open(bytes, logs, Dirty::Refuse)
}

fn same(hive: &Hive, state: &[u8]) {
    let wanted = open(state.to_vec(), &[]).unwrap();
    assert_eq!(dump(hive), dump(&wanted));
    assert_eq!(hive.bytes()[4096..], wanted.bytes()[4096..]);
}

fn replayed(entries: u32) -> Recovery {
    Recovery::Replayed {
        entries,
        base_block: false,
    }
}

#[test]
fn entries_of_both_logs_are_applied_in_sequence_whichever_log_is_first() {
    let states = states(6);
    let (one, two) = (log(&states, 3..5), log(&states, 0..3));
    for logs in [[&one[..], &two], [&two, &one]] {
        let hive = open(dirty(&states[0]), &logs).unwrap();
        assert_eq!(hive.recovery(), &replayed(5));
        same(&hive, &states[5]);
    }
}

#[test]
fn two_valid_logs_that_overlap_apply_each_entry_once() {
    let states = states(6);
    let (one, two) = (log(&states, 1..4), log(&states, 2..5));
    let hive = open(dirty(&states[1]), &[&two, &one]).unwrap();
    assert_eq!(hive.recovery(), &replayed(4));
    same(&hive, &states[5]);
}

#[test]
fn entries_older_than_the_hive_are_not_applied() {
    let states = states(6);
    let all = log(&states, 0..5);
    let hive = open(dirty(&states[3]), &[&all]).unwrap();
    assert_eq!(hive.recovery(), &replayed(2));
    same(&hive, &states[5]);
}

#[test]
fn replay_stops_at_a_gap_between_the_logs() {
    let states = states(7);
    let (one, late) = (log(&states, 0..2), log(&states, 4..6));
    let hive = open(dirty(&states[0]), &[&late, &one]).unwrap();
    assert_eq!(hive.recovery(), &replayed(2));
    same(&hive, &states[2]);
}

#[test]
fn a_log_that_starts_after_the_hive_is_no_log_of_it() {
    let states = states(7);
    let late = log(&states, 3..6);
    let error = open(dirty(&states[0]), &[&late]).unwrap_err();
    assert_eq!(error.code, "hive-dirty");
    assert!(error.to_string().contains("no log belongs"), "{error}");
    let taken = Hive::open(dirty(&states[0]), &[&late], Dirty::Accept).unwrap();
    assert!(matches!(taken.recovery(), Recovery::Unrecovered { .. }));
    same(&taken, &states[0]);
}

#[test]
fn a_torn_tail_keeps_what_came_before_it() {
    let states = states(5);
    let whole = log(&states, 0..4);
    for cut in [1, 100, 512] {
        let hive = open(dirty(&states[0]), &[&whole[..whole.len() - cut]]).unwrap();
        assert_eq!(hive.recovery(), &replayed(3));
        same(&hive, &states[3]);
    }
    let mut flipped = whole.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    same(&open(dirty(&states[0]), &[&flipped]).unwrap(), &states[3]);
}

#[test]
fn every_bit_flip_in_a_log_gives_a_state_that_was_or_a_refusal() {
    let states = states(3);
    let whole = log(&states, 0..2);
    for at in (0..whole.len()).step_by(13) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(hive) = open(dirty(&states[0]), &[&flipped]) {
            let body = &hive.bytes()[4096..];
            assert!(states.iter().any(|state| state[4096..] == *body), "{at}");
        }
    }
}

#[test]
fn a_lost_base_block_comes_back_from_the_latest_log() {
    let states = states(6);
    let (one, two) = (log(&states, 0..2), log(&states, 2..5));
    let mut bytes = dirty(&states[2]);
    bytes[..4096].fill(0);
    let hive = open(bytes, &[&one, &two]).unwrap();
    let Recovery::Replayed { base_block, .. } = hive.recovery() else {
        panic!("{:?}", hive.recovery());
    };
    assert!(base_block);
    same(&hive, &states[5]);
}

#[test]
fn an_old_log_is_applied_and_a_stranger_s_is_not() {
    let states = states(4);
    let log = old_log(&states[1], &states[3]);
    let hive = open(dirty(&states[1]), &[&log]).unwrap();
    assert_eq!(hive.recovery(), &replayed(1));
    same(&hive, &states[3]);
    let error = open(dirty(&states[2]), &[&log]).unwrap_err();
    assert_eq!(error.code, "hive-dirty");
    for cut in [1, 512, log.len() - 600] {
        let error = open(dirty(&states[1]), &[&log[..log.len() - cut]]).unwrap_err();
        assert_eq!(error.code, "hive-dirty", "{cut}");
    }
}

#[test]
fn a_clean_hive_reads_no_log() {
    let states = states(4);
    let hive = open(states[1].clone(), &[&log(&states, 1..3)]).unwrap();
    assert_eq!(hive.recovery(), &Recovery::Clean);
    assert_eq!(hive.bytes(), states[1]);
}

#[test]
fn after_an_edit_the_old_logs_are_stale_for_any_reader() {
    let states = states(4);
    let logs = log(&states, 0..3);
    let mut hive = open(dirty(&states[0]), &[&logs]).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    edit.create_key("new").unwrap();
    let outcome = edit.finish().unwrap();
    assert_eq!((outcome.changed, outcome.edited), (true, true));
    assert_eq!(outcome.log.as_deref(), Some(&[][..]));
    let written = hive.into_bytes();
    // Even dirty again, none of their entries fits.
    let error = open(dirty(&written), &[&logs]).unwrap_err();
    assert_eq!(error.code, "hive-dirty");
}

#[test]
fn a_dirty_hive_that_is_accepted_and_not_edited_stays_as_it_is() {
    let states = states(2);
    let bytes = dirty(&states[1]);
    let mut hive = Hive::open(bytes.clone(), &[], Dirty::Accept).unwrap();
    let outcome = hive.edit(NOW).unwrap().finish().unwrap();
    assert!(!outcome.changed && !outcome.edited);
    assert_eq!(hive.into_bytes(), bytes);
}
