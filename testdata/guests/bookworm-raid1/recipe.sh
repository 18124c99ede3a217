#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 12 on a VMware guest with BIOS, MBR and two disks: root and swap on RAID 1 (md) over both, GRUB on both. Its
# initramfs is made for this machine only (MODULES=dep); mdadm.conf names the partitions.
guest_name=bookworm-raid1
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
# shellcheck source=testdata/stacks/recipe.sh
. "$(dirname "${BASH_SOURCE[0]}")/stack.sh"

guest_suite=bookworm
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,ifupdown,iproute2,kmod,e2fsprogs,fdisk,mdadm,grub-pc,initramfs-tools,zstd,open-vm-tools
guest_disks_mib=(2560 2560)
guest_mac=00:50:56:8a:12:0a

guest_customize() {
    remember_grub "$1" '/dev/sda, /dev/sdb'
}

guest_expect() {
    expect_vmware_only "$1" && grep -qx 'initramfs_raid=yes' "$1" &&
        grep -q 'cmdline=root=UUID=1f2b0ad4-7c51-4b0e-9e6d-52a1c0f40a01' "$1"
}

guest_build "$@"
