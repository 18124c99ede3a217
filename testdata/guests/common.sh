# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # the recipe sets guest_*
# What the guest recipes share. A recipe sets the settings that `guest_build` lists, defines `guest_customize ROOT`
# and ends with `guest_build "$@"`: OUT.img is written as a sparse raw disk, OUT.facts (key=value) beside it.
set -euo pipefail

GUESTS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Read by the recipes: the password of every fixture's root account.
GUEST_PASSWORD=guestfix
SECTOR=512

say() { printf '[%4ds] %s: %s\n' "$SECONDS" "$guest_name" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# apt_lines SUITE: the one-line sources of SUITE, taken from this machine's apt configuration where it has that suite.
# Nothing is printed where it has not: mmdebstrap's default then applies.
apt_lines() {
    # shellcheck disable=SC2016 # apt expands these
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
        awk -v suite="$1" '$4 == "Debian" && index($2, suite) == 1 { print "deb", $1, $2, $3 }' | sort -u
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
}

# season_service ROOT: the unit that seasons the guest; it and the script are gone when the guest has powered off.
season_service() {
    local root=$1
    install -m 0755 "$GUESTS_DIR/$guest_name/season.sh" "$root/usr/local/sbin/season"
    cat >"$root/etc/systemd/system/season.service" <<'UNIT'
[Unit]
Description=Season the guest on VMware's virtual hardware
After=multi-user.target

[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
ExecStart=/usr/local/sbin/season
ExecStopPost=/bin/systemctl --no-block poweroff
UNIT
}

# format_disk IMG ROOT: an MBR with one ext4 partition and, where `guest_swap_mib` is not 0, swap in a logical partition.
format_disk() {
    local img=$1 root=$2 first=2048 total sectors swap
    total=$((guest_size_mib * 1024 * 1024 / SECTOR))
    swap=$((guest_swap_mib * 1024 * 1024 / SECTOR))
    # Debian's installer leaves 2046 sectors between the end of the root and its extended partition.
    sectors=$((swap > 0 ? total - first - swap - 4096 : total - first))
    rm -f "$img"
    truncate -s "${guest_size_mib}M" "$img"
    {
        printf 'label: dos\nlabel-id: %s\n' "$guest_disk_id"
        printf 'start=%d, size=%d, type=83, bootable\n' "$first" "$sectors"
        if ((swap > 0)); then
            printf 'start=%d, size=%d, type=5\n' "$((first + sectors + 2046))" "$((swap + 2))"
            printf 'start=%d, size=%d, type=82\n' "$((first + sectors + 2048))" "$swap"
        fi
    } | sfdisk --quiet --no-reread --no-tell-kernel "$img"
    # Without orphan_file and metadata_csum_seed, which GRUB 2.06 cannot read and Debian 12 does not set.
    mke2fs -q -F -t ext4 -O '^orphan_file,^metadata_csum_seed' -U "$guest_root_uuid" -d "$root" \
        -E "offset=$((first * SECTOR)),nodiscard,assume_storage_prezeroed=1" \
        "$img" "$((sectors * SECTOR / 1024))k"
    if ((swap > 0)); then
        truncate -s "$((swap * SECTOR))" "$img.swap"
        mkswap -q -U "$guest_swap_uuid" "$img.swap"
        dd if="$img.swap" of="$img" bs=4096 count=1 seek=$(((first + sectors + 2048) * SECTOR)) \
            oflag=seek_bytes conv=notrunc status=none
        rm -f "$img.swap"
    fi
}

# kvm_works KERNEL: whether KVM here runs a kernel, not only whether it opens: some nested hosts hang at the first page.
kvm_works() {
    [[ -w /dev/kvm ]] || return 1
    timeout 8 qemu-system-x86_64 -accel kvm -cpu max -m 256 -nodefaults -display none -no-reboot \
        -serial stdio -kernel "$1" -append 'console=ttyS0 panic=-1' 2>/dev/null | grep -q 'Linux version'
}

# vmware_machine IMG: sets `machine` to QEMU's arguments for a machine wired as ESXi wires one: the disk on a PVSCSI
# adapter in slot 160, the network on a VMXNET3 adapter in slot 192 (hence ens192), VMware's SMBIOS strings.
vmware_machine() {
    # shellcheck disable=SC2054 # the commas are QEMU's
    machine=(-machine q35,vmport=on -smp 2 -m 1024 -nodefaults -vga std -display none -no-reboot
        # Native PCIe hotplug: its slot numbers are what udev names the network interfaces by.
        -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
        -smbios 'type=1,manufacturer=VMware,, Inc.,product=VMware Virtual Platform'
        -device pcie-root-port,id=slot160,slot=160,chassis=1
        -device pvscsi,id=scsi0,bus=slot160
        -drive "if=none,id=disk0,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=$1"
        -device 'scsi-hd,drive=disk0,bus=scsi0.0,vendor=VMware,product=Virtual disk'
        -device pcie-root-port,id=slot192,slot=192,chassis=2
        -netdev user,id=net0,restrict=on
        -device "vmxnet3,netdev=net0,bus=slot192,mac=$guest_mac")
}

# season IMG ROOT LOG KEPT: boot the guest once on that machine, directly from ROOT's kernel, until it powers off. Its
# console goes to LOG, which is moved to KEPT on failure.
season() {
    local img=$1 root=$2 log=$3 log_kept=$4 kernel initrd rc=0
    # shellcheck disable=SC2054 # the comma is QEMU's
    local -a machine accel=(-accel tcg,thread=multi -cpu max)
    kernel=$(echo "$root"/boot/vmlinuz-*)
    initrd=$(echo "$root"/boot/initrd.img-*)
    if kvm_works "$kernel"; then
        accel=(-accel kvm -cpu max)
    fi
    say "seasoning boot (${accel[1]})"
    vmware_machine "$img"
    # A getty would hang up the serial line on the seasoning unit.
    timeout "${GUEST_SEASON_TIMEOUT:-1500}" qemu-system-x86_64 "${accel[@]}" "${machine[@]}" -serial "file:$log" \
        -kernel "$kernel" -initrd "$initrd" \
        -append 'root=/dev/sda1 ro console=tty0 console=ttyS0 systemd.wants=season.service systemd.mask=serial-getty@ttyS0.service' || rc=$?
    if ((rc != 0)) || ! grep -q '^season: done' "$log"; then
        mv "$log" "$log_kept"
        die "the seasoning boot failed (exit $rc); its console: $log_kept"
    fi
}

# check_disk IMG FACTS: the filesystem is clean and unmounted; record what the guest is made of.
check_disk() {
    local img=$1 facts=$2 rootfs=$1'?offset=1048576' initrd list
    e2fsck -f -n "$rootfs" >&2 || die 'e2fsck found errors after the seasoning boot'
    initrd=$(debugfs -R 'ls -p /boot' "$rootfs" 2>/dev/null | grep -o 'initrd\.img-[^/]*' | head -n 1)
    debugfs -R "dump /boot/$initrd $img.initrd" "$rootfs" 2>/dev/null
    list=$(lsinitramfs "$img.initrd" | grep '\.ko' || true)
    rm -f "$img.initrd"
    {
        printf 'name=%s\nroot_uuid=%s\nmac=%s\n' "$guest_name" "$guest_root_uuid" "$guest_mac"
        for module in vmw_pvscsi vmxnet3 virtio_blk virtio_scsi virtio_pci; do
            if grep -q "/$module\.ko" <<<"$list"; then
                printf 'initramfs_%s=yes\n' "$module"
            else
                printf 'initramfs_%s=no\n' "$module"
            fi
        done
        printf 'initramfs_modules=%d\n' "$(wc -l <<<"$list")"
    } >>"$facts"
}

# guest_build OUT.img: the whole recipe. Settings: guest_name, guest_suite, guest_packages, guest_size_mib,
# guest_swap_mib, guest_root_uuid, guest_swap_uuid, guest_disk_id, guest_mac; functions guest_customize ROOT and
# guest_expect FACTS, which fails where the outcome is not what the recipe promises.
guest_build() {
    local out=$1 work
    [[ $(id -u) == 0 ]] || die 'a guest is built as root (mmdebstrap and mke2fs keep its owners)'
    work=$(mktemp -d "$(dirname "$out")/build-$guest_name.XXXXXX")
    # shellcheck disable=SC2064 # the directory of now is the one to remove
    trap "rm -rf --one-file-system '$work'" EXIT
    say "packages of $guest_suite"
    bootstrap "$work/root"
    guest_customize "$work/root"
    season_service "$work/root"
    say 'disk'
    format_disk "$work/disk.img" "$work/root"
    season "$work/disk.img" "$work/root" "$work/console" "${out%.img}.console"
    sed -n 's/^season: \([a-z_]*=.*[^\r]\)\r*$/\1/p' "$work/console" >"$work/facts"
    say 'check'
    check_disk "$work/disk.img" "$work/facts"
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
