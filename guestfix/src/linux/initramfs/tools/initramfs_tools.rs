// SPDX-License-Identifier: Apache-2.0
//! Debian's initramfs-tools: initramfs-tools(7), mkinitramfs(8), initramfs.conf(5).

use super::{Call, Keep, Order, Tool, lacking, listed};
use crate::inspect::Facts;
use crate::linux::initramfs::locked::{Locked, locked};

const LIST: &str = "/etc/initramfs-tools/modules";

/// This generator.
pub const TOOL: Tool = Tool {
    name: "initramfs-tools",
    programs: &["/usr/sbin/mkinitramfs", "/sbin/mkinitramfs"],
    configuration: &[
        LIST,
        "/etc/initramfs-tools/initramfs.conf",
        "/etc/initramfs-tools/conf.d",
    ],
    marks: &["/etc/initramfs-tools"],
    is_used: |facts| facts.sources.has("/etc/initramfs-tools"),
    keep,
    rebuild,
};

fn keep(facts: &Facts, drivers: &[&str]) -> Keep {
    let old = facts.sources.bytes(LIST).unwrap_or_default();
    let lacking = lacking(drivers, &listed(&String::from_utf8_lossy(old)));
    let mut content = old.to_vec();
    if !lacking.is_empty() {
        if !content.is_empty() && !content.ends_with(b"\n") {
            content.push(b'\n');
        }
        content.extend(b"# guestfix: the disks are on virtio, SCSI or SATA\n");
        content.extend(lacking.join("\n").bytes());
        content.push(b'\n');
    }
    Keep::file(LIST, content)
}

/// Calls mkinitramfs with a copy of the guest's configuration in which `MODULES=most` stands in
/// place of whatever is set: with `dep` it would ask the machine it runs on. The list of file
/// systems whose fsck goes in comes from us for the same reason, and which encrypted volumes are
/// opened in it: for those crypttab(5) has an option, which stands there while the program runs.
/// Nothing is left in the guest.
const SCRIPT: &str = r#"set -eu
program=$1 version=$2 image=$3 types=$4 locked=${5-}
work=${0%/*}
config=$work/config
mkdir "$work/tmp"
cp -RL /etc/initramfs-tools "$config" || [ -f "$config/initramfs.conf" ]
mkdir -p "$config/conf.d"
for file in /usr/share/initramfs-tools/conf.d/*; do
    if grep -q '^[^#]*MODULES=' "$file" 2>/dev/null && ! [ -e "$config/conf.d/${file##*/}" ]; then
        cp "$file" "$config/conf.d/"
    fi
done
for file in "$config/initramfs.conf" "$config"/conf.d/*; do
    if [ -f "$file" ]; then
        sed -i 's/^\([^#]*\)\bMODULES=[^;]*/\1MODULES=most/' "$file"
    fi
done
grep -q '^MODULES=most' "$config/initramfs.conf" || echo MODULES=most >>"$config/initramfs.conf"
if [ -n "$types" ] && ! grep -qs '^FSTYPE=[^a]' "$config/initramfs.conf" "$config"/conf.d/*; then
    sed -i '/^FSTYPE=/d' "$config/initramfs.conf"
    echo "FSTYPE=$types" >>"$config/initramfs.conf"
fi
if [ -n "$locked" ]; then
    cp -p /etc/crypttab "$work/crypttab"
    trap 'cp -p "$work/crypttab" /etc/crypttab' EXIT
    awk -v locked=" $locked " '!/^[ \t]*#/ && NF > 1 && index(locked, " " $1 " ") {
        $3 = NF > 2 ? $3 : "none"
        $4 = NF > 3 ? $4 ",initramfs" : "initramfs"
    } { print }' "$work/crypttab" >"$work/crypttab.open"
    cat "$work/crypttab.open" >/etc/crypttab
fi
TMPDIR=$work/tmp
export TMPDIR
"$program" -d "$config" -o "$image" "$version"
"#;

fn rebuild(order: &Order<'_>) -> Call {
    let version = &order.kernel.version;
    let types = types(order.facts).join(",");
    let locked = locked(order.facts);
    let names: Vec<&str> = locked.iter().filter_map(Locked::plain_name).collect();
    let names = names.join(" ");
    let mut args = vec![order.program, version, order.product, &types];
    if !names.is_empty() {
        args.push(&names);
    }
    Call::script("/bin/sh", "rebuild", SCRIPT, &args)
}

/// The filesystems that are mounted before the root's own programs can check them.
fn types(facts: &Facts) -> Vec<&str> {
    let early = facts
        .mounts
        .iter()
        .filter(|mount| ["/", "/usr"].contains(&mount.at.as_str()));
    let mut types: Vec<&str> = early
        .filter_map(|mount| facts.volume(&mount.volume))
        .map(|volume| volume.content.kind.as_str())
        .collect();
    types.sort_unstable();
    types.dedup();
    types
}
