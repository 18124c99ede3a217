#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes lvraid.img.xz: a volume group with every kind of raid, cached volumes and a snapshot; an array
# and a volume that are partitioned, by LVM, mdadm and the kernel in libguestfs' appliance. What the
# kernel reads of each volume is printed. Needs libguestfs-tools, python3, xz.
set -e
cd "$(dirname "$0")"
M=1048576
rm -f lvraid.img member.?
truncate -s 48M member.1 member.2 member.3 member.4 member.5
truncate -s 10M member.6 member.7
raids="raid4 raid5_ls raid5_la raid5_rs raid5_ra raid5_n raid6_zr raid6_nr raid6_nc raid6_n_6 raid6_ls_6 raid6_la_6 raid6_rs_6 raid6_ra_6 raid10"
for s in wt:2 wb:2 org:2 raw0:3 $(for r in $raids; do echo "$r:3"; done); do
    python3 pattern.py 512 "${s%:*}" $((${s#*:} * M)) "p.${s%:*}"
done
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
{
    cat <<'G'
add member.1 format:raw
add member.2 format:raw
add member.3 format:raw
add member.4 format:raw
add member.5 format:raw
add member.6 format:raw
add member.7 format:raw
run
debug sh "modprobe dm-raid; modprobe dm-cache; modprobe dm-cache-smq; modprobe dm-snapshot; true"
debug sh "pvcreate -ff -y /dev/sda /dev/sdb /dev/sdc /dev/sdd /dev/sde"
debug sh "vgcreate -s 512k vr /dev/sda /dev/sdb /dev/sdc /dev/sdd /dev/sde"
-debug sh "lvcreate -y -Wn -Zn --type raid0 -i3 -I64k -L 3m -n raw0 vr 2>&1"
-upload p.raw0 /dev/vr/raw0
G
    for r in $raids; do
        case $r in raid6*) w="-i3" ;; raid10) w="-i2 -m1" ;; *) w="-i2" ;; esac
        echo "-debug sh \"lvcreate -y -Wn -Zn --type $r $w -I64k -L 3m -n $r vr 2>&1\""
        echo "-upload p.$r /dev/vr/$r"
        echo "-debug sh \"sync; blockdev --flushbufs /dev/vr/$r; echo SUM $r \$(blockdev --getsize64 /dev/vr/$r) \$(sha256sum < /dev/vr/$r)\""
    done
    cat <<'G'
-debug sh "lvcreate -y -Wn -Zn -L 2m -n org vr"
-upload p.org /dev/vr/org
-debug sh "lvcreate -y -s -L 1m -n snap vr/org"
-debug sh "lvcreate -y -Wn -Zn -L 2m -n wt vr; lvcreate -y -Wn -Zn -L 2m -n wb vr"
-upload p.wt /dev/vr/wt
-upload p.wb /dev/vr/wb
-debug sh "lvcreate -y --type cache --cachemode writethrough -L 8m -n wtc vr/wt 2>&1"
-debug sh "lvcreate -y --type cache --cachemode writeback -L 8m -n wbc vr/wb 2>&1"
-debug sh "lvcreate -y -Wn -Zn -L 4m -n parted vr"
-part-init /dev/vr/parted mbr
-part-add /dev/vr/parted p 128 4095
-debug sh "yes | mdadm --create /dev/md0 --homehost=gf --name=0 --run --level=1 --metadata=1.2 --bitmap=none --assume-clean --raid-devices=2 /dev/sdf /dev/sdg 2>&1"
-part-init /dev/md0 gpt
-part-add /dev/md0 p 2048 6143
-part-add /dev/md0 p 6144 8191
-mkfs ext2 /dev/md0p1
-debug sh "sleep 5; lvs -a -o +devices,segtype,sync_percent,raid_sync_action vr 2>&1"
-debug sh "vgchange -an 2>&1; mdadm --stop /dev/md0 2>&1"
G
} >lvraid.commands
guestfish -f lvraid.commands
# One disk with a partition for each.
truncate -s 262M lvraid.img
{
    echo "label: gpt"
    for n in 1 2 3 4 5; do echo "size=48MiB"; done
    for n in 6 7; do echo "size=10MiB"; done
} | sfdisk -q lvraid.img
at=1
for n in 1 2 3 4 5 6 7; do
    dd if="member.$n" of=lvraid.img bs=1M seek="$at" conv=notrunc,sparse status=none
    at=$((at + $(stat -c %s "member.$n") / M))
done
rm -f p.* member.? lvraid.commands
[ -n "$KEEP" ] || xz -9e -f lvraid.img
