// SPDX-License-Identifier: Apache-2.0
//! From a [`Machine`] to QEMU's command line.
//!
//! The wiring follows the domains that KubeVirt hands to libvirt: q35, every virtio device
//! `non-transitional` (legacy off) behind its own root port, first the NICs, then SCSI, the guest
//! agent's channel, disks, balloon and RNG. So the first NIC is `enp1s0`, as on KubeVirt.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::accel::Accel;
use super::machine::{Arch, Controller, Drive, EfiFiles, Format, Machine, Network, Nic, NicModel};
use crate::error::{Error, Result};
use crate::inspect::facts::Firmware;

/// Ports of the AHCI controller built into q35.
const SATA_PORTS: usize = 6;

/// Root ports that fit on functions of the slots 2 to 15.
const ROOT_PORTS: usize = 14 * 8;

/// File names inside the working directory, which is QEMU's current directory.
pub(super) const QMP_SOCKET: &str = "qmp.sock";
pub(super) const AGENT_SOCKET: &str = "agent.sock";
pub(super) const EFI_VARS: &str = "vars.fd";

/// Id of the guest agent's port in QMP events.
pub(super) const AGENT_PORT: &str = "agent0";

/// QEMU's arguments. Serial console and stderr are QEMU's own; QMP and the agent's channel connect
/// to sockets that must listen already.
///
/// # Errors
/// `Unsupported`/`too-many-disks`, `Unsupported`/`boot-firmware` (BIOS on Arm).
pub(super) fn arguments(
    machine: &Machine,
    accel: Accel,
    efi: Option<&EfiFiles>,
) -> Result<Vec<OsString>> {
    let mut line = Line::default();
    line.board(machine, accel)?;
    line.firmware(efi);
    line.video(machine.arch);
    for (n, nic) in machine.nics.iter().enumerate() {
        line.nic(n, nic, machine.network)?;
    }
    line.controllers(machine)?;
    for (n, disk) in machine.disks.iter().enumerate() {
        line.drive(n, disk);
        line.disk(n, machine)?;
    }
    line.behind_port("virtio-balloon-pci-non-transitional")?;
    line.words(&["-object", "rng-random,id=rng0,filename=/dev/urandom"]);
    line.behind_port("virtio-rng-pci-non-transitional,rng=rng0")?;
    Ok(line.args)
}

/// A command line under construction.
#[derive(Debug, Default)]
struct Line {
    args: Vec<OsString>,
    root_ports: usize,
}

impl Line {
    fn words(&mut self, words: &[&str]) {
        self.args.extend(words.iter().map(OsString::from));
    }

    fn device(&mut self, device: &str) {
        self.words(&["-device", device]);
    }

    /// A device behind a root port of its own.
    fn behind_port(&mut self, device: &str) -> Result<()> {
        if self.root_ports >= ROOT_PORTS {
            return Err(too_many());
        }
        let n = self.root_ports;
        let (slot, function) = (2 + n / 8, n % 8);
        let multifunction = if function == 0 {
            ",multifunction=on"
        } else {
            ""
        };
        self.root_ports += 1;
        let chassis = self.root_ports;
        self.device(&format!(
            "pcie-root-port,id=port{chassis},bus=pcie.0,chassis={chassis},\
             addr={slot:#x}.{function:#x}{multifunction}"
        ));
        self.device(&format!("{device},bus=port{chassis},addr=0x0"));
        Ok(())
    }

    fn board(&mut self, machine: &Machine, accel: Accel) -> Result<()> {
        self.words(&["-name", "guestfix-boot", "-nodefaults", "-no-user-config"]);
        self.words(&["-display", "none", "-machine"]);
        self.words(&[match (machine.arch, machine.firmware) {
            // "graphics=off" makes SeaBIOS copy its screen, and that of BIOS boot loaders, to the
            // serial port; the VGA adapter stays.
            (Arch::X86_64, Firmware::Bios) => "q35,usb=off,graphics=off",
            (Arch::X86_64, Firmware::Efi) => "q35,usb=off",
            (Arch::Aarch64, Firmware::Efi) => "virt,gic-version=max",
            (Arch::Aarch64, Firmware::Bios) => {
                return Err(Error::unsupported(
                    "boot-firmware",
                    "an Arm machine has no BIOS",
                ));
            }
        }]);
        self.words(&accel.args(machine.arch));
        self.words(&["-m", &format!("{}M", machine.memory_mib)]);
        // A Linux guest patches its own code while it starts; of several emulated processors one misses that now
        // and then, and stalls or dies of it.
        let cpus = match accel {
            Accel::Kvm => machine.cpus,
            Accel::Tcg => 1,
        };
        self.words(&["-smp", &cpus.to_string()]);
        let base = if machine.localtime {
            "localtime"
        } else {
            "utc"
        };
        self.words(&["-rtc", &format!("base={base}")]);
        self.words(&["-chardev", "stdio,id=serial0,signal=off"]);
        self.words(&["-serial", "chardev:serial0"]);
        self.words(&["-chardev", &format!("socket,id=qmp0,path={QMP_SOCKET}")]);
        self.words(&["-mon", "chardev=qmp0,mode=control"]);
        Ok(())
    }

    fn firmware(&mut self, efi: Option<&EfiFiles>) {
        let Some(efi) = efi else {
            return;
        };
        self.words(&["-drive"]);
        self.args.push(with_path(
            "if=pflash,unit=0,format=raw,readonly=on,file=",
            &efi.code,
        ));
        self.words(&[
            "-drive",
            &format!("if=pflash,unit=1,format=raw,file={EFI_VARS}"),
        ]);
    }

    fn video(&mut self, arch: Arch) {
        self.device(match arch {
            Arch::X86_64 => "VGA,bus=pcie.0,addr=0x1",
            Arch::Aarch64 => "virtio-gpu-pci,bus=pcie.0,addr=0x1",
        });
    }

    fn nic(&mut self, n: usize, nic: &Nic, network: Network) -> Result<()> {
        self.words(&["-netdev"]);
        self.words(&[&match network {
            // A hub of its own has no other port: the link is up and nothing is on it.
            Network::None => format!("hubport,id=net{n},hubid={n}"),
            Network::Dhcp => format!("user,id=net{n},restrict=on"),
        }]);
        let model = match nic.model {
            NicModel::Virtio => "virtio-net-pci-non-transitional",
            NicModel::Vmxnet3 => "vmxnet3",
            NicModel::E1000e => "e1000e",
        };
        let mac = match &nic.mac {
            Some(mac) => format!(",mac={}", mac.replace(',', ",,")),
            None => String::new(),
        };
        // Without its ROM no firmware tries to boot from it.
        self.behind_port(&format!("{model},netdev=net{n},romfile={mac}"))
    }

    fn controllers(&mut self, machine: &Machine) -> Result<()> {
        match machine.controller {
            // KubeVirt gives every VM a virtio-scsi controller.
            Controller::Virtio | Controller::Scsi | Controller::Sata => {
                self.behind_port("virtio-scsi-pci-non-transitional,id=scsi0")?;
            }
            Controller::Pvscsi => self.behind_port("pvscsi,id=scsi0")?,
            Controller::LsiSas => self.behind_port("mptsas1068,id=scsi0")?,
            Controller::Nvme => {}
        }
        if machine.controller == Controller::Sata {
            if machine.disks.len() > SATA_PORTS {
                return Err(too_many());
            }
            if machine.arch == Arch::Aarch64 {
                self.behind_port("ich9-ahci,id=ide")?;
            }
        }
        self.behind_port("virtio-serial-pci-non-transitional,id=serial-bus0")?;
        self.words(&["-chardev", &format!("socket,id=ga0,path={AGENT_SOCKET}")]);
        self.device(&format!(
            "virtserialport,bus=serial-bus0.0,nr=1,chardev=ga0,id={AGENT_PORT},\
             name=org.qemu.guest_agent.0"
        ));
        Ok(())
    }

    /// The backend: a temporary overlay over the file, which is opened read-only.
    fn drive(&mut self, n: usize, disk: &Drive) {
        let format = match disk.format {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        };
        let head = format!("id=disk{n},if=none,format={format},snapshot=on,file=");
        self.words(&["-drive"]);
        self.args.push(with_path(&head, &disk.path));
    }

    fn disk(&mut self, n: usize, machine: &Machine) -> Result<()> {
        let common = format!("drive=disk{n},bootindex={}", n + 1);
        match machine.controller {
            Controller::Virtio => {
                self.behind_port(&format!("virtio-blk-pci-non-transitional,{common}"))?;
            }
            Controller::Scsi => self.device(&format!(
                "scsi-hd,bus=scsi0.0,channel=0,scsi-id=0,lun={n},{common}"
            )),
            Controller::Sata => self.device(&format!("ide-hd,bus=ide.{n},{common}")),
            Controller::Pvscsi | Controller::LsiSas => {
                // VMware gives target 7 to the controller itself.
                let target = if n < 7 { n } else { n + 1 };
                self.device(&format!(
                    "scsi-hd,bus=scsi0.0,scsi-id={target},lun=0,{common}"
                ));
            }
            Controller::Nvme => {
                self.behind_port(&format!("nvme,serial=guestfix{n},{common}"))?;
            }
        }
        Ok(())
    }
}

fn too_many() -> Error {
    Error::unsupported(
        "too-many-disks",
        "the machine has no room for that many disks",
    )
}

/// An option that ends in a path; QEMU doubles the commas in it.
fn with_path(head: &str, path: &Path) -> OsString {
    let mut option = head.as_bytes().to_vec();
    for &byte in OsStr::as_bytes(path.as_os_str()) {
        option.push(byte);
        if byte == b',' {
            option.push(b',');
        }
    }
    OsString::from_vec(option)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Bus;

    fn line(machine: &Machine) -> String {
        let args = arguments(machine, Accel::Tcg, None).unwrap();
        args.join(OsStr::new(" ")).into_string().unwrap()
    }

    fn machine(controller: Controller, disks: usize) -> Machine {
        let disks = (0..disks).map(|n| Drive::raw(format!("/d/{n}"))).collect();
        Machine::new(Firmware::Bios, controller, disks)
    }

    #[test]
    fn every_virtio_device_has_legacy_off_and_a_root_port_of_its_own() {
        for controller in [Bus::Virtio, Bus::Scsi, Bus::Sata].map(Controller::from) {
            let line = line(&machine(controller, 3));
            let virtio: Vec<&str> = line
                .split(' ')
                .filter(|w| w.starts_with("virtio-"))
                .collect();
            assert!(virtio.len() >= 5, "{line}");
            for device in virtio {
                assert!(device.contains("-pci-non-transitional"), "{device}");
                let bus = device
                    .split(",bus=")
                    .nth(1)
                    .unwrap()
                    .split(',')
                    .next()
                    .unwrap();
                assert_eq!(line.matches(&format!(",bus={bus},")).count(), 1, "{device}");
            }
        }
    }

    #[test]
    fn the_first_nic_sits_behind_the_first_port_and_is_connected_to_nothing() {
        let line = line(&machine(Controller::Virtio, 1));
        assert!(line.contains("-netdev hubport,id=net0,hubid=0 "), "{line}");
        assert!(
            line.contains(
                "virtio-net-pci-non-transitional,netdev=net0,romfile=,bus=port1,addr=0x0"
            ),
            "{line}"
        );
        assert!(!line.contains("user,id="), "{line}");
    }

    #[test]
    fn the_guests_disk_is_opened_as_a_snapshot_and_its_commas_are_doubled() {
        let mut machine = machine(Controller::Virtio, 1);
        machine.disks = vec![Drive::raw("/d/a,b.img")];
        let line = line(&machine);
        assert!(
            line.contains("format=raw,snapshot=on,file=/d/a,,b.img "),
            "{line}"
        );
    }

    #[test]
    fn disks_keep_their_order() {
        for (controller, second) in [
            (
                Controller::Virtio,
                "virtio-blk-pci-non-transitional,drive=disk1,bootindex=2,",
            ),
            (
                Controller::Scsi,
                "scsi-hd,bus=scsi0.0,channel=0,scsi-id=0,lun=1,drive=disk1",
            ),
            (Controller::Sata, "ide-hd,bus=ide.1,drive=disk1,bootindex=2"),
            (
                Controller::Pvscsi,
                "scsi-hd,bus=scsi0.0,scsi-id=1,lun=0,drive=disk1",
            ),
        ] {
            let line = line(&machine(controller, 2));
            assert!(line.contains(second), "{controller:?}: {line}");
        }
    }

    #[test]
    fn more_disks_than_ports_are_refused() {
        let arguments = |m: &Machine| arguments(m, Accel::Tcg, None);
        assert!(arguments(&machine(Controller::Sata, 6)).is_ok());
        let error = arguments(&machine(Controller::Sata, 7)).unwrap_err();
        assert_eq!(error.code, "too-many-disks");
        assert!(arguments(&machine(Controller::Virtio, 200)).is_err());
        assert!(arguments(&machine(Controller::Scsi, 200)).is_ok());
    }

    #[test]
    fn an_arm_machine_needs_efi() {
        let mut machine = machine(Controller::Virtio, 1);
        machine.arch = Arch::Aarch64;
        assert_eq!(
            arguments(&machine, Accel::Tcg, None).unwrap_err().code,
            "boot-firmware"
        );
    }
}
