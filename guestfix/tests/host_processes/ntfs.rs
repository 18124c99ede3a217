// SPDX-License-Identifier: Apache-2.0
//! NTFS through ntfs-3g and all three processes, read back from the image by our own reader.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfix::disk::Storage;
use guestfix::error::Result;
use guestfix::fs::Tree;
use guestfix::fs::ntfs::Ntfs;
use guestfix::host::mounter::{MountReply, MountRequest, Outcome};
use serde_bytes::ByteBuf;

use crate::fixtures::{assert_gone, scratch, volume};
use crate::guest::{Guest, is_root};

/// A volume with a file of 300 KiB, and one that lies open to everybody's writing in no directory.
fn image() -> ByteBuf {
    let dir = tempfile::tempdir().unwrap();
    let (path, point) = (dir.path().join("image"), dir.path().join("mnt"));
    std::fs::File::create(&path)
        .unwrap()
        .set_len(24 << 20)
        .unwrap();
    std::fs::create_dir(&point).unwrap();
    let made = Command::new("mkntfs")
        .args(["-F", "-q", "-f"])
        .arg(&path)
        .output();
    assert!(made.unwrap().status.success());
    let below = std::fs::metadata(&point).unwrap().dev();
    let mut server = Command::new("ntfs-3g")
        .args(["-o", "no_detach"])
        .args([&path, &point])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(&point).unwrap().dev() == below {
        assert!(Instant::now() < deadline && server.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::create_dir_all(point.join("Windows/System32/config")).unwrap();
    let hive = point.join("Windows/System32/config/SYSTEM");
    std::fs::write(hive, vec![7; 300 << 10]).unwrap();
    let unmounted = Command::new("umount").arg(&point).status().unwrap();
    assert!(unmounted.success() && server.wait().unwrap().success());
    ByteBuf::from(std::fs::read(path).unwrap())
}

struct Image(Vec<u8>);

impl Storage for Image {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0[at..at + buf.len()]);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> Result<()> {
        panic!("only read");
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn read(image: &[u8], path: &str) -> Option<Vec<u8>> {
    let fs = Ntfs::load(Arc::new(Image(image.to_vec()))).unwrap();
    Tree::new(Box::new(fs)).read(&path.into()).unwrap()
}

fn sound(image: &[u8], dir: &Path) {
    let path = dir.join("sound");
    std::fs::write(&path, image).unwrap();
    let checked = Command::new("ntfsfix")
        .arg("-n")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}");
    std::fs::remove_file(path).unwrap();
}

fn outcome(guest: &Guest, request: MountRequest) -> Outcome {
    match guest.ask(request).unwrap() {
        MountReply::Outcome(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_changed_through_ntfs_3g_is_on_the_image_when_it_is_unmounted() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = Guest::new(vec![(volume(1), image())], dir.path());
    guest.mount_as(1, "/", "ntfs").unwrap();
    let hive = "/Windows/System32/config/SYSTEM";
    let patch = MountRequest::Patch {
        path: hive.into(),
        len: 304 << 10,
        parts: vec![
            (4096, ByteBuf::from(vec![1; 4096])),
            (300 << 10, ByteBuf::from(vec![2; 4096])),
        ],
    };
    assert_eq!(outcome(&guest, patch), Outcome::Changed);
    let driver = "/Windows/System32/drivers/viostor.sys";
    let written = guest.write(driver, None, &vec![3; 70_000]).unwrap();
    assert_eq!(written, Outcome::Changed);
    let empty = MountRequest::Patch {
        path: driver.into(),
        len: 0,
        parts: Vec::new(),
    };
    guest.write("/Windows/log", None, b"x").unwrap();
    let gone = MountRequest::Remove {
        path: "/Windows/log".into(),
    };
    assert_eq!(outcome(&guest, gone), Outcome::Changed);
    guest.write("/Windows/a:b", None, b"x").unwrap_err();
    guest.ask(MountRequest::Sync).unwrap();
    guest.ask(MountRequest::Unmount).unwrap();
    let (images, error) = guest.images();
    assert_eq!(error, None);
    let image = &images[0].1;
    let content = read(image, hive).unwrap();
    assert_eq!(content.len(), 304 << 10);
    assert!(content[..4096].iter().all(|byte| *byte == 7));
    assert!(content[4096..8192].iter().all(|byte| *byte == 1));
    assert!(content[300 << 10..].iter().all(|byte| *byte == 2));
    assert_eq!(read(image, driver).unwrap(), vec![3; 70_000]);
    assert_eq!(read(image, "/Windows/log"), None);
    sound(image, dir.path());
    // Once more, on what is there now.
    guest.mount_as(1, "/", "ntfs").unwrap();
    assert_eq!(outcome(&guest, empty), Outcome::Changed);
    guest.ask(MountRequest::Unmount).unwrap();
    let (images, _) = guest.images();
    assert_eq!(read(&images[0].1, driver).unwrap(), b"");
    guest.ask(MountRequest::Quit).unwrap();
    let connection = guest.connection;
    guest.mounter.finish(Duration::from_secs(5)).unwrap();
    drop(guest.worker);
    assert_gone(dir.path(), connection);
}

#[test]
fn nothing_is_left_of_a_mounter_that_is_killed_with_ntfs_3g_below_it() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = Guest::new(vec![(volume(1), image())], dir.path());
    guest.mount_as(1, "/", "ntfs").unwrap();
    guest.write("/Windows/x", None, &vec![1; 1 << 20]).unwrap();
    let connection = guest.connection;
    drop(guest.mounter);
    drop(guest.worker);
    assert_gone(dir.path(), connection);
}

#[test]
fn a_log_that_is_to_be_replayed_is_refused_and_the_image_stays() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let mut image = image().into_vec();
    // ntfs-3g leaves the log emptied, that is, full of ones: something else in it is a log in use.
    let log = (0..image.len() / 4096)
        .find(|block| {
            let from = block * 4096;
            let run = image.get(from..from + (64 << 10));
            run.is_some_and(|run| run.iter().all(|byte| *byte == 0xff))
        })
        .unwrap();
    image[log * 4096..log * 4096 + 8192].fill(0x41);
    let guest = Guest::new(vec![(volume(1), ByteBuf::from(image.clone()))], dir.path());
    let error = guest.mount_as(1, "/", "ntfs").unwrap_err();
    assert!(
        ["ntfs-log", "mounted-read-only"].contains(&error.code.as_str()),
        "{error:?}"
    );
    let (images, _) = guest.images();
    assert!(*images[0].1 == image, "nothing was written");
}
