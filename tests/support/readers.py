# SPDX-License-Identifier: Apache-2.0
"""Prints what another reader sees of a hive: one line a key, one line a value.

    dump.py hivex|dissect|regipy HIVE

K <tab> depth <tab> name <tab> last write <tab> class <tab> security descriptor
V <tab> name <tab> type <tab> length <tab> digest of the data

Names and classes are hexadecimal UTF-16, descriptors and data SHA-256; `-` stands where the reader
does not tell.
"""

import hashlib
import struct
import sys


def wide(text):
    return text.encode("utf-16-le", "surrogatepass").hex()


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def key(depth, name, written, class_name="-", security="-"):
    sys.stdout.write(f"K\t{depth}\t{wide(name)}\t{written}\t{class_name}\t{security}\n")


def value(name, kind, data):
    sys.stdout.write(f"V\t{wide(name)}\t{kind}\t{len(data)}\t{digest(data)}\n")


def by_hivex(path):
    import hivex

    hive = hivex.Hivex(path)

    def walk(node, depth):
        key(depth, hive.node_name(node), hive.node_timestamp(node))
        for one in hive.node_values(node):
            kind, data = hive.value_value(one)
            # The binding gives unsigned types as signed numbers.
            value(hive.value_key(one), kind & 0xFFFFFFFF, bytes(data))
        for child in hive.node_children(node):
            walk(child, depth + 1)

    walk(hive.root(), 0)


def by_dissect(path):
    from dissect.regf import regf

    hive = regf.RegistryHive(open(path, "rb"))

    def one_value(one):
        name = "" if one.cell.NameLength == 0 else one.name
        value(name, one.type, b"" if one.size == 0 else one.data)

    def walk(node, depth):
        cell = node.cell
        class_name = "-"
        if cell.ClassLength and cell.Class != 0xFFFFFFFF:
            class_name = hive.cell_data(cell.Class)[: cell.ClassLength].hex()
        security = "-"
        if cell.Security != 0xFFFFFFFF:
            raw = hive.cell_data(cell.Security)
            (length,) = struct.unpack_from("<I", raw, 16)
            security = digest(raw[20 : 20 + length])
        key(depth, node.name, cell.LastWriteTime, class_name, security)
        for one in node.values():
            one_value(one)
        for child in node.subkeys():
            walk(child, depth + 1)

    walk(hive.root(), 0)


def by_regipy(path):
    from construct import Int32ul
    from regipy.registry import NKRecord, RegistryHive
    from regipy.structs import VALUE_KEY

    hive = RegistryHive(path)
    stream = hive._stream

    def name_of(raw, compressed):
        return raw.decode("latin-1" if compressed else "utf-16-le", "surrogatepass" if not compressed else "strict")

    def values(node):
        if not node.values_count:
            return
        for index in range(node.values_count):
            stream.seek(4096 + 4 + node.header.values_list_offset + 4 * index)
            stream.seek(4096 + 4 + Int32ul.parse_stream(stream))
            one = VALUE_KEY.parse_stream(stream)
            size = one.data_size & 0x7FFFFFFF
            if one.data_size & 0x80000000:
                data = Int32ul.build(one.data_offset)[:size]
            elif size == 0:
                data = b""
            else:
                read = NKRecord.read_value(one, stream)
                data = read.value
                if size > 0x3FD8 and data[:2] == b"db":
                    data = NKRecord._parse_indirect_block(stream, read)
            name = name_of(one.name, one.flags.VALUE_COMP_NAME) if one.name_size else ""
            value(name, int(one.data_type), data)

    def walk(node, depth):
        header = node.header
        name = name_of(header.key_name_string, header.flags.KEY_COMP_NAME)
        key(depth, name, header.last_modified)
        values(node)
        for child in list(node.iter_subkeys()):
            walk(child, depth + 1)

    walk(hive.root, 0)


def main():
    sys.setrecursionlimit(10000)
    {"hivex": by_hivex, "dissect": by_dissect, "regipy": by_regipy}[sys.argv[1]](sys.argv[2])


main()
