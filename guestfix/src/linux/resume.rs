// SPDX-License-Identifier: Apache-2.0
//! Where initramfs-tools looks for a hibernated system: `RESUME=` in its configuration
//! (initramfs-tools(7)). A device that never appears costs 30 seconds at each boot.

use super::devices::{self, Device};
use super::shell::{self, Assignment};
use super::text::Edits;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// The directory of drop-ins.
pub const DIR: &str = "/etc/initramfs-tools/conf.d";
/// The main file.
pub const MAIN: &str = "/etc/initramfs-tools/initramfs.conf";
const TOPIC: &str = "resume";

/// The `RESUME=` lines of one file.
pub fn parse(bytes: &[u8]) -> Vec<Assignment> {
    let mut all = shell::assignments(bytes);
    all.retain(|a| a.name == "RESUME");
    all
}

/// Stable device names.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for (path, bytes) in files(facts) {
        let mut edits = Edits::new();
        for line in parse(bytes) {
            match (devices::judge(facts, &line.value), line.inner) {
                (Device::Rename(to), Some(inner)) => edits.replace(inner, to.name),
                (Device::Stable, _) => {}
                _ => out.concerns.push(Concern::warning(
                    "unknown-device",
                    format!(
                        "{path} resumes from {}, but no volume of the disks answers to that name",
                        line.value
                    ),
                )),
            }
        }
        out.changes.extend(Change::edit(
            TOPIC,
            "the guest's next initramfs would wait for a device of the old machine",
            &facts.sources,
            path,
            edits.apply(bytes),
        ));
    }
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "resume-device",
    what: "the device that initramfs-tools resumes from has a stable name",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let all: Vec<_> = files(facts)
        .flat_map(|(_, bytes)| parse(bytes))
        .filter(|line| !matches!(line.value.as_str(), "" | "none" | "auto"))
        .collect();
    if all.is_empty() {
        return Finding::skip("no resume device is configured");
    }
    match all
        .iter()
        .find_map(|line| devices::fault(facts, &line.value))
    {
        Some(fault) => Finding::fail(fault),
        None => Finding::pass("stable"),
    }
}

fn files(facts: &Facts) -> impl Iterator<Item = (&str, &[u8])> {
    facts
        .sources
        .files
        .iter()
        .filter(|(path, _)| *path == MAIN || path.starts_with(DIR))
        .map(|(path, file)| (path.as_str(), file.content.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, SWAP_UUID};
    use super::*;
    use crate::fs::MemoryFs;
    use crate::verify::Outcome;

    #[test]
    fn resume_is_renamed_in_place() {
        let fs = MemoryFs::new()
            .file(
                "/etc/initramfs-tools/conf.d/resume",
                "# swap\nRESUME=\"/dev/sda5\"",
            )
            .file(MAIN, "MODULES=most\n");
        let facts = fixture::gathered(fs);
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Fail);
        let out = propose(&facts, &fixture::target(), &Policy::default());
        assert_eq!(out.changes.len(), 1);
        assert_eq!(
            fixture::written(&out.changes, "/etc/initramfs-tools/conf.d/resume").unwrap(),
            format!("# swap\nRESUME=\"UUID={SWAP_UUID}\"")
        );
    }

    #[test]
    fn no_resume_is_no_business() {
        let facts = fixture::gathered(MemoryFs::new().file(MAIN, "RESUME=none\n"));
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Skip);
        assert!(
            propose(&facts, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
    }
}
