// SPDX-License-Identifier: Apache-2.0
//! SELinux: the labels of files that a conversion makes, by the guest's own file contexts.
//!
//! Nothing is proposed here: which files come to be is known only when the plan was applied, the
//! guest's programs among those who make them.

use super::gather::Gatherer;
use super::shell;
use crate::error::Result;
use crate::fs::{FileType, GuestPath};
use crate::inspect::Facts;
use crate::inspect::facts::Sources;
use crate::plan::{Policy, Proposal, Target};
use crate::verify::Check;

pub mod contexts;

use contexts::{Contexts, Label};

/// selinux_config(5).
const CONFIG: &str = "/etc/selinux/config";
/// A guest with this file labels everything at its next start, which takes minutes.
pub const RELABEL: &str = "/.autorelabel";

/// The policy that a guest loads: `targeted`, ...; `None` where SELinux is off or not there.
pub fn parse(config: &[u8]) -> Option<String> {
    let all = shell::assignments(config);
    let mode = shell::value(&all, "SELINUX").unwrap_or("disabled");
    if !mode.eq_ignore_ascii_case("enforcing") && !mode.eq_ignore_ascii_case("permissive") {
        return None;
    }
    let policy = shell::value(&all, "SELINUXTYPE").unwrap_or("targeted");
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (!policy.is_empty() && policy.bytes().all(good)).then(|| policy.to_owned())
}

/// Nothing is proposed: see [`labels`].
pub fn propose(_: &Facts, _: &Target, _: &Policy) -> Proposal {
    Proposal::default()
}

/// Labels are read back where they are set; facts do not hold them.
pub const CHECKS: &[Check] = &[];

/// Reads the policy's file contexts, where there is a policy.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.file(CONFIG)?;
    let Some(policy) = gather.sources.bytes(CONFIG).and_then(parse) else {
        return Ok(());
    };
    for end in contexts::FILES {
        gather.file(&format!("{}{end}", base(&policy)))?;
    }
    Ok(())
}

fn base(policy: &str) -> String {
    format!("/etc/selinux/{policy}/contexts/files/file_contexts")
}

/// The guest loads a policy, so that files without a label are out of its programs' reach.
pub fn is_on(sources: &Sources) -> bool {
    sources.bytes(CONFIG).and_then(parse).is_some()
}

/// The label of each path, in their order.
pub fn labels(sources: &Sources, paths: &[(GuestPath, FileType)]) -> Vec<Label> {
    let policy = sources.bytes(CONFIG).and_then(parse).unwrap_or_default();
    let file = |end: &str| sources.bytes(&format!("{}{end}", base(&policy)));
    let contexts = Contexts::parse(file);
    paths
        .iter()
        .map(|(path, kind)| contexts.label(path.as_bytes(), *kind))
        .collect()
}
