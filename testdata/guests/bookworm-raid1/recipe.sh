#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 12 on a VMware guest with BIOS, MBR and two disks: root and swap on RAID 1 (md) over both, GRUB on both. Its
# initramfs is made for this machine only (MODULES=dep); mdadm.conf names the partitions.
guest_name=bookworm-raid1
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
eval "common_$(declare -f season_service)"
eval "common_$(declare -f vmware_machine)"
# shellcheck source=testdata/stacks/recipe.sh
. "$(dirname "${BASH_SOURCE[0]}")/stack.sh"

guest_suite=bookworm
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,ifupdown,iproute2,kmod,e2fsprogs,fdisk,mdadm,grub-pc,initramfs-tools,zstd,open-vm-tools
guest_disks_mib=(2560 2560)
guest_firmware=bios
guest_mac=00:50:56:8a:12:0a

guest_customize() {
    printf 'grub-pc grub-pc/install_devices multiselect /dev/sda, /dev/sdb\n' | chroot "$1" debconf-set-selections
}

guest_expect() {
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_raid1=yes' "$1" &&
        grep -qx 'initramfs_virtio_blk=no' "$1" && grep -qx 'initramfs_virtio_scsi=no' "$1" &&
        grep -qx 'interface=ens192' "$1" && grep -q 'cmdline=root=UUID=1f2b0ad4-7c51-4b0e-9e6d-52a1c0f40a01' "$1"
}

guest_build "$@"
