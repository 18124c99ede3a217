// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]
use super::*;
use crate::disk::Storage;
use crate::volume::sample::{Bytes, assembled, fixture, pattern, whole};
use crate::volume::{Assembled, Key};

/// The bytes of each volume that the images keep.
const KEPT: usize = 32 << 10;

fn keyed(volume: &str, secret: &[u8]) -> Opening {
    let key = Key {
        volume: volume.to_owned(),
        secret: secret.to_vec().into(),
    };
    Opening::new(vec![key], false)
}

fn disk(name: &str) -> Arc<Bytes> {
    Arc::new(Bytes::new(fixture(name)))
}

fn made(disk: &Arc<Bytes>, opening: &Opening) -> Assembled {
    assembled(&[Arc::clone(disk) as Arc<dyn Storage>], opening).unwrap()
}

fn opened(all: &Assembled) -> &Volume {
    let mut volumes = all.volumes.iter();
    let found = volumes.find(|volume| volume.stack.made_by.is_some());
    found.unwrap_or_else(|| panic!("{:?}", all.unopened))
}

#[test]
fn volumes_of_both_versions_read_as_the_kernel_wrote_them() {
    let cases = [
        ("luks1", "one", "luks1"),
        ("luks2", "two", "luks2"),
        ("luks2-4k", "four", "luks2"),
    ];
    for (image, word, made_by) in cases {
        for secret in [&b"secret"[..], b"secret\n", b"secret\r\n"] {
            let all = made(&disk(image), &keyed("all", secret));
            let volume = opened(&all);
            assert_eq!(volume.stack.made_by.as_deref(), Some(made_by));
            assert_eq!(volume.stack.made_of, ["disk0"]);
            let mut have = vec![0; KEPT];
            volume.storage.read_at(&mut have, 0).unwrap();
            assert!(have == pattern(4096, word, KEPT), "{image}");
        }
    }
}

#[test]
fn what_is_written_is_what_the_kernel_would_have_written() {
    for (image, word) in [("luks1", "one"), ("luks2", "two"), ("luks2-4k", "four")] {
        let disk = disk(image);
        let before = disk.to_vec();
        let all = made(&disk, &keyed("all", b"secret"));
        let storage = &opened(&all).storage;
        storage.write_at(&vec![0xaa; 20_000], 700).unwrap();
        assert!(disk.to_vec() != before);
        let want = pattern(4096, word, KEPT);
        for (at, len) in [(700, 13), (713, 9_000), (9_713, 10_987)] {
            storage.write_at(&want[at..at + len], at as u64).unwrap();
        }
        assert!(disk.to_vec() == before, "{image}: the same ciphertext");
        let error = storage.write_at(&[0], storage.len()).unwrap_err();
        assert_eq!(error.code, "out-of-range");
    }
}

#[test]
fn keys_are_chosen_by_name_and_a_shut_volume_says_why() {
    let disk = disk("luks2");
    let shut = |opening: &Opening| made(&disk, opening).unopened.remove(0);
    let none = shut(&Opening::default());
    assert_eq!(
        (none.error.code.as_str(), none.error.disk.as_deref()),
        ("encrypted", Some("disk0"))
    );
    assert!(none.error.hint.unwrap().contains("--key disk0=file:"));
    let uuid = none.name.strip_prefix("luks-").unwrap().to_owned();
    assert_eq!(shut(&keyed("all", b"Secret")).error.code, "wrong-key");
    for name in ["disk0", &uuid, &none.name] {
        assert_eq!(
            opened(&made(&disk, &keyed(name, b"secret"))).name,
            none.name
        );
    }
    let error = assembled(&[disk as Arc<dyn Storage>], &keyed("disk7", b"secret")).unwrap_err();
    assert_eq!(error.code, "no-such-volume");
}

#[test]
fn a_damaged_header_is_replaced_by_its_copy_and_two_by_an_error() {
    let disk = disk("luks2");
    disk.write_at(&[0xff], 5000).unwrap();
    opened(&made(&disk, &keyed("all", b"secret")));
    disk.write_at(&[0xff], 0x4000 + 5000).unwrap();
    let all = made(&disk, &keyed("all", b"secret"));
    assert_eq!(all.unopened[0].error.code, "luks-header");
}

#[test]
fn memory_and_rounds_are_bounded() {
    let argon = kdf::Argon {
        id: true,
        passes: 1,
        memory: (2 << 20) + 1,
        lanes: 1,
    };
    assert_eq!(
        argon.derive(b"x", &[0; 32], 32).unwrap_err().code,
        "luks-memory"
    );
    let error = kdf::Hash::Sha256
        .pbkdf2(b"x", &[0; 32], u32::MAX, 32)
        .unwrap_err();
    assert_eq!(error.code, "luks-header");
    assert_eq!(
        SectorCipher::new("serpent-xts-plain64", &[0; 64], 512)
            .err()
            .unwrap()
            .code,
        "luks-cipher"
    );
}

/// Known answers of cipher modes that the images do not use: what QEMU's own LUKS writes with
/// `cipher-mode=cbc,ivgen-alg=essiv` is what these must read, so the inverse is asked for here.
#[test]
fn every_mode_is_its_own_inverse_and_depends_on_the_sector() {
    let names = [
        "aes-xts-plain",
        "aes-xts-plain64",
        "aes-cbc-plain",
        "aes-cbc-plain64",
        "aes-cbc-essiv:sha256",
    ];
    for name in names {
        for len in [32, 64] {
            let key = vec![7; if name.contains("cbc") { len / 2 } else { len }];
            let cipher = SectorCipher::new(name, &key, 512).unwrap();
            let plain = vec![0x5a; 1024];
            let mut coded = plain.clone();
            cipher.encrypt(&mut coded, 9);
            assert!(coded[..512] != coded[512..], "{name}");
            cipher.decrypt(&mut coded, 9);
            assert!(coded == plain, "{name}");
        }
    }
}

#[test]
fn a_volume_group_lies_half_in_an_encrypted_volume() {
    let mut bytes = fixture("luks1");
    let start = bytes.len() - (2 << 20);
    bytes.resize(start + (40 << 20), 0);
    let one: Arc<dyn Storage> = Bytes::shared(bytes);
    let two: Arc<dyn Storage> = Bytes::shared(fixture("lvm-b"));
    let disks = [one.clone(), two];
    let opening = keyed("all", b"secret");
    let all = assembled(&disks, &opening).unwrap();
    opened(&all).storage.write_at(&fixture("lvm-a"), 0).unwrap();

    for disks in [disks.clone(), [disks[1].clone(), one]] {
        let all = assembled(&disks, &opening).unwrap();
        for (name, mib) in [("lin", 21), ("str", 8), ("mir", 4)] {
            let volume = all
                .volumes
                .iter()
                .find(|v| v.name == format!("vg-0/{name}"))
                .unwrap();
            assert!(
                whole(volume.storage.as_ref()) == pattern(512, name, mib << 20),
                "{name}"
            );
            assert!(
                volume
                    .stack
                    .made_of
                    .iter()
                    .any(|part| part.starts_with("luks-"))
            );
        }
    }
    let shut = assembled(&disks, &Opening::default()).unwrap();
    assert_eq!(
        shut.unopened.len(),
        5,
        "the encrypted one, and the volumes on it"
    );
}

#[test]
fn no_mutation_of_a_header_panics() {
    let clean = fixture("luks1");
    let disk = Arc::new(Bytes::new(clean));
    for at in (0..592).step_by(7) {
        let mut old = [0];
        disk.read_at(&mut old, at).unwrap();
        disk.write_at(&[old[0] ^ 0x41], at).unwrap();
        // Numbers of rounds that take minutes are bounded elsewhere.
        if !matches!(at, 164..168 | 212..216) {
            let _ = assembled(
                &[disk.clone() as Arc<dyn Storage>],
                &keyed("all", b"secret"),
            );
        }
        disk.write_at(&old, at).unwrap();
    }
}
