// SPDX-License-Identifier: Apache-2.0
use std::io::Cursor;

use super::super::super::fixture;
use super::*;
use crate::fs::MemoryFs;

/// A database that the real rpm wrote: see testdata/INDEX.md.
fn database(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/rpm");
    let packed = std::fs::read(format!("{dir}/{name}.zst")).unwrap();
    zstd::decode_all(packed.as_slice()).unwrap()
}

fn read_all(bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Reading {
    let mut reading = read(Box::new(Cursor::new(bytes.to_vec())), None, wanted);
    reading.packages.sort_by(|a, b| a.name.cmp(&b.name));
    reading
}

fn names(reading: &Reading) -> Vec<&str> {
    let all = reading.packages.iter();
    all.map(|package| package.name.as_str()).collect()
}

/// A generator of numbers that are the same every time (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33)
            .unwrap()
            .checked_rem(end)
            .unwrap_or(0)
    }
}

#[test]
fn all_formats_say_the_same() {
    for file in FILES {
        let bytes = database(file);
        let wanted = |name: &str| !name.starts_with("filler");
        let reading = read_all(&bytes, &wanted);
        assert!(reading.damage.is_none(), "{file}: {:?}", reading.damage);
        assert_eq!(
            names(&reading),
            [
                "dracut",
                "kernel-core",
                "open-vm-tools",
                "open-vm-tools-desktop",
                "qemu-guest-agent",
                "systemd"
            ],
            "{file}"
        );
        let [_, kernel, tools, desktop, agent, _] = reading.packages.as_slice() else {
            panic!("{file}")
        };
        assert_eq!(kernel.files.len(), 600);
        assert_eq!(
            kernel.files[599],
            "/usr/lib/modules/5.14.0-503.el9.x86_64/kernel/drivers/some/where/module_number_99.ko.xz"
        );
        assert_eq!(tools.version, "12.3.5-2.el9");
        assert_eq!(tools.arch, "noarch");
        assert!(
            tools
                .files
                .contains(&"/usr/lib/systemd/system/vmtoolsd.service".to_owned())
        );
        assert!(desktop.requires.contains(&"open-vm-tools".to_owned()));
        assert_eq!(agent.version, "17:9.0.0-10.el9");
        assert_eq!(read_all(&bytes, &|_| true).packages.len(), 46, "{file}");
    }
}

#[test]
fn a_guest_with_a_database_of_any_format_is_known_by_it() {
    for (file, dir) in FILES.iter().zip([DIRS[1], DIRS[0], DIRS[1]]) {
        let fs = MemoryFs::new().file(&format!("{dir}/{file}"), database(file));
        let facts = fixture::gathered(fs);
        assert_eq!(
            facts.vmware.packages,
            ["open-vm-tools", "open-vm-tools-desktop"]
        );
        assert!(
            facts
                .concerns
                .iter()
                .all(|c| c.id != "package-database-unreadable")
        );
    }
}

#[test]
fn without_the_table_of_names_every_row_is_looked_at() {
    let mut bytes = database(FILES[0]);
    let at = bytes
        .windows(13)
        .position(|part| part == b"tableNameName")
        .unwrap();
    bytes[at + 5] = b'X';
    bytes[at + 9] = b'X';
    let reading = read_all(&bytes, &|name| name == "open-vm-tools");
    assert_eq!(names(&reading), ["open-vm-tools"]);
}

#[test]
fn a_damaged_database_is_a_concern_and_not_the_end() {
    for file in FILES {
        let whole = database(file);
        for content in [
            &b"garbage"[..],
            &whole[..20],
            &whole[..whole.len() / 3],
            &[0_u8; 8192],
        ] {
            let fs = MemoryFs::new().file(&format!("{}/{file}", DIRS[1]), content);
            let facts = fixture::gathered(fs);
            let said = |c: &&crate::inspect::Concern| c.id == "package-database-unreadable";
            assert!(
                facts.concerns.iter().any(|c| said(&c)),
                "{file} {}",
                content.len()
            );
        }
    }
}

#[test]
fn a_database_cut_anywhere_ends_soon() {
    for file in FILES {
        let whole = database(file);
        for len in (0..whole.len()).step_by(whole.len() / 150 + 1) {
            let reading = read_all(&whole[..len], &|_| true);
            assert!(reading.packages.len() <= 46);
        }
    }
}

#[test]
fn flipped_bits_end_soon_and_find_no_more_than_there_is() {
    let mut dice = Dice(7);
    for file in FILES {
        let whole = database(file);
        for round in 0..150 {
            let mut bytes = whole.clone();
            // The beginning, where everything hangs, gets its share.
            let end = if round % 2 == 0 { 8192 } else { bytes.len() };
            for _ in 0..=dice.below(8) {
                let at = dice.below(end.min(bytes.len()));
                bytes[at] ^= 1 << dice.below(8);
            }
            let reading = read_all(&bytes, &|name| name.starts_with("open"));
            assert!(reading.packages.len() <= 46, "{file} {round}");
        }
    }
}

#[test]
fn headers_that_lie_are_read_as_far_as_they_go() {
    let header = |tags: &[(u32, u32, u32, u32)], store: &[u8]| {
        let mut out = u32::try_from(tags.len()).unwrap().to_be_bytes().to_vec();
        out.extend(u32::try_from(store.len()).unwrap().to_be_bytes());
        for (tag, kind, offset, count) in tags {
            for word in [tag, kind, offset, count] {
                out.extend(word.to_be_bytes());
            }
        }
        out.extend(store);
        out
    };
    let store = b"x\0dir/\0file\0\0\0\0\0\0\0\x09";
    let good = header(
        &[
            (1000, 6, 0, 1),
            (1117, 8, 7, u32::MAX),
            (1118, 8, 2, 1),
            (1116, 4, 12, 2),
        ],
        store,
    );
    let parsed = Header::parse(&good).unwrap();
    // The second file's directory does not exist.
    assert_eq!(parsed.files(), ["dir/file"]);
    assert_eq!(parsed.package().unwrap().name, "x");
    for len in 0..good.len() {
        if let Some(header) = Header::parse(&good[..len]) {
            let _ = (header.package(), header.files());
        }
    }
    assert!(Header::parse(&header(&[], b"")).is_none());
    let far = header(&[(1000, 6, u32::MAX, 1), (1003, 4, 1, u32::MAX)], b"no end");
    assert!(Header::parse(&far).unwrap().package().is_none());
    assert!(Header::parse(&[0xff; 64]).is_none());
}

#[test]
fn a_table_that_names_itself_ends() {
    // A page 2 that is its own only child, and a row on page 1 that leads to it.
    let mut bytes = vec![0_u8; 1024];
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[16..18].copy_from_slice(&512_u16.to_be_bytes());
    let record = [&[7, 23, 29, 0, 1, 0][..], b"tablePackages", &[2]].concat();
    let cell = [&[u8::try_from(record.len()).unwrap(), 1], record.as_slice()].concat();
    let at = 512 - cell.len();
    bytes[at..512].copy_from_slice(&cell);
    bytes[100] = 13;
    bytes[103..105].copy_from_slice(&1_u16.to_be_bytes());
    bytes[108..110].copy_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
    bytes[512] = 5;
    bytes[520..524].copy_from_slice(&2_u32.to_be_bytes());
    let reading = read_all(&bytes, &|_| true);
    assert!(reading.packages.is_empty());
    assert!(reading.damage.is_some());
}

/// A log with these frames (page, size after commit or 0), as SQLite writes one.
fn log(page: usize, frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sums = (0_u32, 0_u32);
    let add = |sums: &mut (u32, u32), bytes: &[u8]| {
        for pair in bytes.chunks(8) {
            let word = |part: &[u8]| u32::from_le_bytes(part.try_into().unwrap());
            sums.0 = sums.0.wrapping_add(word(&pair[..4])).wrapping_add(sums.1);
            sums.1 = sums.1.wrapping_add(word(&pair[4..])).wrapping_add(sums.0);
        }
    };
    let page = u32::try_from(page).unwrap();
    for word in [0x377f_0682, 3_007_000, page, 0, 0x1234, 0x5678] {
        out.extend(u32::to_be_bytes(word));
    }
    add(&mut sums, &out);
    out.extend([sums.0.to_be_bytes(), sums.1.to_be_bytes()].concat());
    for (number, size, body) in frames {
        let head = [number.to_be_bytes(), size.to_be_bytes()].concat();
        add(&mut sums, &head);
        add(&mut sums, body);
        out.extend(head);
        for word in [0x1234, 0x5678, sums.0, sums.1] {
            out.extend(u32::to_be_bytes(word));
        }
        out.extend(*body);
    }
    out
}

#[test]
fn pages_that_were_committed_to_the_log_count_and_others_do_not() {
    let whole = database(FILES[0]);
    let page = 4096;
    let pages: Vec<&[u8]> = whole.chunks(page).collect();
    // A database of which all but the first page is still in the log.
    let mut stale = whole.clone();
    stale[page..].fill(0);
    let mut frames: Vec<(u32, u32, &[u8])> = (2..)
        .zip(&pages[1..])
        .map(|(at, body)| (at, 0, *body))
        .collect();
    let read = |frames: &[(u32, u32, &[u8])], cut: usize| {
        let mut log = log(page, frames);
        log.truncate(log.len() - cut);
        let reading = read(
            Box::new(Cursor::new(stale.clone())),
            Some(Box::new(Cursor::new(log))),
            &|name| name == "open-vm-tools",
        );
        names(&reading).len()
    };
    assert_eq!(read(&frames, 0), 0, "nothing was committed");
    frames.last_mut().unwrap().1 = u32::try_from(pages.len()).unwrap();
    assert_eq!(read(&frames, 0), 1);
    assert_eq!(read(&frames, 1), 0, "the commit was not written to its end");
    let zeros = vec![0; page];
    frames.push((2, 0, &zeros));
    assert_eq!(read(&frames, 0), 1, "what follows was not committed");
    frames.last_mut().unwrap().1 = 9;
    let mut garbage = log(page, &frames);
    garbage[40] ^= 1;
    let reading = super::read(
        Box::new(Cursor::new(whole.clone())),
        Some(Box::new(Cursor::new(garbage))),
        &|name| name == "open-vm-tools",
    );
    assert_eq!(
        names(&reading),
        ["open-vm-tools"],
        "a log that is none is ignored"
    );
}
