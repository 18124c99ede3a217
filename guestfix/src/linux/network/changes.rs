// SPDX-License-Identifier: Apache-2.0
//! What is changed about the network: names, addresses, what asks for the old machine. All of it
//! goes into one draft, so that each file is written once.

use std::collections::BTreeMap;

use super::system::{self, System};
use super::{address, cards, cloud_init, moved, pin};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Change, Policy, Proposal, Target};

const TOPIC: &str = "network";
const CLOUD_OFF: &str = "/etc/cloud/cloud.cfg.d/99-guestfix-network.cfg";

/// Files as they will be.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    sources: &'a Sources,
    files: BTreeMap<String, (Vec<u8>, Vec<&'static str>)>,
}

impl<'a> Draft<'a> {
    fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            files: BTreeMap::new(),
        }
    }

    /// A file as it stands in the draft; empty where there is none.
    pub(super) fn bytes(&self, path: &str) -> &[u8] {
        let drafted = self.files.get(path).map(|(bytes, _)| bytes.as_slice());
        drafted
            .or_else(|| self.sources.bytes(path))
            .unwrap_or_default()
    }

    /// Sets a file's content.
    pub(super) fn set(&mut self, path: &str, bytes: Vec<u8>, why: &'static str) {
        if self.bytes(path) == bytes && !bytes.is_empty() {
            return;
        }
        let slot = self.files.entry(path.to_owned()).or_default();
        slot.0 = bytes;
        if !slot.1.contains(&why) {
            slot.1.push(why);
        }
    }

    /// The guest's files of a system.
    pub(super) fn paths(&self, of: fn(&str) -> Option<System>, system: System) -> Vec<String> {
        let all = self.sources.files.keys();
        all.filter(|path| of(path) == Some(system))
            .cloned()
            .collect()
    }

    fn changes(self) -> Vec<Change> {
        let sources = self.sources;
        let files = self.files.into_iter();
        files
            .filter_map(|(path, (bytes, why))| {
                Change::edit(TOPIC, why.join("; "), sources, &path, bytes)
            })
            .collect()
    }
}

/// Every change to the guest's network.
pub fn propose(facts: &Facts, target: &Target, policy: &Policy) -> Proposal {
    let sources = &facts.sources;
    let machine = cards::machine(facts, policy);
    let mut draft = Draft::new(sources);
    let mut concerns = pin::pin(&machine, sources, target, policy, &mut draft);
    concerns.extend(moved::moved(&machine, sources, target, &mut draft));
    concerns.extend(address::set(&machine, policy, sources, &mut draft));
    concerns.extend(keep_from_cloud_init(policy, sources, &mut draft));
    Proposal {
        changes: draft.changes(),
        concerns,
    }
}

/// On a new machine cloud-init makes the network anew, and without a word from there it asks DHCP:
/// a fixed address that it once wrote would be lost (cloud-init, "Network configuration sources").
fn keep_from_cloud_init(
    policy: &Policy,
    sources: &Sources,
    draft: &mut Draft<'_>,
) -> Option<Concern> {
    let all = || super::files(sources);
    let own = |wanted: fn(&[u8]) -> bool| {
        all().any(|(_, system, file)| system == System::CloudInit && wanted(&file.content))
    };
    let off = sources.has("/etc/cloud/cloud-init.disabled")
        || own(cloud_init::is_disabled)
        || !sources.has(system::CLOUD_MAIN);
    let written = all().any(|(path, system, file)| {
        system != System::CloudInit
            && is_by_cloud_init(&file.content)
            && super::parse_file(path, &file.content)
                .is_some_and(|config| config.nics.iter().any(|nic| nic.method == "static"))
    });
    // A configuration of its own says the same again, unless an address is to change.
    let says_so = own(cloud_init::has_network);
    let at_risk = match says_so {
        true => !policy.ips.is_empty(),
        false => written,
    };
    if off || !at_risk {
        return None;
    }
    let text = "# Written by guestfix: the network was configured on the old machine and is kept.\n# Remove this file to let cloud-init configure it again.\nnetwork: {config: disabled}\n";
    draft.set(
        CLOUD_OFF,
        text.into(),
        "cloud-init would configure the network anew on another machine",
    );
    Some(Concern::information(
        "cloud-init-network",
        format!(
            "cloud-init no longer configures the network, so that its addresses stay; remove {CLOUD_OFF} to change that"
        ),
    ))
}

/// The comment that cloud-init writes at the head of what it renders.
fn is_by_cloud_init(bytes: &[u8]) -> bool {
    let head = bytes.get(..512).unwrap_or(bytes);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut comments = head.lines().filter(|line| line.starts_with('#'));
    comments.any(|line| line.contains("cloud-init") || line.contains("provided by the datasource"))
}
