// SPDX-License-Identifier: Apache-2.0
//! multipath's memory of the old machine's disks (multipath.conf(5), multipath(8)): harmless as
//! long as nothing answers to it, and in the way when a disk of the new machine is to get a name.

use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text::{self, Edits};
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

const CONF: &str = "/etc/multipath.conf";
const MEMORY: [&str; 2] = ["/etc/multipath/wwids", "/etc/multipath/bindings"];
/// What is read.
pub const PATHS: &[&str] = &[CONF, "/etc/multipath/wwids", "/etc/multipath/bindings"];
const TOPIC: &str = "multipath";

/// Where lines begin that are about VMware's disks, with the lines; comments left out.
pub fn parse(bytes: &[u8]) -> Vec<(usize, String)> {
    text::lines(bytes)
        .iter()
        .map(|line| (line.start, line.text()))
        .filter(|(_, text)| !text.trim_start().starts_with(['#', '!']))
        .filter(|(_, text)| text.to_ascii_lowercase().contains(super::VMWARE_WWID))
        .collect()
}

/// The memory without them; the configuration is told of.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for path in MEMORY {
        let Some(bytes) = facts.sources.bytes(path) else {
            continue;
        };
        let end = text::line_end(bytes);
        let mut edits = Edits::new();
        for (at, _) in parse(bytes) {
            edits.insert(at, format!("# guestfix: disabled, a disk of VMware{end}#"));
        }
        out.changes.extend(Change::edit(
            TOPIC,
            "these disks do not exist on KubeVirt",
            &facts.sources,
            path,
            edits.apply(bytes),
        ));
    }
    let named = facts.sources.bytes(CONF).map(parse).unwrap_or_default();
    let named: Vec<String> = named
        .iter()
        .map(|(_, line)| line.trim().to_owned())
        .filter(|line| line.starts_with("wwid"))
        .collect();
    if !named.is_empty() {
        out.concerns.push(Concern::warning(
            "multipath-old-disks",
            format!("{CONF} names disks of the old machine ({}); what uses their aliases must name the disks in another way", named.join("; ")),
        ));
    }
    out
}

/// The check of this topic.
pub const CHECK: Check = Check {
    name: "multipath-leftovers",
    what: "multipath remembers no disk of VMware",
    severity: Severity::Advised,
    run: check,
};

fn check(facts: &Facts, _: &Target) -> Finding {
    let mut seen = MEMORY
        .iter()
        .filter_map(|path| Some((path, facts.sources.bytes(path)?)))
        .peekable();
    if seen.peek().is_none() {
        return Finding::skip("multipath remembers nothing");
    }
    match seen.find_map(|(path, bytes)| Some((path, parse(bytes).into_iter().next()?.1))) {
        Some((path, line)) => Finding::fail(format!("{path}: {line}")),
        None => Finding::pass("none of VMware"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;
    use crate::linux::fixture;
    use crate::verify::Outcome;

    #[test]
    fn vmware_s_disks_are_forgotten_and_others_kept() {
        let fs = MemoryFs::new()
            .file(MEMORY[0], "# Multipath wwids\n/36000c29000000000000000000000001/\n/3600a0b80000000000/\n")
            .file(CONF, "multipaths {\n multipath {\n  wwid \"36000C29000000000000000000000001\"\n  alias data\n }\n}\n");
        let facts = fixture::gathered(fs.clone());
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Fail);
        let out = propose(&facts, &fixture::target(), &Policy::default());
        assert_eq!(
            fixture::written(&out.changes, MEMORY[0]).unwrap(),
            "# Multipath wwids\n# guestfix: disabled, a disk of VMware\n#/36000c29000000000000000000000001/\n/3600a0b80000000000/\n"
        );
        assert_eq!(out.concerns[0].id, "multipath-old-disks");
        let after = fixture::gathered(fixture::applied(fs, &out.changes));
        assert_eq!(check(&after, &fixture::target()).result, Outcome::Pass);
        assert!(
            propose(&after, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
    }
}
