# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows install.sh
sfdisk --quiet /dev/sda <<TABLE
label: dos
label-id: 0x1f2b09d4
start=2048, size=497664, type=83, bootable
start=499712, size=5791744, type=83
TABLE
udevadm settle
# Little memory and few rounds: the guest is unlocked under emulation.
printf guestfix | cryptsetup luksFormat --batch-mode --type luks2 --uuid 1f2b09d4-3d0a-4a5f-b0b6-7e1f5d2c0902 \
    --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-parallel 1 --pbkdf-force-iterations 4 /dev/sda2 -
printf guestfix | cryptsetup open /dev/sda2 sda2_crypt -
pvcreate /dev/mapper/sda2_crypt
vgcreate bookworm-vg /dev/mapper/sda2_crypt
lvcreate -y -n root -L 2400M bookworm-vg
lvcreate -y -n swap_1 -L 128M bookworm-vg
mkfs.ext4 -q -U 1f2b09d4-7c51-4b0e-9e6d-52a1c0f40901 /dev/sda1
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
# Written by hand after a rescue, as one finds it: by the device's name.
printf 'sda2_crypt /dev/sda2 none luks,discard\n' >"$target/etc/crypttab"
printf 'RESUME=/dev/mapper/bookworm--vg-swap_1\n' >"$target/etc/initramfs-tools/conf.d/resume"
static_address
printf '%s\n' '# Driver inclusion policy selected during installation' 'MODULES=dep' \
    >"$target/etc/initramfs-tools/conf.d/driver-policy"
enter_target
step update-initramfs
in_target update-initramfs -u -k all
boot_from /dev/sda
tell_initramfs in_target lsinitramfs "/boot/initrd.img-$(uname -r)"
leave_target /dev/sda1 /dev/bookworm-vg/root
vgchange -an bookworm-vg
cryptsetup close sda2_crypt
step 'done'
