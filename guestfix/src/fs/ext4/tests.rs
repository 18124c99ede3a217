// SPDX-License-Identifier: Apache-2.0
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::volume::sample::{Bytes, image, run, run_with_input};

/// A small root: files, links, a directory large enough for a hash tree.
fn tree(dir: &Path) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let put = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    put("etc/fstab", b"UUID=1 / ext4 defaults 0 1\n");
    put("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    put("boot/initrd", &noise(3 << 20));
    for number in 0..600 {
        put(
            &format!("usr/lib/many/file-with-a-long-name-{number:04}"),
            b"x",
        );
    }
    symlink("usr/lib", dir.join("lib")).unwrap();
    symlink("x/".repeat(100), dir.join("long")).unwrap();
    let shadow = std::fs::Permissions::from_mode(0o4750);
    std::fs::set_permissions(dir.join("etc/passwd"), shadow).unwrap();
}

fn noise(len: usize) -> Vec<u8> {
    (0_u64..len as u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[1])
        .collect()
}

fn make(kind: &str, options: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let source = dir.path().to_str().unwrap();
    image(32, |path| {
        let mut args = vec!["-q", "-t", kind, "-d", source];
        args.extend(options);
        run("mke2fs", &args, path);
    })
}

fn load(bytes: &[u8]) -> Result<Ext4> {
    Ext4::load(Bytes::shared(bytes.to_vec()))
}

fn content(fs: &Ext4, path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let path = GuestPath::new(path);
    fs.open(&path).unwrap().read_to_end(&mut out).unwrap();
    out
}

#[test]
fn every_generation_reads_as_it_was_made() {
    for (kind, options) in [
        ("ext2", &[][..]),
        ("ext3", &[]),
        ("ext4", &[]),
        ("ext4", &["-b", "1024"]),
        ("ext4", &["-O", "^metadata_csum,^64bit"]),
    ] {
        let fs = load(&make(kind, options)).unwrap();
        let stat = |path: &str| fs.lstat(&GuestPath::new(path)).unwrap();
        assert_eq!(content(&fs, "/etc/fstab"), b"UUID=1 / ext4 defaults 0 1\n");
        assert_eq!(
            content(&fs, "/boot/initrd"),
            noise(3 << 20),
            "{kind} {options:?}"
        );
        let passwd = stat("/etc/passwd").unwrap();
        assert_eq!((passwd.mode, passwd.len), (0o4750, 26));
        assert_eq!(stat("/lib").unwrap().file_type, FileType::Symlink);
        assert_eq!(fs.read_link(&GuestPath::new("/lib")).unwrap(), b"usr/lib");
        assert_eq!(fs.read_link(&GuestPath::new("/long")).unwrap().len(), 200);
        let many = fs.list(&GuestPath::new("/usr/lib/many")).unwrap();
        assert_eq!(many.len(), 600);
        assert!(many.is_sorted());
        assert!(stat("/usr/lib/many/file-with-a-long-name-0599").is_some());
    }
}

#[test]
fn what_is_not_there_is_none_and_the_wrong_type_is_an_error() {
    let fs = load(&make("ext4", &[])).unwrap();
    let long = format!("/{}", "n".repeat(256));
    let deep = "/a".repeat(1500);
    // A symlink among the directories is not followed: the walk above does that.
    for path in ["/nope", "/etc/fstab/x", "/lib/many", &long, &deep] {
        assert_eq!(fs.lstat(&GuestPath::new(path)).unwrap(), None, "{path}");
    }
    let wrong = |result: Result<()>| assert_eq!(result.unwrap_err().code, "wrong-file-type");
    wrong(fs.open(&GuestPath::new("/etc")).map(drop));
    wrong(fs.open(&GuestPath::new("/lib")).map(drop));
    wrong(fs.list(&GuestPath::new("/lib")).map(drop));
    wrong(fs.read_link(&GuestPath::new("/etc/fstab")).map(drop));
    assert_eq!(
        fs.lstat(&GuestPath::root()).unwrap().unwrap().file_type,
        FileType::Dir
    );
}

#[test]
fn a_file_seeks_like_any_other() {
    let fs = load(&make("ext4", &[])).unwrap();
    let path = GuestPath::new("/boot/initrd");
    let mut file = fs.open(&path).unwrap();
    let all = noise(3 << 20);
    let mut buf = vec![0; 10_000];
    for at in [2_000_001_usize, 5, 4096, 3 << 20] {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        let want = &all[at..(at + buf.len()).min(all.len())];
        let count = file.read(&mut buf).unwrap();
        assert_eq!(&buf[..count], want);
    }
    assert_eq!(file.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
    assert_eq!(file.read(&mut buf).unwrap(), 0);
}

#[test]
fn free_space_is_what_dumpe2fs_counts_less_what_the_kernel_keeps() {
    for options in [&["-b", "1024"][..], &["-b", "4096"], &["-O", "bigalloc"]] {
        let mut listing = String::new();
        let dir = tempfile::tempdir().unwrap();
        tree(dir.path());
        let bytes = image(64, |path| {
            let mut args = vec!["-q", "-t", "ext4", "-d", dir.path().to_str().unwrap()];
            args.extend(options);
            run("mke2fs", &args, path);
            listing = run("dumpe2fs", &["-h"], path);
        });
        let field = |name: &str| -> u64 {
            let line = listing.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let space = load(&bytes).unwrap().space().unwrap();
        // The kernel lets nobody have 2 % of it, at most 4096 clusters.
        let block = field("Block size:");
        let clustered = listing
            .lines()
            .any(|line| line.starts_with("Cluster size:"));
        let cluster = if clustered {
            field("Cluster size:")
        } else {
            block
        };
        let kept = (field("Block count:") * block / cluster / 50).min(4096) * cluster;
        assert!(kept > 0);
        assert_eq!(space.free_bytes, field("Free blocks:") * block - kept);
        assert_eq!(space.free_inodes, field("Free inodes:"));
    }
}

#[test]
fn unknown_features_are_named_and_are_not_damage() {
    let error = load(&make("ext4", &["-O", "inline_data"])).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.exit_code()),
        ("ext4-feature", 4)
    );
    assert!(error.message.contains("DATA_IN_INODE"), "{error}");
}

#[test]
fn a_superblock_that_asks_for_gigabytes_is_damage() {
    let good = make("ext4", &["-O", "^metadata_csum"]);
    for (at, value) in [
        (0x18, 21_u32),
        (0x18, 7),
        (0x20, 0),
        (0x4, u32::MAX),
        (0x38, 0),
    ] {
        let mut bytes = good.clone();
        bytes[1024 + at..1024 + at + 4].copy_from_slice(&value.to_le_bytes());
        let error = load(&bytes).unwrap_err();
        assert_eq!(error.code, "ext4-superblock", "{at:#x} = {value}: {error}");
    }
    assert_eq!(load(&good[..1 << 20]).unwrap_err().code, "ext4-superblock");
}

/// Runs debugfs, which can write a journal as a crashed kernel would leave it, and e2fsck, the
/// oracle that replays it. Gives the image before and after the replay.
fn journal(options: &[&str], script: impl Fn(&str, &Path) -> String) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    tree(&root);
    let mut replayed = Vec::new();
    let dirty = image(32, |path| {
        let mut args = vec![
            "-q",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-d",
            root.to_str().unwrap(),
        ];
        args.extend(options);
        run("mke2fs", &args, path);
        let block = run("debugfs", &["-R", "blocks /etc/fstab"], path);
        let commands = script(block.trim(), dir.path());
        let said = run_with_input("debugfs", &["-w", "-f", "-"], path, &commands);
        assert!(!said.contains("rror"), "{said}");
        let copy = dir.path().join("copy");
        std::fs::copy(path, &copy).unwrap();
        run("e2fsck", &["-p", "-E", "journal_only"], &copy);
        replayed = std::fs::read(&copy).unwrap();
    });
    (dirty, replayed)
}

/// A file holding one block that begins with the given text.
fn block_file(dir: &Path, name: &str, start: &[u8]) -> String {
    let mut block = vec![b'\n'; 4096];
    block[..start.len()].copy_from_slice(start);
    let path = dir.join(name);
    std::fs::write(&path, block).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_dirty_journal_reads_as_e2fsck_replays_it() {
    let new = b"UUID=2 / ext4 defaults 0 1\n";
    for (options, open) in [
        (&[][..], "jo -c -v 3"),
        (&[], "jo -c -v 2"),
        (&["-O", "^metadata_csum,^64bit"], "jo"),
        (&["-O", "^metadata_csum,64bit"], "jo"),
    ] {
        let (dirty, replayed) = journal(options, |block, dir| {
            let old = block_file(dir, "old", b"UUID=9 / ext4 defaults 0 1\n");
            let file = block_file(dir, "new", new);
            format!("{open}\njw -b {block} {old}\njw -b {block} {file}\njc\n")
        });
        assert_ne!(dirty, replayed, "the journal holds something");
        let fs = load(&dirty).unwrap();
        assert_eq!(content(&fs, "/etc/fstab"), new, "{options:?} {open}");
        assert_eq!(content(&load(&replayed).unwrap(), "/etc/fstab"), new);
        let volume = fs.volume.as_ref();
        let mut seen = vec![0; replayed.len()];
        volume.read_at(&mut seen, 0).unwrap();
        // Everything but the superblock's times and the log itself is as e2fsck leaves it.
        let differing = seen
            .chunks(4096)
            .zip(replayed.chunks(4096))
            .filter(|(a, b)| a != b)
            .count();
        assert!(differing <= 4, "{differing} blocks differ");
    }
}

#[test]
fn a_later_transaction_revokes_an_earlier_one() {
    let (dirty, replayed) = journal(&[], |block, dir| {
        let file = block_file(dir, "new", b"stale metadata\n");
        format!("jo -c -v 3\njw -b {block} {file}\njw -r {block}\njc\n")
    });
    let want = b"UUID=1 / ext4 defaults 0 1\n";
    assert_eq!(content(&load(&replayed).unwrap(), "/etc/fstab"), want);
    assert_eq!(content(&load(&dirty).unwrap(), "/etc/fstab"), want);
}

#[test]
fn a_log_that_wraps_is_read_around_the_circle() {
    let new = b"UUID=2 / ext4 defaults 0 1\n";
    let (mut dirty, _) = journal(&["-O", "^metadata_csum"], |block, dir| {
        let file = block_file(dir, "new", new);
        format!("jo\njw -b {block} {file}\njc\n")
    });
    let disk = Bytes::new(dirty.clone());
    let superblock = Super::read(&disk).unwrap();
    let runs = superblock.journal(&disk).unwrap().unwrap();
    let places: Vec<usize> = runs
        .iter()
        .flat_map(|run| run.start..run.start + run.len)
        .map(|block| usize::try_from(block).unwrap() * 4096)
        .collect();
    let field = places[0] + 0x14;
    assert_eq!(
        dirty[field..field + 12],
        [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
        "the log begins at its first block, with its first transaction"
    );
    // Turn the circle back by one block: the log now begins at its last.
    let last = places.len() - 1;
    let circle: Vec<usize> = (1..16).collect();
    let moved: Vec<Vec<u8>> = circle
        .iter()
        .map(|index| dirty[places[*index]..][..4096].to_vec())
        .collect();
    for (index, block) in circle.into_iter().zip(moved) {
        let to = if index == 1 { last } else { index - 1 };
        dirty[places[to]..][..4096].copy_from_slice(&block);
    }
    let start = u32::try_from(last).unwrap();
    dirty[places[0] + 0x1c..][..4].copy_from_slice(&start.to_be_bytes());

    let replayed = image(32, |path| {
        std::fs::write(path, &dirty).unwrap();
        run("e2fsck", &["-p", "-E", "journal_only"], path);
    });
    assert_eq!(content(&load(&replayed).unwrap(), "/etc/fstab"), new);
    assert_eq!(content(&load(&dirty).unwrap(), "/etc/fstab"), new);
}

/// A hash tree whose root claims more entries than its block holds makes ext4-view 1.0 slice out
/// of bounds while it computes that block's checksum.
#[test]
fn a_panic_of_the_reader_is_reported_as_damage() {
    let mut root = String::new();
    let mut bytes = image(32, |path| {
        std::fs::write(path, make("ext4", &["-b", "4096"])).unwrap();
        // Turns large directories into hash trees.
        run("e2fsck", &["-fyD"], path);
        root = run("debugfs", &["-R", "bmap /usr/lib/many 0"], path);
    });
    let many = GuestPath::new("/usr/lib/many");
    assert_eq!(load(&bytes).unwrap().list(&many).unwrap().len(), 600);
    let block = root.trim().parse::<usize>().unwrap() * 4096;
    bytes[block + 0x22..block + 0x24].copy_from_slice(&[0xff, 0xff]);
    let fs = load(&bytes).unwrap();
    for error in [
        fs.list(&many).unwrap_err(),
        fs.lstat(&many.join("file-with-a-long-name-0001"))
            .unwrap_err(),
    ] {
        assert_eq!((error.code.as_str(), error.exit_code()), ("ext4", 5));
        assert!(error.message.contains("gave up"), "{error}");
    }
}

#[test]
fn a_block_that_looks_like_the_journal_is_unescaped() {
    let magic = b"\xc0\x3b\x39\x98 and then some text.....\n";
    let (dirty, replayed) = journal(&[], |block, dir| {
        let file = block_file(dir, "new", magic);
        format!("jo -c -v 3\njw -b {block} {file}\njc\n")
    });
    let want = content(&load(&replayed).unwrap(), "/etc/fstab");
    assert_eq!(content(&load(&dirty).unwrap(), "/etc/fstab"), want);
    assert_eq!(want[..4], magic[..4]);
}

/// Looks at everything a reader can be asked for.
fn walk(fs: &Ext4, dir: &GuestPath, budget: &mut u32) {
    let _ = fs.space();
    for name in fs.list(dir).unwrap_or_default() {
        let Some(left) = budget.checked_sub(1) else {
            return;
        };
        *budget = left;
        let path = dir.join(&name);
        match fs.lstat(&path) {
            Ok(Some(meta)) if meta.file_type == FileType::Dir => walk(fs, &path, budget),
            Ok(Some(meta)) if meta.file_type == FileType::File => {
                if let Ok(mut file) = fs.open(&path) {
                    let mut buf = vec![0; 70_000];
                    let _ = file.read(&mut buf);
                    let _ = file.read(&mut buf);
                    let _ = file.seek(SeekFrom::Start(meta.len / 2));
                    let _ = file.read(&mut buf);
                }
            }
            _ => drop(fs.read_link(&path)),
        }
    }
}

#[test]
fn flipped_bits_anywhere_in_the_metadata_never_panic() {
    let plain = make("ext4", &["-O", "^metadata_csum"]);
    let summed = make("ext4", &[]);
    let old = make("ext2", &[]);
    let (dirty, _) = journal(&["-O", "^metadata_csum"], |block, dir| {
        let file = block_file(dir, "new", b"x");
        format!("jo\njw -b {block} {file}\njc\n")
    });
    let images = [plain, summed, old, dirty];
    // Blocks that are not all zero hold the metadata; flips elsewhere teach nothing.
    let used: Vec<Vec<usize>> = images
        .iter()
        .map(|image| {
            let blocks = image.chunks(1024).enumerate();
            blocks
                .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
                .map(|(index, _)| index * 1024)
                .collect()
        })
        .collect();
    proptest!(ProptestConfig::with_cases(32), |(
        which in 0..images.len(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..1024_usize, any::<u8>()), 1..60),
        super_flip in proptest::option::of((0..1024_usize, any::<u8>())),
    )| {
        let mut bytes = images[which].clone();
        for (block, within, value) in &flips {
            let at = used[which][block.index(used[which].len())] + within;
            // The superblock is flipped apart, or nearly nothing would load.
            if !(1024..2048).contains(&at) {
                bytes[at] = *value;
            }
        }
        if let Some((at, value)) = super_flip {
            bytes[1024 + at] = value;
        }
        if let Ok(fs) = load(&bytes) {
            walk(&fs, &GuestPath::root(), &mut 100);
        }
    });
}
