// SPDX-License-Identifier: Apache-2.0
//! LVM finds its physical volumes by what is on them, unless a filter or the devices file ties it
//! to names and serial numbers of the old machine's disks (lvm.conf(5), lvmdevices(8)).

use super::lvm_filter::{self, Filter};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, EmbeddedFilter, InitramfsFacts};
use crate::linux::text::{self, Edits};
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// The configuration.
pub const CONF: &str = "/etc/lvm/lvm.conf";
/// What is the machine's own in it.
const LOCAL_CONF: &str = "/etc/lvm/lvmlocal.conf";
/// The file that lists the devices LVM may use.
pub const DEVICES: &str = "/etc/lvm/devices/system.devices";
/// What is read.
pub const PATHS: &[&str] = &[CONF, LOCAL_CONF, DEVICES];
/// Where filters stand.
const CONFS: [&str; 2] = [CONF, LOCAL_CONF];
const TOPIC: &str = "lvm";
/// What is put in front of a filter that would hide the disks.
const ACCEPT: &str = "\"a|^/dev/[sv]d|\"";
/// Kinds of identity that stand on the disk itself (lvmdevices(8), "Device IDs").
const LASTING: [&str; 4] = ["lvmlv_uuid", "md_uuid", "crypt_uuid", "loop_file"];

/// The identities of a devices file: kind and name of each entry.
pub fn parse(bytes: &[u8]) -> Vec<(String, String)> {
    text::lines(bytes)
        .iter()
        .filter(|line| !line.bytes.starts_with(b"#"))
        .filter_map(|line| {
            let text = line.text();
            let of = |key: &str| {
                let mut words = text.split_whitespace();
                words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
            };
            Some((of("IDTYPE")?, of("IDNAME").unwrap_or_default()))
        })
        .collect()
}

/// An open filter, and no devices file that nothing on the new machine answers to.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for path in CONFS {
        let Some(bytes) = facts.sources.bytes(path) else {
            continue;
        };
        out.changes.extend(Change::edit(
            TOPIC,
            "the filter would hide the disks, which have other names on KubeVirt",
            &facts.sources,
            path,
            edited(facts, path, bytes, &mut out.concerns),
        ));
    }
    if let Some((bound, _)) = bound(facts)
        && let Some(file) = facts.sources.files.get(DEVICES)
    {
        let why = "it ties LVM to the identity of the old machine's disks; without it LVM uses every disk";
        let action = Action::RemoveFile {
            path: file.real.clone(),
        };
        out.changes.push(Change::new(TOPIC, why, action, None));
        out.concerns.push(Concern::information(
            "lvm-devices-file",
            format!("{DEVICES} listed disks by {bound} and is removed, so that LVM uses every disk; run `vgimportdevices --all` in the guest to have such a list again"),
        ));
    }
    out
}

/// The first entry that only the old machine's disks answer to.
fn bound(facts: &Facts) -> Option<(String, String)> {
    let entries = parse(facts.sources.bytes(DEVICES)?);
    entries
        .into_iter()
        .find(|(kind, _)| !LASTING.contains(&kind.as_str()))
}

/// A configuration with its filters open.
fn edited(facts: &Facts, path: &str, text: &[u8], concerns: &mut Vec<Concern>) -> Vec<u8> {
    let mut edits = Edits::new();
    for filter in lvm_filter::parse(text) {
        open(facts, path, &filter, &mut edits, concerns);
    }
    edits.apply(text)
}

fn open(
    facts: &Facts,
    path: &str,
    filter: &Filter,
    edits: &mut Edits,
    concerns: &mut Vec<Concern>,
) {
    match (hides(facts, &filter.patterns), filter.end) {
        (Some(false), _) => {}
        (Some(true), None) => edits.insert(filter.at, format!(" {ACCEPT},")),
        (Some(true), Some(end)) => {
            edits.insert(filter.at, format!("[ {ACCEPT}, "));
            edits.insert(end, " ]");
        }
        (None, _) => concerns.push(Concern::warning(
            "lvm-filter-unread",
            format!("{path}: the {} is written in a way guestfix does not read; make sure that it accepts /dev/vda and /dev/sda", filter.key),
        )),
    }
}

/// On whichever bus the new machine has its disks.
fn hides(facts: &Facts, patterns: &[String]) -> Option<bool> {
    let old = names(facts, 's');
    let new = [names(facts, 'v'), old.clone()].concat();
    lvm_filter::hides(patterns, &old, &new)
}

/// True for files of an initramfs that are LVM's configuration there.
pub fn is_embedded(file: &str) -> bool {
    super::is_one_of(&CONFS, file)
}

/// The filters of an initramfs's own LVM configuration, a text of this file.
pub fn embedded<'a>(file: &'a str, text: &[u8]) -> impl Iterator<Item = EmbeddedFilter> + use<'a> {
    lvm_filter::parse(text)
        .into_iter()
        .map(move |filter| EmbeddedFilter {
            file: file.to_owned(),
            key: filter.key,
            patterns: filter.patterns,
        })
}

/// Those of them that hide the disks from it.
pub fn hiding<'a>(
    facts: &'a Facts,
    initramfs: &'a InitramfsFacts,
) -> impl Iterator<Item = &'a EmbeddedFilter> {
    let filters = initramfs.lvm_filters.iter();
    filters.filter(|filter| hides(facts, &filter.patterns) == Some(true))
}

/// Such a text with its filters open.
pub fn opened(facts: &Facts, file: &str, text: &[u8]) -> Vec<u8> {
    // What is not understood is said of the guest's own file.
    edited(facts, file, text, &mut Vec::new())
}

/// The kernel's names of the physical volumes on disks.
fn names(facts: &Facts, letter: char) -> Vec<String> {
    let name = |volume: &str| {
        let rest = volume.strip_prefix("disk")?;
        let (disk, part) = match rest.split_once('p') {
            Some((disk, part)) => (disk, part),
            None => (rest, ""),
        };
        let index = disk.parse::<u8>().ok().filter(|index| *index < 26)?;
        let last = char::from(b'a'.saturating_add(index));
        Some(format!("/dev/{letter}d{last}{part}"))
    };
    let volumes = facts
        .volumes
        .iter()
        .filter(|volume| volume.content.kind == "lvm2-pv");
    volumes.filter_map(|volume| name(&volume.name)).collect()
}

/// The check of this topic.
pub const CHECK: Check = Check {
    name: "lvm-sees-disks",
    what: "LVM's filters and devices file let it see the physical volumes on the new machine",
    severity: Severity::Required,
    run: check,
};

fn check(facts: &Facts, _: &Target) -> Finding {
    if !facts
        .volumes
        .iter()
        .any(|volume| volume.content.kind == "lvm2-pv")
    {
        return Finding::skip("there is no physical volume");
    }
    if let Some((kind, name)) = bound(facts) {
        return Finding::fail(format!("{DEVICES} asks for {kind} {name}"));
    }
    for path in CONFS {
        let filters = facts
            .sources
            .bytes(path)
            .map(lvm_filter::parse)
            .unwrap_or_default();
        for filter in filters {
            if hides(facts, &filter.patterns) == Some(true) {
                return Finding::fail(format!("the {} of {path} hides the disks", filter.key));
            }
        }
    }
    Finding::pass("nothing hides them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;
    use crate::linux::fixture;
    use crate::verify::Outcome;

    fn facts(path: &str, text: &str) -> Facts {
        let mut facts = fixture::gathered(MemoryFs::new().file(path, text));
        facts.volumes[1].content.kind = "lvm2-pv".to_owned();
        facts
    }

    fn result(facts: &Facts) -> Outcome {
        check(facts, &fixture::target()).result
    }

    #[test]
    fn a_filter_that_hides_the_disks_is_opened() {
        let text = "devices {\n\t# filter = [ \"a|x|\" ]\n\tfilter = [ \"a|/dev/sda5|\",\n\t\t\"r|.*|\" ]\n\tglobal_filter = \"r|/dev/vda|\"\n}\n";
        let before = facts(CONF, text);
        assert_eq!(result(&before), Outcome::Fail);
        let out = propose(&before, &fixture::target(), &Policy::default());
        let new = fixture::written(&out.changes, CONF).unwrap();
        assert_eq!(
            new,
            "devices {\n\t# filter = [ \"a|x|\" ]\n\tfilter = [ \"a|^/dev/[sv]d|\", \"a|/dev/sda5|\",\n\t\t\"r|.*|\" ]\n\tglobal_filter = [ \"a|^/dev/[sv]d|\", \"r|/dev/vda|\" ]\n}\n"
        );
        let after = facts(CONF, &new);
        assert_eq!(result(&after), Outcome::Pass);
        assert!(
            propose(&after, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
    }

    #[test]
    fn a_devices_file_of_the_old_disks_is_removed() {
        let text = "# LVM uses devices listed in this file.\nVERSION=1.1.2\nIDTYPE=sys_wwid IDNAME=naa.6000c2900000000000000000000000001 DEVNAME=/dev/sda5 PVID=x PART=5\n";
        let before = facts(DEVICES, text);
        assert_eq!(result(&before), Outcome::Fail);
        let out = propose(&before, &fixture::target(), &Policy::default());
        assert_eq!(
            (out.changes[0].kind.as_str(), out.changes[0].path.as_str()),
            ("remove-file", DEVICES)
        );
        assert_eq!(out.concerns[0].id, "lvm-devices-file");
        let lasting = facts(DEVICES, "IDTYPE=md_uuid IDNAME=1 DEVNAME=/dev/md0 PVID=x\n");
        assert_eq!(result(&lasting), Outcome::Pass);
        assert!(
            propose(&lasting, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
    }

    #[test]
    fn without_physical_volumes_nothing_is_asserted() {
        let facts = fixture::gathered(MemoryFs::new());
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Skip);
    }

    #[test]
    fn a_filter_that_is_not_understood_is_left_alone() {
        let facts = facts(CONF, "filter = [ \"a|(|\", \"r|.*|\" ]\n");
        let out = propose(&facts, &fixture::target(), &Policy::default());
        assert!(out.changes.is_empty());
        assert_eq!(out.concerns[0].id, "lvm-filter-unread");
    }
}
