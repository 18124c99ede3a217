// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]
use std::path::Path;
use std::process::Command;

use super::*;
use crate::volume::sample::{Bytes, assembled, fixture, pattern, whole};
use crate::volume::{Assembled, Opening, Volume};

const MIB: usize = 1 << 20;

/// The two disks of `testdata/volumes/thin.sh`.
fn disks() -> [Arc<Bytes>; 2] {
    ["thin-a", "thin-b"].map(|name| Arc::new(Bytes::new(fixture(name))))
}

fn made(disks: &[Arc<Bytes>]) -> Assembled {
    let shared = |disk: &Arc<Bytes>| Arc::clone(disk) as Arc<dyn Storage>;
    let disks: Vec<_> = disks.iter().map(shared).collect();
    let all = assembled(&disks, &Opening::default()).unwrap();
    assert!(all.unopened.is_empty(), "{all:?}");
    all
}

fn volume<'a>(all: &'a Assembled, name: &str) -> &'a Volume {
    let mut volumes = all.volumes.iter();
    volumes.find(|volume| volume.name == name).unwrap()
}

/// What the kernel left on the volumes: `t1` was written, `s1` made of it, then the first MiB of
/// `t1` and the fifth of `s1` were written over, and the ninth of `t1` was discarded.
fn expected() -> [(&'static str, Vec<u8>); 3] {
    let mut t1 = pattern(512, "t1", 20 * MIB);
    let mut s1 = t1.clone();
    t1[..MIB].copy_from_slice(&pattern(512, "new", MIB));
    t1[8 * MIB..9 * MIB].fill(0);
    s1[4 * MIB..5 * MIB].copy_from_slice(&pattern(512, "cow", MIB));
    [("vt/t1", t1), ("vt/s1", s1), ("vt/t3", vec![0; 8 * MIB])]
}

#[test]
fn thin_volumes_and_snapshots_read_as_the_kernel_wrote_them() {
    let [a, b] = disks();
    for order in [[a.clone(), b.clone()], [b, a]] {
        let all = made(&order);
        for (name, want) in expected() {
            let volume = volume(&all, name);
            assert_eq!(volume.stack.made_by.as_deref(), Some("lvm2 thin"));
            assert!(whole(volume.storage.as_ref()) == want, "{name}");
        }
        let t2 = volume(&all, "vt/t2");
        assert_eq!(t2.len, 1 << 30);
        let mut head = vec![1; 3 * MIB];
        t2.storage.read_at(&mut head, 0).unwrap();
        assert!(head[..2 * MIB] == pattern(512, "t2", 2 * MIB)[..]);
        assert!(head[2 * MIB..].iter().all(|byte| *byte == 0));
        t2.storage
            .read_at(&mut head, (1 << 30) - 3 * MIB as u64)
            .unwrap();
        assert!(head.iter().all(|byte| *byte == 0));
        assert!(!all.volumes.iter().any(|v| v.name == "vt/pool"));
    }
}

fn random(seed: &mut u64, below: usize) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    usize::try_from(*seed % below as u64).unwrap()
}

/// Writes here and there, also where nothing was and where a snapshot shares; what each must hold.
fn scribbled(all: &Assembled, seed: &mut u64) -> Vec<(&'static str, Vec<u8>)> {
    let mut models = expected().to_vec();
    for _ in 0..60 {
        let index = random(seed, models.len());
        let (name, model) = &mut models[index];
        let len = 1 + random(seed, 150_000);
        let at = random(seed, model.len() - len);
        let bytes: Vec<u8> = (0..len).map(|_| random(seed, 256) as u8).collect();
        let storage = &volume(all, name).storage;
        match storage.write_at(&bytes, at as u64) {
            Ok(()) => model[at..at + len].copy_from_slice(&bytes),
            Err(error) => {
                assert_eq!(error.code, "thin-pool-full");
                break;
            }
        }
        if random(seed, 8) == 0 {
            storage.flush().unwrap();
        }
    }
    for (name, _) in &models {
        volume(all, name).storage.flush().unwrap();
    }
    models
}

#[test]
fn writes_to_new_and_to_shared_blocks_are_found_by_a_second_look_and_by_thin_check() {
    for seed in [1, 77, 4_242_424] {
        let disks = disks();
        let all = made(&disks);
        let models = scribbled(&all, &mut { seed });
        let again = made(&disks);
        for (name, model) in &models {
            let storage = &volume(&again, name).storage;
            let have = whole(storage.as_ref());
            // A write that found the pool full may have gone half the way.
            let same = have.iter().zip(model).filter(|(a, b)| a == b).count();
            assert!(same + 150_000 >= model.len(), "{name} {same}");
            if model.len() < MIB {
                assert!(have == *model, "{name}");
            }
        }
        thin_check(&disks);
    }
}

/// The metadata of the pool, as a file of its own.
fn metadata(disks: &[Arc<Bytes>]) -> Vec<u8> {
    let mut found = None;
    for disk in disks {
        let bytes = disk.to_vec();
        // Magic and version in a block that has its own number 0.
        for (index, block) in bytes.chunks(4096).enumerate() {
            let magic = 27_022_010_u64.to_le_bytes();
            if block[32..40] == magic && block[8..16] == [0; 8] {
                let at = index * 4096;
                found = Some(bytes[at..at + 2 * MIB].to_vec());
            }
        }
    }
    found.unwrap()
}

fn thin_check(disks: &[Arc<Bytes>]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta");
    std::fs::write(&path, metadata(disks)).unwrap();
    for program in [
        "/usr/sbin/thin_check",
        "/sbin/thin_check",
        "/usr/bin/thin_check",
    ] {
        if Path::new(program).exists() {
            let out = Command::new(program).arg(&path).output().unwrap();
            assert!(out.status.success(), "{out:?}");
            return;
        }
    }
    eprintln!("thin_check is not installed: only our own reader looked");
}

#[test]
fn a_full_pool_says_so_and_stays_as_it_is() {
    let disks = disks();
    let all = made(&disks);
    let t2 = &volume(&all, "vt/t2").storage;
    let block = vec![7; 65_536];
    let error = (0..2000_u64)
        .find_map(|n| t2.write_at(&block, (100 << 20) + n * 65_536).err())
        .unwrap();
    assert_eq!(
        (error.code.as_str(), error.disk.as_deref()),
        ("thin-pool-full", Some("vt/pool"))
    );
    t2.flush().unwrap();
    let again = made(&disks);
    for (name, want) in expected() {
        assert!(
            whole(volume(&again, name).storage.as_ref()) == want,
            "{name}"
        );
    }
    thin_check(&disks);
}

#[test]
fn writes_to_own_blocks_leave_the_metadata_alone() {
    let disks = disks();
    let before = metadata(&disks);
    let all = made(&disks);
    let t1 = &volume(&all, "vt/t1").storage;
    t1.write_at(&[9; 700], 1000).unwrap();
    t1.flush().unwrap();
    assert!(metadata(&disks) == before);
    let mut back = [0; 702];
    volume(&made(&disks), "vt/t1")
        .storage
        .read_at(&mut back, 999)
        .unwrap();
    assert!(back[1..701] == [9; 700] && back[0] != 9);
}

/// Damages the pool's metadata on both disks by `change`, with right checksums after it.
fn damaged(change: impl Fn(&mut [u8])) -> Vec<crate::volume::Unopened> {
    let disks = disks();
    for disk in &disks {
        let mut bytes = disk.to_vec();
        let magic = 27_022_010_u64.to_le_bytes();
        let all = bytes.chunks_mut(4096);
        for block in all.filter(|block| block[32..40] == magic && block[8..16] == [0; 8]) {
            change(block);
            let sum = block::sum(block, block::SUPER);
            block[..4].copy_from_slice(&sum.to_le_bytes());
        }
        disk.write_at(&bytes, 0).unwrap();
    }
    let shared = |disk: &Arc<Bytes>| Arc::clone(disk) as Arc<dyn Storage>;
    let disks: Vec<_> = disks.iter().map(shared).collect();
    assembled(&disks, &Opening::default()).unwrap().unopened
}

#[test]
fn damaged_pools_are_refused_by_name() {
    for (at, bytes, code) in [
        (4, &1_u32.to_le_bytes()[..], "thin-needs-check"),
        (40, &9_u32.to_le_bytes(), "thin-metadata"),
        (48, &77_u64.to_le_bytes(), "thin-transaction"),
        (64, &u64::MAX.to_le_bytes(), "thin-metadata"),
        (320, &0_u64.to_le_bytes(), "thin-metadata"),
        (320, &u64::MAX.to_le_bytes(), "thin-metadata"),
        (328, &1_u64.to_le_bytes(), "thin-metadata"),
        (336, &1_u32.to_le_bytes(), "thin-metadata"),
        (344, &u64::MAX.to_le_bytes(), "thin-metadata"),
    ] {
        let unopened = damaged(|block| block[at..at + bytes.len()].copy_from_slice(bytes));
        let codes: Vec<_> = unopened.iter().map(|u| u.error.code.as_str()).collect();
        assert!(
            !codes.is_empty() && codes.iter().all(|have| *have == code),
            "{at}: {codes:?}"
        );
    }
}

#[test]
fn no_mutation_of_the_metadata_panics() {
    let [a, b] = disks();
    let bytes = a.to_vec();
    let magic = 27_022_010_u64.to_le_bytes();
    let start = bytes.chunks(4096).position(|block| block[32..40] == magic);
    let (disk, start) = match start {
        Some(start) => (&a, start * 4096),
        None => {
            let bytes = b.to_vec();
            let start = bytes.chunks(4096).position(|block| block[32..40] == magic);
            (&b, start.unwrap() * 4096)
        }
    };
    let kinds = [block::SUPER, block::NODE, block::BITMAP, block::INDEX];
    for step in 0..120_usize {
        let number = step % 40;
        let at = start + number * 4096;
        let mut good = vec![0; 4096];
        disk.read_at(&mut good, at as u64).unwrap();
        let mut bad = good.clone();
        let kind = kinds
            .iter()
            .find(|kind| block::sum(&good, **kind).to_le_bytes() == good[..4]);
        bad[4 + (step * 7919) % 600] ^= 1 << (step % 8);
        if let Some(kind) = kind {
            let sum = block::sum(&bad, *kind);
            bad[..4].copy_from_slice(&sum.to_le_bytes());
        }
        disk.write_at(&bad, at as u64).unwrap();
        let shared = [&a, &b].map(|disk| Arc::clone(disk) as Arc<dyn Storage>);
        if let Ok(all) = assembled(&shared, &Opening::default()) {
            for volume in all.volumes.iter().filter(|v| v.name.starts_with("vt/")) {
                let mut buf = vec![0; 300_000];
                let _ = volume.storage.read_at(&mut buf, 0);
                let _ = volume
                    .storage
                    .read_at(&mut buf, (volume.len - 300_000).min(19 << 20));
            }
        }
        disk.write_at(&good, at as u64).unwrap();
    }
}
