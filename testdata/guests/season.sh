#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs once inside the guest, on VMware's virtual hardware, followed by the guest's own season.sh: what Debian's
# installer does at its end. Lines that begin with "season: " are read by the recipe; KEY=VALUE becomes a fact.
set -eu
trap 'echo "season: failed at line $LINENO"' ERR
say() { echo "season: $*"; }
step() { say "$1 at $(cut -d' ' -f1 /proc/uptime)"; }

# The guest must not keep what seasoned it.
forget_season() { rm -f /etc/systemd/system/season.service /usr/local/sbin/season; }

# Writes the boot menu, last of all.
finish() {
    step update-grub
    update-grub
    say "cmdline=$(grep -m1 -o 'root=[/U].*' /boot/grub/grub.cfg)"
    sync
    step 'done'
}

nic=
for path in /sys/class/net/*; do
    [ -e "$path/device/driver" ] && nic=${path##*/}
done
say "interface=$nic"
say "interface_driver=$(basename "$(readlink "/sys/class/net/$nic/device/driver")")"
say "disk_driver=$(basename "$(readlink -f /sys/block/sda/device/../../../driver)")"
say "virtualisation=$(systemd-detect-virt || true)"
say "kernel=$(uname -r)"
