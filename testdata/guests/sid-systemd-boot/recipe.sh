#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian unstable on a VMware guest with UEFI: systemd-boot and its entries on the ESP, without GRUB; dracut's initramfs,
# which takes every driver along in that release; netplan for two network cards, one of them with IPv6 only.
guest_name=sid-systemd-boot
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

guest_suite=sid
guest_packages=linux-image-amd64,systemd-sysv,systemd-boot,systemd-resolved,udev,dbus,iproute2,kmod,e2fsprogs,dosfstools,fdisk,dracut,zstd,netplan-generator,open-vm-tools
guest_size_mib=3072
guest_firmware=efi
guest_table='label: gpt
label-id: 2C5E8F10-7B64-4A19-9D30-6A41C2F0D700
start=2048, size=1048576, type=U, uuid=2C5E8F10-7B64-4A19-9D30-6A41C2F0D701
start=1050624, size=4976640, type=L, uuid=2C5E8F10-7B64-4A19-9D30-6A41C2F0D702
start=6027264, size=262144, type=S, uuid=2C5E8F10-7B64-4A19-9D30-6A41C2F0D703'
guest_volumes=(
    '1 vfat 5D07-90E2 /efi'
    '2 ext4 b7d1a3c4-6e58-4f02-8b19-0c92e4f0d702 /'
    '3 swap b7d1a3c4-6e58-4f02-8b19-0c92e4f0d703'
)
guest_mac=00:50:56:8a:12:07
second_mac=00:50:56:8a:12:17

# Unstable has neither updates nor security beside it, and a mirror of it may be some days old. There is no GRUB to be told
# anything.
eval "any_$(declare -f apt_lines)"
apt_lines() { any_apt_lines "$1" | grep " $1 main"; }
eval "$(declare -f bootstrap | sed -e '/GRUB_TIMEOUT/d' \
    -e "/--variant/s/--quiet /&--aptopt='Acquire::Check-Valid-Until \"false\"' /")"

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
    local root=$1
    mkdir -p "$root/efi"
    chmod 0600 "$root"/etc/netplan/*.yaml
    chroot "$root" systemctl --quiet enable systemd-networkd
    chroot "$root" systemctl --quiet mask systemd-networkd-wait-online.service
}

guest_expect() {
    printf 'second_mac=%s\n' "$second_mac" >>"$1"
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=yes' "$1" &&
        grep -qx 'interfaces=ens192 ens224' "$1" && grep -q '^entry=/efi/loader/entries/.*\.conf' "$1" &&
        grep -q '^cmdline=root=/dev/sda2 ro' "$1"
}

guest_build "$@"
