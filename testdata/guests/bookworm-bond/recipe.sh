#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 12 on a VMware guest with BIOS and MBR and two network cards, which ifupdown bonds: the bond has an IPv4 address,
# a VLAN on it has another and an IPv6 one. No file names a hardware address. Kernel and initramfs as an installation with
# MODULES=dep leaves them.
guest_name=bookworm-bond
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

guest_suite=bookworm
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,ifupdown,ifenslave,vlan,iproute2,kmod,e2fsprogs,fdisk,grub-pc,initramfs-tools,zstd,open-vm-tools
guest_size_mib=2048
guest_firmware=bios
guest_table='label: dos
label-id: 0x3ab10d06
start=2048, size=3928064, type=83, bootable
start=3930112, size=262144, type=82'
guest_volumes=(
    '1 ext4 5f0d7b16-94c2-4e1a-8d36-20b7a1f50601 /'
    '2 swap 5f0d7b16-94c2-4e1a-8d36-20b7a1f50602'
)
guest_mac=00:50:56:8a:12:06
second_mac=00:50:56:8a:12:16

# The second card is in the slot after the first one's, as ESXi puts it.
eval "one_card_$(declare -f vmware_machine)"
vmware_machine() {
    one_card_vmware_machine "$@"
    # shellcheck disable=SC2054 # the commas are QEMU's
    machine+=(-device pcie-root-port,id=slot224,slot=224,chassis=3
        -netdev user,id=net1,restrict=on
        -device "vmxnet3,netdev=net1,bus=slot224,mac=$second_mac")
}

guest_customize() {
    printf 'grub-pc grub-pc/install_devices multiselect /dev/sda\n' | chroot "$1" debconf-set-selections
}

guest_expect() {
    printf 'second_mac=%s\n' "$second_mac" >>"$1"
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=no' "$1" &&
        grep -qx 'initramfs_virtio_scsi=no' "$1" && grep -qx 'interfaces=ens192 ens224' "$1" &&
        grep -qx 'bonded=ens\(192 ens224\|224 ens192\)' "$1"
}

guest_build "$@"
