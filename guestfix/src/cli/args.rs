// SPDX-License-Identifier: Apache-2.0
//! The command line's words.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::choice;
use crate::pipeline::{KeyFile, NewDisks, NewImage, OpeningChoice};
use crate::plan::addressing::IpChoice;
use crate::plan::policy::{AgentPackages, FirstbootScript, NicChoice};
use crate::plan::{Bus, InitramfsMode, Policy};
use crate::vm::Vm;

/// Makes the disks of a VMware guest boot on KubeVirt: in place, undoable, with proof.
#[derive(Debug, Parser)]
#[command(name = "guestfix", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "\
DISK... are the disks of ONE guest: raw images, qcow2 images or block devices; VMDKs and OVAs to
be read, or converted into new disks with --to. Only convert, undo and recover write to them.

Exit codes: 0 done and ready (also with warnings); 1 not ready; 2 usage; 3 refused; 4 unsupported
guest or no operating system; 5 corrupt disk or filesystem; 6 the host lacks something; 7 boot
inconclusive; 70 a bug of guestfix; 130/143 cancelled.";

/// Options of every verb.
#[derive(Debug, Args)]
pub struct Common {
    /// How to print the result; errors too.
    #[arg(long, value_enum, default_value = "text", global = true)]
    pub format: Format,
    /// Where journals and undo records are kept.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/guestfix",
        global = true
    )]
    pub state_dir: PathBuf,
    /// How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere.
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub progress: ProgressMode,
    /// Log what is done to stderr; twice for more.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document on stdout.
    Json,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A bar on a terminal, JSON lines elsewhere.
    Auto,
    /// One JSON line per step.
    Json,
    /// Nothing.
    None,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show what is on the disks: volumes, operating system, kernels, network, traces of VMware.
    Inspect(InspectArgs),
    /// Show what convert would change, as a diff. Writes nothing.
    Plan(PlanArgs),
    /// Make the guest boot on KubeVirt. All or nothing; undo takes it back.
    Convert(ConvertArgs),
    /// Run every check against the disks as they are.
    Verify(VerifyArgs),
    /// Explain why this guest would not boot on KubeVirt, and what would fix it. Writes nothing.
    Doctor(DoctorArgs),
    /// Boot the guest in QEMU on a throw-away overlay and tell what happened.
    Boot(BootArgs),
    /// Give back every byte of the last conversion.
    Undo(UndoArgs),
    /// Finish or drop an interrupted commit.
    Recover(RecoverArgs),
    /// Show what a driver bundle holds, and what would be picked for a Windows release and why.
    Drivers(DriversArgs),
    /// Read or repair one Windows registry hive file.
    Hive(HiveArgs),
    /// Show what this machine can mount, run and boot.
    Host,
    /// List or prune journals and undo records.
    State(StateArgs),
    /// List every check.
    Checks,
    /// Write man pages, shell completions or JSON schemas.
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// `guestfix drivers`.
#[derive(Debug, Args)]
#[command(after_help = DRIVERS_HELP)]
pub struct DriversArgs {
    /// A virtio-win ISO image, or a directory with its files.
    pub bundle: PathBuf,
    /// Also show what would be picked for that release: w10/amd64, 2022/amd64, or
    /// 10.0.20348/amd64/server.
    #[arg(long = "for", value_name = "RELEASE/ARCH")]
    pub release: Option<String>,
}

const DRIVERS_HELP: &str = "\
Releases are xp, 2k3, vista, 2k8, w7, 2k8R2, w8, 2k12, w8.1, 2k12R2, w10, 2k16, 2k19, 2k22, w11 and
2k25; architectures are x86, amd64 and arm64. With --for, exit code 1 says that the bundle has no disk
driver for the release that anybody vouches for.";

/// The disks of one guest.
#[derive(Debug, Args)]
pub struct Disks {
    /// Raw images, qcow2 images or block devices of one guest; VMDKs or an OVA to be read.
    #[arg(required = true, value_name = "DISK")]
    pub disks: Vec<PathBuf>,
    /// The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME
    /// is its name, its LUKS UUID or all. May be given several times.
    #[arg(long, value_name = "VOLUME=file:PATH", value_parser = key_file)]
    pub key: Vec<KeyFile>,
    /// Use arrays and mirrors that lack members or were being rebuilt.
    #[arg(long)]
    pub allow_degraded: bool,
    /// Read what qcow2 images are backed by, where it lies in the image's own directory and its
    /// format is stated.
    #[arg(long)]
    pub allow_backing: bool,
    /// The disk that the guest starts from, one of those given; detected where this is left out.
    #[arg(long, value_name = "DISK")]
    pub boot_disk: Option<PathBuf>,
}

impl Disks {
    /// As the pipeline takes it.
    pub fn opening(&self) -> OpeningChoice {
        OpeningChoice {
            keys: self.key.clone(),
            allow_degraded: self.allow_degraded,
            boot_disk_first: self.boot_disk.is_some(),
            allow_backing: self.allow_backing,
            copies: false,
        }
    }

    /// The disks, the one that the guest starts from first where it was named.
    ///
    /// # Errors
    /// `Usage`/`no-such-disk` when the one named is not among them.
    pub fn paths(&self) -> crate::error::Result<Vec<PathBuf>> {
        let mut paths = self.disks.clone();
        let Some(boot) = &self.boot_disk else {
            return Ok(paths);
        };
        let Some(index) = paths.iter().position(|path| path == boot) else {
            return Err(crate::error::Error::new(
                crate::error::Kind::Usage,
                "no-such-disk",
                format!("--boot-disk {}: it is not one of the disks", boot.display()),
            ));
        };
        paths.get_mut(..=index).unwrap_or_default().rotate_right(1);
        Ok(paths)
    }
}

impl ConvertArgs {
    /// The new disks that shall be made.
    ///
    /// # Errors
    /// `Usage`/`bad-format`.
    pub fn new_disks(&self) -> crate::error::Result<Option<NewDisks>> {
        let [format, path] = self.to.as_slice() else {
            return Ok(None);
        };
        let format = format.to_string_lossy();
        let image = <NewImage as ValueEnum>::from_str(&format, false).map_err(|_| {
            crate::error::Error::new(
                crate::error::Kind::Usage,
                "bad-format",
                format!("--to {format}: expected raw or qcow2, and then the name of the new disk"),
            )
        })?;
        Ok(Some(NewDisks {
            image,
            path: path.clone(),
        }))
    }
}

fn key_file(text: &str) -> Result<KeyFile, String> {
    // Never echoed: a key given by mistake must not reach a log.
    let wrong = "expected VOLUME=file:PATH";
    let (volume, path) = text.split_once("=file:").ok_or(wrong)?;
    if volume.is_empty() || path.is_empty() {
        return Err(wrong.to_owned());
    }
    Ok(KeyFile {
        volume: volume.to_owned(),
        path: path.into(),
    })
}

/// What the operator chooses about a conversion.
#[derive(Debug, Args)]
pub struct Choices {
    /// The volume to convert when several hold an operating system.
    #[arg(long, value_name = "VOLUME")]
    pub root: Option<String>,
    /// How the initramfs gets its virtio drivers.
    #[arg(long, value_enum, default_value = "auto")]
    pub initramfs: InitramfsMode,
    /// Run no program of the guest; VMware Tools are then disabled and not removed.
    #[arg(long)]
    pub no_guest_code: bool,
    /// The hardware address that the interface NAME will have; may be given several times.
    #[arg(long, value_name = "NAME=MAC", value_parser = nic)]
    pub nic: Vec<NicChoice>,
    /// Give the card with this hardware address another IP address; may be given several times.
    #[arg(long, value_name = "MAC=ADDR/PREFIX,GW[,DNS...]|MAC=dhcp")]
    pub ip: Vec<IpChoice>,
    /// What describes the machine (OVF, VMX, libvirt XML or KubeVirt VirtualMachine): its network
    /// cards tell which is which, its disks and firmware are compared.
    #[arg(long, value_name = "FILE", value_parser = vm)]
    pub vm: Option<Vm>,
    /// Install the QEMU guest agent, where it is missing, from the packages in this directory: the
    /// one for the guest's release and architecture is chosen by its name, and with it
    /// liburing, libnuma and glib where they lie there and the guest lacks them.
    #[arg(long, value_name = "DIR", value_parser = choice::packages)]
    pub guest_agent_packages: Option<AgentPackages>,
    /// Run this script once after the first boot; may be given several times, the order counts.
    #[arg(long, value_name = "SCRIPT", value_parser = choice::firstboot)]
    pub firstboot: Vec<FirstbootScript>,
    /// Where a Windows guest's virtio drivers come from: a virtio-win ISO or directory. Without this
    /// option $VIRTIO_WIN, and then /usr/share/virtio-win.
    #[arg(long, value_name = "PATH")]
    pub drivers: Option<PathBuf>,
    /// Take drivers, too, that no catalogue of the bundle vouches for.
    #[arg(long)]
    pub allow_unsigned_drivers: bool,
    /// The disk bus that the VM will have. All of them will work; this one is recommended.
    #[arg(long, value_enum, default_value = "virtio")]
    pub bus: Bus,
}

impl Choices {
    /// As the planner takes them.
    pub fn policy(&self) -> Policy {
        Policy {
            initramfs: self.initramfs,
            no_guest_code: self.no_guest_code,
            root: self.root.clone(),
            nics: self.nic.clone(),
            ips: self.ip.clone(),
            vm: self.vm.clone(),
            guest_agent_packages: self.guest_agent_packages.clone(),
            firstboot: self.firstboot.clone(),
            drivers: None,
            allow_unsigned_drivers: self.allow_unsigned_drivers,
            driver_bundle: self.drivers.clone(),
        }
    }
}

/// Read while the command line is: a file that says nothing is a mistake in it.
fn vm(path: &str) -> Result<Vm, String> {
    crate::vm::read(std::path::Path::new(path)).map_err(|e| format!("{e}; {}", e.advice()))
}

fn nic(text: &str) -> Result<NicChoice, String> {
    let (name, mac) = text.split_once('=').ok_or("expected NAME=MAC")?;
    let mac = mac.to_ascii_lowercase().replace('-', ":");
    let octets: Vec<&str> = mac.split(':').collect();
    let valid = octets.len() == 6
        && octets
            .iter()
            .all(|o| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit()));
    if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
        return Err(format!("{name:?} is no interface name"));
    }
    if !valid {
        return Err(format!(
            "{mac:?} is no hardware address such as 52:54:00:12:34:56"
        ));
    }
    Ok(NicChoice {
        name: name.to_owned(),
        mac,
    })
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub disks: Disks,
    /// The volume to inspect when several hold an operating system.
    #[arg(long, value_name = "VOLUME")]
    pub root: Option<String>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub disks: Disks,
    #[command(flatten)]
    pub choices: Choices,
    /// Also write the plan as JSON, for convert --plan.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    #[command(flatten)]
    pub disks: Disks,
    #[command(flatten)]
    pub choices: Choices,
    /// Convert only if the changes are exactly those of this reviewed plan.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Do everything but write to the disks.
    #[arg(long)]
    pub dry_run: bool,
    /// Write to the disks even if a check fails. The guest may not boot; undo still works.
    #[arg(long)]
    pub commit_anyway: bool,
    /// Before the first write to a disk say so (the progress line commit-pending) and wait for the
    /// line `go` on stdin; anything else, and its end too, ends it with nothing written.
    #[arg(long)]
    pub ask_before_commit: bool,
    /// Make new disks and leave those given as they are: raw or qcow2, and where. OUT becomes a
    /// file for one disk, and a directory of disk0, disk1, ... for several; it must not exist yet,
    /// and is there only when it is complete. The way for VMDK and OVA.
    #[arg(long, num_args = 2, value_names = ["raw|qcow2", "OUT"])]
    pub to: Vec<PathBuf>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub disks: Disks,
    /// The volume to check when several hold an operating system.
    #[arg(long, value_name = "VOLUME")]
    pub root: Option<String>,
    /// The disk bus that the VM will have.
    #[arg(long, value_enum, default_value = "virtio")]
    pub bus: Bus,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub disks: Disks,
    #[command(flatten)]
    pub choices: Choices,
}

/// Arguments of `boot`.
#[derive(Debug, Args)]
pub struct BootArgs {
    #[command(flatten)]
    pub disks: Disks,
    /// The disk bus of the virtual machine.
    #[arg(long, value_enum, default_value = "virtio")]
    pub bus: Bus,
    /// Seconds until the boot counts as inconclusive.
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub timeout: u64,
    /// Save the screen as it was at the end.
    #[arg(long, value_name = "PNG")]
    pub screenshot: Option<PathBuf>,
}

/// Arguments of `undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    #[command(flatten)]
    pub disks: Disks,
    /// Undo every conversion, back to the original.
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    #[command(flatten)]
    pub disks: Disks,
}

/// Arguments of `hive`.
#[derive(Debug, Args)]
#[command(after_help = HIVE_HELP)]
pub struct HiveArgs {
    /// Open a hive that was not closed cleanly and that its logs cannot make whole; its last
    /// writes are lost.
    #[arg(long, global = true)]
    pub accept_dirty: bool,
    #[command(subcommand)]
    pub verb: HiveVerb,
}

const HIVE_HELP: &str = "\
The logs beside the hive (FILE.LOG1, FILE.LOG2, FILE.LOG) are replayed first, in memory. set and
delete edit a copy in memory, walk all of it, and commit it with its emptied logs as convert commits
disks: all or nothing. `guestfix undo FILE` gives every byte of the hive and its logs back.

KEY is a path such as 'ControlSet001\\Services\\viostor', without the hive's own name; \"\" is the root.";

/// What to do with a hive.
#[derive(Debug, Subcommand)]
pub enum HiveVerb {
    /// Show a key's subkeys and values, or one value.
    Get {
        /// The hive file.
        file: PathBuf,
        /// The key; the root if left out.
        #[arg(default_value = "")]
        key: String,
        /// Only this value; \"\" is the default value.
        name: Option<String>,
    },
    /// Create a key, or set a value of a key that is created where it is missing.
    Set {
        /// The hive file.
        file: PathBuf,
        /// The key.
        key: String,
        /// The value; \"\" is the default value. Without it only the key is created.
        #[arg(requires = "data")]
        name: Option<String>,
        /// sz:TEXT, expand-sz:TEXT, multi-sz:TEXT|TEXT, dword:HEX, hex:01,02 or hex(TYPE):01,02.
        data: Option<String>,
    },
    /// Delete a key with everything beneath it, or one value.
    Delete {
        /// The hive file.
        file: PathBuf,
        /// The key.
        key: String,
        /// Only this value; \"\" is the default value.
        name: Option<String>,
    },
    /// Print a key and everything beneath it as .reg text (UTF-8).
    Export {
        /// The hive file.
        file: PathBuf,
        /// The key; the root if left out.
        #[arg(default_value = "")]
        key: String,
        /// What stands before every key, for example 'HKEY_LOCAL_MACHINE\\SYSTEM'.
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Show what differs between two hives; exit 1 if anything does.
    Diff {
        /// The first hive file.
        file: PathBuf,
        /// The second hive file.
        other: PathBuf,
    },
    /// Walk the whole hive and say what is in it and what is odd about it.
    Check {
        /// The hive file.
        file: PathBuf,
    },
}

/// Arguments of `state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    #[command(subcommand)]
    pub verb: StateVerb,
}

/// What to do with the state directory.
#[derive(Debug, Subcommand)]
pub enum StateVerb {
    /// Show what is kept for which disks.
    List,
    /// Remove undo records of disks that no longer exist, or that are older than --days.
    Prune {
        /// Also remove undo records older than this.
        #[arg(long)]
        days: Option<u64>,
        /// Only show what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What to write.
    pub what: Generated,
    /// Into which directory.
    pub dir: PathBuf,
}

/// What can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// Man pages (section 1).
    Man,
    /// Shell completions.
    Completions,
    /// JSON schemas of every document.
    Schemas,
}
