# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # the recipe sets guest_*, and reads others
# For guests whose root is on more than a partition. A kernel that builds guests may know neither LVM nor md nor LUKS, so the
# guest installs itself, as an installer does: it is started from a scratch disk on VMware's virtual hardware, and its
# season.sh puts the tree onto the disks of the guest with the guest's own tools.
#
# A recipe sources this after common.sh and sets `guest_disks_mib`, the size of each disk. The first becomes OUT.img, the
# second OUT.disk1.img.
eval "common_$(declare -f season_service)"
eval "common_$(declare -f vmware_machine)"
guest_firmware=bios

# A scratch disk has this UUID in every recipe: it is thrown away.
scratch_uuid=5c7a7c40-0000-4000-8000-000000000001
# What the recipe formats itself, common.sh has nothing to do with.
guest_volumes=()

season_service() {
    local root=$1
    common_season_service "$root"
    {
        # On the console the recipe reads lines, which neither the kernel nor systemd shall write into; and on a busy
        # machine udev is still at work.
        printf '#!/bin/bash\ndmesg -n 1\nkill -s RTMIN+21 1\nudevadm settle --timeout=900\n'
        cat "$GUESTS_DIR/season.sh" "$GUESTS_DIR/$guest_name/install.sh" "$GUESTS_DIR/$guest_name/season.sh"
    } >"$root/usr/local/sbin/season"
}

make_disk() {
    local img=$1 root=$2 n
    truncate -s "${guest_disks_mib[0]}M" "$img"
    for ((n = 1; n < ${#guest_disks_mib[@]}; n++)); do
        truncate -s "${guest_disks_mib[n]}M" "${img%.img}$n.img"
    done
    mke2fs -q -t ext4 -U "$scratch_uuid" -d "$root" "${img%.img}.scratch" 2560M
}

vmware_machine() {
    local img=$1 n
    common_vmware_machine "$@"
    for ((n = 1; n < ${#guest_disks_mib[@]}; n++)); do
        add_disk "disk$n" "${img%.img}$n.img"
    done
    # Not a SCSI disk: those are named in the order in which they answer, and the guest's first is /dev/sda.
    add_drive scratch "${img%.img}.scratch"
    machine+=(-device 'nvme,drive=scratch,serial=scratch')
}

# add_drive ID FILE
add_drive() {
    machine+=(-drive "if=none,id=$1,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=$2")
}

# add_disk ID FILE
add_disk() {
    add_drive "$@"
    machine+=(-device "scsi-hd,drive=$1,bus=scsi0.0,vendor=VMware,product=Virtual disk")
}

root_arguments() { printf 'root=UUID=%s rw' "$scratch_uuid"; }

# The guest checked its filesystems itself, before it closed what they are on.
check_volumes() { grep -q '^season: checked' "${1%/*}/console" || die 'the filesystems were not checked'; }

record_facts() {
    local img=$1 n
    printf 'name=%s\nmac=%s\n' "$guest_name" "$guest_mac"
    for ((n = 1; n < ${#guest_disks_mib[@]}; n++)); do
        fallocate --dig-holes "${img%.img}$n.img"
        # `out` is guest_build's.
        mv "${img%.img}$n.img" "${out%.img}.disk$n.img"
    done
}

# remember_grub ROOT DISKS: what an installation of GRUB leaves with debconf.
remember_grub() {
    printf 'grub-pc grub-pc/install_devices multiselect %s\n' "$2" | chroot "$1" debconf-set-selections
}

# expect_vmware_only FACTS: the initramfs is for the old machine only.
expect_vmware_only() {
    grep -qx 'initramfs_vmw_pvscsi=yes' "$1" && grep -qx 'initramfs_virtio_blk=no' "$1" &&
        grep -qx 'initramfs_virtio_scsi=no' "$1" && grep -qx 'interface=ens192' "$1"
}
