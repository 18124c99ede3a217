# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # the recipe sets guest_*
# The seasoning: one boot of the guest on virtual hardware as ESXi wires it.
OVMF=/usr/share/OVMF

# season_service ROOT: the unit that seasons the guest; it and the script are gone when the guest has powered off.
season_service() {
    local root=$1
    cat "$GUESTS_DIR/season.sh" "$GUESTS_DIR/$guest_name/season.sh" >"$root/usr/local/sbin/season"
    chmod 0755 "$root/usr/local/sbin/season"
    cat >"$root/etc/systemd/system/season.service" <<'UNIT'
[Unit]
Description=Season the guest on VMware's virtual hardware
After=multi-user.target

[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/bash /usr/local/sbin/season
ExecStopPost=/bin/systemctl --no-block poweroff
UNIT
}

# kvm_works KERNEL: whether KVM here runs a kernel, not only whether it opens: some nested hosts hang at the first page.
kvm_works() {
    [[ -w /dev/kvm ]] || return 1
    timeout 8 qemu-system-x86_64 -accel kvm -cpu max -m 256 -nodefaults -display none -no-reboot \
        -serial stdio -kernel "$1" -append 'console=ttyS0 panic=-1' 2>/dev/null | grep -q 'Linux version'
}

# vmware_machine IMG KERNEL WORK: sets `machine` to QEMU's arguments for a machine wired as ESXi wires one: the disk on a
# PVSCSI adapter in slot 160, the network on a VMXNET3 adapter in slot 192 (hence ens192), VMware's SMBIOS strings and
# neither QEMU's nor KVM's name in CPUID or SMBIOS: dracut adds virtio's drivers where it reads one of them.
vmware_machine() {
    # shellcheck disable=SC2054 # the commas are QEMU's
    machine=(-machine q35,vmport=on -m 1024 -nodefaults -vga std -display none -no-reboot
        # Native PCIe hotplug: its slot numbers are what udev names the network interfaces by.
        -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
        -smbios 'type=1,manufacturer=VMware,, Inc.,product=VMware Virtual Platform'
        -smbios 'type=3,manufacturer=No Enclosure'
        -device pcie-root-port,id=slot160,slot=160,chassis=1
        -device pvscsi,id=scsi0,bus=slot160
        -drive "if=none,id=disk0,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=$1"
        -device 'scsi-hd,drive=disk0,bus=scsi0.0,vendor=VMware,product=Virtual disk'
        -device pcie-root-port,id=slot192,slot=192,chassis=2
        -netdev user,id=net0,restrict=on
        -device "vmxnet3,netdev=net0,bus=slot192,mac=$guest_mac")
    # shellcheck disable=SC2054
    if kvm_works "$2"; then
        machine+=(-accel kvm -cpu max,kvm=off -smp 2)
    else
        # One emulated processor: several miss now and then that the kernel patched its own code, and it dies of it.
        machine+=(-accel tcg -cpu max,la57=off,tcg-cpuid=off -smp 1)
    fi
    if [[ $guest_firmware == efi ]]; then
        # The variables, and with them the boot entry that the guest makes, end with the work: VMware keeps them in a
        # file of its own beside the disk, and no migration brings that along.
        cp "$OVMF/OVMF_VARS_4M.fd" "$3/vars.fd"
        machine+=(-drive "if=pflash,unit=0,format=raw,readonly=on,file=$OVMF/OVMF_CODE_4M.fd"
            -drive "if=pflash,unit=1,format=raw,file=$3/vars.fd")
    fi
}

# root_arguments: what the kernel is told of its root on that machine.
root_arguments() {
    local number subvolume
    read -r _ number _ subvolume < <(places)
    printf 'root=/dev/sda%s ro %s' "$number" "${subvolume:+rootflags=subvol=${subvolume#:}}"
}

# season IMG ROOT WORK KEPT: boot the guest once on that machine, directly from ROOT's kernel, until it powers off. Its
# console goes to WORK/console, which is moved to KEPT on failure.
season() {
    local img=$1 root=$2 log=$3/console kept=$4 kernel initrd rc=0
    local -a machine
    kernel=$(echo "$root"/boot/vmlinuz-*)
    initrd=$(echo "$root"/boot/initrd.img-*)
    vmware_machine "$img" "$kernel" "$3"
    say 'seasoning boot'
    # A getty would hang up the serial line on the seasoning unit.
    timeout "${GUEST_SEASON_TIMEOUT:-1500}" qemu-system-x86_64 "${machine[@]}" -serial "file:$log" \
        -kernel "$kernel" -initrd "$initrd" -append "$(root_arguments) console=tty0 console=ttyS0 panic=-1 \
systemd.default_device_timeout_sec=900 \
systemd.wants=season.service systemd.mask=serial-getty@ttyS0.service" || rc=$?
    if ((rc != 0)) || ! grep -q '^season: done' "$log"; then
        mv "$log" "$kept"
        die "the seasoning boot failed (exit $rc); its console: $kept"
    fi
}
