# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows install.sh
sfdisk --quiet /dev/sda <<TABLE
label: dos
label-id: 0x1f2b08d4
start=2048, size=497664, type=83, bootable
start=499712, size=5791744, type=8e
TABLE
udevadm settle
pvcreate /dev/sda2
vgcreate bookworm-vg /dev/sda2
lvcreate -y -n root -L 2400M bookworm-vg
lvcreate -y -n swap_1 -L 128M bookworm-vg
mkfs.ext4 -q -U 1f2b08d4-7c51-4b0e-9e6d-52a1c0f40801 /dev/sda1
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
printf 'RESUME=/dev/mapper/bookworm--vg-swap_1\n' >"$target/etc/initramfs-tools/conf.d/resume"
# What administrators of shared storage write, so that LVM looks at nothing else.
sed -i 's|^devices {|devices {\n\tfilter = [ "a\|^/dev/sda2$\|", "r\|.*\|" ]|' "$target/etc/lvm/lvm.conf"
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
step 'done'
