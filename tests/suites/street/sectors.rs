// SPDX-License-Identifier: Apache-2.0
//! Block devices, and disks whose sectors are 4096 bytes long, there and back.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::small::{Filesystem, Small};
use tests::tool::{self, LoopDevice};

const MIB: u64 = 1 << 20;

/// A guest's root as one ext4 of blocks that any of these sectors are good for.
fn root(dir: &Path) -> PathBuf {
    let small = Small::on(Filesystem::Ext4).build(dir, |_| {});
    let path = dir.join("root.img");
    File::create(&path).unwrap().set_len(96 * MIB).unwrap();
    let mounted = small.mounted(dir);
    let args = ["-q", "-F", "-b", "4096", "-E", "nodiscard", "-d"];
    let tree = [mounted.path().to_str().unwrap(), path.to_str().unwrap()];
    tool::run("mkfs.ext4", &[&args[..], &tree[..]].concat());
    path
}

fn there_and_back(sector: u32) {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let disk = dir.path().join("disk.img");
    File::create(&disk).unwrap().set_len(100 * MIB).unwrap();
    let device = LoopDevice::with_sectors(&disk, sector);
    let per_mib = MIB / u64::from(sector);
    let table = format!(
        "label: gpt\nstart={per_mib}, size={}, type=L\n",
        96 * per_mib
    );
    let path = device.path().to_str().unwrap();
    tool::run_with_input(
        "sfdisk",
        &["-q", "--no-reread", "--no-tell-kernel", path],
        &table,
    );
    {
        let mut bytes = Vec::new();
        File::open(&root).unwrap().read_to_end(&mut bytes).unwrap();
        let mut file = File::options().write(true).open(device.path()).unwrap();
        file.seek(SeekFrom::Start(MIB)).unwrap();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
    }

    let state = dir.path().join("state");
    let verb = |verb: &str, disk: &Path| Cli::new(verb, &[disk], &state);
    let before = content_digest(device.path());
    let facts: Value = verb("inspect", device.path()).run().expect(0);
    assert_eq!(facts["root"], "disk0p1", "{facts}");
    let report = verb("convert", device.path()).run().expect(0);
    assert_eq!(report["committed"], true, "{report}");
    let after = content_digest(device.path());
    assert_ne!(after, before);
    verb("verify", device.path()).run().expect(0);
    assert_eq!(content_digest(device.path()), after, "verify wrote");

    let undo = verb("undo", device.path()).run().expect(0);
    assert_eq!(undo["remaining"], 0);
    assert_eq!(
        content_digest(device.path()),
        before,
        "undo is exact to the last bit"
    );
    drop(device);
    // As a file, the table alone tells how long the sectors are.
    let facts: Value = verb("inspect", &disk).run().expect(0);
    assert_eq!(facts["root"], "disk0p1", "{facts}");
}

#[test]
fn a_guest_on_a_block_device_goes_there_and_back() {
    there_and_back(512);
}

#[test]
fn a_guest_on_sectors_of_4096_bytes_goes_there_and_back() {
    there_and_back(4096);
}
