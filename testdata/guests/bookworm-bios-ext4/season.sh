# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows ../season.sh
cat >>/etc/network/interfaces <<IFACE

# The primary network interface
allow-hotplug $nic
iface $nic inet static
	address 192.0.2.10/24
IFACE

# What the installer writes for "targeted: only include drivers needed for this system".
printf '%s\n' '# Driver inclusion policy selected during installation' 'MODULES=dep' \
    >/etc/initramfs-tools/conf.d/driver-policy
step grub-install
grub-install /dev/sda
step update-initramfs
update-initramfs -u -k all
forget_season
finish
