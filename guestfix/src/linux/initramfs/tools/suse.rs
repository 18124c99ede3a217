// SPDX-License-Identifier: Apache-2.0
//! SUSE's mkinitrd, before dracut: mkinitrd(8) and mkinitrd(5) in
//! <https://github.com/openSUSE/mkinitrd>.

use super::{Call, Keep, Order, Tool, lacking};
use crate::inspect::Facts;
use crate::linux::shell;
use crate::linux::text::Edits;

/// Holds `INITRD_MODULES`, the modules that go in and are loaded.
const CONFIG: &str = "/etc/sysconfig/kernel";
const LIST: &str = "INITRD_MODULES";
/// Its parts; later releases have a program of the same name that calls dracut.
const PARTS: &str = "/lib/mkinitrd";

/// Makes the image in a boot directory of its own, because it names all files relative to that,
/// and does not let it touch the boot loader.
const SCRIPT: &str = r#"set -eu
program=$1 version=$2 image=$3 modules=$4 root=$5 kernel=$6
work=${0%/*}
mkdir "$work/boot" "$work/tmp"
cp "$kernel" "$work/boot/vmlinuz-$version"
for name in System.map config symvers; do
    cp "/boot/$name-$version"* "$work/boot/" 2>/dev/null || :
done
. /etc/sysconfig/kernel
TMPDIR=$work/tmp rootdev=$root
export TMPDIR rootdev
"$program" -B -b "$work/boot" -k "vmlinuz-$version" -i initrd -m "$modules $INITRD_MODULES" -d "$root"
mv "$work/boot/initrd" "$image"
"#;

/// This generator.
pub const TOOL: Tool = Tool {
    name: "suse-mkinitrd",
    programs: &["/sbin/mkinitrd"],
    configuration: &[CONFIG],
    marks: &[PARTS, "/sbin/mkinitrd"],
    is_used,
    keep,
    rebuild,
};

fn is_used(facts: &Facts) -> bool {
    let bytes = facts.sources.bytes(CONFIG).unwrap_or_default();
    let all = shell::assignments(bytes);
    let listed = all.iter().any(|setting| setting.name == LIST);
    listed && facts.sources.has(PARTS) && !(super::dracut::TOOL.is_used)(facts)
}

fn keep(facts: &Facts, drivers: &[&str]) -> Keep {
    let bytes = facts.sources.bytes(CONFIG).unwrap_or_default();
    let all = shell::assignments(bytes);
    let list = all.iter().rfind(|setting| setting.name == LIST);
    let place = list.and_then(|setting| Some((setting, setting.inner.clone()?)));
    let Some((setting, inner)) = place else {
        let what = format!("add {} to its {LIST}", drivers.join(" "));
        return Keep::by_hand(CONFIG, &what);
    };
    let have: Vec<String> = setting
        .value
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let lacking = lacking(drivers, &have).join(" ");
    let mut edits = Edits::new();
    if !lacking.is_empty() {
        let blank = if have.is_empty() { "" } else { " " };
        match setting.quote {
            Some(_) => edits.insert(inner.end, format!("{blank}{lacking}")),
            None => {
                edits.insert(inner.start, "\"");
                edits.insert(inner.end, format!("{blank}{lacking}\""));
            }
        }
    }
    Keep::file(CONFIG, edits.apply(bytes))
}

fn rebuild(order: &Order<'_>) -> Call {
    let root = order.facts.root_volume();
    let uuid = root.and_then(|volume| volume.content.uuid.as_deref());
    let device = uuid.map(|uuid| format!("/dev/disk/by-uuid/{uuid}"));
    let args = [
        order.program,
        &order.kernel.version,
        order.product,
        &order.drivers.join(" "),
        device.as_deref().unwrap_or_default(),
        &order.kernel.image,
    ];
    Call::script("/bin/bash", "rebuild", SCRIPT, &args)
}

#[cfg(test)]
mod tests {
    use super::super::{facts_with, kept};
    use super::*;

    #[test]
    fn the_list_is_lengthened_in_its_quotes() {
        let parts = ("/lib/mkinitrd/setup/x", "");
        for (old, want) in [
            (
                "## Type: string\nINITRD_MODULES=\"mptspi ext3\"\n",
                "## Type: string\nINITRD_MODULES=\"mptspi ext3 virtio_pci virtio_blk\"\n",
            ),
            (
                "INITRD_MODULES=\"\"\n",
                "INITRD_MODULES=\"virtio_pci virtio_blk\"\n",
            ),
        ] {
            assert_eq!(kept(&TOOL, &[(CONFIG, old), parts], CONFIG), want);
        }
    }

    #[test]
    fn with_dracut_the_list_is_of_no_use() {
        let facts = facts_with(&[
            (CONFIG, "INITRD_MODULES=\"\"\n"),
            ("/lib/mkinitrd/x", ""),
            ("/usr/lib/dracut/x", ""),
        ]);
        assert!(!is_used(&facts));
    }
}
