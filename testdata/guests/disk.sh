# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # the recipe sets guest_*
# The guest's disk: its partitions, its filesystems, and the tree in them. Everything goes through loop devices with an
# offset, which need no partition scan, and mounts are private to the recipe.

# places: "MOUNT-POINT NUMBER KIND SUBVOLUME" of whatever the guest mounts and a build machine can, parents first. There
# may be no FAT driver here: what belongs on the ESP is put there by the guest.
places() {
    local row number kind place
    local -a field
    for row in "${guest_volumes[@]}"; do
        read -ra field <<<"$row"
        number=${field[0]} kind=${field[1]}
        [[ $kind != vfat ]] || continue
        for place in "${field[@]:3}"; do
            printf '%s %s %s %s\n' "${place%%:*}" "$number" "$kind" "${place#"${place%%:*}"}"
        done
    done | LC_ALL=C sort
}

# extent IMG N: the first byte of a partition, and how many it has.
extent() {
    sfdisk --json "$1" | jq -r --arg node "$1$2" \
        '.partitiontable.partitions[] | select(.node == $node) | "\(.start * 512) \(.size * 512)"'
}

# guest_tool IMG N ROOT COMMAND...: run a program of the guest, not of this machine, with the partition's device as its
# last argument: the filesystems then have the features that the guest's release sets, and that its GRUB can read.
guest_tool() {
    local img=$1 root=$3 first bytes device rc=0
    read -r first bytes < <(extent "$img" "$2")
    shift 3
    device=$(losetup --find --show --offset "$first" --sizelimit "$bytes" "$img")
    mount --bind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    chroot "$root" "$@" "$device" || rc=$?
    umount "$root/proc" "$root/dev"
    losetup --detach "$device"
    return "$rc"
}

# mount_volume IMG N KIND OPTIONS DIR
mount_volume() {
    local first bytes
    read -r first bytes < <(extent "$1" "$2")
    mount -t "$3" -o "loop,offset=$first,sizelimit=$bytes,$4" "$1" "$5"
}

# mount_tree IMG DIR ro|rw: the guest's filesystems below DIR, as its fstab has them. Undone by `umount -R DIR`.
mount_tree() {
    local img=$1 dir=$2 mode=$3 point number kind subvolume
    while read -r point number kind subvolume; do
        mkdir -p "$dir$point"
        mount_volume "$img" "$number" "$kind" "$mode${subvolume:+,subvol=${subvolume#:}}" "$dir$point"
    done < <(places)
}

# format_volume IMG N KIND UUID ROOT
format_volume() {
    local -a command
    case $3 in
        ext4) command=(mkfs.ext4 -q -F -E 'nodiscard,lazy_itable_init=0,lazy_journal_init=0' -U "$4") ;;
        xfs) command=(mkfs.xfs -q -f -K -m "uuid=$4") ;;
        btrfs) command=(mkfs.btrfs -q -f -K -U "$4") ;;
        vfat) command=(mkfs.vfat -F 32 -i "${4/-/}") ;;
        swap) command=(mkswap -U "$4") ;;
        *) die "no such kind of volume: $3" ;;
    esac
    guest_tool "$1" "$2" "$5" "${command[@]}" >/dev/null
}

# make_subvolumes IMG DIR: those that `guest_volumes` names; DIR is where the filesystem is mounted meanwhile.
make_subvolumes() {
    local number kind subvolume
    while read -r _ number kind subvolume; do
        [[ -n $subvolume ]] || continue
        mount_volume "$1" "$number" "$kind" rw "$2"
        btrfs subvolume create "$2/${subvolume#:}" >/dev/null
        umount "$2"
    done < <(places)
}

# make_disk IMG ROOT DIR: partitions, filesystems, ROOT's tree. DIR is where they are mounted meanwhile.
make_disk() {
    local img=$1 root=$2 dir=$3 row number kind uuid
    truncate -s "${guest_size_mib}M" "$img"
    sfdisk --quiet --no-reread --no-tell-kernel "$img" <<<"$guest_table"
    for row in "${guest_volumes[@]}"; do
        read -r number kind uuid _ <<<"$row"
        format_volume "$img" "$number" "$kind" "$uuid" "$root"
    done
    mkdir -p "$dir"
    make_subvolumes "$img" "$dir"
    mount_tree "$img" "$dir" rw
    cp -a "$root/." "$dir/"
    guest_fill "$dir"
    umount -R "$dir"
}

# check_volumes IMG ROOT: the guest's own checkers find nothing.
check_volumes() {
    local row number kind
    local -a command
    for row in "${guest_volumes[@]}"; do
        read -r number kind _ <<<"$row"
        case $kind in
            ext4) command=(e2fsck -f -n) ;;
            xfs) command=(xfs_repair -n) ;;
            btrfs) command=(btrfs check --readonly) ;;
            vfat) command=(fsck.vfat -n) ;;
            *) continue ;;
        esac
        guest_tool "$1" "$number" "$2" "${command[@]}" >&2 || die "$kind on partition $number: errors after the seasoning boot"
    done
}
