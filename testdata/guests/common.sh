# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # the recipe sets guest_*
# What the guest recipes share. A recipe sets the settings that `guest_build` lists, defines its functions and ends with
# `guest_build "$@"`: OUT.img is written as a sparse raw disk, OUT.facts (key=value) beside it.
set -euo pipefail

GUESTS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Read by the recipes: the password of every fixture's root account.
GUEST_PASSWORD=guestfix
# shellcheck source=testdata/guests/disk.sh
. "$GUESTS_DIR/disk.sh"
# shellcheck source=testdata/guests/machine.sh
. "$GUESTS_DIR/machine.sh"

say() { printf '[%4ds] %s: %s\n' "$SECONDS" "$guest_name" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# apt_lines SUITE: the one-line sources of SUITE, from the archive that this machine's apt uses. Nothing is printed where
# that is not Debian's: mmdebstrap's default then applies.
apt_lines() {
    # shellcheck disable=SC2016 # apt expands these
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
        awk -v suite="$1" '$4 == "Debian" && $3 == "main" { sub(/^[^-]*/, suite, $2); print "deb", $1, $2, $3 }' | sort -u
}

# bootstrap ROOT: unpack and configure the packages. `overlay/` of the recipe is there before any of them is configured,
# so that the kernel's first initramfs is made with the guest's own fstab.
bootstrap() {
    local root=$1 lines overlay=$GUESTS_DIR/$guest_name/overlay
    local -a options=(--variant=minbase --format=directory --quiet
        --aptopt='APT::Install-Recommends "false"' --include="$guest_packages"
        --essential-hook="cp -rT --no-preserve=ownership '$overlay' \"\$1\"")
    lines=$(apt_lines "$guest_suite")
    if [[ -n $lines ]]; then
        mmdebstrap "${options[@]}" "$guest_suite" "$root" - <<<"$lines"
    else
        mmdebstrap "${options[@]}" "$guest_suite" "$root"
    fi
    # Where the packages came from is this machine's business, not the guest's.
    rm -rf "$root"/etc/apt/sources.list.d/* "$root/etc/apt/sources.list" "$root/etc/apt/apt.conf.d/99mmdebstrap"
    # An installed guest has its machine-id: an absent one makes systemd re-apply every preset at the next boot.
    printf '%s' "$guest_name" | md5sum | cut -c1-32 >"$root/etc/machine-id"
    printf '%s\n' "$guest_name" >"$root/etc/hostname"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n' "$guest_name" >"$root/etc/hosts"
    printf 'root:%s\n' "$GUEST_PASSWORD" | chroot "$root" chpasswd
    chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer
    sed -i -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=1/' "$root/etc/default/grub"
}

# guest_fill DIR: what a recipe puts on the mounted disk besides the tree.
guest_fill() { :; }

# record_facts IMG DIR: what the guest is made of. DIR is where it is mounted meanwhile.
record_facts() {
    local img=$1 dir=$2 number root module list
    read -r _ number _ < <(places)
    root=$(printf '%s\n' "${guest_volumes[@]}" | awk -v n="$number" '$1 == n { print $3 }')
    mount_tree "$img" "$dir" ro
    list=$(lsinitramfs "$dir"/boot/initrd.img-* | grep '\.ko' || true)
    umount -R "$dir"
    printf 'name=%s\nroot_uuid=%s\nmac=%s\n' "$guest_name" "$root" "$guest_mac"
    for module in vmw_pvscsi vmxnet3 virtio_blk virtio_scsi virtio_pci; do
        if grep -q "/$module\.ko" <<<"$list"; then
            printf 'initramfs_%s=yes\n' "$module"
        else
            printf 'initramfs_%s=no\n' "$module"
        fi
    done
    printf 'initramfs_modules=%d\n' "$(wc -l <<<"$list")"
}

# guest_build OUT.img: the whole recipe. Settings:
#   guest_name, guest_suite, guest_packages, guest_size_mib, guest_mac
#   guest_firmware   bios or efi
#   guest_table      the partitions, in sfdisk's language
#   guest_volumes    one row for each filesystem and swap: NUMBER KIND UUID [MOUNT-POINT[:SUBVOLUME]]...
# Functions: guest_customize ROOT, guest_fill DIR where needed, and guest_expect FACTS, which fails where the outcome is
# not what the recipe promises.
guest_build() {
    local out=$1 work
    [[ $(id -u) == 0 ]] || die 'a guest is built as root (mmdebstrap, chroot and mounts)'
    if [[ ${GUEST_NAMESPACE-} != private ]]; then
        # Whatever becomes of the recipe, its mounts go away with it.
        GUEST_NAMESPACE=private exec unshare --mount bash "$0" "$@"
    fi
    work=$(mktemp -d "$(dirname "$out")/build-$guest_name.XXXXXX")
    # shellcheck disable=SC2064 # the directory of now is the one to remove
    trap "umount -qR '$work/mnt' || true; rm -rf --one-file-system '$work'" EXIT
    say "packages of $guest_suite"
    bootstrap "$work/root"
    guest_customize "$work/root"
    season_service "$work/root"
    say 'disk'
    make_disk "$work/disk.img" "$work/root" "$work/mnt"
    season "$work/disk.img" "$work/root" "$work" "${out%.img}.console"
    say 'check'
    check_volumes "$work/disk.img" "$work/root"
    {
        sed -n 's/^season: \([a-z_]*=.*[^\r]\)\r*$/\1/p' "$work/console"
        record_facts "$work/disk.img" "$work/mnt"
    } >"$work/facts"
    if ! guest_expect "$work/facts"; then
        cat "$work/facts" >&2
        mv "$work/disk.img" "${out%.img}.rejected"
        die "the guest is not what its recipe promises; it is kept as ${out%.img}.rejected"
    fi
    fallocate --dig-holes "$work/disk.img"
    mv "$work/facts" "${out%.img}.facts"
    mv "$work/disk.img" "$out"
    say "done: $(du -m "$out" | cut -f1) MiB on disk"
}
