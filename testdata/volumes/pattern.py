#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pattern.py BLOCK NAME BYTES OUT: block n of OUT holds NAME, n and zeros."""
import sys

block, name, size, out = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
with open(out, "wb") as f:
    for n in range(size // block):
        f.write((b"%s %08d\n" % (name.encode(), n)).ljust(block, b"\0"))
