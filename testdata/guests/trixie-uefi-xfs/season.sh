# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shim and GRUB go to EFI/debian and into the machine's boot entries. Debian asks before it also takes the fallback path,
# EFI/BOOT, and its default is no.
step grub-install
grub-install
for loader in /boot/efi/EFI/debian/shim*.efi; do say "loader=$loader"; done
if [ -e /boot/efi/EFI/BOOT ]; then say "fallback_loader=$(echo /boot/efi/EFI/BOOT/*)"; fi
step dracut
printf '# Only what this machine needs\nhostonly="yes"\n' >/etc/dracut.conf.d/hostonly.conf
dracut --force --quiet "/boot/initrd.img-$(uname -r)" "$(uname -r)"
forget_season
finish
