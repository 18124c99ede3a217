// SPDX-License-Identifier: Apache-2.0
//! Roots on mirrors and in encrypted volumes, there and back; and what the kernel makes of what was
//! written through the library.

use super::volumes::{disks, fixture, sums};
use guestfix::disk::{Raw, Storage};
use guestfix::volume::{self, Assembled, Key, Opening};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tests::case::concern;
use tests::cli::Cli;
use tests::digest::sha256_of_file;
use tests::disk::partition;
use tests::small::{Filesystem, Small};

/// What the disks hold, opened for writing.
fn assembled(disks: &[&Path]) -> Assembled {
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
    let before = sha256_of_file(&locked);
    let report = Cli::new("convert", &[&small.path, &locked], &state)
        .run()
        .expect(0);
    assert_eq!(report["readiness"], "ReadyWithWarnings");
    assert!(concern(&report, "volume-encrypted").contains("--key disk1=file:"));
    assert_eq!(sha256_of_file(&locked), before);
}

/// Random writes through the library, read back by the kernel in a machine of its own.
#[test]
#[ignore = "guestfish takes minutes"]
fn what_was_written_through_the_library_is_what_the_kernel_reads() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["md", "lvm-a", "lvm-b", "luks1", "luks2", "luks2-4k"];
    let images = names.map(|name| fixture(name, dir.path()));
    let mut seed = u64::from(std::process::id()) << 20 | 0x9e37_79b9;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let all = assembled(&paths);
    let made = all
        .volumes
        .iter()
        .filter(|volume| volume.stack.made_by.is_some());
    let mut want = Vec::new();
    for volume in made {
        for _ in 0..40 {
            let len = 1 + random(150_000.min(volume.len));
            let at = random(volume.len - len + 1);
            let bytes: Vec<u8> = (0..len).map(|_| random(256) as u8).collect();
            volume.storage.write_at(&bytes, at).unwrap();
        }
        let copy = dir.path().join("copy");
        let mut bytes = vec![0; usize::try_from(volume.len).unwrap()];
        volume.storage.read_at(&mut bytes, 0).unwrap();
        std::fs::write(&copy, bytes).unwrap();
        want.push((volume.name.clone(), sha256_of_file(&copy)));
    }
    assert!(all.unopened.is_empty());
    drop(all);
    let said = kernel(&images);
    for (name, sum) in want {
        let device = match name.strip_prefix("md") {
            Some(rest) => format!("md {}", rest.trim_start_matches('-')),
            None if name.starts_with("luks-") => "luks".to_owned(),
            None => format!("lv {name}"),
        };
        let line = said.lines().find(|line| line.contains(&sum));
        let line = line.unwrap_or_else(|| panic!("{name} {sum}: {said}"));
        assert!(line.contains(&device), "{name}: {line}");
    }
    let checked = said
        .lines()
        .filter(|line| line.starts_with("MISMATCHES"))
        .count();
    assert_eq!(checked, 15, "{said}");
    assert!(
        said.lines()
            .all(|line| !line.starts_with("MISMATCHES") || line.ends_with(" 0")),
        "{said}"
    );
}

/// What the kernel of libguestfs' appliance reads of the disks, a line for each volume; and how
/// many sectors of copies and parity it finds to disagree.
fn kernel(images: &[PathBuf]) -> String {
    let script = r#"
        mdadm --assemble --scan --no-degraded >/dev/null 2>&1
        for md in /dev/md1[0-9][0-9] /dev/md/* /dev/md[0-9]*; do
            [ -b "$md" ] || continue
            real=$(readlink -f "$md"); n=${real##*/}
            case " $seen " in *" $n "*) continue;; esac; seen="$seen $n"
            name=$(mdadm --detail --export $real | sed -n 's/^MD_NAME=.*://p'); [ "$name" ] || name=${n#md}
            echo "SUM md $name $(sha256sum < $real)"
            if [ -e /sys/block/$n/md/sync_action ]; then
                echo check > /sys/block/$n/md/sync_action
                while [ "$(cat /sys/block/$n/md/sync_action)" != idle ]; do sleep 0.2; done
                echo "MISMATCHES $name $(cat /sys/block/$n/md/mismatch_cnt)"
            fi
        done
        vgchange -ay >/dev/null 2>&1
        for lv in /dev/vg-0/*; do echo "SUM lv ${lv#/dev/} $(sha256sum < $lv)"; done
        for disk in d e f; do
            printf secret | cryptsetup open /dev/sd$disk luks$disk - && echo "SUM luks $(sha256sum < /dev/mapper/luks$disk)"
        done
        true
    "#;
    let adds: String = images
        .iter()
        .map(|i| format!("add {} format:raw\n", i.display()))
        .collect();
    let coded: String = script
        .bytes()
        .map(|byte| format!("\\\\{byte:03o}"))
        .collect();
    let run = format!("{adds}run\ndebug sh \"printf '{coded}' | sh 2>&1\"\n");
    // Direct, so that no libvirt is asked; emulated, so that no KVM is.
    let out = std::process::Command::new("env")
        .args([
            "LIBGUESTFS_BACKEND=direct",
            "LIBGUESTFS_BACKEND_SETTINGS=force_tcg",
        ])
        .args(["sh", "-c", "printf '%s' \"$1\" | guestfish", "sh", &run])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
    said
}
