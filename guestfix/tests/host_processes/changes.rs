// SPDX-License-Identifier: Apache-2.0
//! Changes to a mounted guest, read back from the image by another reader than the kernel.

use std::time::Duration;

use guestfix::error::Error;
use guestfix::fs::{FileType, Metadata};
use guestfix::host::mounter::{MountReply, MountRequest, Outcome};
use guestfix::host::probe::Driver;
use serde_bytes::ByteBuf;

use crate::fixtures::{assert_gone, content, fsck, scratch, two_volumes, volume};
use crate::guest::{Guest, is_root};
use crate::worker::Fault;

#[test]
fn a_change_made_through_all_three_processes_is_on_the_image() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = Guest::new(two_volumes(), dir.path());
    guest.mount(1, "/").unwrap();
    guest.mount(2, "/boot").unwrap();
    assert_eq!(
        guest.write("/etc/motd", Some(b"old\n"), b"new\n").unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        guest.write("/boot/a/b", None, b"deep").unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        guest.shell("echo hello; cat /etc/motd; id -u"),
        "hello\nnew\n0\n"
    );
    guest.shell("echo by-program > /boot/program");
    guest.ask(MountRequest::Sync).unwrap();
    guest.ask(MountRequest::Unmount).unwrap();
    let (images, error) = guest.images();
    assert_eq!(error, None);
    fsck(&images[0].1);
    fsck(&images[1].1);
    assert_eq!(content(&images[0].1, "/etc/motd"), b"new\n");
    assert_eq!(content(&images[1].1, "/a/b"), b"deep");
    assert_eq!(content(&images[1].1, "/program"), b"by-program\n");
    guest.ask(MountRequest::Quit).unwrap();
    let connection = guest.connection;
    guest.mounter.finish(Duration::from_secs(5)).unwrap();
    drop(guest.worker);
    assert_gone(dir.path(), connection);
}

fn mounted(dir: &std::path::Path) -> Guest {
    let guest = Guest::new(two_volumes(), dir);
    guest.mount(1, "/").unwrap();
    guest
}

fn lstat(guest: &Guest, path: &str) -> Option<Metadata> {
    match guest
        .ask(MountRequest::Lstat { path: path.into() })
        .unwrap()
    {
        MountReply::Metadata(meta) => meta,
        other => panic!("{other:?}"),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().code
}

#[test]
fn a_write_keeps_the_file_and_checks_what_it_was() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = mounted(dir.path());
    guest.shell("ln /etc/motd /etc/second; chmod 600 /etc/motd; chown 3:4 /etc/motd");
    let old: Option<&[u8]> = Some(b"old\n");
    assert_eq!(
        code(guest.write("/etc/motd", None, b"x")),
        "changed-underneath"
    );
    assert_eq!(
        code(guest.write("/etc/motd", Some(b"?"), b"x")),
        "changed-underneath"
    );
    assert_eq!(
        code(guest.write("/etc/absent", old, b"x")),
        "changed-underneath"
    );
    assert_eq!(code(guest.write("/etc", None, b"x")), "not-a-file");
    // Through a symlink, and a second time.
    assert_eq!(
        guest.write("/etc/absolute", old, b"new").unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        guest.write("/etc/motd", old, b"new").unwrap(),
        Outcome::AlreadySo
    );
    assert_eq!(guest.read("/etc/second").unwrap(), b"new");
    let meta = lstat(&guest, "/etc/motd").unwrap();
    assert_eq!((meta.mode, meta.uid, meta.gid), (0o600, 3, 4));
    guest.write("/new/deep/file", None, b"x").unwrap();
    let meta = lstat(&guest, "/new/deep/file").unwrap();
    assert_eq!((meta.mode, meta.uid, meta.gid), (0o640, 7, 8));
    assert_eq!(lstat(&guest, "/new/deep").unwrap().mode, 0o755);
    let images = guest.finish();
    assert_eq!(content(&images[0], "/etc/second"), b"new");
}

#[test]
fn no_path_leads_out_of_the_guest() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = mounted(dir.path());
    // A link to ../../../../etc/passwd names the guest's file, which does not exist.
    assert!(guest.read("/etc/outside").is_err());
    assert_eq!(
        lstat(&guest, "/etc/outside").unwrap().file_type,
        FileType::Symlink
    );
    let made = MountRequest::Symlink {
        path: "/link".into(),
        target: "/../../tmp".into(),
    };
    guest.ask(made).unwrap();
    guest.write("/link/inside", None, b"x").unwrap();
    assert!(lstat(&guest, "/tmp/inside").is_some());
    assert!(!std::path::Path::new("/tmp/inside").exists());
}

#[test]
fn files_are_appended_removed_linked_and_listed() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = mounted(dir.path());
    guest.write("/boot/initrd", None, b"12345").unwrap();
    let append = MountRequest::Append {
        path: "/boot/initrd".into(),
        content: b"678".to_vec(),
        align: 4,
    };
    assert_eq!(guest.ask(append).unwrap(), MountReply::Appended { len: 11 });
    assert_eq!(guest.read("/boot/initrd").unwrap(), b"12345\0\0\x00678");
    let link = |target: &str| MountRequest::Symlink {
        path: "/boot/link".into(),
        target: target.into(),
    };
    let changed = MountReply::Outcome(Outcome::Changed);
    let already = MountReply::Outcome(Outcome::AlreadySo);
    assert_eq!(guest.ask(link("initrd")).unwrap(), changed);
    assert_eq!(guest.ask(link("initrd")).unwrap(), already);
    assert_eq!(guest.ask(link("other")).unwrap(), changed);
    let target = guest.ask(MountRequest::ReadLink {
        path: "/boot/link".into(),
    });
    assert_eq!(
        target.unwrap(),
        MountReply::Bytes(ByteBuf::from(b"other".to_vec()))
    );
    let names = |guest: &Guest| match guest.ask(MountRequest::List {
        path: "/boot".into(),
    }) {
        Ok(MountReply::Names(names)) => names,
        other => panic!("{other:?}"),
    };
    assert_eq!(names(&guest), ["initrd", "link"]);
    let remove = MountRequest::Remove {
        path: "/boot/link".into(),
    };
    assert_eq!(guest.ask(remove.clone()).unwrap(), changed);
    assert_eq!(guest.ask(remove).unwrap(), already);
    assert_eq!(
        code(guest.ask(MountRequest::Remove {
            path: "/boot".into()
        })),
        "not-a-file"
    );
    match guest
        .ask(MountRequest::Space {
            path: "/boot".into(),
        })
        .unwrap()
    {
        MountReply::Space(space) => assert!(space.free_bytes > 1 << 20 && space.free_inodes > 99),
        other => panic!("{other:?}"),
    }
    guest.finish();
}

#[test]
fn an_immutable_file_is_written_and_stays_immutable() {
    if !is_root() {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    let (dir, _lock) = scratch();
    let guest = Guest::new(vec![(volume(1), frozen(tree.path()))], dir.path());
    guest.mount(1, "/").unwrap();
    guest.write("/file", Some(b"old"), b"new").unwrap();
    let image = guest.finish().remove(0);
    assert_eq!(content(&image, "/file"), b"new");
    assert!(debugfs(tree.path(), &image, "stat /file").contains("Flags: 0x80010"));
    guest.mount(1, "/").unwrap();
    let remove = MountRequest::Remove {
        path: "/file".into(),
    };
    assert_eq!(
        guest.ask(remove).unwrap(),
        MountReply::Outcome(Outcome::Changed)
    );
    guest.finish();
}

/// A filesystem with an immutable `/file`.
fn frozen(dir: &std::path::Path) -> ByteBuf {
    let files = dir.join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("file"), "old").unwrap();
    let image = crate::fixtures::ext4(8, Some(&files)).into_vec();
    debugfs(dir, &image, "set_inode_field /file flags 0x80010");
    ByteBuf::from(std::fs::read(dir.join("debugfs")).unwrap())
}

fn debugfs(dir: &std::path::Path, image: &[u8], command: &str) -> String {
    std::fs::write(dir.join("debugfs"), image).unwrap();
    let mut debugfs = std::process::Command::new("debugfs");
    let debugfs = debugfs.args(["-w", "-R", command]).arg(dir.join("debugfs"));
    String::from_utf8(debugfs.output().unwrap().stdout).unwrap()
}

#[test]
fn a_full_state_directory_is_an_error_and_is_remembered() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = mounted(dir.path());
    guest.fault(Fault::NoSpace);
    let written = guest.write("/big", None, &vec![1; 4 << 20]);
    let synced = guest.ask(MountRequest::Sync);
    let unmounted = guest.ask(MountRequest::Unmount);
    assert!(written.is_err() || synced.is_err() || unmounted.is_err());
    assert_eq!(guest.images().1.unwrap().code, "no-space");
}

#[test]
fn what_cannot_be_mounted_is_named_and_harms_nothing() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let mut volumes = two_volumes();
    volumes[1].1 = ByteBuf::from(vec![0; 8 << 20]);
    let guest = Guest::new(volumes, dir.path());
    assert_eq!(code(guest.mount(2, "/boot")), "internal");
    assert_eq!(code(guest.mount(2, "/")), "not-mountable");
    let reiserfs = MountRequest::Mount {
        volume: volume(1),
        fstype: "reiserfs".into(),
        at: "/".into(),
        from: "/".into(),
        read_only: false,
    };
    assert_eq!(code(guest.ask(reiserfs)), "no-filesystem-driver");
    guest.mount(1, "/").unwrap();
    assert_eq!(code(guest.mount(2, "/nowhere")), "no-mount-point");
    assert_eq!(guest.shell("echo still"), "still\n");
    guest.ask(MountRequest::Unmount).unwrap();
    fsck(&guest.images().0[0].1);
}

#[test]
fn a_read_only_mount_changes_no_byte() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = Guest::new(two_volumes(), dir.path());
    let read_only = MountRequest::Mount {
        volume: volume(1),
        fstype: "ext4".into(),
        at: "/".into(),
        from: "/".into(),
        read_only: true,
    };
    guest.ask(read_only).unwrap();
    assert_eq!(guest.read("/etc/motd").unwrap(), b"old\n");
    assert!(guest.write("/etc/motd", Some(b"old\n"), b"x").is_err());
    guest.ask(MountRequest::Unmount).unwrap();
    assert!(guest.images().0[0].1 == two_volumes()[0].1);
}

#[test]
fn a_filesystem_that_asks_for_a_panic_does_not_get_it() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let mut volumes = two_volumes();
    volumes[0].1 = tuned(&volumes[0].1, &["-e", "panic"]);
    let guest = Guest::new(volumes, dir.path());
    guest.mount(1, "/").unwrap();
    let mounts = guest.shell("cat /proc/self/mountinfo");
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    assert!(root.unwrap().contains("errors=remount-ro"), "{mounts}");
    guest.finish();
}

fn tuned(image: &[u8], options: &[&str]) -> ByteBuf {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, image).unwrap();
    let tuned = std::process::Command::new("tune2fs")
        .args(options)
        .arg(&path)
        .output();
    assert!(tuned.unwrap().status.success());
    ByteBuf::from(std::fs::read(path).unwrap())
}

#[test]
fn a_btrfs_is_mounted_once_and_its_clone_refused() {
    if !is_root() || guestfix::host::probe::driver("btrfs") != Driver::Loaded {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let image = files.path().join("image");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(112 << 20)
        .unwrap();
    let made = std::process::Command::new("mkfs.btrfs")
        .arg("-q")
        .arg(&image)
        .status();
    if !made.is_ok_and(|made| made.success()) {
        return;
    }
    let image = ByteBuf::from(std::fs::read(image).unwrap());
    let (dir, _lock) = scratch();
    let volumes = vec![(volume(1), image.clone()), (volume(2), image)];
    let guest = Guest::new(volumes, dir.path());
    let mount = |number: u32, at: &str| {
        guest.ask(MountRequest::Mount {
            volume: volume(number),
            fstype: "btrfs".into(),
            at: at.into(),
            from: "/".into(),
            read_only: false,
        })
    };
    mount(1, "/").unwrap();
    guest.write("/clone/x", None, b"kept").unwrap();
    assert_eq!(code(mount(2, "/clone")), "btrfs-mounted");
    // The same volume in a second place is the same mount.
    mount(1, "/clone").unwrap();
    assert_eq!(guest.read("/clone/clone/x").unwrap(), b"kept");
    guest.ask(MountRequest::Unmount).unwrap();
    mount(1, "/").unwrap();
    assert_eq!(guest.read("/clone/x").unwrap(), b"kept");
    guest.ask(MountRequest::Unmount).unwrap();
}
