#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 13 on a VMware guest with UEFI: started through Debian's signed shim by a boot entry in VMware's variables, and
# by nothing else; root on xfs; dracut's initramfs for this machine only; systemd-networkd by the interface's name.
guest_name=trixie-uefi-xfs
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

guest_suite=trixie
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,iproute2,kmod,xfsprogs,dosfstools,fdisk,grub-efi-amd64,grub-efi-amd64-signed,shim-signed,dracut,zstd,open-vm-tools
guest_size_mib=3072
guest_firmware=efi
guest_table='label: gpt
label-id: 6D1B7A52-0D0C-4C0B-A4A1-5B1F0E3C0C00
start=2048, size=131072, type=U, uuid=6D1B7A52-0D0C-4C0B-A4A1-5B1F0E3C0C01
start=133120, size=5894144, type=L, uuid=6D1B7A52-0D0C-4C0B-A4A1-5B1F0E3C0C02
start=6027264, size=262144, type=S, uuid=6D1B7A52-0D0C-4C0B-A4A1-5B1F0E3C0C03'
guest_volumes=(
    '1 vfat 7C3A-11D0 /boot/efi'
    '2 xfs 9e4c1f70-52a6-4a3e-8f0b-1d7c60e10c02 /'
    '3 swap 9e4c1f70-52a6-4a3e-8f0b-1d7c60e10c03'
)
guest_mac=00:50:56:8a:12:03

guest_customize() {
    local root=$1
    mkdir -p "$root/boot/efi"
    chroot "$root" systemctl --quiet enable systemd-networkd
}

guest_expect() {
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=no' "$1" &&
        grep -qx 'initramfs_virtio_scsi=no' "$1" && grep -qx 'interface=ens192' "$1" &&
        grep -qx 'loader=/boot/efi/EFI/debian/shimx64.efi' "$1" && ! grep -q '^fallback_loader=' "$1" &&
        grep -q 'root=UUID=9e4c1f70-52a6-4a3e-8f0b-1d7c60e10c02' "$1"
}

guest_build "$@"
