#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 12 in the manner of a cloud image that ran on VMware: every name is a UUID or a pattern, the initramfs holds
# every driver, the serial console is configured, VMware Tools were never installed. There is next to nothing to convert.
guest_name=bookworm-cloud
# shellcheck source=testdata/guests/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

guest_suite=bookworm
guest_packages=linux-image-amd64,systemd-sysv,udev,dbus,iproute2,kmod,e2fsprogs,fdisk,grub-pc,initramfs-tools,zstd,qemu-guest-agent
guest_size_mib=2048
guest_firmware=bios
guest_table='label: dos
label-id: 0x61c07d2e
start=2048, type=83, bootable'
guest_volumes=('1 ext4 8c1de0f2-7a35-4d0f-8c3e-52b1f0d40b01 /')
guest_mac=00:50:56:8a:12:02

guest_customize() {
    local root=$1
    sed -i -e 's/^GRUB_CMDLINE_LINUX_DEFAULT=.*/GRUB_CMDLINE_LINUX_DEFAULT=""/' \
        -e 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"/' \
        -e 's/^#\?GRUB_TERMINAL=.*/GRUB_TERMINAL="console serial"/' "$root/etc/default/grub"
    printf 'GRUB_SERIAL_COMMAND="serial --speed=115200"\n' >>"$root/etc/default/grub"
    printf 'grub-pc grub-pc/install_devices_empty boolean true\n' | chroot "$root" debconf-set-selections
    chroot "$root" systemctl --quiet enable systemd-networkd
    chroot "$root" systemctl --quiet mask systemd-networkd-wait-online.service
}

guest_expect() {
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=yes' "$1" &&
        grep -qx 'initramfs_virtio_scsi=yes' "$1" && grep -q "root=UUID=8c1de0f2-7a35-4d0f-8c3e-52b1f0d40b01 .*console=ttyS0" "$1"
}

guest_build "$@"
