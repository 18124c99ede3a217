// SPDX-License-Identifier: Apache-2.0
//! After the purge both hives are walked again: whatever still names VMware must be on this list,
//! each entry with the reason why it stays.

use super::super::entries::{SOFTWARE, SYSTEM};
use super::names::{DISABLED, KEPT_INFS, is_kept};
use super::trace;
use crate::inspect::registry::{KeyFacts, Registry};

/// A place where VMware may be named, by the beginning of its path in lower case (`*` stands for
/// one name), and why.
pub(super) const ALLOWED: &[(&str, &str, &str)] = &[
    (
        SYSTEM,
        "hardwareconfig",
        "what Windows noted of the old machine's firmware",
    ),
    (
        SYSTEM,
        "mounteddevices",
        "drive letters of the old machine's CD drive; letters are kept",
    ),
    (
        SYSTEM,
        "setup",
        "what Windows Setup noted when it ran on the old machine",
    ),
    (
        SYSTEM,
        "*\\enum",
        "devices of the old machine: absent ones, which the first boot removes",
    ),
    (
        SYSTEM,
        "*\\control\\class",
        "drivers' settings of these devices",
    ),
    (
        SYSTEM,
        "*\\control\\deviceclasses",
        "interfaces of these devices",
    ),
    (
        SYSTEM,
        "*\\control\\devicecontainers",
        "these devices by their containers",
    ),
    (
        SYSTEM,
        "*\\control\\devicemigration",
        "devices that an upgrade of Windows noted",
    ),
    (SYSTEM, "*\\control\\video", "the old machine's display"),
    (
        SYSTEM,
        "*\\control\\grfxtelemetry",
        "the old machine's display",
    ),
    (
        SYSTEM,
        "*\\control\\graphicsdrivers",
        "screens of the old machine's display",
    ),
    (
        SYSTEM,
        "*\\control\\systeminformation",
        "firmware strings; Windows writes them at each boot",
    ),
    (
        SYSTEM,
        "*\\control\\nsi",
        "addresses by the old machine's network cards",
    ),
    (
        SYSTEM,
        "*\\control\\network",
        "connections of the old machine's network cards",
    ),
    (
        SYSTEM,
        "*\\control\\networksetup2",
        "the old machine's network cards",
    ),
    (
        SYSTEM,
        "*\\control\\print\\environments",
        "printer drivers of ThinPrint, which a printer may use",
    ),
    (
        SYSTEM,
        "*\\control\\backuprestore",
        "a list of files that backups leave out; others may share it",
    ),
    (
        SYSTEM,
        "*\\control\\session manager\\appcompatcache",
        "a record of programs that ran",
    ),
    (SYSTEM, "*\\services\\bam", "a record of programs that ran"),
    (SYSTEM, "*\\services\\dam", "a record of programs that ran"),
    (
        SYSTEM,
        "*\\hardware profiles",
        "devices of the old machine by profile",
    ),
    (
        SYSTEM,
        "driverdatabase",
        "driver packages that stay: see the lists of what is kept",
    ),
    (
        SOFTWARE,
        "microsoft\\wbem",
        "WMI's own records of devices and counters; it makes them anew",
    ),
    (
        SOFTWARE,
        "microsoft\\windows nt\\currentversion\\perflib",
        "names of counters, an index that other counters' numbers rest on",
    ),
    (
        SOFTWARE,
        "microsoft\\windows nt\\currentversion\\appcompatflags",
        "Windows' own knowledge of programs",
    ),
    (
        SOFTWARE,
        "microsoft\\windows nt\\currentversion\\networklist",
        "names of networks",
    ),
    (
        SOFTWARE,
        "microsoft\\windows nt\\currentversion\\print",
        "printers of the old machine",
    ),
    (
        SOFTWARE,
        "microsoft\\windows nt\\currentversion\\schedule",
        "tasks of others",
    ),
    (
        SOFTWARE,
        "microsoft\\windows nt\\currentversion\\time zones",
        "no trace: text of Windows",
    ),
    (
        SOFTWARE,
        "microsoft\\windows\\currentversion\\appmodel",
        "Windows' own knowledge of programs",
    ),
    (
        SOFTWARE,
        "microsoft\\windows\\currentversion\\component based servicing",
        "components of Windows itself",
    ),
    (
        SOFTWARE,
        "microsoft\\windows\\currentversion\\devicesetup",
        "devices of the old machine",
    ),
    (
        SOFTWARE,
        "microsoft\\windows\\currentversion\\reliability",
        "a record of what was installed",
    ),
    (
        SOFTWARE,
        "microsoft\\windows\\currentversion\\sidebyside",
        "components of Windows itself",
    ),
    (
        SOFTWARE,
        "microsoft\\windows\\currentversion\\winevt",
        "publishers of event logs of others",
    ),
    (
        SOFTWARE,
        "microsoft\\windows\\windows error reporting",
        "a record of programs that failed",
    ),
    (SOFTWARE, "microsoft\\windows search", "what was indexed"),
    (
        SOFTWARE,
        "microsoft\\windows defender",
        "rules of the virus scanner",
    ),
    (
        SOFTWARE,
        "microsoft\\tracing",
        "a record of programs that ran",
    ),
    (SOFTWARE, "microsoft\\driver signing", "Windows' own"),
    (SOFTWARE, "mcafee", "rules of another product"),
    (
        SOFTWARE,
        "vmware, inc.",
        "other products of VMware than its Tools",
    ),
    (
        SOFTWARE,
        "wow6432node\\vmware, inc.",
        "other products of VMware than its Tools",
    ),
];

fn is_below(path: &str, place: &str) -> bool {
    let mut names = path.split('\\');
    place
        .split('\\')
        .all(|want| names.next().is_some_and(|name| want == "*" || name == want))
}

/// Why a key may name VMware.
fn allowed(hive: &str, key: &KeyFacts) -> Option<&'static str> {
    let path = key.path.to_lowercase();
    let names: Vec<&str> = path.split('\\').collect();
    if let (SYSTEM, [_, "services", service, ..]) = (hive, names.as_slice())
        && (is_kept(service) || DISABLED.contains(service))
    {
        return Some("a driver that stays: the guest could go back");
    }
    if let (SYSTEM, ["driverdatabase", "driverpackages", package, ..]) = (hive, names.as_slice()) {
        let inf = package.split('_').next().unwrap_or_default();
        let provider = key.value("Provider").and_then(|value| value.text());
        let vmware = provider.is_some_and(|provider| provider.to_lowercase().starts_with("vmware"));
        return (!vmware || KEPT_INFS.contains(&inf)).then_some("a driver that stays");
    }
    let place = ALLOWED
        .iter()
        .find(|(of, place, _)| *of == hive && is_below(&path, place));
    place.map(|(_, _, why)| *why)
}

/// Keys that name VMware and have no reason to, as paths; and how many have one.
pub(super) fn remaining(registry: &Registry) -> (Vec<String>, usize) {
    let mut out = Vec::new();
    let mut excused = 0_usize;
    for hive in [SYSTEM, SOFTWARE] {
        for key in registry.below(hive, "").filter(|key| trace::in_key(key)) {
            match allowed(hive, key) {
                Some(_) => excused = excused.saturating_add(1),
                None => out.push(format!("{hive}\\{}", key.path)),
            }
        }
    }
    (out, excused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_from_its_namesakes() {
        assert!(is_below("controlset001\\enum\\pci", "*\\enum"));
        assert!(!is_below("controlset001\\enumeration", "*\\enum"));
        assert!(!is_below("enum", "*\\enum"));
    }

    #[test]
    fn every_reason_is_one() {
        for (hive, place, why) in ALLOWED {
            assert!(
                why.len() > 5 && *place == place.to_lowercase(),
                "{hive} {place}"
            );
        }
    }
}
