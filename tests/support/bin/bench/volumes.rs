// SPDX-License-Identifier: Apache-2.0
//! How fast bytes come through assembled volumes, beside what other programs read and decrypt.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfix::disk::{Raw, Storage};
use guestfix::inspect::{GuestDisk, assembled, layouts};
use guestfix::volume::{Key, Opening, Volume};
use tests::guest::Guest;
use tests::tool::peak_rss_mib;

const MIB: usize = 1 << 20;
/// Read from the start of a volume, bytes.
const SEQUENTIAL: usize = 1 << 30;
/// Reads at places all over a volume, and the bytes of each.
const RANDOM: (u64, usize) = (20_000, 4096);

/// The passphrase of every volume here, as QEMU is told it.
const SECRET: &str = "secret,id=key,data=guestfix";

/// Prints the table. What is read has been read before: the page cache holds it.
pub fn table() {
    println!("| what | sequential MB/s | random 4 KiB MB/s | peak RSS MiB |");
    println!("|---|---|---|---|");
    let lvm = Guest::get("bookworm-lvm");
    let luks = Guest::get("bookworm-luks-lvm");
    let root = "bookworm-vg/root";
    ours("the image as it is", lvm.path(), "disk0");
    ours("LVM", lvm.path(), root);
    ours("LUKS2 (aes-xts, 512 bit) and LVM", luks.path(), root);
    qemu_img(
        "the image as it is,",
        &["-f", "raw", lvm.path().to_str().unwrap()],
    );
    let dir = tempfile::tempdir().unwrap();
    let image = luks1(dir.path());
    ours("LUKS1 (aes-xts, 512 bit)", &image, "luks");
    let options = format!(
        "driver=luks,key-secret=key,file.filename={}",
        image.display()
    );
    decrypted(&options);
}

/// Reads a volume in a process of its own, whose memory can be told.
fn ours(what: &str, image: &Path, volume: &str) {
    let program = std::env::current_exe().unwrap();
    let child = Command::new(program)
        .args(["--volume", image.to_str().unwrap(), volume])
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    println!(
        "| {what} | {} |",
        String::from_utf8_lossy(&child.stdout).trim()
    );
}

/// The child: a line of the table.
pub fn child(image: &str, volume: &str) {
    let disk = GuestDisk {
        name: "disk0".to_owned(),
        path: image.to_owned(),
        sector_size: 512,
        storage: Arc::new(Raw::open(Path::new(image), false).unwrap()),
    };
    let secret = b"guestfix".to_vec().into();
    let key = Key {
        volume: "all".to_owned(),
        secret,
    };
    let layouts = layouts(std::slice::from_ref(&disk)).unwrap();
    let all = assembled(&layouts, &Opening::new(vec![key], false)).unwrap();
    let wanted = |one: &&Volume| match volume {
        "luks" => one.stack.made_by.as_deref() == Some("luks1"),
        name => one.name == name,
    };
    let storage = match volume {
        "disk0" => &disk.storage,
        _ => &all.volumes.iter().find(wanted).unwrap().storage,
    };
    sequential(storage.as_ref());
    let (first, second) = (sequential(storage.as_ref()), random(storage.as_ref()));
    println!(
        "{first:.0} | {second:.0} | {}",
        peak_rss_mib(std::process::id())
    );
}

fn sequential(storage: &dyn Storage) -> f64 {
    let mut part = vec![0; MIB];
    let len = SEQUENTIAL.min(storage.len() as usize / MIB * MIB);
    let start = Instant::now();
    for at in (0..len).step_by(MIB) {
        storage.read_at(&mut part, at as u64).unwrap();
    }
    rate(len, start.elapsed())
}

fn random(storage: &dyn Storage) -> f64 {
    let (count, size) = RANDOM;
    let mut part = vec![0; size];
    let pages = SEQUENTIAL.min(storage.len() as usize) as u64 / size as u64;
    let start = Instant::now();
    for n in 0..count {
        // Knuth's multiplicative hash: all over, and the same each time.
        let page = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % pages;
        storage.read_at(&mut part, page * size as u64).unwrap();
    }
    rate(count as usize * size, start.elapsed())
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

/// A LUKS1 volume as QEMU makes it, which both read.
fn luks1(dir: &Path) -> PathBuf {
    let image = dir.join("luks1.img");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "luks", "--object", SECRET])
        .args([
            "-o",
            "key-secret=key,iter-time=10",
            image.to_str().unwrap(),
            "1G",
        ])
        .status();
    assert!(made.unwrap().success());
    let filled = Command::new("qemu-img")
        .args(["bench", "-w", "-c", "1000", "-s", "1M", "-f", "raw"])
        .args(["-o", "16M", image.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(filled.status.success(), "{filled:?}");
    image
}

/// QEMU's own reader, one request at a time.
fn qemu_img(what: &str, image: &[&str]) {
    let time = |count: usize, size: usize, step: usize| {
        let start = Instant::now();
        let ran = Command::new("qemu-img")
            .args(["bench", "-d", "1", "-c", &count.to_string()])
            .args(["-s", &size.to_string(), "-S", &step.to_string()])
            .args(image)
            .output()
            .unwrap();
        let seconds = start.elapsed();
        assert!(ran.status.success(), "{ran:?}");
        // Deriving the key comes first and is not reading.
        let said = String::from_utf8_lossy(&ran.stdout);
        let told = said.split_whitespace().rev().nth(1);
        let told = told.and_then(|seconds| seconds.parse().ok());
        rate(count * size, told.map_or(seconds, Duration::from_secs_f64))
    };
    time(SEQUENTIAL / MIB, MIB, MIB);
    let first = time(SEQUENTIAL / MIB, MIB, MIB);
    let second = time(RANDOM.0 as usize, RANDOM.1, 13 * RANDOM.1);
    println!("| {what} by `qemu-img bench` | {first:.0} | {second:.0} | |");
}

/// QEMU's own reader of LUKS, which its bench cannot give a key: all of it, into nothing.
fn decrypted(image: &str) {
    let start = Instant::now();
    let ran = Command::new("qemu-img")
        .args(["convert", "-n", "--object", SECRET, "--image-opts", image])
        .args(["--target-image-opts", "driver=null-co,size=1G"])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let speed = rate(SEQUENTIAL, start.elapsed());
    println!("| LUKS1, by `qemu-img convert` into nothing | {speed:.0} | | |");
}
