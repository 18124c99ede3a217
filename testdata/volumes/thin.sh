#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes thin-a.img.xz and thin-b.img.xz: a thin pool over two disks with volumes and a snapshot on it,
# by LVM and the kernel in libguestfs' appliance. What the kernel reads of each volume is printed.
# Needs libguestfs-tools, python3, xz.
set -e
cd "$(dirname "$0")"
M=1048576
rm -f thin-a.img thin-b.img
truncate -s 40M thin-a.img
truncate -s 24M thin-b.img
for s in t1:20 t2:2 new:1 cow:1; do
    python3 pattern.py 512 "${s%:*}" $((${s#*:} * M)) "p.${s%:*}"
done
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
guestfish <<'G'
add thin-a.img format:raw
add thin-b.img format:raw
run
debug sh "modprobe dm-thin-pool; true"
debug sh "pvcreate -ff -y /dev/sda /dev/sdb"
debug sh "vgcreate -s 1m vt /dev/sda /dev/sdb"
-debug sh "lvcreate -y -T -L 36m -c 64k --poolmetadatasize 2m vt/pool 2>&1"
-debug sh "lvcreate -y -T -V 20m -n t1 vt/pool 2>&1"
-debug sh "lvcreate -y -T -V 1g -n t2 vt/pool 2>&1"
-debug sh "lvcreate -y -T -V 8m -n t3 vt/pool 2>&1"
-upload p.t1 /dev/vt/t1
-upload p.t2 /dev/vt/t2
-debug sh "sync; lvcreate -y -s -n s1 vt/t1 -kn 2>&1"
-upload p.new /dev/vt/t1
-upload-offset p.cow /dev/vt/s1 4194304
-debug sh "sync; blockdev --flushbufs /dev/vt/t1; blkdiscard -o 8388608 -l 1048576 /dev/vt/t1; lvs -a -o +devices,segtype,data_percent vt 2>&1"
-checksum-device sha256 /dev/vt/t1
-checksum-device sha256 /dev/vt/s1
-checksum-device sha256 /dev/vt/t3
debug sh "vgchange -an 2>&1"
G
rm -f p.t1 p.t2 p.new p.cow
[ -n "$KEEP" ] || xz -9e -f thin-a.img thin-b.img
