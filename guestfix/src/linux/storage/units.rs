// SPDX-License-Identifier: Apache-2.0
//! systemd's own mount, automount and swap units (systemd.mount(5), systemd.swap(5)).

use std::ops::Range;

use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::linux::devices::{self, Device};
use crate::linux::gather::Gatherer;
use crate::linux::text::{self, Edits};
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// Where the guest's own units lie.
pub const DIR: &str = "/etc/systemd/system";
const TOPIC: &str = "units";
const WHY: &str = "device names of the old machine do not exist on KubeVirt";

/// What a unit mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// `What=`.
    pub what: String,
    /// Where its value stands.
    pub at: Range<usize>,
    /// `Type=`.
    pub kind: String,
}

/// Reads a unit; `None` when it names nothing to mount.
pub fn parse(bytes: &[u8]) -> Option<Unit> {
    let mut unit = Unit::default();
    let mut section = String::new();
    for line in text::lines(bytes) {
        let text = line.text();
        if text.trim().starts_with('[') {
            text.trim().clone_into(&mut section);
        }
        if !matches!(section.as_str(), "[Mount]" | "[Swap]") {
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            continue;
        };
        match key.trim() {
            "What" => {
                let blank = value.len().saturating_sub(value.trim_start().len());
                let start = line
                    .start
                    .saturating_add(key.len())
                    .saturating_add(1)
                    .saturating_add(blank);
                unit.at = start..start.saturating_add(value.trim().len());
                value.trim().clone_into(&mut unit.what);
            }
            "Type" => value.trim().clone_into(&mut unit.kind),
            _ => {}
        }
    }
    (!unit.what.is_empty()).then_some(unit)
}

/// Reads the units and the links that have them started.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    let wanted = |name: &str| {
        [".mount", ".swap", ".automount"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let names = gather.dir(DIR)?;
    if !names.iter().any(|name| wanted(name)) {
        return Ok(());
    }
    gather.files_in(DIR, wanted)?;
    for name in names {
        if !name.ends_with(".wants") && !name.ends_with(".requires") {
            continue;
        }
        let dir = format!("{DIR}/{name}");
        for unit in gather.dir(&dir)? {
            if wanted(&unit) {
                gather.link(&format!("{dir}/{unit}"))?;
            }
        }
    }
    Ok(())
}

/// The gathered units with what they mount.
fn units(sources: &Sources) -> impl Iterator<Item = (&str, &[u8], Unit)> {
    sources.files.iter().filter_map(|(path, file)| {
        let name = path.strip_prefix(DIR)?;
        let ours = name.ends_with(".mount") || name.ends_with(".swap");
        let unit = parse(&file.content).filter(|_| ours)?;
        Some((path.as_str(), file.content.as_slice(), unit))
    })
}

/// Stable device names; units of shared folders are no longer started.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for (path, bytes, unit) in units(&facts.sources) {
        if is_shared_folder(&unit) {
            stop(facts, path, &mut out);
            continue;
        }
        match devices::judge(facts, &unit.what) {
            Device::Stable => {}
            Device::Rename(to) if path.ends_with(".swap") => {
                move_swap(facts, path, bytes, &unit, &to.name, &mut out);
            }
            // Older systemd takes nothing but paths in units.
            Device::Rename(to) => {
                let mut edits = Edits::new();
                edits.replace(unit.at, devices::path_of(&to.name));
                let new = edits.apply(bytes);
                out.changes.extend(Change::edit(TOPIC, WHY, &facts.sources, path, new));
            }
            Device::Unknown if is_used(&facts.sources, path) => out.concerns.push(Concern::warning(
                "unknown-device",
                format!("{path} mounts {}, but no volume of the disks answers to that name; correct the unit or give the missing disk", unit.what),
            )),
            Device::Unknown => {}
        }
    }
    out
}

fn is_shared_folder(unit: &Unit) -> bool {
    unit.kind.contains("vmhgfs") || unit.what.starts_with(".host:") || unit.what.contains("vmhgfs")
}

/// The links that have a unit started.
fn links<'a>(sources: &'a Sources, unit: &str) -> Vec<(&'a str, &'a str)> {
    let name = unit.rsplit('/').next().unwrap_or_default();
    let all = sources
        .links
        .iter()
        .filter(|(link, _)| link.starts_with(DIR));
    all.filter_map(|(link, _)| link.rsplit_once('/'))
        .filter(|(_, have)| *have == name)
        .collect()
}

fn is_used(sources: &Sources, unit: &str) -> bool {
    !links(sources, unit).is_empty()
}

/// Removes the links, also those of the automount unit beside it.
fn stop(facts: &Facts, path: &str, out: &mut Proposal) {
    let why = "VMware shared folders do not exist on KubeVirt";
    let automount = path.replace(".mount", ".automount");
    for unit in [path, automount.as_str()] {
        for (dir, name) in links(&facts.sources, unit) {
            let action = Action::RemoveFile {
                path: format!("{dir}/{name}").as_str().into(),
            };
            out.changes.push(Change::new(TOPIC, why, action, None));
        }
    }
}

/// A swap unit is called after its device, so that another device needs another unit.
fn move_swap(facts: &Facts, path: &str, bytes: &[u8], unit: &Unit, to: &str, out: &mut Proposal) {
    let links = links(&facts.sources, path);
    if links.is_empty() {
        return;
    }
    let device = devices::path_of(to);
    let name = format!("{}.swap", escape(&device));
    let new = format!("{DIR}/{name}");
    let mut edits = Edits::new();
    edits.replace(unit.at.clone(), device);
    out.changes.extend(Change::edit(
        TOPIC,
        WHY,
        &facts.sources,
        &new,
        edits.apply(bytes),
    ));
    for (dir, old) in links {
        let link = Action::Symlink {
            path: format!("{dir}/{name}").as_str().into(),
            target: new.clone(),
        };
        let gone = Action::RemoveFile {
            path: format!("{dir}/{old}").as_str().into(),
        };
        out.changes.push(Change::new(TOPIC, WHY, link, None));
        out.changes.push(Change::new(TOPIC, WHY, gone, None));
    }
}

/// A path as the name of a unit (systemd.unit(5), "String Escaping for Inclusion in Unit Names").
fn escape(path: &str) -> String {
    let mut out = String::new();
    for (at, byte) in path.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b if b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.') => {
                out.push(char::from(b))
            }
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

/// The check of this topic.
pub const CHECK: Check = Check {
    name: "mount-units",
    what: "every mount and swap unit that the guest starts names its device in a stable way",
    severity: Severity::Advised,
    run: check,
};

fn check(facts: &Facts, _: &Target) -> Finding {
    let sources = &facts.sources;
    let used: Vec<_> = units(sources)
        .filter(|(path, ..)| is_used(sources, path))
        .collect();
    if used.is_empty() {
        return Finding::skip("the guest starts no such unit");
    }
    let faults: Vec<String> = used
        .iter()
        .filter_map(|(path, _, unit)| match is_shared_folder(unit) {
            true => Some(format!("{path} mounts a shared folder of VMware")),
            false => devices::fault(facts, &unit.what).map(|fault| format!("{path}: {fault}")),
        })
        .collect();
    match faults.is_empty() {
        true => Finding::pass(format!("{} units, all stable", used.len())),
        false => Finding::fail(faults.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;
    use crate::linux::fixture::{self, ROOT_UUID, SWAP_UUID};
    use crate::verify::Outcome;

    fn run(fs: &MemoryFs) -> (Proposal, Outcome) {
        let facts = fixture::gathered(fs.clone());
        let result = check(&facts, &fixture::target()).result;
        (
            propose(&facts, &fixture::target(), &Policy::default()),
            result,
        )
    }

    fn lines(out: &Proposal) -> Vec<String> {
        out.changes
            .iter()
            .map(|c| format!("{} {}", c.kind, c.path))
            .collect()
    }

    #[test]
    fn a_mount_unit_keeps_all_but_its_device() {
        let unit = "/etc/systemd/system/srv.mount";
        let fs = MemoryFs::new()
            .file(
                unit,
                "[Unit]\r\nWhat=/dev/sda9\r\n[Mount]\r\nWhat = /dev/sda1 \r\nWhere=/srv\r\n",
            )
            .symlink(
                "/etc/systemd/system/multi-user.target.wants/srv.mount",
                unit,
            );
        let (out, before) = run(&fs);
        assert_eq!(before, Outcome::Fail);
        assert_eq!(
            fixture::written(&out.changes, unit).unwrap(),
            format!(
                "[Unit]\r\nWhat=/dev/sda9\r\n[Mount]\r\nWhat = /dev/disk/by-uuid/{ROOT_UUID} \r\nWhere=/srv\r\n"
            )
        );
        let (again, after) = run(&fixture::applied(fs, &out.changes));
        assert_eq!((again.changes.len(), after), (0, Outcome::Pass));
    }

    #[test]
    fn a_swap_unit_is_called_after_its_new_device() {
        let old = "/etc/systemd/system/dev-sda5.swap";
        let wants = "/etc/systemd/system/swap.target.wants";
        let fs = MemoryFs::new()
            .file(old, "[Swap]\nWhat=/dev/sda5\n")
            .symlink(&format!("{wants}/dev-sda5.swap"), old);
        let (out, _) = run(&fs);
        let name = format!(
            "dev-disk-by\\x2duuid-{}.swap",
            SWAP_UUID.replace('-', "\\x2d")
        );
        assert_eq!(
            lines(&out),
            [
                format!("write-file /etc/systemd/system/{name}"),
                format!("symlink {wants}/{name}"),
                format!("remove-file {wants}/dev-sda5.swap"),
            ]
        );
    }

    #[test]
    fn a_shared_folder_is_no_longer_started() {
        let fs = MemoryFs::new()
            .file(
                "/etc/systemd/system/mnt-hgfs.mount",
                "[Mount]\nWhat=.host:/\nWhere=/mnt/hgfs\nType=fuse.vmhgfs-fuse\n",
            )
            .file(
                "/etc/systemd/system/mnt-hgfs.automount",
                "[Automount]\nWhere=/mnt/hgfs\n",
            )
            .symlink(
                "/etc/systemd/system/multi-user.target.wants/mnt-hgfs.automount",
                "x",
            );
        let (out, _) = run(&fs);
        assert_eq!(
            lines(&out),
            ["remove-file /etc/systemd/system/multi-user.target.wants/mnt-hgfs.automount"]
        );
    }

    #[test]
    fn a_unit_of_an_unknown_device_is_told_of_where_it_is_used() {
        let unit = "/etc/systemd/system/x.mount";
        let fs = MemoryFs::new().file(unit, "[Mount]\nWhat=/dev/sdq1\n");
        assert_eq!(run(&fs).0.concerns.len(), 0);
        let used = fs.symlink("/etc/systemd/system/local-fs.target.requires/x.mount", unit);
        let (out, result) = run(&used);
        assert_eq!((out.concerns.len(), result), (1, Outcome::Fail));
        assert!(parse(b"[Mount]\nWhere=/x\n").is_none());
    }
}
