// SPDX-License-Identifier: Apache-2.0
//! What VMware's own installer put into the guest, by the installer's own database: one line a
//! record, `answer`, `file`, `directory`, `link`, and `remove_...` which takes one back.

use std::collections::BTreeSet;

use super::super::gather::Gatherer;
use super::super::text;
use crate::error::Result;
use crate::fs::{FileType, GuestPath, Tree};
use crate::inspect::facts::{Concern, Sources};

/// The database.
pub(super) const DATABASE: &str = "/etc/vmware-tools/locations";
/// Under which names the sources keep what of it can be removed.
const FILES: &str = "/etc/vmware-tools/locations files";
const DIRS: &str = "/etc/vmware-tools/locations directories";
/// An installation has some 3000 records.
const MAX_RECORDS: usize = 50_000;

/// What the database names, in no order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) files: BTreeSet<String>,
    pub(super) dirs: BTreeSet<String>,
}

/// Reads the database; records of other kinds are skipped.
pub(super) fn parse(bytes: &[u8]) -> Records {
    let mut records = Records::default();
    for line in text::lines(bytes).iter().take(MAX_RECORDS) {
        let Ok(line) = std::str::from_utf8(line.bytes) else {
            continue;
        };
        let Some((word, rest)) = line.split_once(' ') else {
            continue;
        };
        let path = rest.trim_end();
        match word {
            "file" => drop(records.files.insert(without_time(path).to_owned())),
            "link" => drop(records.files.insert(first_path(path).to_owned())),
            "directory" => drop(records.dirs.insert(path.to_owned())),
            "remove_file" | "remove_link" => drop(records.files.remove(path)),
            "remove_directory" => drop(records.dirs.remove(path)),
            _ => {}
        }
    }
    let absolute = |path: &String| path.starts_with('/') && !path.contains("/../");
    records.files.retain(absolute);
    records.dirs.retain(absolute);
    records
}

/// A file's record ends with the time at which it was written, perhaps.
fn without_time(path: &str) -> &str {
    match path.rsplit_once(' ') {
        Some((path, time)) if !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit()) => path,
        _ => path,
    }
}

/// A link's record names two paths.
fn first_path(paths: &str) -> &str {
    paths.split_once(" /").map_or(paths, |(first, _)| first)
}

/// Finds out which of the recorded files are there and may be removed.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<bool> {
    if !gather.file(DATABASE)? {
        return Ok(false);
    }
    let records = parse(gather.sources.bytes(DATABASE).unwrap_or_default());
    let tree = gather.tree();
    let mut files = Vec::new();
    let mut kept = 0_usize;
    for path in records.files {
        match place(tree, &path)? {
            Place::Theirs(FileType::Dir) | Place::Absent => {}
            Place::Theirs(_) => files.push(path),
            Place::NotTheirs => kept = kept.saturating_add(1),
        }
    }
    let mut dirs = Vec::new();
    for path in records.dirs {
        if matches!(place(tree, &path)?, Place::Theirs(FileType::Dir)) {
            dirs.push(path);
        }
    }
    // What lies in a directory goes before it; the database, which says what is left, goes last.
    dirs.sort_by(|a, b| b.cmp(a));
    files.retain(|path| path != DATABASE);
    files.push(DATABASE.to_owned());
    if kept > 0 {
        gather.concerns.push(Concern::information(
            "vmware-tools-records-left",
            format!("{kept} files that {DATABASE} names are left alone: kernel modules, and files that by their name or place may belong to others"),
        ));
    }
    gather.sources.dirs.insert(FILES.to_owned(), files);
    gather.sources.dirs.insert(DIRS.to_owned(), dirs);
    Ok(true)
}

/// The files and directories to be removed, in order.
pub(super) fn removable(sources: &Sources) -> (Vec<GuestPath>, Vec<GuestPath>) {
    let of = |key: &str| sources.dir(key).iter().map(GuestPath::new).collect();
    (of(FILES), of(DIRS))
}

enum Place {
    Absent,
    Theirs(FileType),
    NotTheirs,
}

fn place(tree: &Tree, path: &str) -> Result<Place> {
    let recorded = GuestPath::new(path);
    let real = match tree.resolve_parent(&recorded) {
        Ok(real) => real,
        Err(error) if error.code == "symlink-loop" => return Ok(Place::NotTheirs),
        Err(error) => return Err(error),
    };
    let Some(real) = real else {
        return Ok(Place::Absent);
    };
    let Some(meta) = tree.lstat(&real)? else {
        return Ok(Place::Absent);
    };
    if is_theirs(path) && same_place(&real, &recorded) {
        Ok(Place::Theirs(meta.file_type))
    } else {
        Ok(Place::NotTheirs)
    }
}

/// Where a link led elsewhere, what lies there is not what was recorded. A merged /usr is no
/// elsewhere.
fn same_place(real: &GuestPath, recorded: &GuestPath) -> bool {
    let merged = |path: &GuestPath| -> Vec<Vec<u8>> {
        let parts = path.components().map(<[u8]>::to_vec);
        parts.skip_while(|part| part == b"usr").collect()
    };
    merged(real) == merged(recorded)
}

/// The database also names files that the installer only changed. Modules stay: they drive devices
/// that do not come any more, and the indexes of modules name them.
fn is_theirs(path: &str) -> bool {
    const WORDS: [&str; 6] = [
        "vmware", "vmtools", "vmhgfs", "vmblock", "vgauth", "open-vm",
    ];
    if path.contains("/lib/modules/") || path.starts_with("/boot/") {
        return false;
    }
    let lower = path.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;

    const LOCATIONS: &str = "file /etc/vmware-tools/locations\nanswer BINDIR /usr/bin\ndirectory /usr/lib/vmware-tools\ndirectory /usr/lib/vmware-tools/sbin\nfile /usr/lib/vmware-tools/sbin/vmtoolsd 1407421873\nfile /usr/bin/vmware-toolbox-cmd 1407421873\nlink /usr/bin/vmware-user /usr/lib/vmware-tools/bin64/vmware-user\nfile /etc/vmware-tools/gone 1\nremove_file /etc/vmware-tools/gone\nfile /etc/fstab 1407421873\nfile /usr/lib/vmware-tools/etc/passwd 1\nfile /lib/modules/2.6.18/misc/vmware/vmxnet.ko 1\nfile /lib/vmware-tools/x y 1\nfile relative/vmware\nfile /usr/../vmware-x\n";

    fn guest() -> MemoryFs {
        MemoryFs::new()
            .file(DATABASE, LOCATIONS)
            .file("/usr/lib/vmware-tools/sbin/vmtoolsd", "")
            .file("/usr/bin/vmware-toolbox-cmd", "")
            .symlink(
                "/usr/bin/vmware-user",
                "../lib/vmware-tools/bin64/vmware-user",
            )
            .file("/etc/vmware-tools/gone", "")
            .file("/etc/fstab", "")
            .file("/etc/passwd", "")
            .symlink("/usr/lib/vmware-tools/etc", "/etc")
            .file("/usr/lib/modules/2.6.18/misc/vmware/vmxnet.ko", "")
            .symlink("/lib", "usr/lib")
            .file("/usr/lib/vmware-tools/x y", "")
    }

    #[test]
    fn records_are_read_and_taken_back() {
        let records = parse(LOCATIONS.replace('\n', "\r\n").as_bytes());
        assert!(
            records
                .files
                .contains("/usr/lib/vmware-tools/sbin/vmtoolsd")
        );
        assert!(records.files.contains("/usr/bin/vmware-user"));
        assert!(records.files.contains("/lib/vmware-tools/x y"));
        assert!(!records.files.contains("/etc/vmware-tools/gone"));
        assert!(records.files.iter().all(|path| path.starts_with('/')));
        assert_eq!(records.dirs.len(), 2);
        assert_eq!(
            parse(b"file\nfile \n\xff\xfe /x\ndirectory"),
            Records::default()
        );
    }

    #[test]
    fn nothing_is_removed_that_is_not_theirs_or_lies_behind_a_link() {
        let facts = fixture::gathered(guest());
        let (files, dirs) = removable(&facts.sources);
        let files: Vec<_> = files.iter().map(GuestPath::display).collect();
        assert_eq!(
            files,
            [
                "/lib/vmware-tools/x y",
                "/usr/bin/vmware-toolbox-cmd",
                "/usr/bin/vmware-user",
                "/usr/lib/vmware-tools/sbin/vmtoolsd",
                DATABASE,
            ]
        );
        let dirs: Vec<_> = dirs.iter().map(GuestPath::display).collect();
        assert_eq!(
            dirs,
            ["/usr/lib/vmware-tools/sbin", "/usr/lib/vmware-tools"]
        );
        let said = facts
            .concerns
            .iter()
            .find(|c| c.id == "vmware-tools-records-left");
        assert!(said.unwrap().message.starts_with("3 files"), "{said:?}");
    }
}
