// SPDX-License-Identifier: Apache-2.0
//! What a description of the virtual machine says beside its disks (`--vm FILE`): network cards
//! with their addresses, disks in their order, firmware. The operator gives the file; it is read
//! whole, bounded, and never followed to other files.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document::{MAX_BYTES, xml, yaml};
use crate::error::{Error, Kind, Result};
use crate::inspect::facts::Firmware;

mod compare;
mod kubevirt;
mod libvirt;
pub mod ova;
mod ovf;
mod vmx;

pub use compare::concerns;

/// A virtual machine as its description has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// The file, as given.
    pub file: String,
    /// What wrote it.
    pub format: Format,
    /// How it starts, where the file says so.
    pub firmware: Option<Firmware>,
    /// Its network cards in order.
    pub nics: Vec<VmNic>,
    /// Its disks in order; CD drives left out.
    pub disks: Vec<VmDisk>,
}

/// What describes a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// OVF (DMTF DSP0243).
    Ovf,
    /// VMware's own VMX.
    Vmx,
    /// libvirt's domain XML.
    Libvirt,
    /// KubeVirt's `VirtualMachine` or `VirtualMachineInstance`.
    KubeVirt,
}

/// A network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmNic {
    /// What the file calls it.
    pub name: String,
    /// Hardware address, lower case with colons.
    pub mac: Option<String>,
    /// VMware's number of its PCI slot: a guest that names cards by slot calls it `ens` and this.
    pub slot: Option<u32>,
}

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmDisk {
    /// File, claim or volume.
    pub name: String,
    /// Bytes, where the file says so.
    pub size: Option<u64>,
}

/// Reads a description of any kind, told apart by what is in it.
///
/// # Errors
/// `Usage` when the file cannot be read or is none of these; `Unsupported`/`bad-xml` or
/// `bad-yaml` when it is broken.
pub fn read(path: &Path) -> Result<Vm> {
    let name = path.display().to_string();
    let cannot = |e: std::io::Error| usage(&name, "cannot be read").because(e);
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(usage(&name, "is larger than any description of a machine"));
    }
    parse(&bytes, &name)
}

/// As [`read`], of bytes.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], file: &str) -> Result<Vm> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let vm = if text.starts_with('<') {
        from_xml(bytes, file)
    } else if text.starts_with('{') {
        serde_json::from_slice::<serde_json::Value>(bytes)
            .map_err(|e| usage(file, "is no JSON").because(e))
            .and_then(|json| kubevirt::parse(&[json.into()], file))
    } else if vmx::is_vmx(text) {
        Ok(vmx::parse(text))
    } else if bytes.get(257..262) == Some(b"ustar") {
        Err(usage(file, "is an OVA archive")
            .hint("unpack it (tar -xf) and give the .ovf file in it"))
    } else {
        yaml::parse(bytes).and_then(|documents| kubevirt::parse(&documents, file))
    };
    let vm = vm.map_err(|e| match e.kind {
        Kind::Usage => e,
        _ => e.context(format!("reading --vm {file}")),
    })?;
    Ok(Vm {
        file: file.to_owned(),
        ..vm
    })
}

fn from_xml(bytes: &[u8], file: &str) -> Result<Vm> {
    let tops = xml::parse(bytes)?;
    let [top] = tops.as_slice() else {
        return Err(usage(file, "holds no single XML document"));
    };
    match top.name.as_str() {
        "Envelope" => Ok(ovf::parse(top)),
        "domain" => Ok(libvirt::parse(top)),
        other => Err(usage(file, &format!("is XML of another kind ({other})"))),
    }
}

fn usage(file: &str, what: &str) -> Error {
    Error::new(
        Kind::Usage,
        "bad-vm-file",
        format!("--vm {file}: it {what}"),
    )
    .hint("give an OVF, a VMX, a libvirt domain XML or a KubeVirt VirtualMachine (YAML or JSON)")
}

/// A hardware address in lower case with colons; `None` when it is none.
pub fn mac(text: &str) -> Option<String> {
    let text = text.trim().trim_matches(['"', '\'']);
    let text = text.to_ascii_lowercase().replace('-', ":");
    let good = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    (text.split(':').count() == 6 && text.split(':').all(good)).then_some(text)
}

fn firmware(efi: bool) -> Firmware {
    match efi {
        true => Firmware::Efi,
        false => Firmware::Bios,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_what_is_inside() {
        let of = |text: &str| parse(text.as_bytes(), "x").map(|vm| vm.format);
        assert_eq!(of("<Envelope/>").unwrap(), Format::Ovf);
        assert_eq!(
            of("\u{feff}<?xml version=\"1.0\"?><domain/>").unwrap(),
            Format::Libvirt
        );
        assert_eq!(
            of("#!/usr/bin/vmware\n.encoding = \"UTF-8\"\n").unwrap(),
            Format::Vmx
        );
        assert_eq!(
            of("kind: VirtualMachine\nspec: {}\n").unwrap(),
            Format::KubeVirt
        );
        assert_eq!(
            of("{\"kind\": \"VirtualMachine\"}").unwrap(),
            Format::KubeVirt
        );
    }

    #[test]
    fn what_is_none_of_them_is_said_to_be() {
        for text in ["", "<html/>", "{", "kind: Pod\n", "- just\n", "words"] {
            let error = parse(text.as_bytes(), "x.txt").unwrap_err();
            assert!(error.to_string().contains("x.txt"), "{text}: {error}");
        }
        let mut ova = vec![b'a'; 512];
        ova[257..262].copy_from_slice(b"ustar");
        assert!(
            parse(&ova, "x.ova")
                .unwrap_err()
                .hint
                .unwrap()
                .contains("tar")
        );
        assert_eq!(
            read(Path::new("/nonexistent")).unwrap_err().kind,
            Kind::Usage
        );
    }
}
