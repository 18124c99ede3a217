# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows install.sh
for disk in sda sdb; do
    sfdisk --quiet "/dev/$disk" <<TABLE
label: dos
start=2048, size=4915200, type=fd, bootable
start=4917248, size=321536, type=fd
TABLE
done
udevadm settle
mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --assume-clean \
    --homehost="$(hostname)" --uuid=1f2b0ad4:7c514b0e:9e6d52a1:c0f40a00 /dev/sda1 /dev/sdb1
mdadm --create /dev/md1 --run --level=1 --raid-devices=2 --metadata=1.2 --assume-clean \
    --homehost="$(hostname)" --uuid=1f2b0ad4:7c514b0e:9e6d52a1:c0f40a10 /dev/sda2 /dev/sdb2
mkfs.ext4 -q -U 1f2b0ad4-7c51-4b0e-9e6d-52a1c0f40a01 /dev/md0
mkswap -q /dev/md1
mount /dev/md0 "$target"
install_tree
cat >"$target/etc/fstab" <<'TABLE'
/dev/md0        /       ext4    errors=remount-ro 0       1
/dev/md1        none    swap    sw                0       0
TABLE
cat >"$target/etc/mdadm/mdadm.conf" <<'TABLE'
HOMEHOST <system>
MAILADDR root
DEVICE /dev/sda1 /dev/sdb1 /dev/sda2 /dev/sdb2
ARRAY /dev/md0 metadata=1.2 UUID=1f2b0ad4:7c514b0e:9e6d52a1:c0f40a00
ARRAY /dev/md1 metadata=1.2 UUID=1f2b0ad4:7c514b0e:9e6d52a1:c0f40a10
TABLE
resume_from /dev/md1
static_address
enter_target
dep_initramfs
boot_from /dev/sda /dev/sdb
leave_target /dev/md0
mdadm --stop /dev/md0
mdadm --stop /dev/md1
step 'done'
