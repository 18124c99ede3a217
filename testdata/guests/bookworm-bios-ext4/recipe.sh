#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 12 as its installer leaves it on a VMware guest with BIOS, whose administrator chose kernel device names:
# every boot-relevant file says /dev/sda, and the initramfs holds only what VMware's hardware needs.
guest_name=bookworm-bios-ext4
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

guest_suite=bookworm
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,ifupdown,iproute2,kmod,e2fsprogs,fdisk,grub-pc,initramfs-tools,zstd,open-vm-tools
guest_size_mib=2048
guest_firmware=bios
# As Debian's installer leaves it, with 2046 sectors between the root and the extended partition.
guest_table='label: dos
label-id: 0x2f8a10c3
start=2048, size=3926016, type=83, bootable
start=3930110, size=262146, type=5
start=3930112, size=262144, type=82'
guest_volumes=(
    '1 ext4 5b0a4c56-3f0e-4f3b-9d52-0c1d6f6a0a01 /'
    '5 swap 5b0a4c56-3f0e-4f3b-9d52-0c1d6f6a0a05'
)
guest_mac=00:50:56:8a:12:01

guest_customize() {
    local root=$1
    mkdir -p "$root"/media/{cdrom0,floppy0}
    # Kernel names on the command line, text-mode GRUB, no serial console: VMware guests have none.
    sed -i -e 's/^#\?GRUB_DISABLE_LINUX_UUID=.*/GRUB_DISABLE_LINUX_UUID=true/' \
        -e 's/^#\?GRUB_TERMINAL=.*/GRUB_TERMINAL=console/' "$root/etc/default/grub"
    printf 'grub-pc grub-pc/install_devices multiselect /dev/sda\n' | chroot "$root" debconf-set-selections
}

guest_expect() {
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=no' "$1" &&
        grep -qx 'initramfs_virtio_scsi=no' "$1" && grep -q 'root=/dev/sda1' "$1"
}

guest_build "$@"
