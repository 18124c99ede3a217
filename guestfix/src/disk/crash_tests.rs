// SPDX-License-Identifier: Apache-2.0
//! The whole transaction against disks that lose power at every step.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::fake::Cached;
use super::home::JOURNAL;
use super::*;

const LEN: usize = 96 << 10;

/// A guest of two disks, its state directory, and the content before and after.
struct World {
    state: tempfile::TempDir,
    disks: Vec<Cached>,
    old: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
}

/// A small deterministic generator, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn flip(&mut self) -> bool {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

impl World {
    /// `grow`: the second disk is a container file that gets longer.
    fn new(grow: bool) -> Self {
        let old: Vec<Vec<u8>> = (1..=2_u8)
            .map(|d| (0..LEN).map(|i| (i / 512) as u8 ^ d).collect())
            .collect();
        let mut new = old.clone();
        for (disk, at, len) in [
            (0, 0, 512),
            (0, 10_000, 30_000),
            (0, LEN - 1, 1),
            (1, 40_960, 4096),
            (1, 8192, 100),
        ] {
            new[disk][at..at + len]
                .iter_mut()
                .for_each(|byte| *byte ^= 0xff);
        }
        if grow {
            new[1].extend([0x5a; 9000]);
        }
        let state = tempfile::tempdir().unwrap();
        let disks = old.iter().cloned().map(Cached::new).collect();
        Self {
            state,
            disks,
            old,
            new,
        }
    }

    fn identity(n: usize) -> DiskIdentity {
        DiskIdentity {
            path: format!("/disk{n}"),
            claim_uid: None,
            size: LEN as u64,
        }
    }

    fn home(&self) -> Home {
        Home::open(self.state.path(), &[Self::identity(0), Self::identity(1)]).unwrap()
    }

    fn open(&self) -> Vec<OpenDisk> {
        let open = |(n, disk): (usize, &Cached)| OpenDisk {
            identity: Self::identity(n),
            disk: Box::new(disk.clone()),
        };
        // Not in the order of the record.
        self.disks.iter().enumerate().map(open).rev().collect()
    }

    fn news(&self, contents: &[Vec<u8>]) -> Vec<CommitDisk> {
        let overlay = |(disk, new): (&Cached, &Vec<u8>)| {
            let delta = tempfile::tempfile().unwrap();
            let base = Arc::new(disk.clone());
            let overlay = Overlay::with_len(base, new.len() as u64, delta, 1 << 30);
            // Also what does not differ is written, as a filesystem may do.
            overlay.write_at(new, 0).unwrap();
            CommitDisk {
                changed: overlay.changed(),
                new: Arc::new(overlay),
            }
        };
        self.disks.iter().zip(contents).map(overlay).rev().collect()
    }

    fn commit_in(&self, home: &Home, contents: &[Vec<u8>]) -> Result<Committed> {
        let fingerprints = [Fingerprint {
            disk: 1,
            name: "disk0 head".to_owned(),
            offset: 60_000,
            len: 1024,
        }];
        let (disks, news) = (self.open(), self.news(contents));
        Commit {
            home,
            disks: &disks,
            news: &news,
            fingerprints: &fingerprints,
        }
        .run()
    }

    fn commit(&self) -> Result<Committed> {
        self.commit_in(&self.home(), &self.new)
    }

    fn recover(&self) -> Result<Recovered> {
        recover(&self.home(), &self.open())
    }

    fn undo(&self, all: bool) -> Result<Undone> {
        undo(&self.home(), &self.open(), all)
    }

    fn power_cut(&self, seed: u64) {
        fault::stop_after(None);
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for disk in &self.disks {
            disk.power_cut(|| dice.flip());
        }
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        self.disks.iter().map(Cached::bytes).collect()
    }

    fn file(&self, name: &str) -> File {
        let path = self.home().dir().join(name);
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn leftovers(&self) -> Vec<String> {
        let home = self.home();
        let mut names = home.unfinished().unwrap();
        names.extend(home.has_journal().then(|| JOURNAL.to_owned()));
        names
    }

    /// Stops at the first point of the apply loop: journal complete, disks half-written.
    fn interrupt(&self) {
        self.disks[1].fail_after(Some(1));
        assert_eq!(self.commit().unwrap_err().code, "commit-incomplete");
        self.power_cut(7);
    }
}

/// Runs `act` once for every point it passes, stopping it there, and then `check`.
fn at_every_point(
    make: impl Fn() -> World,
    act: impl Fn(&World) -> Result<()>,
    check: impl Fn(&World, u64),
) -> u64 {
    for k in 0.. {
        let world = make();
        fault::stop_after(Some(k));
        let result = act(&world);
        world.power_cut(k);
        check(&world, k);
        match result {
            Ok(()) => return k,
            Err(e) => assert!(
                e.code == fault::CODE || e.code == "commit-incomplete",
                "{k}: {e}"
            ),
        }
    }
    unreachable!()
}

#[test]
fn a_commit_stopped_at_any_point_is_all_or_nothing() {
    for grow in [false, true] {
        let points = at_every_point(
            || World::new(grow),
            |world| world.commit().map(|_| ()),
            |world, k| {
                let pending = world.home().has_journal();
                let recovered = world.recover().unwrap();
                let committed = !world.home().undo_records().unwrap().is_empty();
                assert_eq!(recovered == Recovered::RolledForward, pending, "point {k}");
                assert!(!pending || committed, "point {k}");
                let expected = if committed { &world.new } else { &world.old };
                assert!(&world.bytes() == expected, "point {k}: neither old nor new");
                assert_eq!(world.leftovers(), [""; 0]);
                if committed {
                    world.undo(false).unwrap();
                    assert!(world.bytes() == world.old, "point {k}: undo is not exact");
                }
            },
        );
        assert!(points > 12, "{points} points");
    }
}

#[test]
fn an_undo_stopped_at_any_point_is_all_or_nothing() {
    for grow in [false, true] {
        let make = || {
            let world = World::new(grow);
            world.commit().unwrap();
            world
        };
        let points = at_every_point(
            make,
            |world| world.undo(false).map(|_| ()),
            |world, k| {
                world.recover().unwrap();
                let undone = world.home().undo_records().unwrap().is_empty();
                let expected = if undone { &world.old } else { &world.new };
                assert!(&world.bytes() == expected, "point {k}: neither old nor new");
                assert_eq!(world.leftovers(), [""; 0]);
            },
        );
        assert!(points > 6, "{points} points");
    }
}

#[test]
fn a_recovery_may_be_interrupted_and_run_again() {
    let make = || {
        let world = World::new(true);
        world.interrupt();
        world
    };
    at_every_point(
        make,
        |world| world.recover().map(|_| ()),
        |world, k| {
            world.recover().unwrap();
            assert!(world.bytes() == world.new, "point {k}");
        },
    );
}

#[test]
fn a_disk_that_fails_at_any_operation_leaves_old_or_new() {
    for failing in 0..2 {
        for n in 0.. {
            let world = World::new(false);
            world.disks[failing].fail_after(Some(n));
            let result = world.commit();
            world.power_cut(n);
            if result.is_ok() {
                assert!(n > 4);
                break;
            }
            let error = result.unwrap_err();
            assert_eq!(error.code, "commit-incomplete", "{error}");
            assert!(error.hint.unwrap().contains("recover"));
            assert_eq!(world.recover().unwrap(), Recovered::RolledForward);
            assert!(world.bytes() == world.new);
        }
    }
}

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
            (crate::Kind::Refused, "has-run-since")
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
        (crate::Kind::Refused, "disk-replaced")
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
            crate::Kind::Corrupt
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
        (crate::Kind::Corrupt, "record")
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
        (crate::Kind::Host, "no-space")
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
