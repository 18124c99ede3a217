// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]
use std::sync::Arc;

use super::*;
use crate::disk::Storage;
use crate::volume::sample::{Bytes, assembled, fixture, pattern, whole};
use crate::volume::{Assembled, on_disks};

const MIB: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
const RAIDS: [(&str, usize); 16] = [
    ("raw0", 3),
    ("raid4", 3),
    ("raid5_ls", 3),
    ("raid5_la", 3),
    ("raid5_rs", 3),
    ("raid5_ra", 3),
    ("raid5_n", 3),
    ("raid6_zr", 5),
    ("raid6_nr", 5),
    ("raid6_nc", 5),
    ("raid6_n_6", 5),
    ("raid6_ls_6", 5),
    ("raid6_la_6", 5),
    ("raid6_rs_6", 5),
    ("raid6_ra_6", 5),
    ("raid10", 4),
];

/// The disk of `testdata/volumes/lvraid.sh`.
fn disk() -> Arc<Bytes> {
    Arc::new(Bytes::new(fixture("lvraid")))
}

fn shared(disk: &Arc<Bytes>) -> Arc<dyn Storage> {
    Arc::clone(disk) as Arc<dyn Storage>
}

fn made(disk: &Arc<Bytes>) -> Assembled {
    assembled(&[shared(disk)], &Opening::default()).unwrap()
}

fn volume<'a>(all: &'a Assembled, name: &str) -> &'a Volume {
    let mut volumes = all.volumes.iter();
    let found = volumes.find(|volume| volume.name == name);
    found.unwrap_or_else(|| panic!("{name} is not in {:?}", all.unopened))
}

/// What an internal volume holds.
fn image(all: &Assembled, name: &str) -> Vec<u8> {
    let found = find(&all.volumes, &mut Vec::new()).unwrap();
    let groups = newest(&found).unwrap();
    let group = groups.iter().find(|group| group.name == "vr").unwrap();
    let physical = group.physical.iter().map(|(name, physical)| {
        let found = found.iter().find(|found| found.id == physical.id).unwrap();
        (name.as_str(), found.volume)
    });
    let mut builder = Builder {
        group,
        physical: physical.collect(),
        built: BTreeMap::new(),
        pools: BTreeMap::new(),
        allow_degraded: false,
    };
    whole(builder.logical(name, 0).unwrap().as_ref())
}

#[test]
fn every_kind_of_raid_reads_as_the_kernel_wrote_it() {
    let all = made(&disk());
    for (name, _) in RAIDS {
        let volume = volume(&all, &format!("vr/{name}"));
        let want = pattern(512, name, 3 * MIB);
        assert!(whole(volume.storage.as_ref())[..3 * MIB] == want, "{name}");
    }
}

/// Where the kernel puts both parities of a row, and the members in the order of their powers; none
/// where parity stands (drivers/md/raid5.c).
fn row_of(name: &str, row: usize, n: usize) -> (usize, usize, Vec<Option<usize>>) {
    let all = |p: usize, q: usize, first: usize, zeros: bool| {
        let order = (0..n).map(move |step| (first + step) % n);
        let is_data = move |member: &usize| *member != p && *member != q;
        match zeros {
            true => order.map(|m| Some(m).filter(is_data)).collect(),
            false => order.filter(is_data).map(Some).collect(),
        }
    };
    let (p, q, zeros) = match name {
        "raid6_zr" => (row % n, (row % n + 1) % n, true),
        "raid6_nr" => (n - 1 - (row + 1) % n, (n - (row + 1) % n) % n, true),
        "raid6_nc" => (n - 1 - row % n, (2 * n - 2 - row % n) % n, true),
        "raid6_n_6" => (n - 2, n - 1, false),
        "raid6_ls_6" | "raid6_la_6" => (n - 2 - row % (n - 1), n - 1, false),
        _ => (row % (n - 1), n - 1, false),
    };
    (p, q, all(p, q, 0, zeros))
}

fn check_parity(all: &Assembled, when: &str) {
    for (name, count) in RAIDS {
        let images: Vec<Vec<u8>> = (0..count)
            .filter(|_| name.starts_with("raid"))
            .map(|n| image(all, &format!("{name}_rimage_{n}")))
            .collect();
        match name.get(..5) {
            Some("raid4" | "raid5") => {
                for at in 0..images[0].len() {
                    let sum = images.iter().fold(0, |sum, image| sum ^ image[at]);
                    assert_eq!(sum, 0, "{when}: {name} at {at}");
                }
            }
            Some("raid6") => {
                for row in 0..images[0].len() / CHUNK {
                    let (p, q, order) = row_of(name, row, count);
                    for at in (row * CHUNK..row * CHUNK + CHUNK).step_by(7) {
                        let (mut one, mut two) = (0_u8, 0_u8);
                        for member in order.iter().rev() {
                            let byte = member.map_or(0, |member| images[member][at]);
                            one ^= byte;
                            two = (two << 1) ^ (if two & 0x80 == 0 { 0 } else { 0x1d }) ^ byte;
                        }
                        let have = (images[p][at], images[q][at]);
                        assert_eq!((one, two), have, "{when}: {name} row {row} at {at}");
                    }
                }
            }
            _ => {}
        }
    }
}

#[test]
fn writes_read_back_and_keep_parity_as_the_kernel_keeps_it() {
    let disk = disk();
    let all = made(&disk);
    check_parity(&all, "by the kernel");
    let mut seed = 99_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for (name, _) in RAIDS {
        let name = format!("vr/{name}");
        let storage = &volume(&all, &name).storage;
        let mut model = whole(storage.as_ref());
        for _ in 0..6 {
            let len = 1 + random(200_000);
            let at = random(model.len() - len);
            let bytes: Vec<u8> = (0..len).map(|_| random(256) as u8).collect();
            storage.write_at(&bytes, at as u64).unwrap();
            model[at..at + len].copy_from_slice(&bytes);
        }
        let again = made(&disk);
        assert!(
            whole(volume(&again, &name).storage.as_ref()) == model,
            "{name}"
        );
    }
    check_parity(&made(&disk), "by us");
}

#[test]
fn caches_and_snapshots_are_refused_by_name() {
    let all = made(&disk());
    for (name, what) in [
        ("vr/wt", "cache"),
        ("vr/wb", "cache"),
        ("vr/snap", "a snapshot"),
        ("vr/org", "a volume with snapshots"),
    ] {
        let unopened = all.unopened.iter().find(|unopened| unopened.name == name);
        let error = &unopened.unwrap_or_else(|| panic!("{name}: {all:?}")).error;
        assert_eq!(error.code, "lvm-segment-type");
        assert!(error.message.contains(what), "{error}");
    }
}

#[test]
fn partitions_in_arrays_and_volumes_are_volumes() {
    let disk = disk();
    let all = made(&disk);
    let part = volume(&all, "vr/partedp1");
    assert_eq!(
        (part.len, part.part_type.as_deref()),
        (1984 << 10, Some("0x83"))
    );
    assert_eq!(part.stack.made_of, ["vr/parted"]);
    assert_eq!(part.stack.devices[0], "/dev/mapper/vr-parted1");
    let [one, two] = ["md0p1", "md0p2"].map(|name| volume(&all, name));
    assert_eq!((one.content.kind.as_str(), one.len), ("ext2", 2 << 20));
    assert!(one.stack.devices.contains(&"/dev/md0p1".to_owned()));
    assert!(two.part_uuid.is_some() && all.is_part("md0"));
    let places = on_disks(&one.storage, 1024, 1024, &[shared(&disk)]);
    assert_eq!(places.len(), 2, "both halves of the mirror: {places:?}");
}
