#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 13 on a VMware guest with BIOS and two disks: one volume group over a partition of the first and the whole second,
# the root on a logical volume that begins on one and ends on the other, without /boot of its own; dracut's initramfs for
# this machine only, which names the logical volumes.
guest_name=trixie-lvm-two-disks
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
# shellcheck source=testdata/stacks/recipe.sh
. "$(dirname "${BASH_SOURCE[0]}")/stack.sh"

guest_suite=trixie
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,iproute2,kmod,e2fsprogs,fdisk,lvm2,grub-pc,dracut,zstd,open-vm-tools
guest_disks_mib=(1536 2048)
guest_mac=00:50:56:8a:12:0b

guest_customize() {
    remember_grub "$1" '/dev/sda'
    chroot "$1" systemctl --quiet enable systemd-networkd
}

guest_expect() {
    expect_vmware_only "$1" && grep -qx 'root_disks=sda sdb' "$1" &&
        grep -q 'cmdline=root=/dev/mapper/data-root' "$1"
}

guest_build "$@"
