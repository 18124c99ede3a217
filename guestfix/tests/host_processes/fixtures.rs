// SPDX-License-Identifier: Apache-2.0
//! Images of small guests, and what must not be left of work on them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use guestfix::host::fuse;
use serde_bytes::ByteBuf;

/// A directory with `/bin/sh`, a few tools and their libraries, as a guest has them.
pub(crate) fn guest_tree(dir: &Path) {
    for name in [
        "bin", "dev", "proc", "sys", "run", "tmp", "etc", "boot", "home", "opt",
    ] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    for tool in [
        "sh", "true", "cat", "ls", "sleep", "mknod", "mount", "id", "chown", "head", "ln", "chmod",
        "env", "readlink", "mv", "rm", "mkdir", "dd",
    ] {
        let path = ["/bin", "/usr/bin"]
            .iter()
            .map(|at| Path::new(at).join(tool))
            .find(|path| path.exists())
            .unwrap();
        copy_with_libraries(&path, &dir.join("bin").join(tool), dir);
    }
    fs::write(dir.join("etc/motd"), "old\n").unwrap();
    std::os::unix::fs::symlink("/etc/motd", dir.join("etc/absolute")).unwrap();
    std::os::unix::fs::symlink("../../../../etc/passwd", dir.join("etc/outside")).unwrap();
}

pub(crate) fn copy_with_libraries(from: &Path, to: &Path, root: &Path) {
    fs::copy(from, to).unwrap();
    let ldd = Command::new("ldd").arg(from).output().unwrap();
    for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
        if word.starts_with('/') {
            let copy = root.join(word.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            if !copy.exists() {
                fs::copy(word, copy).unwrap();
            }
        }
    }
}

pub(crate) fn ext4(megabytes: u32, tree: Option<&Path>) -> ByteBuf {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-O", "^resize_inode"]);
    if let Some(tree) = tree {
        command.arg("-d").arg(tree);
    }
    let made = command.arg(&image).arg(format!("{megabytes}m")).output();
    assert!(made.unwrap().status.success());
    ByteBuf::from(fs::read(image).unwrap())
}

/// An empty filesystem of another kind, by its own `mkfs`.
pub(crate) fn other(megabytes: u64, kind: &str) -> ByteBuf {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let file = fs::File::create(&image).unwrap();
    file.set_len(megabytes << 20).unwrap();
    let mut command = Command::new(format!("mkfs.{kind}"));
    match kind {
        // Only for its own test suite does it make filesystems as small as this.
        "xfs" => command
            .args(["-q", "-f"])
            .envs(["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"].map(|name| (name, "1"))),
        _ => command.args(["-q", "-f", "--mixed"]),
    };
    let made = command.arg(&image).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    ByteBuf::from(fs::read(image).unwrap())
}

/// A volume's name that no other test's loop devices show.
pub(crate) fn volume(number: u32) -> String {
    let owner = std::env::var("OWNER").unwrap_or_else(|_| std::process::id().to_string());
    format!("owner{owner}-p{number}")
}

/// A root with a shell, and an empty filesystem. Made once.
pub(crate) fn two_volumes() -> Vec<(String, ByteBuf)> {
    static MADE: OnceLock<[ByteBuf; 2]> = OnceLock::new();
    let make = || {
        let tree = tempfile::tempdir().unwrap();
        guest_tree(tree.path());
        [ext4(40, Some(tree.path())), ext4(8, None)]
    };
    let images = MADE.get_or_init(make);
    (1..).map(volume).zip(images.iter().cloned()).collect()
}

/// Checks an image and reads files from it with another reader than the kernel.
pub(crate) fn fsck(image: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, image).unwrap();
    let checked = Command::new("e2fsck")
        .arg("-fn")
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
}

pub(crate) fn content(image: &[u8], path: &str) -> Vec<u8> {
    ext4_view::Ext4::load(Box::new(image.to_vec()))
        .unwrap()
        .read(path)
        .unwrap()
}

/// Loop devices in use whose file is one of ours, and FUSE connections.
pub(crate) fn leftovers(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let marker = dir.to_string_lossy().into_owned();
    let owner = format!("owner{}-", std::process::id());
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let backing =
            fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        // Seen from outside its mount namespace the path begins at the FUSE root.
        if backing.contains(&owner) || backing.contains(&marker) {
            found.insert(format!("{:?}: {backing}", entry.file_name()));
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        if line.contains(&marker) {
            found.insert(line.to_owned());
        }
    }
    found
}

pub(crate) fn assert_gone(dir: &Path, connection: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = leftovers(dir);
        let lives = fuse::is_alive(connection).unwrap();
        if left.is_empty() && !lives {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left over: {left:?}, connection: {lives}"
        );
        sleep(Duration::from_millis(20));
    }
}

// The tests run one after the other: loop devices are the machine's, not a test's.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn scratch() -> (tempfile::TempDir, std::sync::MutexGuard<'static, ()>) {
    let lock = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    (tempfile::tempdir().unwrap(), lock)
}
