// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects, clippy::needless_range_loop)]
use std::sync::Arc;

use super::*;
use crate::volume::Assembled;
use crate::volume::sample::{Bytes, assembled, fixture, pattern, whole};

/// The arrays of `testdata/volumes/md.sh`: name, level, and bytes as the kernel told them.
const ARRAYS: [(&str, &str, u64); 19] = [
    ("md100", "raid1", 3_080_192),
    ("md-r1x10", "raid1", 3_080_192),
    ("md-r1x11", "raid1", 2_097_152),
    ("md-r1x12", "raid1", 2_097_152),
    ("md-lin", "linear", 6_291_456),
    ("md105", "linear", 8_257_536),
    ("md-r0", "raid0", 6_291_456),
    ("md-r0z", "raid0", 10_485_760),
    ("md-r10n2", "raid10", 3_145_728),
    ("md-r10f2", "raid10", 3_145_728),
    ("md-r10o2", "raid10", 3_145_728),
    ("md112", "raid10", 6_160_384),
    ("md-r5ls", "raid5", 4_194_304),
    ("md-r5ra", "raid5", 4_194_304),
    ("md-r5la", "raid5", 9_240_576),
    ("md116", "raid5", 6_160_384),
    ("md-r4", "raid4", 4_194_304),
    ("md-r6ls", "raid6", 4_194_304),
    ("md-r6ra", "raid6", 6_291_456),
];

/// What stands at the start of each block of an array.
fn word(name: &str) -> &str {
    match name {
        "md100" => "r1x090",
        "md105" => "lin090",
        "md112" => "r10n2x4",
        "md116" => "r5rs",
        other => other.strip_prefix("md-").unwrap(),
    }
}

fn disk() -> Arc<Bytes> {
    Arc::new(Bytes::new(fixture("md")))
}

fn made(disk: &Arc<Bytes>) -> Assembled {
    assembled(&[Arc::clone(disk) as Arc<dyn Storage>], &Opening::default()).unwrap()
}

fn find<'a>(all: &'a Assembled, name: &str) -> &'a Volume {
    let found = all.volumes.iter().find(|volume| volume.name == name);
    found.unwrap_or_else(|| panic!("{name} is not among {:?}", all.unopened))
}

#[test]
fn arrays_of_every_level_and_version_read_as_the_kernel_wrote_them() {
    let all = made(&disk());
    assert!(all.unopened.is_empty() && all.damage.is_empty(), "{all:?}");
    for (name, level, len) in ARRAYS {
        let volume = find(&all, name);
        assert_eq!(
            volume.stack.made_by.as_deref(),
            Some(&*format!("md {level}")),
            "{name}"
        );
        assert_eq!(volume.len, len, "{name}");
        let want = pattern(4096, word(name), 1 << 20);
        let have = whole(volume.storage.as_ref());
        assert!(have[..1 << 20] == want, "{name}");
        assert!(have[1 << 20..].iter().all(|byte| *byte == 0), "{name}");
    }
    let named = find(&all, "md100");
    assert!(named.stack.devices.contains(&"/dev/md100".to_owned()));
    let named = find(&all, "md-r1x12");
    assert!(named.stack.devices.contains(&"/dev/md/r1x12".to_owned()));
    assert!(
        named
            .stack
            .devices
            .contains(&"/dev/disk/by-id/md-name-gf:r1x12".to_owned())
    );
}

/// All of a member's data, from where it begins.
fn member(all: &Assembled, name: &str, index: usize, len: usize) -> Vec<u8> {
    let part = &find(all, name).stack.made_of[index];
    let volume = find(all, part);
    let sb = read_super(volume.storage.as_ref()).unwrap();
    let mut out = vec![0; len];
    volume.storage.read_at(&mut out, sb.start).unwrap();
    out
}

#[test]
fn random_writes_read_back_and_leave_copies_and_parity_in_agreement() {
    let disk = disk();
    let all = made(&disk);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for (name, _, _) in ARRAYS {
        let volume = find(&all, name);
        let mut model = whole(volume.storage.as_ref());
        for _ in 0..25 {
            let len = 1 + random(200_000);
            let at = random(model.len() - len);
            let bytes: Vec<u8> = (0..len).map(|_| random(256) as u8).collect();
            volume.storage.write_at(&bytes, at as u64).unwrap();
            model[at..at + len].copy_from_slice(&bytes);
        }
        assert!(
            whole(find(&made(&disk), name).storage.as_ref()) == model,
            "{name}"
        );
    }
    const LEN: usize = 1 << 20;
    let again = made(&disk);
    for (name, level, _) in ARRAYS {
        let members = find(&again, name).stack.made_of.len();
        let members: Vec<Vec<u8>> = (0..members).map(|n| member(&again, name, n, LEN)).collect();
        match level {
            "raid1" => assert!(members[0] == members[1], "{name}"),
            "raid4" | "raid5" => {
                for at in 0..LEN {
                    let sum = members.iter().fold(0, |sum, member| sum ^ member[at]);
                    assert_eq!(sum, 0, "{name} at {at}");
                }
            }
            _ => {}
        }
    }
    second_parity(&again);
}

/// Both parities of the raid6 arrays, computed by another way than they are written: Horner's
/// scheme over whole stripes, from the members' places in the layout.
fn second_parity(all: &Assembled) {
    const CHUNK: usize = 64 << 10;
    for (name, left, symmetric) in [("md-r6ls", true, true), ("md-r6ra", false, false)] {
        let count = find(all, name).stack.made_of.len();
        let members: Vec<Vec<u8>> = (0..count).map(|n| member(all, name, n, 1 << 20)).collect();
        for row in 0..(1 << 20) / CHUNK {
            let p = if left {
                count - 1 - row % count
            } else {
                row % count
            };
            let q = (p + 1) % count;
            // For both ways of turning the data follows the second parity, or begins at the front.
            let first = if q == count - 1 { 0 } else { q + 1 };
            let _ = symmetric;
            let order: Vec<usize> = (0..count)
                .map(|n| (first + n) % count)
                .filter(|n| *n != p && *n != q)
                .collect();
            for at in row * CHUNK..row * CHUNK + CHUNK {
                let (mut one, mut two) = (0_u8, 0_u8);
                for index in order.iter().rev() {
                    let byte = members[*index][at];
                    one ^= byte;
                    two = (two << 1) ^ (if two & 0x80 == 0 { 0 } else { 0x1d }) ^ byte;
                }
                assert_eq!(
                    (one, two),
                    (members[p][at], members[q][at]),
                    "{name} at {at}"
                );
            }
        }
    }
}

/// Changes a word of a member's superblock and mends the checksum.
fn poke(disk: &Bytes, part: &Volume, at: u64, value: &[u8]) {
    let places = crate::volume::probe::md_places(part.len);
    let place = places.into_iter().find(|place| {
        let mut magic = [0; 4];
        part.storage.read_at(&mut magic, *place).unwrap();
        magic == [0xfc, 0x4e, 0x2b, 0xa9]
    });
    let start = part.offset + place.unwrap();
    disk.write_at(value, start + at).unwrap();
    let mut sb = vec![0; 4096];
    disk.read_at(&mut sb, start).unwrap();
    let end = 256 + 2 * u32::from_le_bytes(sb[220..224].try_into().unwrap()) as usize;
    let sum = sb[..end]
        .chunks(4)
        .enumerate()
        .filter(|(n, _)| *n != 54)
        .fold(0_u64, |sum, (_, word)| {
            sum + u64::from(u32::from_le_bytes([
                word[0],
                word[1],
                *word.get(2).unwrap_or(&0),
                *word.get(3).unwrap_or(&0),
            ]))
        });
    let sum = (sum as u32).wrapping_add((sum >> 32) as u32);
    disk.write_at(&sum.to_le_bytes(), start + 216).unwrap();
}

fn shut<'a>(all: &'a Assembled, name: &str) -> &'a Error {
    &all.unopened.iter().find(|u| u.name == name).unwrap().error
}

#[test]
fn degraded_and_dirty_arrays_are_refused_unless_asked_for() {
    let disk = disk();
    let all = made(&disk);
    let part = |name: &str, index: usize| find(&all, &find(&all, name).stack.made_of[index]);
    // A second member that missed writes, a dirty array, an array that is being reshaped.
    poke(&disk, part("md-r1x12", 1), 200, &1_u64.to_le_bytes());
    for index in 0..3 {
        poke(&disk, part("md-r5ls", index), 208, &0_u64.to_le_bytes());
        poke(&disk, part("md-r5ra", index), 8, &4_u32.to_le_bytes());
    }
    // A member of a raid0 is gone.
    disk.write_at(&[0; 8192], part("md-r0", 0).offset).unwrap();
    let again = made(&disk);
    assert_eq!(shut(&again, "md-r1x12").code, "raid-degraded");
    assert_eq!(shut(&again, "md-r5ls").code, "raid-degraded");
    assert_eq!(shut(&again, "md-r5ra").code, "md-layout");
    assert_eq!(shut(&again, "md-r0").code, "md-missing-member");
    let asked = Opening::new(Vec::new(), true);
    let all = assembled(&[disk as Arc<dyn Storage>], &asked).unwrap();
    assert!(find(&all, "md-r1x12").storage.below(0, 1).len() == 1);
    find(&all, "md-r5ls");
}

#[test]
fn damaged_superblocks_and_copies_are_named() {
    let disk = disk();
    let all = made(&disk);
    let part = find(&all, &find(&all, "md-r1x12").stack.made_of[0]);
    disk.write_at(&[0xff], part.offset + 4096 + 80).unwrap();
    let again = made(&disk);
    assert!(
        again.damage[0].starts_with(&part.name),
        "{:?}",
        again.damage
    );
    let one: Arc<dyn Storage> = disk.clone();
    let two: Arc<dyn Storage> = Arc::new(Bytes::new(disk.to_vec()));
    let error = assembled(&[one, two], &Opening::default()).unwrap_err();
    assert_eq!(error.code, "md-duplicate");
}

#[test]
fn no_mutation_of_a_superblock_panics() {
    let disk = disk();
    let all = made(&disk);
    let part = find(&all, &find(&all, "md-r6ls").stack.made_of[0]);
    for at in (5..256_u64).step_by(5) {
        let mut old = [0];
        disk.read_at(&mut old, part.offset + 4096 + at).unwrap();
        poke(&disk, part, at.min(210), &[old[0] ^ 0x55]);
        let asked = Opening::new(Vec::new(), true);
        let _ = assembled(&[disk.clone() as Arc<dyn Storage>], &asked);
        poke(&disk, part, at.min(210), &old);
    }
}
