#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 12 on a VMware guest with BIOS and MBR as "guided partitioning with LVM" leaves it: /boot on a partition, root and
# swap on logical volumes. Its initramfs is made for this machine only (MODULES=dep); lvm.conf accepts the one device it had.
guest_name=bookworm-lvm
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
# shellcheck source=testdata/stacks/recipe.sh
. "$(dirname "${BASH_SOURCE[0]}")/stack.sh"

guest_suite=bookworm
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,ifupdown,iproute2,kmod,e2fsprogs,fdisk,lvm2,grub-pc,initramfs-tools,zstd,open-vm-tools
guest_disks_mib=(3072)
guest_mac=00:50:56:8a:12:08

guest_customize() {
    remember_grub "$1" '/dev/sda'
}

guest_expect() {
    expect_vmware_only "$1" && grep -qx 'initramfs_dm_mod=yes' "$1" &&
        grep -q 'cmdline=root=/dev/mapper/bookworm--vg-root' "$1"
}

guest_build "$@"
