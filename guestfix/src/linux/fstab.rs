// SPDX-License-Identifier: Apache-2.0
//! `/etc/fstab`: device names that will vanish are replaced, entries that cannot exist on KubeVirt
//! are disabled. Everything else keeps every byte (format: fstab(5)).

use std::ops::Range;

use super::devices::{self, Device};
use super::text::{self, Edits, Line};
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// The file.
pub const PATH: &str = "/etc/fstab";
const TOPIC: &str = "fstab";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// First field, escapes resolved.
    pub device: String,
    /// Where the first field stands.
    pub device_at: Range<usize>,
    /// Mount point, escapes resolved.
    pub mount: String,
    /// Filesystem type.
    pub kind: String,
    /// Mount options.
    pub options: Vec<String>,
    /// Where the line begins.
    pub line: usize,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Its entries in order.
    pub entries: Vec<Entry>,
    /// Lines that are neither entry, comment nor blank, as text.
    pub odd: Vec<String>,
}

impl Entry {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    /// A swap area.
    pub fn is_swap(&self) -> bool {
        self.kind == "swap"
    }

    /// It is mounted from a volume when the guest starts.
    pub fn is_mounted_volume(&self) -> bool {
        is_block_name(&self.device)
            && self.mount.starts_with('/')
            && !self.is_swap()
            && !self.has("noauto")
            && !is_removable(&self.device)
    }

    /// The guest does not reach its normal state without it.
    pub fn is_needed(&self) -> bool {
        is_block_name(&self.device)
            && !self.has("noauto")
            && !self.has("nofail")
            && !self.has("_netdev")
    }
}

/// Reads a table.
pub fn parse(bytes: &[u8]) -> Table {
    let mut table = Table::default();
    for line in text::lines(bytes) {
        match entry(&line) {
            Some(entry) => table.entries.push(entry),
            None if is_blank_or_comment(line.bytes) => {}
            None => table.odd.push(line.text()),
        }
    }
    table
}

/// Stable device names; impossible entries disabled.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(bytes) = facts.sources.bytes(PATH) else {
        return out;
    };
    if text::is_binary(bytes) {
        out.concerns.push(unparsable(PATH));
        return out;
    }
    let table = parse(bytes);
    let mut edits = Edits::new();
    for entry in &table.entries {
        match impossible(entry) {
            Some(why) => disable(&mut edits, entry.line, why, text::line_end(bytes)),
            None => rename(facts, entry, &mut edits, &mut out.concerns),
        }
    }
    for line in table.odd {
        out.concerns.push(Concern::information(
            "odd-line",
            format!("{PATH}: not understood and left as it is: {line}"),
        ));
    }
    out.changes.extend(Change::edit(
        TOPIC,
        "device names of the old machine do not exist on KubeVirt",
        &facts.sources,
        PATH,
        edits.apply(bytes),
    ));
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[
    Check {
        name: "fstab-devices",
        what: "every filesystem that /etc/fstab needs for booting is on the disks under a stable name",
        severity: Severity::Required,
        run: |facts, _| check(facts, |entry| !entry.is_swap()),
    },
    Check {
        name: "fstab-swap",
        what: "every swap area of /etc/fstab is on the disks under a stable name",
        severity: Severity::Advised,
        run: |facts, _| check(facts, Entry::is_swap),
    },
];

fn check(facts: &Facts, about: impl Fn(&Entry) -> bool) -> Finding {
    let Some(bytes) = facts.sources.bytes(PATH) else {
        return Finding::skip("there is no /etc/fstab");
    };
    let table = parse(bytes);
    let asked: Vec<_> = table
        .entries
        .iter()
        .filter(|e| e.is_needed() && about(e))
        .collect();
    let faults: Vec<String> = asked
        .iter()
        .filter_map(|e| match impossible(e) {
            Some(why) => Some(format!("{}: {why}", e.device)),
            None => devices::fault(facts, &e.device),
        })
        .collect();
    match (asked.len(), faults.is_empty()) {
        (0, _) => Finding::skip("no such entry"),
        (n, true) => Finding::pass(format!("{n} entries, all stable")),
        _ => Finding::fail(faults.join("; ")),
    }
}

/// The concern about a file that is no text.
pub(super) fn unparsable(path: &str) -> Concern {
    Concern::warning(
        "unparsable-file",
        format!("{path} is not a text file that guestfix understands and was left alone"),
    )
}

/// Disables the line at `at` by a comment above it that says who and why.
pub(super) fn disable(edits: &mut Edits, at: usize, why: &str, line_end: &str) {
    edits.insert(at, format!("# guestfix: disabled, {why}{line_end}#"));
}

fn rename(facts: &Facts, entry: &Entry, edits: &mut Edits, concerns: &mut Vec<Concern>) {
    let (device, mount) = (&entry.device, &entry.mount);
    match devices::judge(facts, device) {
        Device::Stable => shared_uuid(facts, entry, concerns),
        Device::Rename(to) => {
            if to.clone {
                concerns.push(clone_concern(&to.volume, &to.name));
            }
            edits.replace(entry.device_at.clone(), to.name);
        }
        Device::Unknown if is_removable(device) => {}
        Device::Unknown => concerns.push(Concern::warning(
            "unknown-device",
            format!("{PATH} mounts {device} on {mount}, but no volume of the disks answers to that name; correct the entry or give the missing disk"),
        )),
    }
}

pub(super) fn clone_concern(volume: &str, name: &str) -> Concern {
    Concern::warning(
        "duplicate-uuid",
        format!("another volume has the same UUID as {volume}; it is named by {name} instead"),
    )
}

fn shared_uuid(facts: &Facts, entry: &Entry, concerns: &mut Vec<Concern>) {
    let uuid = entry
        .device
        .strip_prefix("UUID=")
        .map(|uuid| uuid.trim_matches('"'));
    if uuid.is_some_and(|uuid| devices::shared(facts, uuid)) {
        concerns.push(Concern::warning(
            "duplicate-uuid",
            format!("{} in {PATH} names more than one volume; which one is mounted on {} is left to chance", entry.device, entry.mount),
        ));
    }
}

/// Why this entry cannot work on KubeVirt; `None` when it can.
fn impossible(entry: &Entry) -> Option<&'static str> {
    let optional = entry.has("noauto") || entry.has("nofail");
    if entry.kind.contains("vmhgfs")
        || entry.device.starts_with(".host:")
        || entry.device.starts_with("vmhgfs-fuse")
    {
        return Some("VMware shared folders do not exist on KubeVirt");
    }
    if is_floppy(&entry.device) {
        return Some("there is no floppy drive on KubeVirt");
    }
    if is_cdrom(&entry.device) && !optional {
        return Some("the old machine's CD drive is not there on KubeVirt");
    }
    None
}

fn is_cdrom(device: &str) -> bool {
    let rest = ["/dev/cdrom", "/dev/dvd", "/dev/cdrw", "/dev/sr", "/dev/scd"]
        .iter()
        .find_map(|prefix| device.strip_prefix(prefix));
    rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

fn is_floppy(device: &str) -> bool {
    let rest = ["/dev/fd", "/dev/floppy"]
        .iter()
        .find_map(|prefix| device.strip_prefix(prefix));
    // "/dev/fd0u1440" and "/dev/floppy/0" too.
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn is_removable(device: &str) -> bool {
    is_cdrom(device) || is_floppy(device)
}

fn is_block_name(device: &str) -> bool {
    ["/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="]
        .iter()
        .any(|prefix| device.starts_with(prefix))
}

fn is_blank_or_comment(line: &[u8]) -> bool {
    let first = line.iter().find(|b| !matches!(b, b' ' | b'\t'));
    matches!(first, None | Some(b'#'))
}

fn entry(line: &Line<'_>) -> Option<Entry> {
    if is_blank_or_comment(line.bytes) {
        return None;
    }
    let words = text::words(line.bytes, line.start);
    let (device_at, device) = words.first()?;
    let field = |n: usize| words.get(n).map(|(_, word)| unescape(word));
    Some(Entry {
        device: unescape(device),
        device_at: device_at.clone(),
        mount: field(1)?,
        kind: field(2)?,
        options: field(3)
            .unwrap_or_default()
            .split(',')
            .map(str::to_owned)
            .collect(),
        line: line.start,
    })
}

/// Resolves `\040` and its like (fstab(5), getmntent(3)).
fn unescape(word: &[u8]) -> String {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| *first == b'\\');
        match digits.and_then(octal) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
#[path = "fstab_tests.rs"]
mod tests;
