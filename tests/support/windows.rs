// SPDX-License-Identifier: Apache-2.0
//! Disks of Windows guests as far as they can be made here: partitions, NTFS with the directories of
//! a system, hives, and programs that are nothing but their heads. They hold all that a conversion
//! reads and changes; no Windows starts from them. Needs root, ntfs-3g and mkntfs.
use crate::planted::write;
use crate::tool::{self, LoopDevice};
use guestfix::hive::Hive;
use guestfix::hive::script::{self, Edit};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// What `PE\0\0` is followed by on x86-64, and on x86.
pub const AMD64: u16 = 0x8664;
/// See [`AMD64`].
pub const I386: u16 = 0x14c;
/// Where Windows keeps its hives, from the volume's top.
pub const CONFIG: &str = "Windows/System32/config";
/// Directories that a system has.
const DIRECTORIES: [&str; 12] = [
    "Windows/System32/config",
    "Windows/System32/drivers",
    "Windows/System32/DriverStore/FileRepository",
    "Windows/System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}",
    "Windows/System32/Tasks",
    "Windows/INF",
    "Windows/Temp",
    "Program Files/Common Files",
    "Program Files (x86)",
    "ProgramData",
    "Users/Public",
    "Users/Administrator",
];

/// What a Windows disk shall be.
#[derive(Debug, Clone)]
pub struct Windows {
    efi: bool,
    mib: u64,
    machine: u16,
    hives: Vec<(String, Vec<u8>)>,
}

/// Hives that are made here.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// `ProductName`.
    pub product: &'static str,
    /// `CurrentVersion`.
    pub version: &'static str,
    /// `CurrentBuildNumber`.
    pub build: &'static str,
    /// `Client` or `Server`.
    pub installation: &'static str,
}

/// Windows Server 2019.
pub const SERVER_2019: Release = Release {
    product: "Windows Server 2019 Standard",
    version: "6.3",
    build: "17763",
    installation: "Server",
};
/// Windows 7 with its service pack.
pub const WINDOWS_7: Release = Release {
    product: "Windows 7 Ultimate",
    version: "6.1",
    build: "7601",
    installation: "Client",
};

/// A hive that a script makes.
pub fn hive(edits: &[Edit]) -> Vec<u8> {
    let mut hive = Hive::create(5, 0x1d9_0000_0000_0000).unwrap();
    let mut editor = hive.edit(0x1d9_0000_0000_0001).unwrap();
    script::run(&mut editor, edits).unwrap();
    editor.finish().unwrap();
    hive.into_bytes()
}

impl Release {
    fn is_nt10(self) -> bool {
        self.build.parse::<u32>().unwrap() >= 10_000
    }

    /// A SYSTEM hive with two control sets, a VMware guest's storage driver among its services.
    pub fn system(self) -> Vec<Edit> {
        let mut out = vec![
            Edit::dword("Select", "Current", 1),
            Edit::dword("Select", "Default", 1),
            Edit::dword("Select", "Failed", 0),
            Edit::dword("Select", "LastKnownGood", 2),
            Edit::text("Setup", "CmdLine", ""),
            Edit::dword("Setup", "SystemSetupInProgress", 0),
            Edit::create("MountedDevices"),
        ];
        for set in ["ControlSet001", "ControlSet002"] {
            let at = |below: &str| format!("{set}\\{below}");
            let kind = match self.installation {
                "Client" => "WinNT",
                _ => "ServerNT",
            };
            out.extend([
                Edit::text(at("Control\\ProductOptions"), "ProductType", kind),
                Edit::text(
                    at("Control\\ComputerName\\ComputerName"),
                    "ComputerName",
                    "SRV1",
                ),
                Edit::text(at("Services\\Tcpip\\Parameters"), "Hostname", "srv1"),
                Edit::text(
                    at("Control\\TimeZoneInformation"),
                    "TimeZoneKeyName",
                    "W. Europe Standard Time",
                ),
                Edit::text(
                    at("Control\\Session Manager\\Environment"),
                    "PROCESSOR_ARCHITECTURE",
                    "AMD64",
                ),
                Edit::create(at("Control\\CriticalDeviceDatabase")),
                Edit::create(at("Control\\Class\\{4d36e97b-e325-11ce-bfc1-08002be10318}")),
                Edit::create(at("Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}")),
            ]);
            for (name, start) in [
                ("LSI_SAS", 0),
                ("storahci", 0),
                ("stornvme", 0),
                ("partmgr", 0),
            ] {
                let key = at(&format!("Services\\{name}"));
                out.extend([
                    Edit::dword(&key, "Type", 1),
                    Edit::dword(&key, "Start", start),
                    Edit::dword(&key, "ErrorControl", 1),
                    Edit::expand(&key, "ImagePath", &format!("System32\\drivers\\{name}.sys")),
                ]);
            }
        }
        if self.build.parse::<u32>().unwrap() >= 9200 {
            for key in ["DeviceIds\\PCI", "DriverInfFiles", "DriverPackages"] {
                out.push(Edit::create(format!("DriverDatabase\\{key}")));
            }
            out.push(Edit::dword("DriverDatabase", "Version", 0x0a00_0000));
        }
        out
    }

    /// A SOFTWARE hive.
    pub fn software(self) -> Vec<Edit> {
        let key = "Microsoft\\Windows NT\\CurrentVersion";
        let mut out = vec![
            Edit::text(key, "ProductName", self.product),
            Edit::text(key, "CurrentVersion", self.version),
            Edit::text(key, "CurrentBuildNumber", self.build),
            Edit::text(key, "CurrentBuild", self.build),
            Edit::text(key, "InstallationType", self.installation),
            Edit::text(key, "EditionID", "Standard"),
            Edit::text(key, "SystemRoot", "C:\\Windows"),
            Edit::expand(
                "Microsoft\\Windows\\CurrentVersion",
                "DevicePath",
                "%SystemRoot%\\inf",
            ),
            Edit::create("Microsoft\\Windows\\CurrentVersion\\Run"),
            Edit::create("Microsoft\\Windows\\CurrentVersion\\Uninstall"),
        ];
        if self.is_nt10() {
            out.push(Edit::dword(key, "CurrentMajorVersionNumber", 10));
            out.push(Edit::dword(key, "CurrentMinorVersionNumber", 0));
        }
        out
    }
}

impl Windows {
    /// One that starts by BIOS, from hives that are made here.
    pub fn bios(release: Release) -> Self {
        let mut hives = vec![
            ("SYSTEM".to_owned(), hive(&release.system())),
            ("SOFTWARE".to_owned(), hive(&release.software())),
            ("DEFAULT".to_owned(), hive(&[Edit::create("Software")])),
        ];
        if release.build.parse::<u32>().unwrap() >= 9200 {
            let keys = ["DeviceIds\\PCI", "DriverInfFiles", "DriverPackages"];
            let keys = keys.map(|key| Edit::create(format!("DriverDatabase\\{key}")));
            hives.push(("DRIVERS".to_owned(), hive(&keys)));
        }
        Self {
            efi: false,
            mib: 96,
            machine: AMD64,
            hives,
        }
    }

    /// One that starts by UEFI: a GPT with EFI system partition, MSR, the system and a recovery
    /// partition.
    pub fn efi(release: Release) -> Self {
        Self {
            efi: true,
            ..Self::bios(release)
        }
    }

    /// Another hive in the place of one that was made here.
    #[must_use]
    pub fn with_hive(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.hives.retain(|(have, _)| have != name);
        self.hives.push((name.to_owned(), bytes));
        self
    }

    /// Programs are for another machine.
    #[must_use]
    pub fn on(mut self, machine: u16) -> Self {
        self.machine = machine;
        self
    }

    /// The system's volume has so many MiB.
    #[must_use]
    pub fn sized(mut self, mib: u64) -> Self {
        self.mib = mib;
        self
    }

    /// The partition of the system.
    pub fn root(&self) -> u32 {
        if self.efi { 3 } else { 1 }
    }

    /// Makes it in `dir`; `edit` changes the mounted volume afterwards.
    pub fn build(&self, dir: &Path, edit: impl FnOnce(&Path)) -> PathBuf {
        let path = dir.join("windows.img");
        self.lay_out(&path);
        if self.efi {
            self.fill_esp(&path, dir);
            format(&path, 4, "Recovery");
        }
        format(&path, self.root(), "");
        let volume = NtfsMount::new(&path, self.root(), dir);
        self.fill(volume.path());
        edit(volume.path());
        drop(volume);
        path
    }

    fn lay_out(&self, path: &Path) {
        let recovery = "de94bba4-06d1-4d40-a16a-bfd50179d6ac";
        let (label, lines, total) = match self.efi {
            true => (
                "gpt",
                format!(
                    "size=40MiB, type=U\nsize=16MiB, type=e3c9e316-0b5c-4db8-817d-f92df00215ae\n\
                     size={}MiB, type=ebd0a0a2-b9e5-4433-87c0-68b6b72699c7\n\
                     size=16MiB, type={recovery}\n",
                    self.mib
                ),
                self.mib + 74,
            ),
            false => (
                "dos\nlabel-id: 0x5d1c1c1c",
                format!("size={}MiB, type=7, bootable\n", self.mib),
                self.mib + 2,
            ),
        };
        File::create(path).unwrap().set_len(total * MIB).unwrap();
        let args = ["--quiet", "--no-reread", path.to_str().unwrap()];
        tool::run_with_input("sfdisk", &args, &format!("label: {label}\n{lines}"));
        if !self.efi {
            // Boot code, of a kind: something that is not zeros.
            let mut file = File::options().write(true).open(path).unwrap();
            file.write_all(&[0x33, 0xc0, 0x8e, 0xd0]).unwrap();
        }
    }

    fn fill_esp(&self, path: &Path, dir: &Path) {
        let (offset, len) = crate::disk::partition(path, 1);
        {
            let device = LoopDevice::part(path, offset, len);
            tool::run("mkfs.vfat", &["-F", "32", device.path().to_str().unwrap()]);
        }
        let tree = dir.join("esp.tree");
        write(
            &tree.join("Microsoft/Boot/bootmgfw.efi"),
            &program(self.machine, 300_000),
        );
        write(
            &tree.join("Microsoft/Boot/bootmgr.efi"),
            &program(self.machine, 200_000),
        );
        let bcd = hive(&[Edit::create("Objects"), Edit::create("Description")]);
        write(&tree.join("Microsoft/Boot/BCD"), &bcd);
        let inside = format!("{}@@{offset}", path.display());
        tool::run("mmd", &["-i", &inside, "::EFI"]);
        let from = tree.join("Microsoft");
        let args = ["-s", "-i", &inside, from.to_str().unwrap(), "::EFI"];
        tool::run("mcopy", &args);
        fs::remove_dir_all(tree).unwrap();
    }

    fn fill(&self, top: &Path) {
        for directory in DIRECTORIES {
            fs::create_dir_all(top.join(directory)).unwrap();
        }
        for name in ["ntoskrnl.exe", "cmd.exe", "services.exe"] {
            let path = top.join("Windows/System32").join(name);
            fs::write(path, program(self.machine, 40_000)).unwrap();
        }
        for name in ["LSI_SAS", "storahci", "partmgr"] {
            let path = top.join(format!("Windows/System32/drivers/{name}.sys"));
            fs::write(path, program(self.machine, 20_000)).unwrap();
        }
        for (name, bytes) in &self.hives {
            fs::write(top.join(CONFIG).join(name), bytes).unwrap();
            for log in ["LOG1", "LOG2"] {
                fs::write(top.join(CONFIG).join(format!("{name}.{log}")), b"").unwrap();
            }
        }
        fs::write(top.join("pagefile.sys"), vec![0; 65536]).unwrap();
        if !self.efi {
            fs::write(top.join("bootmgr"), vec![0x90; 4096]).unwrap();
            fs::create_dir(top.join("Boot")).unwrap();
            let bcd = hive(&[Edit::create("Objects"), Edit::create("Description")]);
            fs::write(top.join("Boot/BCD"), bcd).unwrap();
        }
    }
}

/// Makes an NTFS in a partition.
fn format(image: &Path, number: u32, label: &str) {
    let (offset, len) = crate::disk::partition(image, number);
    let device = LoopDevice::part(image, offset, len);
    let start = (offset / 512).to_string();
    let device = device.path().to_str().unwrap();
    let args = [
        "-f", "-q", "-F", "-L", label, "-p", &start, "-S", "63", "-H", "255", device,
    ];
    tool::run("mkntfs", &args);
}

/// An NTFS of an image, mounted by ntfs-3g until dropped.
#[derive(Debug)]
pub struct NtfsMount {
    point: PathBuf,
    server: Child,
    _device: LoopDevice,
}

impl NtfsMount {
    /// A partition of an image; `dir` lends a mount point.
    pub fn new(image: &Path, number: u32, dir: &Path) -> Self {
        let (offset, len) = crate::disk::partition(image, number);
        let device = LoopDevice::part(image, offset, len);
        let point = dir.join("ntfs.mnt");
        fs::create_dir_all(&point).unwrap();
        let server = serve(device.path(), &point, "compression");
        Self {
            point,
            server,
            _device: device,
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }
}

/// Starts ntfs-3g and waits for its mount.
fn serve(volume: &Path, point: &Path, options: &str) -> Child {
    use std::os::unix::fs::MetadataExt;
    let below = fs::metadata(point).unwrap().dev();
    let mut server = Command::new("ntfs-3g")
        .args(["-o", &format!("no_detach,{options}")])
        .args([volume, point])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ntfs-3g; does `tests/setup` pass?");
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(point).unwrap().dev() == below {
        let ended = server.try_wait().unwrap();
        assert!(ended.is_none(), "ntfs-3g: {ended:?}");
        assert!(Instant::now() < deadline, "ntfs-3g does not mount");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

impl Drop for NtfsMount {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg(&self.point).status();
        if !matches!(ended, Ok(status) if status.success()) {
            eprintln!("could not unmount {}", self.point.display());
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// A program that is nothing but its head: a PE image with one empty section, so many bytes long.
pub fn program(machine: u16, size: usize) -> Vec<u8> {
    let wide = machine != I386;
    let mut out = vec![0; 0x80];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 0x80;
    out.extend(b"PE\0\0");
    out.extend(machine.to_le_bytes());
    out.extend(1_u16.to_le_bytes());
    out.extend([0; 12]);
    let optional: u16 = if wide { 240 } else { 224 };
    out.extend(optional.to_le_bytes());
    out.extend(0x22_u16.to_le_bytes());
    let begin = out.len();
    out.extend(if wide { 0x20b_u16 } else { 0x10b }.to_le_bytes());
    out.resize(begin + usize::from(optional), 0);
    let number = if wide { 108 } else { 92 };
    out[begin + number] = 16;
    out.extend(b".text\0\0\0");
    out.extend([0; 32]);
    let filler = (0..size.saturating_sub(out.len())).map(|at| (at % 251) as u8);
    out.extend(filler);
    out
}

/// Writes bytes into a partition of an image, where `find` says in its head of 16 MiB.
pub fn poke(image: &Path, number: u32, find: impl Fn(&[u8]) -> usize, bytes: &[u8]) {
    let (offset, len) = crate::disk::partition(image, number);
    let mut file = File::options().read(true).write(true).open(image).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut head = vec![0; len.min(16 * MIB) as usize];
    file.read_exact(&mut head).unwrap();
    let at = offset + find(&head) as u64;
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}
