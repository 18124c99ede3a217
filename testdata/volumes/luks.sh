#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes luks1.img.xz, luks2.img.xz and luks2-4k.img.xz by cryptsetup and the kernel in libguestfs'
# appliance; the passphrase is "secret". What random bytes nothing reads are then zeroed, so that
# the images stay small. Needs libguestfs-tools, python3, xz.
set -e
cd "$(dirname "$0")"
rm -f luks.img
truncate -s 16M luks.img
for name in one two four; do python3 pattern.py 4096 $name 65536 p.$name; done
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
guestfish <<'G'
add luks.img format:raw
run
part-init /dev/sda gpt
part-add /dev/sda p 2048 10239
part-add /dev/sda p 10240 20479
part-add /dev/sda p 20480 30719
debug sh "printf secret | cryptsetup luksFormat -q --type luks1 -s 256 --pbkdf-force-iterations 2000 /dev/sda1 -"
debug sh "printf secret | cryptsetup luksFormat -q --type luks2 -s 256 --luks2-metadata-size 16k --luks2-keyslots-size 256k --pbkdf argon2id --pbkdf-memory 4096 --pbkdf-force-iterations 4 --pbkdf-parallel 1 /dev/sda2 -"
debug sh "printf secret | cryptsetup luksFormat -q --type luks2 -s 256 --sector-size 4096 --luks2-metadata-size 16k --luks2-keyslots-size 256k --pbkdf pbkdf2 --pbkdf-force-iterations 2000 /dev/sda3 -"
debug sh "printf secret | cryptsetup open /dev/sda1 one -"
debug sh "printf secret | cryptsetup open /dev/sda2 two -"
debug sh "printf secret | cryptsetup open /dev/sda3 four -"
upload p.one /dev/mapper/one
upload p.two /dev/mapper/two
upload p.four /dev/mapper/four
debug sh "sync; for d in one two four; do head -c 65536 /dev/mapper/$d | sha256sum; cryptsetup close $d; done"
G
python3 - <<'P'
import re, struct
disk, area, keep = open("luks.img", "rb").read(), 128_000, 32768
def zero(part, start, end):
    part[start:end] = bytes(end - start)
for name, first, last in [("luks1", 2048, 10239), ("luks2", 10240, 20479), ("luks2-4k", 20480, 30719)]:
    part = bytearray(disk[first * 512:(last + 1) * 512])
    if name == "luks1":
        data = struct.unpack_from(">I", part, 104)[0] * 512
        for slot in range(208, 592, 48):
            active, at = struct.unpack_from(">I", part, slot)[0], struct.unpack_from(">I", part, slot + 40)[0] * 512
            if active != 0x00AC71F3:
                zero(part, at, at + area)
    else:
        data = int(re.search(rb'"segments":\{"0":\{"type":"crypt","offset":"(\d+)"', part).group(1))
        zero(part, 32768 + 131072, data)
    zero(part, data + keep, len(part))
    open(name + ".img", "wb").write(part)
P
rm -f p.* luks.img
xz -9e -f luks1.img luks2.img luks2-4k.img
