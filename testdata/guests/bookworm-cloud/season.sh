# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The initramfs stays the one that the kernel's package made.
step grub-install
grub-install /dev/sda
forget_season
finish
