// SPDX-License-Identifier: Apache-2.0
//! The encrypted volumes that an initramfs has to open before the guest's own programs are there.

use std::collections::BTreeSet;

use crate::inspect::Facts;
use crate::linux::{crypttab, kernel};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Its LUKS UUID.
    pub uuid: String,
    /// The name under which crypttab(5) opens it.
    pub name: Option<String>,
}

impl Locked {
    /// Its name where that needs no quoting; others are left to the check of what was made.
    pub fn plain_name(&self) -> Option<&str> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        self.name.as_deref().filter(|name| name.chars().all(plain))
    }
}

/// Those that the root and `/usr` lie on.
pub fn locked(facts: &Facts) -> Vec<Locked> {
    let table = facts.sources.bytes(crypttab::PATH).unwrap_or_default();
    let entries = crypttab::parse(table);
    let early = ["/", "/usr"];
    let mounts = facts.mounts.iter();
    let early = mounts.filter(|mount| early.contains(&mount.at.as_str()));
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for volume in early.flat_map(|mount| kernel::stack_below(facts, &mount.volume)) {
        let made_by = volume.stack.made_by.as_deref().unwrap_or_default();
        if !made_by.starts_with("luks") {
            continue;
        }
        for inside in volume.stack.made_of.iter().filter_map(|n| facts.volume(n)) {
            let Some(uuid) = inside.content.uuid.clone() else {
                continue;
            };
            let mut names = entries.iter().filter(|entry| {
                let device = facts.volume_of_device(&entry.device);
                device.is_some_and(|device| device.name == inside.name)
            });
            if seen.insert(uuid.clone()) {
                let name = names.next().map(|entry| entry.name.clone());
                out.push(Locked { uuid, name });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;
    use crate::linux::fixture;
    use crate::volume::Stack;

    fn on_luks(table: &str) -> Facts {
        let fs = MemoryFs::new().file(crypttab::PATH, table);
        let mut facts = fixture::gathered(fs);
        let mut below = facts.volumes[0].clone();
        below.name = "disk0p2".to_owned();
        below.content.kind = "luks".to_owned();
        below.content.uuid = Some(UUID.to_owned());
        let made = |by: &str, of: &str| Stack {
            made_by: Some(by.to_owned()),
            made_of: vec![of.to_owned()],
            devices: Vec::new(),
        };
        let mut opened = below.clone();
        opened.name = "luks-x".to_owned();
        opened.stack = made("luks2", "disk0p2");
        facts.volumes[0].stack = made("lvm2 linear", "luks-x");
        facts.volumes.extend([below, opened]);
        facts
    }

    const UUID: &str = "1f2b09d4-3d0a-4a5f-b0b6-7e1f5d2c0902";

    #[test]
    fn what_the_root_lies_on_is_named_as_crypttab_names_it() {
        assert_eq!(locked(&fixture::facts()), []);
        let told = |name: Option<&str>| Locked {
            uuid: UUID.to_owned(),
            name: name.map(str::to_owned),
        };
        assert_eq!(locked(&on_luks("data UUID=0000 none\n")), [told(None)]);
        for device in ["/dev/sda2", &format!("UUID={UUID}")] {
            let table =
                format!("# x\nswap /dev/sda5 /dev/urandom swap\nsda2_crypt {device} none\n");
            assert_eq!(locked(&on_luks(&table)), [told(Some("sda2_crypt"))]);
        }
    }
}
