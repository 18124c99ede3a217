# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows install.sh
sfdisk --quiet /dev/sda <<TABLE
label: dos
label-id: 0x1f2b08d4
start=2048, size=497664, type=83, bootable
start=499712, size=5791744, type=8e
TABLE
udevadm settle
guided_lvm /dev/sda2 1f2b08d4-7c51-4b0e-9e6d-52a1c0f40801
# What administrators of shared storage write, so that LVM looks at nothing else.
sed -i 's|^devices {|devices {\n\tfilter = [ "a\|^/dev/sda2$\|", "r\|.*\|" ]|' "$target/etc/lvm/lvm.conf"
static_address
enter_target
dep_initramfs
boot_from /dev/sda
leave_guided_lvm
step 'done'
