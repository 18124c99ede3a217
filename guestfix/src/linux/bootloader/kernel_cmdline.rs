// SPDX-License-Identifier: Apache-2.0
//! Files from which the guest's tools take the arguments of kernels to come: those of
//! kernel-install(8), of ukify(1), of mkinitcpio's and dracut's unified images. Without these edits
//! the next kernel would bring the old device names back.

use super::cmdline::{self, Run};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::gather::Gatherer;
use crate::linux::text::{self, Edits};
use crate::plan::{Change, Proposal};

/// The administrator's file.
pub const ETC: &str = "/etc/kernel/cmdline";
/// The vendor's file, which the former hides (kernel-install(8), "Files").
pub const USR: &str = "/usr/lib/kernel/cmdline";
/// A directory of parts, read by mkinitcpio and by systemd's tools.
const DIR: &str = "/etc/cmdline.d";
const TOPIC: &str = "bootloader";
const WHY: &str = "the guest's next kernel would be started with device names of the old machine";

/// Reads these files.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.file(ETC)?;
    gather.file(USR)?;
    gather.files_in(DIR, |name| name.ends_with(".conf"))?;
    Ok(())
}

/// Where arguments stand: everything but comments.
pub fn parse(bytes: &[u8]) -> Vec<super::script::Word> {
    text::lines(bytes)
        .iter()
        .filter(|line| !line.bytes.trim_ascii_start().starts_with(b"#"))
        .flat_map(|line| cmdline::words_in(bytes, line.start..line.end))
        .collect()
}

/// Stable names and a serial console for kernels to come. The vendor's file is not written: its
/// place is the administrator's, which hides it.
pub fn propose(facts: &Facts) -> Proposal {
    let mut out = Proposal::default();
    let sources = &facts.sources;
    let has_etc = sources.files.contains_key(ETC);
    for (path, bytes) in files(facts) {
        if path == USR && has_etc {
            continue;
        }
        if text::is_binary(bytes) {
            out.concerns.push(crate::linux::fstab::unparsable(path));
            continue;
        }
        let new = edit(facts, path, bytes, &mut out.concerns);
        let target = if path == USR { ETC } else { path };
        if new != bytes {
            out.changes
                .extend(Change::edit(TOPIC, WHY, sources, target, new));
        }
    }
    out
}

fn edit(facts: &Facts, path: &str, bytes: &[u8], concerns: &mut Vec<Concern>) -> Vec<u8> {
    let mut edits = Edits::new();
    let args = parse(bytes);
    // A part is completed by others, so it brings no console.
    let whole = !path.starts_with(DIR);
    let run = Run {
        file: path,
        bytes,
        args: &args,
        initramfs: true,
        end: args.last().map(|arg| arg.at.end).filter(|_| whole),
    };
    run.edit(facts, &mut edits, concerns);
    edits.apply(bytes)
}

/// What in these files would make the next kernel unbootable.
pub fn faults(facts: &Facts) -> Vec<String> {
    let has_etc = facts.sources.files.contains_key(ETC);
    let mut faults = Vec::new();
    for (path, bytes) in files(facts) {
        if path == USR && has_etc {
            continue;
        }
        let args = parse(bytes).into_iter();
        let bad = args.filter(|arg| !cmdline::may_stay(facts, &arg.text));
        faults.extend(bad.map(|arg| format!("{path} has {}", arg.text)));
    }
    faults
}

fn files(facts: &Facts) -> impl Iterator<Item = (&str, &[u8])> {
    let ours = |path: &str| path == ETC || path == USR || path.starts_with("/etc/cmdline.d/");
    let files = facts.sources.files.iter();
    files
        .filter(move |(path, _)| ours(path))
        .map(|(path, file)| (path.as_str(), file.content.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID};
    use super::*;
    use crate::fs::MemoryFs;

    fn facts(fs: MemoryFs) -> Facts {
        let mut facts = fixture::gathered(fs);
        facts.guest.arch = "x86_64".to_owned();
        facts
    }

    #[test]
    fn the_administrators_file_is_edited() {
        let fs = MemoryFs::new()
            .file(ETC, "# mine root=/dev/sda1\nroot=/dev/sda1 ro\n quiet")
            .file(USR, "root=/dev/sda1")
            .file("/etc/cmdline.d/root.conf", "root=/dev/sda1\n");
        let out = propose(&facts(fs.clone()));
        assert_eq!(
            fixture::written(&out.changes, ETC).unwrap(),
            format!(
                "# mine root=/dev/sda1\nroot=UUID={ROOT_UUID} ro\n quiet console=tty0 console=ttyS0,115200n8"
            )
        );
        assert_eq!(
            fixture::written(&out.changes, "/etc/cmdline.d/root.conf").unwrap(),
            format!("root=UUID={ROOT_UUID}\n")
        );
        assert_eq!(out.changes.len(), 2);
        assert_eq!(faults(&facts(fs.clone())).len(), 2);
        let after = facts(fixture::applied(fs, &out.changes));
        assert!(propose(&after).changes.is_empty() && faults(&after).is_empty());
    }

    #[test]
    fn the_vendors_file_is_hidden_and_not_written() {
        let fs = MemoryFs::new().file(USR, "root=/dev/sda1 console=ttyS0\n");
        let out = propose(&facts(fs));
        assert_eq!(out.changes.len(), 1);
        assert_eq!(
            fixture::written(&out.changes, ETC).unwrap(),
            format!("root=UUID={ROOT_UUID} console=ttyS0\n")
        );
        let stable = MemoryFs::new().file(USR, "quiet console=ttyS0\n");
        assert!(propose(&facts(stable)).changes.is_empty());
    }

    #[test]
    fn a_file_that_is_no_text_is_left_alone() {
        let out = propose(&facts(
            MemoryFs::new().file(ETC, b"root=/dev/sda1\0".to_vec()),
        ));
        assert!(out.changes.is_empty());
        assert_eq!(out.concerns[0].id, "unparsable-file");
    }
}
