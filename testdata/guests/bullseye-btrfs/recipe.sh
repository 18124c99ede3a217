#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 11 on a VMware guest with BIOS and GPT: btrfs with its root in a subvolume that fstab and the kernel's command
# line name, a snapshot of that root beside it, the initramfs only for VMware's hardware, and NetworkManager with a
# connection bound to the interface's name.
guest_name=bullseye-btrfs
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

guest_suite=bullseye
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,iproute2,kmod,btrfs-progs,fdisk,grub-pc,initramfs-tools,zstd,network-manager,open-vm-tools
guest_size_mib=3072
guest_firmware=bios
guest_table='label: gpt
label-id: 3F9A6C14-7B1D-4E55-9C02-2A6D0E3C0D00
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, uuid=3F9A6C14-7B1D-4E55-9C02-2A6D0E3C0D01
start=4096, size=6023168, type=L, uuid=3F9A6C14-7B1D-4E55-9C02-2A6D0E3C0D02
start=6027264, size=262144, type=S, uuid=3F9A6C14-7B1D-4E55-9C02-2A6D0E3C0D03'
guest_volumes=(
    '2 btrfs c41d9a36-0b7e-4f62-b1a8-7e2f35d40d02 /:@ /home:@home /var/log:@var-log /.snapshots:@snapshots'
    '3 swap c41d9a36-0b7e-4f62-b1a8-7e2f35d40d03'
)
guest_mac=00:50:56:8a:12:04

guest_customize() {
    local root=$1
    # NetworkManager reads no connection that others may read.
    chmod 0600 "$root/etc/NetworkManager/system-connections/ens192.nmconnection"
    printf 'grub-pc grub-pc/install_devices multiselect /dev/sda\n' | chroot "$root" debconf-set-selections
}

guest_expect() {
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=no' "$1" &&
        grep -qx 'initramfs_virtio_scsi=no' "$1" && grep -qx 'interface=ens192' "$1" &&
        grep -q 'root=UUID=c41d9a36-0b7e-4f62-b1a8-7e2f35d40d02 .*rootflags=subvol=@' "$1" &&
        grep -qx 'snapshot=@snapshots/1' "$1"
}

guest_build "$@"
