// SPDX-License-Identifier: Apache-2.0
//! Windows guests that are not converted, and why: each is left as it was.
use std::fs;
use tests::case::{Case, concerns};
use tests::virtio_win::{self, Infs};
use tests::windows::{CONFIG, Windows, named, poke};

fn case(edit: impl FnOnce(&std::path::Path)) -> Case {
    Case::windows(&Windows::bios(named("2k19/amd64")), edit)
}

#[test]
fn a_hibernated_guest_is_read_and_not_converted() {
    let case = case(|top| {
        let mut image = vec![0; 8192];
        image[..4].copy_from_slice(b"HIBR");
        fs::write(top.join("hiberfil.sys"), image).unwrap();
    });
    let facts = case.unharmed("inspect", &[], 0);
    assert!(concerns(&facts).contains(&"hibernated"), "{facts}");
    let error = case.unharmed("convert", &[], 3);
    assert_eq!(error["code"], "hibernated");
}

/// Where `$LogFile` begins: the first run of the data of record 2 of the $MFT, which the boot sector points to
/// (the layout of NTFS in <https://flatcap.github.io/linux-ntfs/ntfs/>).
fn log_file(head: &[u8]) -> usize {
    let number = |at: usize, len: usize| {
        let bytes = head[at..at + len].iter().rev();
        bytes.fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let cluster = number(0x0b, 2) * number(0x0d, 1);
    let record = number(0x30, 8) * cluster + 2 * 1024;
    assert_eq!(&head[record..record + 4], b"FILE");
    let mut attribute = record + number(record + 0x14, 2);
    while number(attribute, 4) != 0x80 {
        attribute += number(attribute + 4, 4);
    }
    let run = attribute + number(attribute + 0x20, 2);
    let (len, place) = (head[run] & 15, head[run] >> 4);
    number(run + 1 + usize::from(len), place.into()) * cluster
}

#[test]
fn a_guest_whose_log_is_to_be_replayed_is_read_and_not_converted() {
    let case = case(|_| {});
    // The restart area of an open volume: a client in use, and not closed.
    let mut page = vec![0; 8192];
    for at in [0, 4096] {
        page[at..at + 4].copy_from_slice(b"RSTR");
        page[at + 16..at + 20].copy_from_slice(&4096_u32.to_le_bytes());
        page[at + 20..at + 24].copy_from_slice(&4096_u32.to_le_bytes());
        page[at + 24] = 0x30;
        page[at + 28] = 1;
        page[at + 0x30] = 7;
    }
    poke(case.disk(), 1, log_file, &page);
    let facts = case.unharmed("inspect", &[], 0);
    assert!(concerns(&facts).contains(&"ntfs-log"), "{facts}");
    let error = case.unharmed("convert", &[], 3);
    assert_eq!(error["code"], "ntfs-log");
}

#[test]
fn a_volume_that_bitlocker_encrypts_is_named() {
    let case = case(|_| {});
    poke(case.disk(), 1, |_| 3, b"-FVE-FS-");
    for verb in ["inspect", "convert"] {
        let error = case.unharmed(verb, &[], 3);
        assert_eq!(error["code"], "bitlocker");
        assert!(error["message"].as_str().unwrap().contains("disk0p1"));
    }
}

#[test]
fn a_corrupt_hive_is_refused_by_its_name() {
    let case = case(|top| {
        let path = top.join(CONFIG).join("SYSTEM");
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096..4104].fill(0x41);
        fs::write(path, bytes).unwrap();
    });
    let error = case.unharmed("convert", &[], 5);
    assert_eq!(error["code"], "hive-damaged");
    assert!(
        error["disk"].as_str().unwrap().contains("SYSTEM"),
        "{error}"
    );
}

#[test]
fn two_systems_on_one_disk_must_be_chosen_between() {
    let case = case(|_| {});
    let other = Windows::bios(named("2k19/amd64")).build(&case.dir().join_made("second"), |_| {});
    let state = case.dir().join("state");
    let cli = tests::cli::Cli::new("inspect", &[case.disk(), &other], &state);
    let error = cli.run().expect(3);
    assert_eq!(error["code"], "several-roots");
    let cli = tests::cli::Cli::new("inspect", &[case.disk(), &other], &state);
    let facts = cli.args(["--root", "disk1p1"]).run().expect(0);
    assert_eq!(facts["root"], "disk1p1");
}

#[test]
fn a_volume_cut_short_is_an_error_and_no_harm() {
    let case = case(|_| {});
    let cut = tests::disk::truncated(case.dir(), case.disk(), 8 << 20);
    let state = case.dir().join("state");
    let run = tests::cli::Cli::new("inspect", &[&cut], &state).run();
    assert_eq!(run.code, Some(5), "{}", run.stderr);
}

/// A directory that is made where it is named.
trait JoinMade {
    fn join_made(&self, name: &str) -> std::path::PathBuf;
}

impl JoinMade for std::path::Path {
    fn join_made(&self, name: &str) -> std::path::PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

#[test]
fn a_full_volume_is_refused_with_nothing_half_done() {
    let case = Case::windows(&Windows::bios(named("2k19/amd64")).sized(48), |top| {
        let mut filler = fs::File::create(top.join("filler")).unwrap();
        let mut part = vec![7; 1 << 20];
        while !part.is_empty() {
            if std::io::Write::write_all(&mut filler, &part).is_err() {
                part.truncate(part.len() / 2);
            }
        }
    });
    let bundle = virtio_win::tree(Infs::Own);
    let cli = case.verb("convert").arg("--drivers").arg(bundle);
    let error = case.unharmed_by(cli, 3);
    assert_eq!(error["code"], "guest-full", "{error}");
}
