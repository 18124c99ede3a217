# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows season.sh
# What the guests of stacks share inside the guest: between season.sh, which found `nic`, and the guest's own.
target=/target
mkdir -p "$target"

# scsi_disk N: the N-th disk on VMware's adapter, which need not be named in that order now.
scsi_disk() { readlink -f "/dev/disk/by-path/"*"-scsi-0:0:$1:0"; }

# install_tree: this system, less what seasons it, below `target`, where the recipe has mounted the guest's filesystems.
install_tree() {
    step copying
    mkdir -p /run/tree
    mount --bind / /run/tree
    (cd /run/tree && tar -c --one-file-system --exclude=./target --exclude='./tmp/*' --exclude=./lost+found .) |
        tar -x -C "$target"
    umount /run/tree
    rm -f "$target/etc/systemd/system/season.service" "$target/usr/local/sbin/season"
    mkdir -p "$target/tmp" "$target/run" "$target/proc" "$target/sys" "$target/dev"
    chmod 1777 "$target/tmp"
}

# guided_lvm DEVICE BOOT_UUID: root and swap on logical volumes of DEVICE, /boot on /dev/sda1, and the tree on them: as
# "guided partitioning with LVM" does it.
guided_lvm() {
    pvcreate "$1"
    vgcreate bookworm-vg "$1"
    lvcreate -y -n root -L 2400M bookworm-vg
    lvcreate -y -n swap_1 -L 128M bookworm-vg
    mkfs.ext4 -q -U "$2" /dev/sda1
    mkfs.ext4 -q /dev/bookworm-vg/root
    mkswap -q /dev/bookworm-vg/swap_1
    mount /dev/bookworm-vg/root "$target"
    mkdir "$target/boot"
    mount /dev/sda1 "$target/boot"
    install_tree
    cat >"$target/etc/fstab" <<'TABLE'
/dev/mapper/bookworm--vg-root   /       ext4    errors=remount-ro 0       1
/dev/sda1                       /boot   ext4    defaults          0       2
/dev/mapper/bookworm--vg-swap_1 none    swap    sw                0       0
TABLE
    resume_from /dev/mapper/bookworm--vg-swap_1
}

# leave_guided_lvm: checks its filesystems and closes it.
leave_guided_lvm() {
    leave_target /dev/sda1 /dev/bookworm-vg/root
    vgchange -an bookworm-vg
}

# resume_from DEVICE
resume_from() { printf 'RESUME=%s\n' "$1" >"$target/etc/initramfs-tools/conf.d/resume"; }

# static_address: as Debian's installer writes it.
static_address() {
    cat >>"$target/etc/network/interfaces" <<IFACE

# The primary network interface
allow-hotplug $nic
iface $nic inet static
	address 192.0.2.10/24
IFACE
}

in_target() { chroot "$target" "$@"; }

# enter_target: what programs need that are run in there.
enter_target() {
    local dir
    # Not what is mounted below them: it would not be let go again.
    for dir in dev proc sys run; do mount --bind "/$dir" "$target/$dir"; done
}

# dep_initramfs: what the installer does for "targeted: only include drivers needed for this system".
dep_initramfs() {
    printf '%s\n' '# Driver inclusion policy selected during installation' 'MODULES=dep' \
        >"$target/etc/initramfs-tools/conf.d/driver-policy"
    step update-initramfs
    in_target update-initramfs -u -k all
    tell_initramfs in_target lsinitramfs "/boot/initrd.img-$(uname -r)"
}

# boot_from DISK...: the boot loader on each, and its menu.
boot_from() {
    local disk
    for disk in "$@"; do
        step "grub-install $disk"
        in_target grub-install "$disk"
    done
    step update-grub
    in_target update-grub
    say "cmdline=$(in_target grep -m1 -o 'root=[/U].*' /boot/grub/grub.cfg)"
}

# tell_initramfs: what the initramfs that the guest is left with holds.
tell_initramfs() {
    local list module
    # Names of files have a dash where names of modules have an underscore, or not.
    list=$("$@")
    for module in vmw_pvscsi virtio_blk virtio_scsi dm_mod raid1 dm_crypt; do
        # The key of a fact has no digit.
        case $list in
            */${module/_/[_-]}.ko*) say "initramfs_${module%1}=yes" ;;
            *) say "initramfs_${module%1}=no" ;;
        esac
    done
}

# leave_target DEVICE...: unmounts, and checks the ext4 filesystems on the devices.
leave_target() {
    local device
    sync
    umount -R "$target"
    for device in "$@"; do e2fsck -f -n "$device"; done
    say checked
}
