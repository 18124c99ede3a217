#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes root-a.img.xz and root-b.img.xz: an empty volume group over a partition and a second disk,
# for tests that put a root of their own there. Needs libguestfs-tools and xz.
set -e
cd "$(dirname "$0")"
rm -f root-a.img root-b.img
truncate -s 72M root-a.img
truncate -s 64M root-b.img
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
guestfish <<'G'
add root-a.img format:raw
add root-b.img format:raw
run
part-init /dev/sda mbr
part-add /dev/sda p 2048 40959
part-add /dev/sda p 40960 -1
debug sh "pvcreate -ff -y /dev/sda2 /dev/sdb"
debug sh "vgcreate -s 4m vg0 /dev/sda2 /dev/sdb"
debug sh "lvcreate -y -Wn -Zn -L 100m -n root vg0"
debug sh "lvcreate -y -Wn -Zn -L 4m -n swap vg0"
debug sh "lvs -o +devices,seg_size"
vg-activate-all false
G
xz -9e -f root-a.img root-b.img
