# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows install.sh
first=$(scsi_disk 0)
second=$(scsi_disk 1)
sfdisk --quiet "$first" <<TABLE
label: dos
label-id: 0x1f2b0bd4
start=2048, size=3143680, type=8e, bootable
TABLE
udevadm settle
pvcreate "${first}1" "$second"
vgcreate data "${first}1" "$second"
# Larger than either.
lvcreate -y -n root -L 2800M data
lvcreate -y -n swap -L 128M data
say "root_disks=$(lsblk -nrso NAME,TYPE /dev/data/root | awk '$2 == "disk" { print $1 }' | sort | paste -sd' ')"
mkfs.ext4 -q /dev/data/root
mkswap -q /dev/data/swap
mount /dev/data/root "$target"
install_tree
cat >"$target/etc/fstab" <<'TABLE'
/dev/mapper/data-root   /       ext4    errors=remount-ro 0       1
/dev/mapper/data-swap   none    swap    sw                0       0
TABLE
enter_target
step dracut
printf '# Only what this machine needs\nhostonly="yes"\nhostonly_cmdline="yes"\n' >"$target/etc/dracut.conf.d/hostonly.conf"
in_target dracut --force --quiet "/boot/initrd.img-$(uname -r)" "$(uname -r)"
boot_from "$first"
tell_initramfs in_target lsinitrd "/boot/initrd.img-$(uname -r)"
say "embedded=$(in_target lsinitrd -f etc/cmdline.d/90lvm.conf "/boot/initrd.img-$(uname -r)" | tr '\n' ' ')"
leave_target /dev/data/root
vgchange -an data
step 'done'
