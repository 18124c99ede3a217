# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows install.sh
sfdisk --quiet /dev/sda <<TABLE
label: dos
label-id: 0x1f2b09d4
start=2048, size=497664, type=83, bootable
start=499712, size=5791744, type=83
TABLE
udevadm settle
# Little memory and few rounds: the guest is unlocked under emulation.
printf guestfix | cryptsetup luksFormat --batch-mode --type luks2 --uuid 1f2b09d4-3d0a-4a5f-b0b6-7e1f5d2c0902 \
    --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-parallel 1 --pbkdf-force-iterations 4 /dev/sda2 -
printf guestfix | cryptsetup open /dev/sda2 sda2_crypt -
guided_lvm /dev/mapper/sda2_crypt 1f2b09d4-7c51-4b0e-9e6d-52a1c0f40901
# Written by hand after a rescue, as one finds it: by the device's name.
printf 'sda2_crypt /dev/sda2 none luks,discard\n' >"$target/etc/crypttab"
static_address
enter_target
dep_initramfs
boot_from /dev/sda
leave_guided_lvm
cryptsetup close sda2_crypt
step 'done'
