// SPDX-License-Identifier: Apache-2.0
//! A guest to try transactions on.

use std::fs::File;
use std::sync::Arc;

use super::fake::Cached;
use super::home::JOURNAL;
use super::*;

pub(crate) const LEN: usize = 96 << 10;

/// A guest of two disks, its state directory, and the content before and after.
pub(crate) struct World {
    pub(crate) state: tempfile::TempDir,
    pub(crate) disks: Vec<Cached>,
    pub(crate) old: Vec<Vec<u8>>,
    pub(crate) new: Vec<Vec<u8>>,
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
    pub(crate) fn new(grow: bool) -> Self {
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

    pub(crate) fn identity(n: usize) -> DiskIdentity {
        DiskIdentity {
            path: format!("/disk{n}"),
            claim_uid: None,
            size: LEN as u64,
        }
    }

    pub(crate) fn home(&self) -> Home {
        Home::open(self.state.path(), &[Self::identity(0), Self::identity(1)]).unwrap()
    }

    pub(crate) fn open(&self) -> Vec<OpenDisk> {
        let open = |(n, disk): (usize, &Cached)| OpenDisk {
            identity: Self::identity(n),
            disk: Box::new(disk.clone()),
        };
        // Not in the order of the record.
        self.disks.iter().enumerate().map(open).rev().collect()
    }

    pub(crate) fn news(&self, contents: &[Vec<u8>]) -> Vec<CommitDisk> {
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

    pub(crate) fn commit_in(&self, home: &Home, contents: &[Vec<u8>]) -> Result<Committed> {
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

    pub(crate) fn commit(&self) -> Result<Committed> {
        self.commit_in(&self.home(), &self.new)
    }

    pub(crate) fn recover(&self) -> Result<Recovered> {
        recover(&self.home(), &self.open())
    }

    pub(crate) fn undo(&self, all: bool) -> Result<Undone> {
        undo(&self.home(), &self.open(), all)
    }

    pub(crate) fn power_cut(&self, seed: u64) {
        fault::stop_after(None);
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for disk in &self.disks {
            disk.power_cut(|| dice.flip());
        }
    }

    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.disks.iter().map(Cached::bytes).collect()
    }

    pub(crate) fn file(&self, name: &str) -> File {
        let path = self.home().dir().join(name);
        File::options().read(true).write(true).open(path).unwrap()
    }

    pub(crate) fn leftovers(&self) -> Vec<String> {
        let home = self.home();
        let mut names = home.unfinished().unwrap();
        names.extend(home.has_journal().then(|| JOURNAL.to_owned()));
        names
    }

    /// Stops at the first point of the apply loop: journal complete, disks half-written.
    pub(crate) fn interrupt(&self) {
        self.disks[1].fail_after(Some(1));
        assert_eq!(self.commit().unwrap_err().code, "commit-incomplete");
        self.power_cut(7);
    }
}
