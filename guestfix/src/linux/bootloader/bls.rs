// SPDX-License-Identifier: Apache-2.0
//! Entries of the Boot Loader Specification, type 1: a file per kernel in `loader/entries/`, read
//! by GRUB (`blscfg`) and by systemd-boot.
//!
//! Format: <https://uapi-group.org/specifications/specs/boot_loader_specification/>.

use std::cmp::Ordering;
use std::ops::Range;

use super::cmdline::{self, Run};
use super::version;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text::{self, Edits};

/// The directory below a loader's partition.
pub const DIR: &str = "loader/entries";

/// One entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// File name.
    pub name: String,
    /// `title`.
    pub title: String,
    /// `version`.
    pub version: String,
    /// `sort-key`.
    pub sort_key: String,
    /// `machine-id`.
    pub machine_id: String,
    /// `linux`, or `efi` or `uki` where that starts a kernel.
    pub image: String,
    /// `initrd`, each.
    pub initrd: Vec<String>,
    /// Where the values of `options` stand, each.
    pub options: Vec<Range<usize>>,
}

impl Fragment {
    /// What chooses it: the file's name without `.conf` and boot counter.
    pub fn id(&self) -> &str {
        let stem = self.name.strip_suffix(".conf").unwrap_or(&self.name);
        match stem.rsplit_once('+') {
            Some((id, count)) if is_count(count) => id,
            _ => stem,
        }
    }

    /// Boot counting has given it up: `+0` or `+0-N`.
    fn is_bad(&self) -> bool {
        let stem = self.name.strip_suffix(".conf").unwrap_or(&self.name);
        stem.rsplit_once('+')
            .is_some_and(|(_, count)| is_count(count) && (count == "0" || count.starts_with("0-")))
    }
}

fn is_count(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('-') {
        Some((left, done)) => digits(left) && digits(done),
        None => digits(text),
    }
}

/// Reads an entry; `None` when it starts no kernel, or is no text.
pub fn parse(name: &str, bytes: &[u8]) -> Option<Fragment> {
    if text::is_binary(bytes) {
        return None;
    }
    let mut out = Fragment {
        name: name.to_owned(),
        ..Fragment::default()
    };
    for line in text::lines(bytes) {
        let words = text::words(line.bytes, line.start);
        let Some(((_, key), (first, _))) = words.first().zip(words.get(1)) else {
            continue;
        };
        let at = first.start..words.last().map_or(first.end, |(at, _)| at.end);
        let value = String::from_utf8_lossy(bytes.get(at.clone()).unwrap_or_default());
        let value = value.into_owned();
        match *key {
            b"title" => out.title = value,
            b"version" => out.version = value,
            b"sort-key" => out.sort_key = value,
            b"machine-id" => out.machine_id = value,
            b"linux" | b"uki" => out.image = value,
            b"efi" if out.image.is_empty() => out.image = value,
            // Debian's GRUB and old grubby put several images into one line.
            b"initrd" => out
                .initrd
                .extend(value.split_whitespace().map(str::to_owned)),
            b"options" => out.options.push(at),
            _ => {}
        }
    }
    (!out.image.is_empty()).then_some(out)
}

/// Stable device names and a serial console in the arguments. An entry that takes them from a
/// variable of GRUB's gets its console there.
pub fn edit(facts: &Facts, path: &str, bytes: &[u8], initramfs: bool) -> (Vec<u8>, Vec<Concern>) {
    let mut edits = Edits::new();
    let mut concerns = Vec::new();
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some(fragment) = parse(name, bytes) else {
        return (bytes.to_vec(), concerns);
    };
    let runs = fragment.options.iter();
    let args: Vec<_> = runs
        .flat_map(|at| cmdline::words_in(bytes, at.clone()))
        .collect();
    let elsewhere = args.iter().any(|arg| arg.text.starts_with("$kernelopts"));
    let run = Run {
        file: path,
        bytes,
        args: &args,
        initramfs,
        end: args.last().map(|arg| arg.at.end).filter(|_| !elsewhere),
    };
    run.edit(facts, &mut edits, &mut concerns);
    (edits.apply(bytes), concerns)
}

/// GRUB's order: the menu's first stands first.
pub fn grub_order(one: &Fragment, other: &Fragment) -> Ordering {
    version::package(&other.name, &one.name)
}

/// systemd-boot's order: the menu's first stands first ("Sorting" of the specification).
pub fn systemd_order(one: &Fragment, other: &Fragment) -> Ordering {
    let keys = one.sort_key.is_empty().cmp(&other.sort_key.is_empty());
    one.is_bad().cmp(&other.is_bad()).then(keys).then_with(|| {
        let by_name = || version::uapi(other.id(), one.id());
        if one.sort_key.is_empty() {
            return by_name();
        }
        one.sort_key
            .cmp(&other.sort_key)
            .then_with(|| one.machine_id.cmp(&other.machine_id))
            .then_with(|| version::uapi(&other.version, &one.version))
            .then_with(by_name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID};
    use super::*;

    const ENTRY: &[u8] = b"# from kernel-install\r\ntitle Fedora \xe9\r\nversion 6.1\r\nlinux\t/vmlinuz-6.1\r\ninitrd /initramfs-6.1.img $tuned_initrd\r\noptions root=/dev/sda1 ro\r\noptions quiet  rhgb\r\ngrub_class fedora";

    #[test]
    fn only_arguments_of_an_entry_change() {
        let mut facts = fixture::facts();
        facts.guest.arch = "x86_64".to_owned();
        let (new, _) = edit(&facts, "/x/a.conf", ENTRY, true);
        let text = String::from_utf8_lossy(&new).into_owned();
        let want = String::from_utf8_lossy(ENTRY)
            .replace("/dev/sda1", &format!("UUID={ROOT_UUID}"))
            .replace("rhgb", "rhgb console=tty0 console=ttyS0,115200n8");
        assert_eq!(text, want);
        assert_eq!(edit(&facts, "/x/a.conf", &new, true).0, new);
        let fragment = parse("a+3-1.conf", ENTRY).unwrap();
        assert_eq!(fragment.initrd, ["/initramfs-6.1.img", "$tuned_initrd"]);
        assert_eq!((fragment.id(), fragment.version.as_str()), ("a", "6.1"));
    }

    #[test]
    fn kernelopts_bring_their_own_console() {
        let mut facts = fixture::facts();
        facts.guest.arch = "x86_64".to_owned();
        let entry = b"linux /v\noptions $kernelopts $tuned_params\n";
        assert_eq!(edit(&facts, "/x/a.conf", entry, true).0, entry);
    }

    #[test]
    fn what_starts_no_kernel_is_no_entry() {
        for bytes in [&b"title x\n"[..], b"", b"linux\n", b"linux /v\0\n"] {
            assert_eq!(parse("a.conf", bytes), None);
        }
    }

    #[test]
    fn systemd_boot_puts_sort_keys_first_and_given_up_entries_last() {
        let entry = |name: &str, key: &str, version: &str| Fragment {
            name: name.to_owned(),
            sort_key: key.to_owned(),
            version: version.to_owned(),
            ..Fragment::default()
        };
        let mut all = [
            entry("old-5.9.conf", "", ""),
            entry("old-5.10.conf", "", ""),
            entry("a+0-3.conf", "debian", "9"),
            entry("b.conf", "debian", "6.1"),
            entry("c.conf", "debian", "6.12"),
            entry("d+2.conf", "arch", "1"),
        ];
        all.sort_by(systemd_order);
        let names: Vec<_> = all.iter().map(Fragment::id).collect();
        assert_eq!(names, ["d", "c", "b", "old-5.10", "old-5.9", "a"]);
    }
}
