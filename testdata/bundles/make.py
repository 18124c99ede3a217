#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes driver bundles for tests: INFs, images that no Windows could load, and signed catalogues.

    make.py tree OUT [INX]     a tree laid out as virtio-win's; INX is a checkout of
                               kvm-guest-drivers-windows or its templates, whose INFs are taken then
    make.py stub ARCH OUT      one image
    make.py catalog DIGEST OUT FILE...   one catalogue, not signed

tree signs with osslsigncode, by a root and a publisher that openssl makes.
"""
import hashlib
import os
import re
import struct
import subprocess
import sys
import tempfile

MACHINES = {"x86": 0x14C, "amd64": 0x8664, "arm64": 0xAA64}

# Folder, decoration of the version, last part of the driver's version, digest, architectures.
RELEASES = [
    ("xp", "5.1", 2600, "sha1", ["x86"]),
    ("2k3", "5.2", 3790, "sha1", ["x86", "amd64"]),
    ("2k8", "6.0", 6001, "sha1", ["x86", "amd64"]),
    ("w7", "6.1", 7600, "sha1", ["x86", "amd64"]),
    ("2k8R2", "6.1", 7601, "sha1", ["amd64"]),
    ("w8", "6.2", 9200, "sha256", ["x86", "amd64"]),
    ("2k12", "6.2", 9201, "sha256", ["amd64"]),
    ("w8.1", "6.3", 9600, "sha256", ["x86", "amd64"]),
    ("2k12R2", "6.3", 9601, "sha256", ["amd64"]),
    ("w10", "10.0...14393", 19041, "sha256", ["x86", "amd64", "arm64"]),
    ("2k16", "10.0...14393", 14393, "sha256", ["amd64"]),
    ("2k19", "10.0...14393", 17763, "sha256", ["amd64"]),
    ("2k22", "10.0...14393", 20348, "sha256", ["amd64"]),
    ("w11", "10.0...14393", 22000, "sha256", ["amd64", "arm64"]),
    ("2k25", "10.0...14393", 26100, "sha256", ["amd64"]),
]

DISK = ("SCSIAdapter", "{4d36e97b-e325-11ce-bfc1-08002be10318}")
SYSTEM = ("System", "{4d36e97d-e325-11ce-bfc1-08002be10318}")
NIC = ("Net", "{4d36e972-e325-11ce-bfc1-08002be10318}")
DISPLAY = ("Display", "{4d36e968-e325-11ce-bfc1-08002be10318}")
HID = ("HIDClass", "{745a17a0-74d3-11d0-b6fe-00a0c90f57da}")


def virtio(old, subsystem, new):
    ids = []
    if old:
        ids.append(f"PCI\\VEN_1AF4&DEV_{old}&SUBSYS_{subsystem}1AF4&REV_00, PCI\\VEN_1AF4&DEV_{old}")
    ids.append(f"PCI\\VEN_1AF4&DEV_{new}&SUBSYS_11001AF4&REV_01, PCI\\VEN_1AF4&DEV_{new}")
    return ids


# Folder: name of INF and image, its template, class, service, start, bus type, messages, ids, since.
DRIVERS = {
    "viostor": ("viostor", "viostor/viostor.inx", DISK, "viostor", 0, 1, 257, virtio("1001", "0002", "1042"), 5.1),
    "vioscsi": ("vioscsi", "vioscsi/vioscsi.inx", DISK, "vioscsi", 0, 10, 258, virtio("1004", "0008", "1048"), 6.0),
    "NetKVM": ("netkvm", "NetKVM/netkvm-base.txt", NIC, "netkvm", 3, None, 2048, virtio("1000", "0001", "1041"), 5.1),
    "Balloon": ("balloon", "Balloon/sys/balloon.inx", SYSTEM, "BALLOON", 3, None, None, virtio("1002", "0005", "1045"), 5.1),
    "viorng": ("viorng", "viorng/viorng/viorng.inf", SYSTEM, "VirtRng", 3, None, 1, virtio("1005", "0004", "1044"), 6.1),
    "vioserial": ("vioser", "vioserial/sys/vioser.inx", SYSTEM, "VirtioSerial", 3, None, 2, virtio("1003", "0003", "1043"), 5.1),
    "viofs": ("viofs", "viofs/pci/viofs.inf", SYSTEM, "VirtioFsDrv", 3, None, 2, virtio(None, None, "105A"), 6.2),
    "viogpudo": ("viogpudo", "viogpu/viogpudo/viogpudo.inx", DISPLAY, "VioGpuDod", 3, None, 4, virtio(None, None, "1050"), 6.2),
    "vioinput": ("vioinput", "vioinput/sys/vioinput.inx", HID, "VirtioInput", 3, None, 2, virtio(None, None, "1052"), 6.1),
    "pvpanic": ("pvpanic", "pvpanic/pvpanic/pvpanic.inf", SYSTEM, "PVPanic", 3, None, None, ["ACPI\\QEMU0001"], 6.1),
    "fwcfg": ("fwcfg", "fwcfg64/fwcfg.inf", SYSTEM, "FwCfg", 3, None, None, ["ACPI\\QEMU0002"], 10.0),
    "qemufwcfg": ("qemufwcfg", "fwcfg/qemufwcfg.inf", SYSTEM, None, 3, None, None, ["ACPI\\QEMU0002"], 6.1),
    "viosock": ("viosock", "viosock/sys/viosock.inx", SYSTEM, "VirtioSocket", 3, None, 1, virtio("1012", "0013", "1053"), 10.0),
    "smbus": ("smbus", "Q35/SMBus/smbus.inf", SYSTEM, None, 3, None, None, ["PCI\\VEN_8086&DEV_2930&SUBSYS_11001AF4"], 6.1),
    "viomem": ("viomem", "viomem/sys/viomem.inx", SYSTEM, "VIOMEM", 3, None, None, virtio(None, None, "1058"), 10.0),
}


def own_inf(name, entry, decoration, version):
    """An INF of this project's own words, in the shape that virtio-win's have."""
    _, _, (klass, guid), service, start, bus, messages, ids, _ = entry
    lines = [
        "; for tests only", "[Version]", 'Signature="$Windows NT$"', f"Class={klass}", f"ClassGuid={guid}",
        "Provider=%Maker%", f"DriverVer={version}", f"CatalogFile={name}.cat", "PnpLockdown=1",
        "[Manufacturer]", f"%Maker%=Devices,{decoration}", f"[Devices.{decoration}]",
    ]
    lines += [f"%Device.Desc%=Device_Install, {id}" for id in ids]
    if service is None:
        lines += ["[Device_Install.NT]", "[Device_Install.NT.Services]", "AddService=,2"]
        return "\r\n".join(lines + strings(name))
    lines += [
        "[DestinationDirs]", "DefaultDestDir=12", "[SourceDisksNames]", '1=%Disk%,,,""',
        "[SourceDisksFiles]", f"{name}.sys=1", "[Device_Install.NT]", "CopyFiles=Device_Files",
        "[Device_Files]", f"{name}.sys,,,2", "[Device_Install.NT.HW]", "AddReg=Device_Interrupts",
        "[Device_Interrupts]",
    ]
    if messages:
        key = "Interrupt Management\\MessageSignaledInterruptProperties"
        lines += [f'HKR,"{key}",MSISupported,0x00010001,1', f'HKR,"{key}",MessageNumberLimit,0x00010001,{messages}']
    lines += [
        "[Device_Install.NT.Services]", f"AddService={service},0x2,Device_Service", "[Device_Service]",
        "DisplayName=%Device.Service%", "ServiceType=1", f"StartType={start}", "ErrorControl=1",
        f"ServiceBinary=%12%\\{name}.sys", "AddReg=Device_Parameters",
    ]
    lines += ["LoadOrderGroup=SCSI miniport"] if start == 0 else []
    lines += ["[Device_Parameters]"]
    if bus:
        lines += ['HKR,"Parameters\\PnpInterface","5",0x00010001,1', f"HKR,Parameters,BusType,0x00010001,{bus}"]
    return "\r\n".join(lines + strings(name))


def strings(name):
    return ["[Strings]", 'Maker="Test Maker"', f'Disk="{name} disk"', f'Device.Desc="{name} of tests"',
            f'Device.Service="{name} service"', ""]


def expand(template, inx, decoration, version, arch):
    """What stampinf and the project's build make of a template."""
    with open(os.path.join(inx, template), encoding="utf-8", errors="replace") as file:
        text = file.read()
    text = re.sub(r"(?im)^(DriverVer\s*=).*$", lambda m: f"{m[1]}{version}", text)
    text = text.replace("NT$ARCH$", decoration).replace("$ARCH$", decoration[2:])
    text = text.replace("$KMDFVERSION$", "1.15").replace("_INX_SUBSYS_VENDOR_ID", "1AF4")
    # Drivers moved into the driver store with Windows 10; older ones went to System32\drivers.
    folder = "13" if decoration.split(".")[1:2] == ["10"] else "12"
    text = text.replace("%INX_PLATFORM_DRIVERS_DIR%", f"%{folder}%").replace("INX_PLATFORM_DRIVERS_DIR", folder)
    text = text.replace("INX_BASE_ON_SYSTEM_ROOT_DRIVER_DIR", "%%SystemRoot%%\\System32\\drivers")
    text = text.replace("INX_COMPANY", "Test Maker").replace("INX_PREFIX_VENDOR", "Test Maker ")
    text = text.replace("INX_PREFIX_VIRTIO", "").replace("INX_PREFIX_QEMU", "")
    text = text.replace("INX_NETKVM_SEPARATE_TAIL", "1").replace("INX_NETKVM_DMAREMAP", "1")
    left = re.findall(r"INX_[A-Z_]+", re.sub(r";.*", "", text))
    assert not left, (template, left)
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def copied(text):
    """The files that an INF's SourceDisksFiles name."""
    section = re.search(r"(?ims)^\[SourceDisksFiles\]\s*$(.*?)(^\[|\Z)", text)
    return re.findall(r"(?m)^\s*([A-Za-z0-9_.-]+)\s*=", section[1]) if section else []


def stub(arch, version=(100, 95, 104, 26100)):
    """A PE image with a version resource and one instruction: it parses, and no Windows runs it."""
    wide = arch != "x86"
    text = b"\xC3".ljust(0x200, b"\0")
    fixed = struct.pack("<13I", 0xFEEF04BD, 0x10000, version[0] << 16 | version[1], version[2] << 16 | version[3],
                        version[0] << 16 | version[1], version[2] << 16 | version[3], 0x3F, 0, 0x40004, 3, 7, 0, 0)
    key = "VS_VERSION_INFO\0".encode("utf-16le")
    info = struct.pack("<HHH", 6 + len(key) + 2 + len(fixed), len(fixed), 0) + key + b"\0\0" + fixed
    table = struct.pack("<IIHHHH", 0, 0, 0, 0, 0, 1)
    rsrc = table + struct.pack("<II", 16, 0x80000018) + table + struct.pack("<II", 1, 0x80000030)
    rsrc += table + struct.pack("<II", 0x409, 0x48) + struct.pack("<IIII", 0x2058, len(info), 0, 0) + info
    rsrc = rsrc.ljust(0x200, b"\0")
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    size = 0xF0 if wide else 0xE0
    coff = struct.pack("<HHIIIHH", MACHINES[arch], 2, 0, 0, 0, size, 0x2022 if wide else 0x2102)
    optional = struct.pack("<HBBIIIII", 0x20B if wide else 0x10B, 14, 0, 0x200, 0x200, 0, 0x1000, 0x1000)
    optional += struct.pack("<Q", 0x140000000) if wide else struct.pack("<II", 0x2000, 0x10000)
    optional += struct.pack("<IIHHHHHHIIIIHH", 0x1000, 0x200, 10, 0, 0, 0, 10, 0, 0, 0x3000, 0x400, 0, 1, 0x160)
    optional += struct.pack("<QQQQ" if wide else "<IIII", 0x40000, 0x1000, 0x100000, 0x1000)
    optional += struct.pack("<II", 0, 16)
    directory = [(0, 0)] * 16
    directory[2] = (0x2000, 0x58 + len(info))
    optional += b"".join(struct.pack("<II", *entry) for entry in directory)
    assert len(optional) == size, len(optional)
    sections = struct.pack("<8sIIIIIIHHI", b".text", 1, 0x1000, 0x200, 0x400, 0, 0, 0, 0, 0x60000020)
    sections += struct.pack("<8sIIIIIIHHI", b".rsrc", len(rsrc), 0x2000, 0x200, 0x600, 0, 0, 0, 0, 0x40000040)
    return (head + b"PE\0\0" + coff + optional + sections).ljust(0x400, b"\0") + text + rsrc


def covered(data):
    """What Authenticode digests of an image that is not signed."""
    if not data.startswith(b"MZ"):
        return data
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    optional = pe + 24
    wide = struct.unpack_from("<H", data, optional)[0] == 0x20B
    security = optional + (112 if wide else 96) + 32
    assert struct.unpack_from("<I", data, security)[0] == 0, "signed already"
    data += b"\0" * (-len(data) % 8)
    return data[:optional + 64] + data[optional + 68:security] + data[security + 8:]


def der(tag, *parts):
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def oid(text):
    first, second, *rest = map(int, text.split("."))
    out = bytes([first * 40 + second])
    for number in rest:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        out += bytes(reversed(digits))
    return der(6, out)


def sequence(*parts):
    return der(0x30, *parts)


DIGESTS = {"sha1": oid("1.3.14.3.2.26"), "sha256": oid("2.16.840.1.101.3.4.2.1")}


def member(data, digest):
    """An entry of the list: sorted by digits of SHA-1 (version 1) or by the digest (version 2)."""
    value = hashlib.new(digest, covered(data)).digest()
    image = data.startswith(b"MZ")
    kind = "1.3.6.1.4.1.311.2.1.15" if image else "1.3.6.1.4.1.311.2.1.25"
    detail = sequence(der(3, b"\0"), der(0xA0, der(0xA2, der(0x80)))) if image else der(0xA2, der(0x80))
    info = sequence(sequence(DIGESTS[digest], der(5)), der(4, value))
    indirect = sequence(sequence(oid(kind), detail), info)
    attribute = sequence(oid("1.3.6.1.4.1.311.2.1.4"), der(0x31, indirect))
    tag = value.hex().upper().encode("utf-16le") + b"\0\0" if digest == "sha1" else value
    return sequence(der(4, tag), der(0x31, attribute))


def catalog(files, digest):
    """A catalogue without signers."""
    kind = "1.3.6.1.4.1.311.12.1.2" if digest == "sha1" else "1.3.6.1.4.1.311.12.1.3"
    ctl = sequence(
        sequence(oid("1.3.6.1.4.1.311.12.1.1")), der(4, hashlib.md5(b"".join(files)).digest()),
        der(0x17, b"240304120000Z"), sequence(oid(kind), der(5)),
        sequence(*sorted(member(data, digest) for data in files)))
    signed = sequence(der(2, b"\1"), der(0x31), sequence(oid("1.3.6.1.4.1.311.10.1"), der(0xA0, ctl)), der(0x31))
    return sequence(oid("1.2.840.113549.1.7.2"), der(0xA0, signed))


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Publisher:
    """A root and a publisher below it, whose names no one can take for real ones."""

    def __init__(self, folder):
        path = lambda name: os.path.join(folder, name)
        self.key, self.chain, self.root, self.scratch = path("pub.key"), path("chain.pem"), path("root.pem"), path("in.cat")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "36500", "-sha256",
            "-subj", "/O=guestfix tests/CN=guestfix test root", "-keyout", path("root.key"), "-out", self.root)
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=guestfix tests/CN=guestfix test publisher",
            "-keyout", self.key, "-out", path("pub.csr"))
        with open(path("ext"), "w", encoding="ascii") as file:
            file.write("extendedKeyUsage=codeSigning\nkeyUsage=digitalSignature\n")
        run("openssl", "x509", "-req", "-in", path("pub.csr"), "-CA", self.root, "-CAkey", path("root.key"),
            "-CAcreateserial", "-days", "36500", "-sha256", "-extfile", path("ext"), "-out", path("pub.pem"))
        with open(self.chain, "wb") as out:
            for name in ("pub.pem", "root.pem"):
                with open(path(name), "rb") as part:
                    out.write(part.read())

    def sign(self, data, digest, out):
        """Signs a catalogue or an image."""
        with open(self.scratch, "wb") as file:
            file.write(data)
        if os.path.exists(out):
            os.remove(out)
        run("osslsigncode", "sign", "-certs", self.chain, "-key", self.key, "-h", digest,
            "-in", self.scratch, "-out", out)


def package(publisher, out, folder, release, arch, inx):
    name, template, *_ = entry = DRIVERS[folder]
    os_name, since, build, digest, _ = release
    version = f"03/04/2024,100.95.104.{build}"
    word = {"arm64": "ARM64"}.get(arch, arch)
    decoration = f"NT{word}.{since}"
    text = expand(template, inx, decoration, version, arch) if inx else own_inf(name, entry, decoration, version)
    # INFs that are no templates name the processors that they serve.
    if f"nt{arch}" not in text.lower():
        return
    path = os.path.join(out, folder, os_name, word)
    os.makedirs(path)
    files = {f"{name}.inf": text.encode("ascii" if not inx else "utf-8")}
    for file in copied(text):
        files[file] = stub(arch, (100, 95, 104, build))
    for file, data in files.items():
        with open(os.path.join(path, file), "wb") as to:
            to.write(data)
    publisher.sign(catalog(list(files.values()), digest), digest, os.path.join(path, f"{name}.cat"))


def tree(out, inx=None):
    with tempfile.TemporaryDirectory() as scratch:
        publisher = Publisher(scratch)
        for folder, entry in DRIVERS.items():
            for release in RELEASES:
                if float(".".join(release[1].split(".")[:2])) < entry[-1]:
                    continue
                for arch in release[4]:
                    package(publisher, out, folder, release, arch, inx)
        agent = os.path.join(out, "guest-agent")
        os.makedirs(agent)
        for name in ("qemu-ga-x86_64.msi", "qemu-ga-i386.msi"):
            with open(os.path.join(agent, name), "wb") as file:
                file.write(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1 no installer, for tests only")
        os.makedirs(os.path.join(out, "cert"))
        with open(publisher.root, "rb") as root, open(os.path.join(out, "cert", "root.pem"), "wb") as to:
            to.write(root.read())


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def main(verb, *args):
    if verb == "tree":
        tree(*args)
    elif verb == "stub":
        write(args[1], stub(args[0]))
    elif verb == "catalog":
        write(args[1], catalog([open(path, "rb").read() for path in args[2:]], args[0]))
    elif verb == "fixtures":
        fixtures(*args)
    else:
        sys.exit(__doc__)


def fixtures(out):
    """The small files that the unit tests of drivers/ read."""
    inf, image = b"[Version]\r\nSignature=\"$Windows NT$\"\r\n", stub("amd64")
    write(os.path.join(out, "disk.inf"), inf)
    write(os.path.join(out, "disk.sys"), image)
    write(os.path.join(out, "unsigned.cat"), catalog([inf, image], "sha256"))
    with tempfile.TemporaryDirectory() as scratch:
        publisher = Publisher(scratch)
        publisher.sign(catalog([inf, image], "sha1"), "sha1", os.path.join(out, "sha1.cat"))
        publisher.sign(catalog([inf, image], "sha256"), "sha256", os.path.join(out, "sha256.cat"))
        publisher.sign(image, "sha256", os.path.join(out, "signed.sys"))
        write(os.path.join(out, "root.pem"), open(publisher.root, "rb").read())


if __name__ == "__main__":
    main(*sys.argv[1:])
