// SPDX-License-Identifier: Apache-2.0
//! Alpine's mkinitfs: <https://gitlab.alpinelinux.org/alpine/mkinitfs>. Its features are lists of
//! paths below a kernel's modules; what these need comes along.

use super::{Call, Keep, Tool};
use crate::inspect::Facts;
use crate::linux::shell;
use crate::linux::text::Edits;

const CONFIG: &str = "/etc/mkinitfs/mkinitfs.conf";
const FEATURE: &str = "/etc/mkinitfs/features.d/guestfix.modules";
const NAME: &str = "guestfix";
/// Where kernels keep the drivers.
const PATHS: [(&str, &str); 5] = [
    ("virtio_pci", "kernel/drivers/virtio"),
    ("virtio_blk", "kernel/drivers/block/virtio_blk*"),
    ("virtio_scsi", "kernel/drivers/scsi/virtio_scsi*"),
    ("sd_mod", "kernel/drivers/scsi/sd_mod*"),
    ("ahci", "kernel/drivers/ata/ahci*"),
];

/// This generator.
pub const TOOL: Tool = Tool {
    name: "mkinitfs",
    programs: &["/sbin/mkinitfs", "/usr/sbin/mkinitfs"],
    configuration: &[CONFIG, FEATURE],
    marks: &[],
    is_used: |facts| facts.sources.has(CONFIG),
    keep,
    rebuild: |order| Call::new(&[order.program, "-o", order.product, &order.kernel.version]),
};

/// A feature of our own, and its name among those that are used.
fn keep(facts: &Facts, drivers: &[&str]) -> Keep {
    let bytes = facts.sources.bytes(CONFIG).unwrap_or_default();
    let all = shell::assignments(bytes);
    let features = all.iter().rfind(|setting| setting.name == "features");
    let place = features.and_then(|setting| Some((setting, setting.inner.clone()?)));
    let Some((setting, inner)) = place else {
        return Keep::by_hand(CONFIG, "add virtio, scsi and ata to its features");
    };
    let mut edits = Edits::new();
    if !setting.value.split_whitespace().any(|name| name == NAME) {
        match setting.quote {
            Some(_) => edits.insert(inner.end, format!(" {NAME}")),
            None => {
                edits.insert(inner.start, "\"");
                edits.insert(inner.end, format!(" {NAME}\""));
            }
        }
    }
    let wanted = PATHS.iter().filter(|(name, _)| drivers.contains(name));
    let paths = wanted.map(|(_, path)| format!("{path}\n"));
    let mut keep = Keep::file(FEATURE, paths.collect::<String>());
    keep.files.push((CONFIG.to_owned(), edits.apply(bytes)));
    keep
}

#[cfg(test)]
mod tests {
    use super::super::{facts_with, kept};
    use super::*;

    #[test]
    fn a_feature_of_our_own_is_added() {
        for (old, want) in [
            (
                "features=\"ata base ext4\"\n",
                "features=\"ata base ext4 guestfix\"\n",
            ),
            ("features=base # x\n", "features=\"base guestfix\" # x\n"),
        ] {
            assert_eq!(kept(&TOOL, &[(CONFIG, old)], CONFIG), want);
        }
        assert_eq!(
            kept(&TOOL, &[(CONFIG, "features=a\n")], FEATURE),
            "kernel/drivers/virtio\nkernel/drivers/block/virtio_blk*\n"
        );
        let keep = keep(&facts_with(&[(CONFIG, "x=1\n")]), &["virtio_pci"]);
        assert_eq!(keep.concerns[0].id, "edit-by-hand");
    }
}
