// SPDX-License-Identifier: Apache-2.0
//! Roots on mirrors and in encrypted volumes, there and back.

use super::volumes::{disks, fixture, sums};
use guestfix::disk::{Raw, Storage};
use guestfix::volume::{self, Assembled, Key, Opening};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tests::case::concern;
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::disk::partition;
use tests::small::{Filesystem, Small};

/// What the disks hold, opened for writing.
pub(crate) fn assembled(disks: &[&Path]) -> Assembled {
    let mut volumes = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        let raw: Arc<dyn Storage> = Arc::new(Raw::open(disk, true).unwrap());
        volumes.extend(volume::read_layout(index, raw, 512).unwrap().volumes);
    }
    let key = Key {
        volume: "all".to_owned(),
        secret: b"secret".to_vec().into(),
    };
    let has_luks = volumes.iter().any(|volume| volume.content.kind == "luks");
    let keys = if has_luks { vec![key] } else { Vec::new() };
    volume::assemble(volumes, &Opening::new(keys, false)).unwrap()
}

/// Writes a file's bytes from `offset` on to the start of a volume.
fn pour(from: &Path, offset: u64, to: &dyn Storage) {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(from).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let count = file.read(&mut buf).unwrap();
        let room = usize::try_from(to.len() - at).unwrap();
        let count = count.min(room);
        if count == 0 {
            return;
        }
        to.write_at(&buf[..count], at).unwrap();
        at += count as u64;
    }
}

#[test]
fn a_root_half_in_an_encrypted_volume_goes_there_and_back_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = disks(Filesystem::Ext4, dir.path());
    let locked = fixture("luks2", dir.path());
    let file = File::options().write(true).open(&locked).unwrap();
    file.set_len((1 << 20) + std::fs::metadata(&b).unwrap().len())
        .unwrap();
    let all = assembled(&[&locked]);
    let opened = all
        .volumes
        .iter()
        .find(|v| v.stack.made_by.is_some())
        .unwrap();
    pour(&b, 0, opened.storage.as_ref());
    let uuid = opened.name.strip_prefix("luks-").unwrap().to_owned();
    drop(all);

    let key = dir.path().join("key");
    std::fs::write(&key, "secret\n").unwrap();
    let key = format!("--key=all=file:{}", key.display());
    let state = dir.path().join("state");
    let verb = |verb: &str| Cli::new(verb, &[&a, &locked], &state);
    let before = sums(&[a.clone(), locked.clone()]);
    let error = verb("convert").run().expect(3);
    assert_eq!(error["code"], "encrypted", "{error}");
    assert_eq!(error["disk"], "disk1");
    let facts: Value = verb("inspect").arg(&key).run().expect(0);
    assert_eq!(facts["root"], "vg0/root");
    let mut all = facts["volumes"].as_array().unwrap().iter();
    let root = all.find(|v| v["name"] == "vg0/root").unwrap();
    let made_of = root["stack"]["made_of"].as_array().unwrap();
    assert!(
        made_of.contains(&Value::from(format!("luks-{uuid}"))),
        "{root}"
    );

    let report = verb("convert").arg(&key).run().expect(0);
    assert_eq!(report["committed"], true, "{report}");
    assert!(!report.to_string().contains("secret"));
    verb("verify").arg(&key).run().expect(0);
    // Undo moves bytes; it needs no key.
    verb("undo").run().expect(0);
    assert_eq!(sums(&[a, locked]), before);
}

#[test]
fn a_root_on_a_mirror_is_written_to_both_members() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |tree| {
        for file in ["etc/fstab", "boot/grub/grub.cfg"] {
            let path = tree.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, text.replace("/dev/sda1", "/dev/md0")).unwrap();
        }
    });
    let members = ["raid1-a", "raid1-b"].map(|name| fixture(name, dir.path()));
    let all = assembled(&[&members[0], &members[1]]);
    let array = all.volumes.iter().find(|v| v.name == "md0").unwrap();
    pour(
        &small.path,
        partition(&small.path, small.root).0,
        array.storage.as_ref(),
    );
    drop(all);
    let state = dir.path().join("state");
    let before = sums(&members);
    let data = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        bytes[1 << 20..bytes.len() - (1 << 20)].to_vec()
    };
    assert!(data(&members[0]) == data(&members[1]));

    let report = Cli::new("convert", &members, &state).run().expect(0);
    assert_eq!(report["committed"], true, "{report}");
    assert!(
        data(&members[0]) == data(&members[1]),
        "both members hold the same"
    );
    assert_ne!(sums(&members), before);
    let turned = [&members[1], &members[0]];
    let report = Cli::new("verify", &turned, &state).run().expect(0);
    assert_ne!(report["readiness"], "NotReady");
    Cli::new("undo", &members, &state).run().expect(0);
    assert_eq!(sums(&members), before);

    let error = Cli::new("convert", &[&members[0]], &state).run().expect(3);
    assert_eq!(error["code"], "raid-degraded", "{error}");
    assert_eq!(sums(&members), before);
}

#[test]
fn an_encrypted_volume_beside_the_root_is_a_warning_without_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |_| {});
    let locked = fixture("luks1", dir.path());
    let state = dir.path().join("state");
    let before = content_digest(&locked);
    let report = Cli::new("convert", &[&small.path, &locked], &state)
        .run()
        .expect(0);
    assert_eq!(report["readiness"], "ReadyWithWarnings");
    assert!(concern(&report, "volume-encrypted").contains("--key disk1=file:"));
    assert_eq!(content_digest(&locked), before);
}
