// SPDX-License-Identifier: Apache-2.0
//! Device names in an initramfs's embedded configuration: which of them the new machine will not
//! have, and what to write in their place.

use crate::inspect::Facts;
use crate::linux::storage::mdadm;
use crate::plan::Bus;

/// True for files of an archive that name devices the boot waits for or mounts.
pub fn is_configuration(file: &str) -> bool {
    const DIRS: [&str; 4] = [
        "conf/conf.d/",
        "etc/cmdline.d/",
        "etc/conf.d/",
        "cryptroot/",
    ];
    const FILES: [&str; 8] = [
        "conf/param.conf",
        "conf/initramfs.conf",
        "etc/cmdline",
        "etc/crypttab",
        "etc/fstab",
        "etc/mdadm.conf",
        "etc/mdadm/mdadm.conf",
        "etc/lvm/devices/system.devices",
    ];
    FILES.contains(&file) || DIRS.iter().any(|dir| file.starts_with(dir))
}

/// The devices of a configuration that live only as long as the old machine's disk controller.
pub fn in_file(file: &str, body: &[u8]) -> Vec<String> {
    match mdadm::is_embedded(file) {
        true => mdadm::by_place(body),
        false => in_text(&String::from_utf8_lossy(body)),
    }
}

/// Those of a text of no known kind.
pub fn in_text(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().starts_with('#')) {
        for device in line.split("/dev/").skip(1) {
            let end = device.find(|c: char| c.is_whitespace() || "\"',;)".contains(c));
            let device = format!(
                "/dev/{}",
                device.get(..end.unwrap_or(device.len())).unwrap_or("")
            );
            if is_old(&device) && !out.contains(&device) {
                out.push(device);
            }
        }
        // LVM's devices file pins physical volumes to the disk's hardware identity.
        if let Some(id) = line
            .split_whitespace()
            .find(|word| word.starts_with("IDNAME=naa."))
        {
            out.push(id.to_owned());
        }
    }
    out
}

/// The device that a member waits for by its very name: a systemd device unit in a `.wants`
/// directory, or dracut's `devexists-` hook. Escapes: systemd.unit(5), "String Escaping".
pub fn in_member_name(name: &str) -> Option<String> {
    let base = name.rsplit('/').next()?;
    let device = if let Some(unit) = base.strip_suffix(".device") {
        format!("/{}", unescape(unit, true))
    } else {
        unescape(base.strip_prefix("devexists-")?.strip_suffix(".sh")?, false)
    };
    is_old(&device).then_some(device)
}

fn unescape(text: &str, dashes: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let byte = rest
            .strip_prefix("\\x")
            .and_then(|hex| hex.get(..2))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let step = if let Some(byte) = byte {
            out.push(char::from(byte));
            4
        } else {
            out.push(if dashes && next == '-' { '/' } else { next });
            next.len_utf8()
        };
        rest = rest.get(step..).unwrap_or("");
    }
    out
}

/// Names given by controller and probing order, not by content.
fn is_old(device: &str) -> bool {
    const KEPT: [&str; 5] = ["dm-", "lvm-", "md-", "luks-", "crypt-"];
    if let Some(id) = device.strip_prefix("/dev/disk/by-id/") {
        return !KEPT.iter().any(|kind| id.starts_with(kind));
    }
    device.starts_with("/dev/disk/by-path/") || is_probed(device)
}

/// `/dev/sdX`, `/dev/hdX`, `/dev/nvmeXn1`, floppies.
fn is_probed(device: &str) -> bool {
    let digit_or_letter = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    ["/dev/sd", "/dev/hd", "/dev/nvme", "/dev/fd"]
        .iter()
        .any(|prefix| device.strip_prefix(prefix).is_some_and(digit_or_letter))
        && device != "/dev/fd"
}

/// True when the device will be missing on the target. SCSI and SATA disks stay `/dev/sdX`.
pub fn vanishes(device: &str, bus: Bus) -> bool {
    bus == Bus::Virtio || !device.starts_with("/dev/sd")
}

/// What to write in the place of a vanishing device: `/dev/disk/by-uuid/...` of the volume it
/// meant. `None` where that is not known.
pub fn stable_name(device: &str, facts: &Facts) -> Option<String> {
    let volume = facts.volume_of_device(device).or_else(|| {
        // A path or identity of the only disk there is can but mean that disk.
        let part = device.rsplit_once("-part")?.1.parse::<u32>().ok()?;
        (device.starts_with("/dev/disk/") && facts.disks.len() == 1)
            .then(|| facts.volume(&format!("disk0p{part}")))?
    })?;
    // What a member of an array or group carries is no name in /dev/disk/by-uuid.
    let is_member = matches!(volume.content.kind.as_str(), "md-member" | "lvm2-pv");
    let uuid = volume.content.uuid.as_ref().filter(|_| !is_member)?;
    Some(format!("/dev/disk/by-uuid/{uuid}"))
}

/// A configuration with every vanishing device replaced. `None` when one of them cannot be.
pub fn rewrite(file: &str, body: &[u8], facts: &Facts, bus: Bus) -> Option<Vec<u8>> {
    if mdadm::is_embedded(file) {
        let body = mdadm::by_content(body);
        let left = mdadm::by_place(&body);
        return (!left.iter().any(|device| vanishes(device, bus))).then_some(body);
    }
    let text = String::from_utf8_lossy(body);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut line = line.to_owned();
        let mut devices = in_text(&line);
        // The longest first: `/dev/sda1` is a prefix of `/dev/sda10`.
        devices.sort_by_key(|device| std::cmp::Reverse(device.len()));
        for device in devices.iter().filter(|device| vanishes(device, bus)) {
            line = line.replace(device, &stable_name(device, facts)?);
        }
        out.push_str(&line);
    }
    Some(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_go_with_the_old_controller_are_found() {
        let text = "# root=/dev/sdz1\nRESUME=/dev/sda5\nroot=\"/dev/mapper/vg-root\" \
                    x=/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part2 UUID=1\n\
                    /dev/disk/by-id/dm-name-vg /dev/disk/by-id/wwn-0x6000c29 /dev/fd /dev/vda1\n";
        assert_eq!(
            in_text(text),
            [
                "/dev/sda5",
                "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part2",
                "/dev/disk/by-id/wwn-0x6000c29"
            ]
        );
    }

    #[test]
    fn member_names_are_unescaped() {
        for (name, want) in [
            (
                r"etc/systemd/system/initrd.target.wants/dev-disk-by\x2dpath-pci\x2d0000:00:10.0\x2dpart1.device",
                Some("/dev/disk/by-path/pci-0000:00:10.0-part1"),
            ),
            (
                r"lib/dracut/hooks/initqueue/finished/devexists-\x2fdev\x2fsda2.sh",
                Some("/dev/sda2"),
            ),
            (r"x/dev-disk-by\x2duuid-1\x2d2.device", None),
            (r"x/dev-\xzz.device", None),
        ] {
            assert_eq!(in_member_name(name).as_deref(), want, "{name}");
        }
    }
}
