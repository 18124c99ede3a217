#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes md.img.xz: one array of every level, layout and version of metadata on the partitions of one
# disk, by mdadm and the kernel in libguestfs' appliance. The last line of each array is what the
# kernel read of it. Needs libguestfs-tools, python3, xz.
set -e
cd "$(dirname "$0")"
rm -f md.img
truncate -s 260M md.img
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
python3 - > md.commands <<'P'
import subprocess
# name, level, metadata, options, members in MiB
arrays = [
    ("r1x090", "1", "0.90", "", [3, 3]), ("r1x10", "1", "1.0", "", [3, 3]),
    ("r1x11", "1", "1.1", "", [3, 3]), ("r1x12", "1", "1.2", "", [3, 3]),
    ("lin", "linear", "1.2", "", [3, 5]), ("lin090", "linear", "0.90", "", [3, 5]),
    ("r0", "0", "1.2", "--chunk=64", [4, 4]), ("r0z", "0", "1.2", "--chunk=64", [3, 4, 6]),
    # mdadm refuses this one: version 0.90 cannot record the layout.
    ("r0z090", "0", "0.90", "--chunk=64", [6, 3, 4]),
    ("r10n2", "10", "1.2", "--chunk=64 --layout=n2", [3] * 3),
    ("r10f2", "10", "1.2", "--chunk=64 --layout=f2", [3] * 3),
    ("r10o2", "10", "1.2", "--chunk=64 --layout=o2", [3] * 3),
    ("r10n2x4", "10", "0.90", "--chunk=64 --layout=n2", [3] * 4),
    ("r5ls", "5", "1.2", "--chunk=64 --layout=ls", [3] * 3),
    ("r5ra", "5", "1.2", "--chunk=64 --layout=ra", [3] * 3),
    ("r5la", "5", "1.0", "--chunk=64 --layout=la", [3] * 4),
    ("r5rs", "5", "0.90", "--chunk=64 --layout=rs", [3] * 3),
    ("r4", "4", "1.2", "--chunk=64", [3] * 3),
    ("r6ls", "6", "1.2", "--chunk=64 --layout=ls", [3] * 4),
    ("r6ra", "6", "1.2", "--chunk=64 --layout=ra", [3] * 5),
]
print("add md.img format:raw\nrun\npart-init /dev/sda gpt")
at, part, later = 2048, 1, []
for n, (name, level, version, options, sizes) in enumerate(arrays):
    md, members = f"/dev/md{100 + n}", []
    for mib in sizes:
        print(f"part-add /dev/sda p {at} {at + mib * 2048 - 1}")
        members.append(f"/dev/sda{part}")
        at, part = at + mib * 2048, part + 1
    bitmap = "" if level in ("0", "linear") else "--bitmap=none"
    subprocess.run(["python3", "pattern.py", "4096", name, str(1 << 20), f"p.{name}"], check=True)
    later.append(
        f'-debug sh "yes | mdadm --create {md} --homehost=gf --name={name} --run --level={level} '
        f'--metadata={version} {bitmap} {options} --raid-devices={len(members)} {" ".join(members)} 2>&1"\n'
        f'-debug sh "mdadm --wait {md} || true"\n-upload p.{name} {md}\n'
        f'-debug sh "blockdev --flushbufs {md}; echo SUM {name} $(blockdev --getsize64 {md}) $(sha256sum < {md})"'
    )
print("\n".join(later))
for n in range(len(arrays)):
    print(f'-debug sh "mdadm --stop /dev/md{100 + n}"')
P
guestfish -f md.commands
rm -f p.* md.commands
xz -9e -f md.img
