#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes raid1-a.img.xz and raid1-b.img.xz: the members of an empty mirror, for tests that put a root
# of their own there. Needs libguestfs-tools and xz.
set -e
cd "$(dirname "$0")"
rm -f raid1-a.img raid1-b.img
truncate -s 102M raid1-a.img raid1-b.img
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
guestfish <<'G'
add raid1-a.img format:raw
add raid1-b.img format:raw
run
part-init /dev/sda mbr
part-add /dev/sda p 2048 -1
part-init /dev/sdb mbr
part-add /dev/sdb p 2048 -1
debug sh "yes | mdadm --create /dev/md0 --homehost=gf --name=0 --run --level=1 --metadata=1.0 --bitmap=none --assume-clean --raid-devices=2 /dev/sda1 /dev/sdb1 2>&1"
debug sh "mdadm --detail /dev/md0"
debug sh "mdadm --stop /dev/md0"
G
xz -9e -f raid1-a.img raid1-b.img
