#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes lvm-a.img.xz and lvm-b.img.xz: one volume group over a whole disk and a GPT partition, by
# LVM and the kernel in libguestfs' appliance. Needs libguestfs-tools, python3, xz.
set -e
cd "$(dirname "$0")"
M=1048576
rm -f lvm-a.img lvm-b.img
truncate -s 40M lvm-a.img
truncate -s 48M lvm-b.img
for s in lin:21 str:8 mir:4 old:4; do python3 pattern.py 512 "${s%:*}" $((${s#*:} * M)) "p.${s%:*}"; done
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
guestfish <<'G'
add lvm-a.img format:raw
add lvm-b.img format:raw
run
part-init /dev/sdb gpt
part-add /dev/sdb p 2048 -2048
debug sh "pvcreate -ff -y /dev/sda /dev/sdb1"
debug sh "vgcreate -s 1m vg-0 /dev/sda /dev/sdb1"
debug sh "lvcreate -y -Wn -Zn -L 4m --type raid1 -m1 -n mir vg-0"
debug sh "lvcreate -y -Wn -Zn -L 4m --type mirror --mirrorlog core -m1 -n old vg-0"
debug sh "lvcreate -y -Wn -Zn -i2 -I64k -L 8m -n str vg-0"
debug sh "lvcreate -y -Wn -Zn -L 21m -n lin vg-0 /dev/sda"
upload p.lin /dev/vg-0/lin
upload p.str /dev/vg-0/str
upload p.mir /dev/vg-0/mir
upload p.old /dev/vg-0/old
debug sh "lvs -a -o +devices,segtype,sync_percent"
checksum-device sha256 /dev/vg-0/lin
checksum-device sha256 /dev/vg-0/str
checksum-device sha256 /dev/vg-0/mir
checksum-device sha256 /dev/vg-0/old
vg-activate-all false
G
rm p.*
xz -9e -f lvm-a.img lvm-b.img
