// SPDX-License-Identifier: Apache-2.0
//! What the guest's kernel reads of its volumes, guestfix reads too.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guestfix::digest::sha256_hex;
use guestfix::disk::Raw;
use guestfix::fs::ext4::Ext4;
use guestfix::fs::{FileType, GuestPath, Tree};
use guestfix::inspect::{GuestDisk, assembled, layouts};
use guestfix::volume::{Assembled, Key, Opening};

use crate::row::Row;

/// What is compared: the programs, the kernels and what boots them.
const BELOW: [&str; 2] = ["boot", "usr/bin"];

/// The command that prints one digest of all files below, each with its name.
pub fn question() -> String {
    let below = BELOW.join(" ");
    format!(
        "cd /; find {below} -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    )
}

/// What that has to print first.
pub fn answer(row: &Row, disks: &[PathBuf]) -> String {
    let all = volumes(row, disks);
    let mut mounts = row.mounts.iter();
    let (_, root) = mounts.next().unwrap();
    let mut tree = Tree::new(Box::new(filesystem(&all, root)));
    for (point, source) in mounts {
        tree.mount(GuestPath::new(point), Box::new(filesystem(&all, source)));
    }
    let mut files = Vec::new();
    for dir in BELOW {
        walk(&tree, dir, &mut files);
    }
    files.sort();
    let text = files.iter().fold(String::new(), |mut text, path| {
        let bytes = tree.read_up_to(&GuestPath::new(path), 1 << 30).unwrap();
        let _ = writeln!(text, "{}  {path}", sha256_hex(&bytes.unwrap()));
        text
    });
    sha256_hex(text.as_bytes())
}

fn walk(tree: &Tree, dir: &str, files: &mut Vec<String>) {
    for name in tree.list(&GuestPath::new(dir)).unwrap() {
        let path = format!("{dir}/{}", String::from_utf8(name).unwrap());
        match tree
            .lstat(&GuestPath::new(&path))
            .unwrap()
            .unwrap()
            .file_type
        {
            FileType::File => files.push(path),
            FileType::Dir => walk(tree, &path, files),
            FileType::Symlink | FileType::Special => {}
        }
    }
}

fn volumes(row: &Row, disks: &[PathBuf]) -> Assembled {
    let disk = |(index, path): (usize, &PathBuf)| GuestDisk {
        name: format!("disk{index}"),
        path: path.display().to_string(),
        sector_size: 512,
        storage: Arc::new(Raw::open(Path::new(path), false).unwrap()),
    };
    let disks: Vec<GuestDisk> = disks.iter().enumerate().map(disk).collect();
    let key = row.passphrase.map(|secret| Key {
        volume: "all".to_owned(),
        secret: secret.as_bytes().to_vec().into(),
    });
    let opening = Opening::new(key.into_iter().collect(), false);
    assembled(&layouts(&disks).unwrap(), &opening).unwrap()
}

/// The filesystem on the device that a row names: a number is a partition of the first disk.
fn filesystem(all: &Assembled, source: &str) -> Ext4 {
    let part = format!("disk0p{source}");
    let mut volumes = all.volumes.iter();
    let found = volumes.find(|volume| {
        volume.name == part || volume.stack.devices.iter().any(|device| device == source)
    });
    let found = found.unwrap_or_else(|| panic!("no {source} in {all:?}"));
    Ext4::load(Arc::clone(&found.storage)).unwrap()
}
