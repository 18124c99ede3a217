// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]
use std::sync::Arc;

use super::*;
use crate::disk::Storage;
use crate::volume::sample::{Bytes, assembled, fixture, pattern, whole};
use crate::volume::{Assembled, on_disks};

/// The two disks of `testdata/volumes/lvm.sh`.
fn disks() -> [Arc<Bytes>; 2] {
    ["lvm-a", "lvm-b"].map(|name| Arc::new(Bytes::new(fixture(name))))
}

fn shared(disks: &[Arc<Bytes>]) -> Vec<Arc<dyn Storage>> {
    let shared = |disk: &Arc<Bytes>| Arc::clone(disk) as Arc<dyn Storage>;
    disks.iter().map(shared).collect()
}

fn made(disks: &[Arc<Bytes>]) -> Assembled {
    assembled(&shared(disks), &Opening::default()).unwrap()
}

fn volume<'a>(all: &'a Assembled, name: &str) -> &'a Volume {
    let mut volumes = all.volumes.iter();
    volumes.find(|volume| volume.name == name).unwrap()
}

/// The name of each volume, its length in MiB and how it is assembled.
const VOLUMES: [(&str, usize, &str); 4] = [
    ("lin", 21, "lvm2 linear"),
    ("str", 8, "lvm2 striped"),
    ("mir", 4, "lvm2 raid1"),
    ("old", 4, "lvm2 mirror"),
];

#[test]
fn volumes_of_two_disks_read_as_the_kernel_wrote_them_in_any_order_of_disks() {
    let [a, b] = disks();
    for order in [[a.clone(), b.clone()], [b, a]] {
        let all = made(&order);
        assert!(all.unopened.is_empty() && all.damage.is_empty(), "{all:?}");
        for (name, mib, made_by) in VOLUMES {
            let volume = volume(&all, &format!("vg-0/{name}"));
            assert_eq!(volume.stack.made_by.as_deref(), Some(made_by));
            let want = pattern(512, name, mib << 20);
            assert!(whole(volume.storage.as_ref()) == want, "{name}");
        }
        assert_eq!(all.volumes.len(), 6, "internal volumes are not shown");
        let lin = volume(&all, "vg-0/lin");
        assert_eq!(lin.stack.devices[0], "/dev/mapper/vg--0-lin");
        assert_eq!(lin.stack.devices[1], "/dev/vg-0/lin");
        assert_eq!(volume(&all, "vg-0/str").stack.made_of.len(), 2);
    }
}

#[test]
fn random_writes_land_where_a_second_look_finds_them() {
    let disks = disks();
    let all = made(&disks);
    let mut models: Vec<(String, Vec<u8>)> = VOLUMES
        .iter()
        .map(|(name, mib, _)| (format!("vg-0/{name}"), pattern(512, name, mib << 20)))
        .collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for _ in 0..400 {
        let (name, model) = {
            let index = random(models.len());
            &mut models[index]
        };
        let len = 1 + random(300_000.min(model.len() - 1));
        let at = random(model.len() - len);
        let bytes: Vec<u8> = (0..len).map(|_| random(256) as u8).collect();
        volume(&all, name)
            .storage
            .write_at(&bytes, at as u64)
            .unwrap();
        model[at..at + len].copy_from_slice(&bytes);
    }
    // Afresh, with the disks the other way round.
    let [a, b] = disks;
    let again = made(&[b, a]);
    for (name, model) in &models {
        assert!(
            whole(volume(&again, name).storage.as_ref()) == *model,
            "{name}"
        );
    }
    // Both halves of a mirror hold it.
    for name in ["mir", "old"] {
        let geometry = volume(&again, &format!("vg-0/{name}"))
            .storage
            .below(0, 4 << 20);
        assert_eq!(geometry.len(), 1);
        let legs = geometry[0].storage.below(0, 4 << 20);
        assert_eq!(legs.len(), 2);
        assert!(whole(legs[0].storage.as_ref()) == whole(legs[1].storage.as_ref()));
    }
}

#[test]
fn a_place_in_a_volume_is_found_on_the_disks() {
    let disks = disks();
    let all = made(&disks);
    let shared = shared(&disks);
    let striped = &volume(&all, "vg-0/str").storage;
    let places = on_disks(striped, 0, 256 << 10, &shared);
    assert_eq!(
        places.iter().map(|p| (p.0, p.2)).collect::<Vec<_>>(),
        [(0, 128 << 10), (1, 128 << 10)]
    );
    let mut at = [0; 12];
    shared[1].read_at(&mut at, places[1].1).unwrap();
    assert_eq!(&at, b"str 00000128");
    let mirrored = on_disks(&volume(&all, "vg-0/mir").storage, 512, 512, &shared);
    assert_eq!(
        mirrored.iter().map(|p| (p.0, p.2)).collect::<Vec<_>>(),
        [(0, 512), (1, 512)]
    );
}

#[test]
fn a_missing_disk_is_named_by_the_id_of_its_physical_volume() {
    let [a, b] = disks();
    let all = made(&[a]);
    let names: Vec<&str> = all.unopened.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["vg-0/mir", "vg-0/old", "vg-0/str"]);
    let error = &all.unopened[2].error;
    assert_eq!(error.code, "lvm-missing-pv");
    let id = made(&[b]).volumes[0].content.uuid.clone().unwrap();
    assert!(error.message.contains(&id), "{error}");
    assert!(volume(&all, "vg-0/lin").storage.len() == 21 << 20);
}

#[test]
fn a_disk_and_its_copy_are_refused() {
    let [a, b] = disks();
    let copy = Arc::new(Bytes::new(a.to_vec()));
    let error = assembled(&shared(&[a, b, copy]), &Opening::default()).unwrap_err();
    assert_eq!(error.code, "lvm-duplicate-pv");
    assert_eq!(error.disk.as_deref(), Some("disk2"));
}

/// A disk of another group, which has a second disk that is not here.
fn stranger() -> Arc<Bytes> {
    Arc::new(Bytes::new(fixture("root-b")))
}

#[test]
fn a_disk_of_another_group_is_not_taken_for_the_one_that_is_missing() {
    let [a, _] = disks();
    let all = made(&[a, stranger()]);
    let lost = |u: &Unopened| (u.name.clone(), u.error.code.clone());
    let lost: Vec<_> = all.unopened.iter().map(lost).collect();
    for name in ["vg-0/str", "vg0/root"] {
        let want = (name.to_owned(), "lvm-missing-pv".to_owned());
        assert!(lost.contains(&want), "{lost:?}");
    }
}

#[test]
fn two_groups_of_one_name_are_refused() {
    let [a, b] = disks();
    let other = stranger();
    edit(&other, 0, |text| text.replacen("vg0 {", "vg-0 {", 1));
    let error = assembled(&shared(&[a, b, other]), &Opening::default()).unwrap_err();
    assert_eq!(error.code, "lvm-duplicate-group");
    assert!(error.message.contains("vg-0"), "{error}");
}

/// Where the metadata is, and more.
fn head(disk: &Bytes) -> Vec<u8> {
    let mut bytes = vec![0; 3 << 20];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Changes the metadata texts of a disk: the newest ones, in every area, with right checksums.
fn edit(disk: &Bytes, at: usize, change: impl Fn(String) -> String) {
    let mut bytes = head(disk);
    let mda = at + 4096;
    let le = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
    };
    let (from, len) = (le(&bytes, mda + 40), le(&bytes, mda + 48));
    let text = String::from_utf8(bytes[mda + from..mda + from + len].to_vec()).unwrap();
    let text = change(text).into_bytes();
    bytes[mda + from..mda + from + text.len()].copy_from_slice(&text);
    bytes[mda + 48..mda + 56].copy_from_slice(&(text.len() as u64).to_le_bytes());
    bytes[mda + 56..mda + 60].copy_from_slice(&label::crc(&text).to_le_bytes());
    let sum = label::crc(&bytes[mda + 4..mda + 512]);
    bytes[mda..mda + 4].copy_from_slice(&sum.to_le_bytes());
    disk.write_at(&bytes, 0).unwrap();
}

const B: usize = 1 << 20;

/// What both disks assemble to after the text was changed on both.
fn edited(change: impl Fn(String) -> String + Copy) -> Result<Assembled> {
    let [a, b] = disks();
    edit(&a, 0, change);
    edit(&b, B, change);
    assembled(&shared(&[a, b]), &Opening::default())
}

#[test]
fn damage_is_named_with_disk_and_place_and_nothing_is_assembled() {
    let swap = |from: &'static str, to: &'static str| {
        edited(move |text| {
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1)
        })
    };
    let [a, b] = disks();
    edit(&b, B, |text| text.replacen("\"pv0\", 13", "\"pv0\", 12", 1));
    let error = assembled(&shared(&[a, b]), &Opening::default()).unwrap_err();
    assert_eq!(error.code, "lvm-inconsistent");

    let error = swap("\"pv0\", 13", "\"pv0\", 9").unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.disk.as_deref()),
        ("lvm-overlap", Some("disk0"))
    );
    assert!(error.offset.is_some());

    let beyond = swap("\"pv0\", 13", "\"pv0\", 99").unwrap();
    assert_eq!(beyond.unopened[0].error.code, "lvm-beyond-volume");
    let text = swap("extent_size = 2048", "extent_size = 0").unwrap_err();
    assert_eq!(text.code, "lvm-metadata");
    let looped = swap("\"pv0\", 13", "\"lin\", 13").unwrap();
    assert_eq!(looped.unopened[0].error.code, "lvm-loop");
    let unknown = swap("type = \"mirror\"", "type = \"blurb1\"").unwrap();
    assert_eq!(unknown.unopened[0].error.code, "lvm-segment-type");
    assert!(unknown.unopened[0].error.message.contains("blurb1"));
}

#[test]
fn a_longer_list_than_the_disk_is_beyond_it() {
    let [a, b] = disks();
    let change = |text: String| {
        text.replacen("pe_count = 39", "pe_count = 99", 1)
            .replacen("\"pv0\", 13", "\"pv0\", 60", 1)
    };
    edit(&a, 0, change);
    edit(&b, B, change);
    let all = assembled(&shared(&[a, b]), &Opening::default()).unwrap();
    let error = &all.unopened[0].error;
    assert_eq!(
        (error.code.as_str(), error.disk.as_deref()),
        ("out-of-range", Some("disk0"))
    );
}

#[test]
fn of_an_interrupted_change_the_newer_metadata_counts() {
    let [a, b] = disks();
    edit(&a, 0, |text| {
        let at = text.find("seqno = ").unwrap() + 8;
        let end = at + text[at..].find('\n').unwrap();
        let number: u64 = text[at..end].parse().unwrap();
        format!("{}{}{}", &text[..at], number + 1, &text[end..]).replacen("\nlin {", "\nnew {", 1)
    });
    let all = made(&[a, b]);
    assert!(all.volumes.iter().any(|v| v.name == "vg-0/new"));
    assert!(!all.volumes.iter().any(|v| v.name == "vg-0/lin"));
}

#[test]
fn a_text_that_wraps_round_its_area_is_read() {
    let [a, b] = disks();
    for (disk, start) in [(&a, 0), (&b, B)] {
        let mut bytes = disk.to_vec();
        let mda = start + 4096;
        let le = |bytes: &[u8], at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
        };
        let (size, from, len) = (
            le(&bytes, mda + 32),
            le(&bytes, mda + 40),
            le(&bytes, mda + 48),
        );
        let text = bytes[mda + from..mda + from + len].to_vec();
        bytes[mda + 512..mda + size].fill(b'#');
        let place = size - 512;
        bytes[mda + place..mda + size].copy_from_slice(&text[..512]);
        bytes[mda + 512..mda + len].copy_from_slice(&text[512..]);
        bytes[mda + 40..mda + 48].copy_from_slice(&(place as u64).to_le_bytes());
        let sum = label::crc(&bytes[mda + 4..mda + 512]);
        bytes[mda..mda + 4].copy_from_slice(&sum.to_le_bytes());
        disk.write_at(&bytes, 0).unwrap();
    }
    assert_eq!(made(&[a, b]).volumes.len(), 6);
}

#[test]
fn no_mutation_of_the_metadata_panics() {
    let [a, b] = disks();
    for step in 0..60_usize {
        let at = ((step * 7919) % 12_000) as u64;
        let mut byte = [0];
        a.read_at(&mut byte, at).unwrap();
        a.write_at(&[byte[0] ^ 1 << (step % 8)], at).unwrap();
        let _ = assembled(&shared(&[a.clone(), b.clone()]), &Opening::default());
        a.write_at(&byte, at).unwrap();
    }
    let heads = [&a, &b].map(|disk| head(disk));
    for step in 0..60_usize {
        let change = move |text: String| {
            let mut bytes = text.into_bytes();
            let at = (step * 104_729) % (bytes.len() - 1);
            bytes[at] = b"09{}\"[]=\n z"[step % 11];
            String::from_utf8_lossy(&bytes).into_owned()
        };
        edit(&a, 0, change);
        edit(&b, B, change);
        let _ = assembled(&shared(&[a.clone(), b.clone()]), &Opening::default());
        a.write_at(&heads[0], 0).unwrap();
        b.write_at(&heads[1], 0).unwrap();
    }
}
