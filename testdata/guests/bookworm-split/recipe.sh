#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 12 on a VMware guest with BIOS and MBR, split over partitions: /boot, the root and /usr, which the initramfs must
# mount by the root's own fstab. On a further partition lies an older copy of the system, made before it was given its
# address, without kernel, /boot and modules; its fstab names the devices of the original.
guest_name=bookworm-split
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

guest_suite=bookworm
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,ifupdown,iproute2,kmod,e2fsprogs,fdisk,grub-pc,initramfs-tools,zstd,open-vm-tools
guest_size_mib=3072
guest_firmware=bios
guest_table='label: dos
label-id: 0x7d20e5b6
start=2048, size=524288, type=83, bootable
start=526336, size=1048576, type=83
start=1574912, size=4716544, type=5
start=1576960, size=2621440, type=83
start=4200448, size=262144, type=82
start=4464640, size=1826816, type=83'
guest_volumes=(
    '1 ext4 d83e5f01-4a9c-4b27-a6d0-3c18e9f20e01 /boot'
    '2 ext4 d83e5f01-4a9c-4b27-a6d0-3c18e9f20e02 /'
    '5 ext4 d83e5f01-4a9c-4b27-a6d0-3c18e9f20e05 /usr'
    '6 swap d83e5f01-4a9c-4b27-a6d0-3c18e9f20e06'
    '7 ext4 d83e5f01-4a9c-4b27-a6d0-3c18e9f20e07 /srv/previous'
)
guest_mac=00:50:56:8a:12:05

guest_customize() {
    printf 'grub-pc grub-pc/install_devices multiselect /dev/sda\n' | chroot "$1" debconf-set-selections
}

guest_fill() {
    tar -C "$1" --exclude='./boot/*' --exclude=./srv/previous --exclude=./usr/lib/modules \
        --exclude=season --exclude=season.service -c . | tar -C "$1/srv/previous" -x
}

guest_expect() {
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=no' "$1" &&
        grep -qx 'initramfs_virtio_scsi=no' "$1" && grep -qx 'interface=ens192' "$1" &&
        grep -q 'root=UUID=d83e5f01-4a9c-4b27-a6d0-3c18e9f20e02' "$1"
}

guest_build "$@"
