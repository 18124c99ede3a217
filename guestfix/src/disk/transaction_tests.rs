// SPDX-License-Identifier: Apache-2.0
//! What commit, undo and recovery do and refuse.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::fake::Cached;
use super::home::JOURNAL;
use super::world::{LEN, World};
use super::*;

#[test]
fn a_second_conversion_writes_nothing() {
    let world = World::new(false);
    let first = world.commit().unwrap();
    assert_eq!(first.undo, Some(1));
    assert!(first.bytes < 60_000, "only clusters that differ: {first:?}");
    assert_eq!(
        world.commit().unwrap(),
        Committed {
            bytes: 0,
            undo: None
        }
    );
    assert_eq!(world.home().undo_records().unwrap(), [1]);
    assert_eq!(world.recover().unwrap(), Recovered::Nothing);
}

#[test]
fn conversions_stack_and_undo_walks_back() {
    let world = World::new(false);
    let mut third = world.new.clone();
    third[0][10_000..12_000].fill(3);
    let commit_both = || {
        world.commit().unwrap();
        world.commit_in(&world.home(), &third).unwrap();
    };
    commit_both();
    assert_eq!(world.undo(false).unwrap().left, 1);
    assert!(world.bytes() == world.new);
    assert_eq!(world.undo(false).unwrap().left, 0);
    assert!(world.bytes() == world.old);
    assert_eq!(world.undo(false).unwrap_err().code, "no-undo-record");
    commit_both();
    assert_eq!(world.undo(true).unwrap().records, [2, 1]);
    assert!(world.bytes() == world.old);
}

#[test]
fn undo_refuses_after_the_guest_has_run() {
    // A changed cluster, a fingerprinted range, the last sector of a changed run.
    for (disk, at, what) in [
        (0, 10_100, "part"),
        (0, 60_500, "disk0 head"),
        (1, 45_055, "part"),
    ] {
        let world = World::new(false);
        world.commit().unwrap();
        world.disks[disk].poke(at, 1);
        let before = world.bytes();
        let error = world.undo(true).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (crate::error::Kind::Refused, "has-run-since")
        );
        assert!(error.message.contains(what), "{error}");
        assert_eq!(error.disk, Some(format!("/disk{disk}")));
        assert!(error.offset.unwrap() <= at as u64);
        assert!(world.bytes() == before);
        assert_eq!(world.home().undo_records().unwrap(), [1]);
    }
}

#[test]
fn undo_of_an_old_conversion_refuses_when_the_guest_ran_in_between() {
    let world = World::new(false);
    world.commit().unwrap();
    world.disks[0].poke(60_001, 9);
    let mut later = world.bytes();
    later[1][0] ^= 1;
    world.commit_in(&world.home(), &later).unwrap();
    assert_eq!(world.undo(true).unwrap_err().code, "has-run-since");
    assert_eq!(
        world.home().undo_records().unwrap(),
        [1],
        "the newer one was taken back"
    );
}

#[test]
fn recovery_refuses_another_disk_and_keeps_the_journal() {
    let world = World::new(false);
    world.interrupt();
    let good = world.bytes();
    world.disks[1].poke(41_500, 0x77);
    let before = world.bytes();
    let error = world.recover().unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (crate::error::Kind::Refused, "disk-replaced")
    );
    assert_eq!(
        (error.disk.as_deref(), error.offset),
        (Some("/disk1"), Some(41_472))
    );
    assert!(world.bytes() == before);
    assert_eq!(world.commit().unwrap_err().code, "pending-journal");
    world.disks[1].poke(41_500, good[1][41_500]);
    assert_eq!(world.recover().unwrap(), Recovered::RolledForward);
    assert!(world.bytes() == world.new);
}

#[test]
fn recovery_refuses_a_disk_of_another_length() {
    let mut world = World::new(false);
    world.interrupt();
    let mut bytes = world.disks[0].bytes();
    bytes.truncate(LEN - 512);
    world.disks[0] = Cached::new(bytes);
    assert_eq!(world.recover().unwrap_err().code, "disk-replaced");
}

#[test]
fn a_damaged_journal_is_rolled_back_with_the_undo_record() {
    for at in [3, 30, 2000, 9000, 40_000] {
        let world = World::new(true);
        world.interrupt();
        assert!(world.bytes() != world.old && world.bytes() != world.new);
        world.file(JOURNAL).write_all_at(&[0xa5; 3], at).unwrap();
        assert_eq!(
            pending(&world.home()).unwrap_err().kind,
            crate::error::Kind::Corrupt
        );
        assert_eq!(world.recover().unwrap(), Recovered::Dropped);
        assert!(world.bytes() == world.old, "{at}");
        assert_eq!(world.leftovers(), [""; 0]);
    }
}

#[test]
fn a_journal_and_undo_record_damaged_together_are_kept_and_reported() {
    let world = World::new(false);
    world.interrupt();
    let before = world.bytes();
    world.file(JOURNAL).set_len(5000).unwrap();
    world
        .file("undo-0001.new")
        .write_all_at(&[0xa5; 3], 4000)
        .unwrap();
    let error = world.recover().unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (crate::error::Kind::Corrupt, "record")
    );
    assert!(error.hint.is_some());
    assert!(world.bytes() == before);
    assert!(world.home().has_journal());
}

#[test]
fn a_journal_that_never_got_its_name_is_dropped() {
    let world = World::new(false);
    let home = world.home();
    home.create("journal.new")
        .unwrap()
        .write_all_at(b"guestfix", 0)
        .unwrap();
    home.create("undo-0001.new").unwrap();
    drop(home);
    assert_eq!(world.recover().unwrap(), Recovered::Dropped);
    assert_eq!(world.recover().unwrap(), Recovered::Nothing);
    assert!(world.bytes() == world.old);
}

#[test]
fn a_damaged_undo_record_is_never_applied() {
    let world = World::new(false);
    world.commit().unwrap();
    world
        .file("undo-0001")
        .write_all_at(&[0xa5; 3], 9000)
        .unwrap();
    assert_eq!(world.undo(false).unwrap_err().code, "record");
    assert!(world.bytes() == world.new);
    assert!(!world.home().has_journal());
}

#[test]
fn too_little_space_is_noticed_before_anything_is_touched() {
    let world = World::new(false);
    let home = world.home().limit(50_000);
    let error = world.commit_in(&home, &world.new).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (crate::error::Kind::Host, "no-space")
    );
    assert!(
        error.message.contains("50000")
            && error.message.contains(&home.dir().display().to_string())
    );
    drop(home);
    assert!(world.bytes() == world.old);
    assert_eq!(world.leftovers(), [""; 0]);
}

#[test]
fn what_the_medium_did_not_keep_is_not_called_committed() {
    let world = World::new(false);
    world.disks[1].flip_on_reread(Some(41_000));
    let error = world.commit().unwrap_err();
    assert_eq!(error.code, "commit-incomplete");
    assert_eq!(
        (error.disk.as_deref(), error.offset),
        (Some("/disk1"), Some(41_000))
    );
    world.disks[1].flip_on_reread(None);
    assert_eq!(world.recover().unwrap(), Recovered::RolledForward);
    assert!(world.bytes() == world.new);
}

#[test]
fn a_disk_that_changes_behind_the_overlay_is_not_overwritten() {
    let world = World::new(false);
    // The overlay was made before; a changed cluster then changes on the disk before the commit,
    // which takes it for the old content: the commit must still be exactly undoable.
    let news = world.news(&world.new);
    world.disks[0].poke(10_001, 0x42);
    let before = world.bytes();
    let (home, disks) = (world.home(), world.open());
    Commit {
        home: &home,
        disks: &disks,
        news: &news,
        fingerprints: &[],
    }
    .run()
    .unwrap();
    drop(home);
    world.undo(false).unwrap();
    assert!(world.bytes() == before);
}

#[test]
fn readers_see_a_pending_journal_through_an_overlay() {
    let world = World::new(true);
    assert!(pending(&world.home()).unwrap().is_none());
    world.interrupt();
    let journal = pending(&world.home()).unwrap().unwrap();
    assert_eq!(journal.kind, record::RecordKind::Redo);
    for (n, disk) in world.disks.iter().enumerate() {
        let new = &world.new[n];
        let delta = tempfile::tempfile().unwrap();
        let overlay = Overlay::with_len(Arc::new(disk.clone()), new.len() as u64, delta, 1 << 20);
        journal.lay(&World::identity(n), &overlay).unwrap();
        let mut seen = vec![0; new.len()];
        overlay.read_at(&mut seen, 0).unwrap();
        assert!(&seen == new, "disk {n}");
    }
    assert!(world.home().has_journal(), "looking changes nothing");
}

#[test]
fn a_home_opened_for_looking_cannot_commit() {
    let world = World::new(false);
    drop(world.home());
    let ids = [World::identity(0), World::identity(1)];
    let home = Home::look(world.state.path(), &ids).unwrap().unwrap();
    assert_eq!(
        world.commit_in(&home, &world.new).unwrap_err().code,
        "internal"
    );
    assert!(world.bytes() == world.old);
}

#[test]
fn real_files_are_committed_and_given_back_to_the_last_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    let old: Vec<u8> = (0..5 << 20).map(|i: u32| (i / 512) as u8).collect();
    std::fs::write(&path, &old).unwrap();
    let identity = DiskIdentity::of_path(&path, old.len() as u64).unwrap();
    let overlay = Overlay::new(
        Arc::new(Raw::open(&path, false).unwrap()),
        tempfile::tempfile_in(dir.path()).unwrap(),
        1 << 30,
    );
    let mut new = old.clone();
    new[1000..3 << 20].fill(0xc3);
    overlay.write_at(&new[1000..3 << 20], 1000).unwrap();
    let news = [CommitDisk {
        changed: overlay.changed(),
        new: Arc::new(overlay),
    }];
    let disk = Box::new(Raw::open(&path, true).unwrap());
    let disks = [OpenDisk {
        identity: identity.clone(),
        disk,
    }];
    let home = Home::open(&dir.path().join("state"), &[identity]).unwrap();
    let done = Commit {
        home: &home,
        disks: &disks,
        news: &news,
        fingerprints: &[],
    }
    .run()
    .unwrap();
    assert_eq!(
        done,
        Committed {
            bytes: 3 << 20,
            undo: Some(1)
        }
    );
    assert!(std::fs::read(&path).unwrap() == new);
    undo(&home, &disks, true).unwrap();
    assert!(std::fs::read(&path).unwrap() == old);
}
