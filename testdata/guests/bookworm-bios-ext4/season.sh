#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs once inside the guest, on VMware's virtual hardware: what Debian's installer does at its end.
set -eu
trap 'echo "season: failed at line $LINENO"' ERR
say() { echo "season: $*"; }

nic=
for path in /sys/class/net/*; do
    [ -e "$path/device/driver" ] && nic=${path##*/}
done
say "interface=$nic"
say "interface_driver=$(basename "$(readlink "/sys/class/net/$nic/device/driver")")"
say "disk_driver=$(basename "$(readlink -f /sys/block/sda/device/../../../driver)")"
say "virtualisation=$(systemd-detect-virt || true)"
say "kernel=$(uname -r)"
cat >>/etc/network/interfaces <<IFACE

# The primary network interface
allow-hotplug $nic
iface $nic inet static
	address 192.0.2.10/24
IFACE

# What the installer writes for "targeted: only include drivers needed for this system".
printf '%s\n' '# Driver inclusion policy selected during installation' 'MODULES=dep' \
    >/etc/initramfs-tools/conf.d/driver-policy
say "grub-install at $(cut -d' ' -f1 /proc/uptime)"
grub-install /dev/sda
say "update-initramfs at $(cut -d' ' -f1 /proc/uptime)"
update-initramfs -u -k all
rm -f /etc/systemd/system/season.service /usr/local/sbin/season
say "update-grub at $(cut -d' ' -f1 /proc/uptime)"
update-grub
say "cmdline=$(grep -m1 -o 'root=[/U].*' /boot/grub/grub.cfg)"
sync
say "done at $(cut -d' ' -f1 /proc/uptime)"
