# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # follows ../season.sh
say "interfaces=$(cd /sys/class/net && echo ens*)"
say "bonded=$(cat /sys/class/net/bond0/bonding/slaves)"
printf '%s\n' '# Driver inclusion policy selected during installation' 'MODULES=dep' \
    >/etc/initramfs-tools/conf.d/driver-policy
step grub-install
grub-install /dev/sda
step update-initramfs
update-initramfs -u -k all
forget_season
finish
