// SPDX-License-Identifier: Apache-2.0
//! Small disks made on the fly: what a converter must refuse, or survive. Each function writes one raw image into `dir`
//! and returns its path.
use crate::tool::{self, Mounted};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
const MIB: u64 = 1024 * 1024;

/// Which of the two GPT headers to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers {
    /// The one in sector 1; the backup at the disk's end is good.
    Primary,
    /// Both: nothing is left to read the table from.
    Both,
}

/// Where partition `number` of `image` begins, and how long it is; both in bytes.
pub fn partition(image: &Path, number: u32) -> (u64, u64) {
    let table = tool::run("sfdisk", &[OsStr::new("--json"), image.as_ref()]);
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let node = format!("{}{number}", image.display());
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let found = partitions.iter().find(|one| one["node"] == *node);
    let found = found.unwrap_or_else(|| panic!("no partition {number}: {table}"));
    let bytes = |key: &str| found[key].as_u64().unwrap() * SECTOR;
    (bytes("start"), bytes("size"))
}

/// 1 MiB that looks like no disk: neither partition table nor filesystem nor image format.
pub fn not_a_disk(dir: &Path) -> PathBuf {
    let path = dir.join("not-a-disk.img");
    let line = b"this is a shopping list, not a disk\n";
    let text: Vec<u8> = line.iter().copied().cycle().take(MIB as usize).collect();
    fs::write(&path, text).unwrap();
    path
}

/// The first `keep` bytes of `image`: a copy that broke off, whose table promises more than the file holds.
pub fn truncated(dir: &Path, image: &Path, keep: u64) -> PathBuf {
    let path = dir.join("truncated.img");
    crate::guest::sparse_copy(image, &path);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(keep)
        .unwrap();
    path
}

/// A GPT disk with one bootable-looking root whose header checksum is wrong.
pub fn gpt_with_bad_header(dir: &Path, which: Headers) -> PathBuf {
    let path = dir.join("gpt-bad-header.img");
    partitioned(&path, 64, "label: gpt\nstart=2048, size=122880, type=L\n");
    put_ext4(&path, 2048 * SECTOR, 60 * MIB, &tiny_os(dir, "gpt", "one"));
    flip_byte(&path, SECTOR + 16);
    if which == Headers::Both {
        flip_byte(&path, 63 * MIB + MIB - SECTOR + 16);
    }
    path
}

/// An MBR disk whose only partition holds data and no operating system.
pub fn no_os(dir: &Path) -> PathBuf {
    let tree = dir.join("no-os.tree");
    fs::create_dir_all(tree.join("photos")).unwrap();
    fs::write(tree.join("photos/list.txt"), "beach\nmountain\n").unwrap();
    let path = dir.join("no-os.img");
    partitioned(&path, 32, "label: dos\nstart=2048, type=83\n");
    put_ext4(&path, 2048 * SECTOR, 31 * MIB, &tree);
    path
}

/// Two roots on one disk, `/dev/sda1` and `/dev/sda2`, each a guest of its own.
pub fn two_oses(dir: &Path) -> PathBuf {
    let path = dir.join("two-oses.img");
    let table = "label: dos\nstart=2048, size=63488, type=83, bootable\nstart=65536, type=83\n";
    partitioned(&path, 64, table);
    let (one, two) = (
        tiny_os(dir, "two-a", "first"),
        tiny_os(dir, "two-b", "second"),
    );
    for file in ["etc/fstab", "boot/grub/grub.cfg"] {
        let text = fs::read_to_string(two.join(file)).unwrap();
        fs::write(two.join(file), text.replace("/dev/sda1", "/dev/sda2")).unwrap();
    }
    put_ext4(&path, 2048 * SECTOR, 31 * MIB, &one);
    put_ext4(&path, 65536 * SECTOR, 32 * MIB, &two);
    path
}

/// [`two_oses`], but the first has no directory of programs left and the second is a copy of it. Needs root.
pub fn orphaned_copy(dir: &Path) -> PathBuf {
    let path = two_oses(dir);
    let second = 65536 * SECTOR;
    let first = Mounted::new(&path, FIRST_PARTITION, &dir.join("first.mnt"));
    fs::remove_dir_all(first.path().join("usr")).unwrap();
    for link in ["bin", "sbin", "lib"] {
        let _ = fs::remove_file(first.path().join(link));
    }
    drop(first);
    let probe = format!("--offset={FIRST_PARTITION}");
    let uuid = tool::run(
        "blkid",
        &[
            "-p",
            &probe,
            "-s",
            "UUID",
            "-o",
            "value",
            path.to_str().unwrap(),
        ],
    );
    let copy = Mounted::new(&path, second, &dir.join("second.mnt"));
    let table = format!("UUID={} / ext4 defaults 0 1\n", uuid.trim());
    fs::write(copy.path().join("etc/fstab"), table).unwrap();
    drop(copy);
    path
}

/// Where [`dirty_journal`] and [`full_boot`] have their filesystems, in bytes from the disk's start.
pub const FIRST_PARTITION: u64 = 2048 * SECTOR;

/// The file that [`dirty_journal`] holds only in its journal.
pub const JOURNALED_FILE: &str = "etc/only-in-the-journal";

/// One root, copied while it was mounted: [`JOURNALED_FILE`] is durable, yet its name is only in the ext4 journal, so
/// that a reader that does not replay it misses the file. Needs root.
pub fn dirty_journal(dir: &Path) -> PathBuf {
    let live = dir.join("live.img");
    partitioned(&live, 64, "label: dos\nstart=2048, type=83, bootable\n");
    put_ext4(
        &live,
        FIRST_PARTITION,
        63 * MIB,
        &tiny_os(dir, "dirty", "dirty"),
    );
    let copy = dir.join("dirty-journal.img");
    let mounted = Mounted::new(&live, FIRST_PARTITION, &dir.join("dirty.mnt"));
    fs::write(mounted.path().join(JOURNALED_FILE), "durable\n").unwrap();
    let written = File::open(mounted.path().join(JOURNALED_FILE)).unwrap();
    written.sync_all().unwrap();
    crate::guest::sparse_copy(&live, &copy);
    drop(written);
    drop(mounted);
    copy
}

/// A root with a separate `/boot` (partition 1) of 16 MiB in which no file finds one more block. Needs root.
pub fn full_boot(dir: &Path) -> PathBuf {
    let path = dir.join("full-boot.img");
    let table = "label: dos\nstart=2048, size=32768, type=83, bootable\nstart=34816, type=83\n";
    partitioned(&path, 64, table);
    let tree = tiny_os(dir, "full", "full");
    let boot = dir.join("full.boot");
    fs::rename(tree.join("boot"), &boot).unwrap();
    fs::create_dir(tree.join("boot")).unwrap();
    fs::write(
        tree.join("etc/fstab"),
        "/dev/sda1 /boot ext4 defaults 0 2\n/dev/sda2 / ext4 errors=remount-ro 0 1\n",
    )
    .unwrap();
    put_ext4(&path, FIRST_PARTITION, 16 * MIB, &boot);
    put_ext4(&path, 34816 * SECTOR, 47 * MIB, &tree);
    leave_free(&path, FIRST_PARTITION, 0, dir);
    path
}

/// Fills the ext4 filesystem at `offset` of `image` with a file `/filler` until at most `bytes` can still be written, by
/// root too. (ext4 keeps up to 2 % to itself, which no file gets.) `dir` lends a mount point. Needs root.
pub fn leave_free(image: &Path, offset: u64, bytes: u64, dir: &Path) {
    let mounted = Mounted::new(image, offset, &dir.join("fill.mnt"));
    let filler = File::create(mounted.path().join("filler")).unwrap();
    let stat = nix::sys::statvfs::statvfs(mounted.path()).unwrap();
    let block = stat.fragment_size();
    let mut size = 0;
    let mut step = stat.blocks_free() * block;
    // The file's own metadata takes blocks too: come near in ever smaller steps, down to one block.
    while step >= block {
        if nix::fcntl::posix_fallocate(&filler, size as i64, step as i64).is_ok() {
            size += step;
        }
        step /= 2;
    }
    filler.set_len(size.saturating_sub(bytes)).unwrap();
    filler.sync_all().unwrap();
}

/// The directory tree of a guest that is just enough of one to be recognised: release, kernel, modules, fstab, init.
pub fn tiny_os(dir: &Path, tree: &str, hostname: &str) -> PathBuf {
    let root = dir.join(format!("{tree}.tree"));
    let files = [
        (
            "etc/os-release",
            "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
        ),
        ("etc/debian_version", "12.9\n"),
        (
            "etc/fstab",
            "/dev/sda1 / ext4 errors=remount-ro 0 1\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n",
        ),
        ("etc/hostname", hostname),
        ("boot/vmlinuz-6.1.0-1-amd64", "not a kernel\n"),
        ("boot/initrd.img-6.1.0-1-amd64", "not an initramfs\n"),
        (
            "boot/grub/grub.cfg",
            "linux /boot/vmlinuz-6.1.0-1-amd64 root=/dev/sda1 ro quiet\n",
        ),
        (
            "usr/lib/modules/6.1.0-1-amd64/modules.builtin",
            "kernel/fs/ext4/ext4.ko\n",
        ),
        ("usr/lib/systemd/systemd", "not a program\n"),
        ("usr/sbin/init", "not a program\n"),
        ("usr/bin/sh", "not a program\n"),
        ("var/lib/dpkg/status", ""),
    ];
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for name in ["lib", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    root
}

/// A disk of `mib` MiB with the partition table that `sfdisk` makes of `table`.
fn partitioned(path: &Path, mib: u64, table: &str) {
    File::create(path).unwrap().set_len(mib * MIB).unwrap();
    let args = [OsStr::new("--quiet"), "--no-reread".as_ref(), path.as_ref()];
    tool::run_with_input("sfdisk", &args, table);
}

/// Makes an ext4 filesystem of `size` bytes at `offset` that holds `tree`.
fn put_ext4(disk: &Path, offset: u64, size: u64, tree: &Path) {
    let extended = format!("offset={offset},nodiscard,root_owner=0:0");
    let kib = format!("{}k", size / 1024);
    let args: [&OsStr; 9] = [
        "-q".as_ref(),
        "-F".as_ref(),
        "-text4".as_ref(),
        "-d".as_ref(),
        tree.as_ref(),
        "-E".as_ref(),
        extended.as_ref(),
        disk.as_ref(),
        kib.as_ref(),
    ];
    tool::run("mke2fs", &args);
}

fn flip_byte(disk: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debugfs(image: &Path, offset: u64, request: &str) -> String {
        let device = format!("{}?offset={offset}", image.display());
        tool::run("debugfs", &["-R", request, &device])
    }

    fn gpt_signature_and_byte(image: &Path, offset: u64) -> [u8; 8] {
        let mut bytes = [0; 8];
        File::open(image)
            .unwrap()
            .read_exact_at(&mut bytes, offset)
            .unwrap();
        bytes
    }

    #[test]
    fn a_bad_gpt_header_keeps_its_signature_and_the_backup_is_only_broken_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let image = gpt_with_bad_header(dir.path(), Headers::Primary);
        assert_eq!(gpt_signature_and_byte(&image, SECTOR), *b"EFI PART");
        let dump = tool::run("sfdisk", &[OsStr::new("--dump"), image.as_ref()]);
        assert!(dump.contains("start=        2048"), "{dump}");
        let dir = tempfile::tempdir().unwrap();
        let image = gpt_with_bad_header(dir.path(), Headers::Both);
        assert_eq!(
            gpt_signature_and_byte(&image, 64 * MIB - SECTOR),
            *b"EFI PART"
        );
    }

    #[test]
    fn two_roots_have_a_hostname_each() {
        let dir = tempfile::tempdir().unwrap();
        let image = two_oses(dir.path());
        assert_eq!(debugfs(&image, 2048 * SECTOR, "cat /etc/hostname"), "first");
        assert_eq!(
            debugfs(&image, 65536 * SECTOR, "cat /etc/hostname"),
            "second"
        );
    }

    #[test]
    fn a_dirty_journal_hides_the_file_until_it_is_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let image = dirty_journal(dir.path());
        let stats = debugfs(&image, FIRST_PARTITION, "stats -h");
        assert!(stats.contains("needs_recovery"), "{stats}");
        let names = debugfs(&image, FIRST_PARTITION, "ls -p /etc");
        assert!(!names.contains("only-in-the-journal"), "{names}");
        let replayed = Mounted::new(&image, FIRST_PARTITION, &dir.path().join("mnt"));
        let content = fs::read_to_string(replayed.path().join(JOURNALED_FILE)).unwrap();
        assert_eq!(content, "durable\n");
    }

    #[test]
    fn a_partition_is_found_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let image = two_oses(dir.path());
        assert_eq!(partition(&image, 1), (FIRST_PARTITION, 31 * MIB));
        assert_eq!(partition(&image, 2), (32 * MIB, 32 * MIB));
    }

    #[test]
    fn a_full_boot_takes_no_file_and_a_nearly_full_one_a_small_one() {
        let dir = tempfile::tempdir().unwrap();
        let image = full_boot(dir.path());
        let point = dir.path().join("mnt");
        let mounted = Mounted::new(&image, FIRST_PARTITION, &point);
        let written = fs::write(mounted.path().join("one"), [0; 4096]);
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        drop(mounted);
        leave_free(&image, FIRST_PARTITION, MIB, dir.path());
        let mounted = Mounted::new(&image, FIRST_PARTITION, &point);
        fs::write(mounted.path().join("one"), vec![0; 900 * 1024]).unwrap();
        let written = fs::write(mounted.path().join("two"), vec![0; 200 * 1024]);
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
}
