// SPDX-License-Identifier: Apache-2.0
//! Synthetic registries, one pair of hives for each release: made from nothing, with the keys that a
//! conversion reads and changes, and with the values that real guests' registries have there. They
//! stand in for releases of which no real hive is at hand; no Windows could start from them.

use super::Edit;

/// What a synthetic registry says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// The release and its processor in the words of a driver bundle: `2k19/amd64`.
    pub name: &'static str,
    /// `ProductName`.
    pub product: &'static str,
    /// `CurrentVersion`: it stays 6.3 from Windows 8.1 on.
    pub version: &'static str,
    /// `CurrentBuildNumber`.
    pub build: u32,
    /// `InstallationType`: `Client`, `Server`, `Server Core`; empty before Windows 7.
    pub installation: &'static str,
}

const fn release(
    name: &'static str,
    product: &'static str,
    version: &'static str,
    build: u32,
    installation: &'static str,
) -> Release {
    Release {
        name,
        product,
        version,
        build,
        installation,
    }
}

/// Every release, the oldest first.
pub const RELEASES: [Release; 20] = [
    release("xp/x86", "Microsoft Windows XP", "5.1", 2600, ""),
    release(
        "2k3/amd64",
        "Microsoft Windows Server 2003 R2",
        "5.2",
        3790,
        "",
    ),
    release(
        "2k8/amd64",
        "Windows Server (R) 2008 Standard",
        "6.0",
        6002,
        "",
    ),
    release("w7/x86", "Windows 7 Ultimate", "6.1", 7601, "Client"),
    release("w7/amd64", "Windows 7 Professional", "6.1", 7601, "Client"),
    release(
        "2k8R2/amd64",
        "Windows Server 2008 R2 Standard",
        "6.1",
        7601,
        "Server",
    ),
    release("w8/amd64", "Windows 8 Pro", "6.2", 9200, "Client"),
    release(
        "2k12/amd64",
        "Windows Server 2012 Standard",
        "6.2",
        9200,
        "Server",
    ),
    release("w8.1/amd64", "Windows 8.1 Pro", "6.3", 9600, "Client"),
    release(
        "2k12R2/amd64",
        "Windows Server 2012 R2 Datacenter",
        "6.3",
        9600,
        "Server",
    ),
    release("w10/x86", "Windows 10 Pro", "6.3", 19045, "Client"),
    release("w10/amd64", "Windows 10 Pro", "6.3", 19045, "Client"),
    release("w10/arm64", "Windows 10 Pro", "6.3", 19045, "Client"),
    release(
        "2k16/amd64",
        "Windows Server 2016 Standard",
        "6.3",
        14393,
        "Server",
    ),
    release(
        "2k19/amd64",
        "Windows Server 2019 Standard",
        "6.3",
        17763,
        "Server",
    ),
    release(
        "2k22/amd64",
        "Windows Server 2022 Standard",
        "6.3",
        20348,
        "Server Core",
    ),
    release("w11/amd64", "Windows 10 Pro", "6.3", 22631, "Client"),
    release("w11/arm64", "Windows 10 Pro", "6.3", 26100, "Client"),
    release(
        "2k25/amd64",
        "Windows Server 2025 Datacenter",
        "6.3",
        26100,
        "Server",
    ),
    release(
        "2k25/arm64",
        "Windows Server 2025 Datacenter",
        "6.3",
        26100,
        "Server",
    ),
];

/// The release with this name.
///
/// # Panics
/// When there is none.
pub fn named(name: &str) -> Release {
    let mut all = RELEASES.into_iter();
    let found = all.find(|release| release.name == name);
    found.unwrap_or_else(|| panic!("no release is called {name}"))
}

/// The class of network cards, and the card of [`Release::system`].
const NET: &str = "{4d36e972-e325-11ce-bfc1-08002be10318}";
const CARD: &str = "{698E50A9-4F58-4D86-B61D-F42E58DCACF6}";
/// A vmxnet3 card: on PCI Express its serial number holds its address, 00:0c:29:66:1a:a2.
const INSTANCE: &str = "PCI\\VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01\\000C29FFFF661AA200";
const TCPIP: &str = "Services\\Tcpip\\Parameters\\Interfaces";
/// VMware Tools' product.
const TOOLS: &str = "{FE2F6A2C-196E-4210-9C04-2B1BC21F07EF}";

impl Release {
    /// The processor: `x86`, `amd64`, `arm64`.
    pub fn arch(&self) -> &'static str {
        self.name.split('/').nth(1).unwrap_or_default()
    }

    /// The number that programs for it begin with (PE's `Machine`).
    pub fn machine(&self) -> u16 {
        match self.arch() {
            "x86" => 0x14c,
            "arm64" => 0xaa64,
            _ => 0x8664,
        }
    }

    /// Windows 8 and later: boot devices' drivers stand in `DriverDatabase`.
    pub fn has_database(&self) -> bool {
        self.build >= 9200
    }

    fn is_client(&self) -> bool {
        self.installation == "Client" || self.build == 2600
    }

    /// Services that carry a disk there, the one of VMware's controller among them.
    pub fn disk_services(&self) -> &'static [&'static str] {
        match self.build {
            ..6000 => &["symmpi", "atapi", "intelide"],
            6000..9200 => &["LSI_SAS", "msahci", "atapi"],
            _ => &["LSI_SAS", "storahci", "stornvme"],
        }
    }

    /// The SYSTEM hive of a VMware guest with two control sets.
    pub fn system(&self) -> Vec<Edit> {
        let mut out = vec![
            Edit::dword("Select", "Current", 1),
            Edit::dword("Select", "Default", 1),
            Edit::dword("Select", "Failed", 0),
            Edit::dword("Select", "LastKnownGood", 2),
            Edit::text("Setup", "CmdLine", ""),
            Edit::dword("Setup", "SystemSetupInProgress", 0),
        ];
        out.extend(letters());
        for set in ["ControlSet001", "ControlSet002"] {
            self.names(&mut out, set);
            self.services(&mut out, set);
            self.card(&mut out, set);
        }
        if self.has_database() {
            self.database(&mut out);
        }
        out
    }

    fn names(&self, out: &mut Vec<Edit>, set: &str) {
        let at = |below: &str| format!("{set}\\Control\\{below}");
        let (kind, arch) = (
            if self.is_client() {
                "WinNT"
            } else {
                "ServerNT"
            },
            self.arch().to_uppercase(),
        );
        let memory = at("Session Manager\\Memory Management");
        out.extend([
            Edit::text(at("ProductOptions"), "ProductType", kind),
            Edit::text(at("ComputerName\\ComputerName"), "ComputerName", "SRV1"),
            Edit::text(
                format!("{set}\\Services\\Tcpip\\Parameters"),
                "Hostname",
                "srv1",
            ),
            Edit::text(
                at("TimeZoneInformation"),
                "TimeZoneKeyName",
                "W. Europe Standard Time",
            ),
            Edit::text(
                at("Session Manager\\Environment"),
                "PROCESSOR_ARCHITECTURE",
                &arch,
            ),
            Edit::texts(memory, "PagingFiles", &["?:\\pagefile.sys"]),
            Edit::create(at("CriticalDeviceDatabase")),
            Edit::create(at("Class\\{4d36e97b-e325-11ce-bfc1-08002be10318}")),
        ]);
        if !self.is_client() {
            let key = format!("{set}\\Services\\partmgr\\Parameters");
            out.push(Edit::dword(key, "SanPolicy", 2));
        }
    }

    fn services(&self, out: &mut Vec<Edit>, set: &str) {
        for name in self
            .disk_services()
            .iter()
            .chain(&["partmgr", "vmci", "pvscsi"])
        {
            let key = format!("{set}\\Services\\{name}");
            let image = format!("System32\\drivers\\{name}.sys");
            out.extend([
                Edit::dword(&*key, "Type", 1),
                Edit::dword(&*key, "Start", 0),
                Edit::dword(&*key, "ErrorControl", 1),
                Edit::expand(&*key, "ImagePath", &image),
            ]);
            // What is not the boot disk's is demoted for the hardware of the old machine.
            if self.has_database() && ["storahci", "stornvme"].contains(name) {
                out.push(Edit::dword(format!("{key}\\StartOverride"), "0", 3));
            }
        }
        let tools = format!("{set}\\Services\\VMTools");
        let image = "\"C:\\Program Files\\VMware\\VMware Tools\\vmtoolsd.exe\"";
        out.extend([
            Edit::dword(&*tools, "Type", 0x10),
            Edit::dword(&*tools, "Start", 2),
            Edit::expand(&*tools, "ImagePath", image),
        ]);
        if !self.has_database() && self.build >= 6000 {
            let key = format!("{set}\\Control\\CriticalDeviceDatabase\\PCI#CC_010601");
            out.push(Edit::text(key, "Service", "msahci"));
        }
    }

    /// One card with fixed addresses of both families.
    fn card(&self, out: &mut Vec<Edit>, set: &str) {
        let class = format!("{set}\\Control\\Class\\{NET}\\0001");
        let connection = format!("{set}\\Control\\Network\\{NET}\\{CARD}\\Connection");
        let own = format!("{set}\\{TCPIP}\\{CARD}");
        out.extend([
            Edit::text(&*class, "NetCfgInstanceId", CARD),
            Edit::text(&*class, "DeviceInstanceID", INSTANCE),
            Edit::dword(&*class, "Characteristics", 0x84),
            Edit::dword(&*class, "NetLuidIndex", 0x8001),
            Edit::text(&*connection, "Name", "Ethernet0"),
            Edit::text(&*connection, "PnpInstanceID", INSTANCE),
            Edit::dword(&*own, "EnableDHCP", 0),
            Edit::texts(&*own, "IPAddress", &["192.0.2.10"]),
            Edit::texts(&*own, "SubnetMask", &["255.255.255.0"]),
            Edit::texts(&*own, "DefaultGateway", &["192.0.2.1"]),
            Edit::texts(&*own, "DefaultGatewayMetric", &["0"]),
            Edit::text(&*own, "NameServer", "192.0.2.53,192.0.2.54"),
        ]);
        if self.build < 6000 {
            return;
        }
        let table = format!("{set}\\Control\\Nsi\\{{eb004a01-9b1a-11d4-9123-0050047759bc}}\\10");
        let row = "000000018000060020010db8000000000000000000000005";
        // Infinite lifetimes, both origins, 64 bits, the rest not set.
        let mut data = vec![0xff; 48];
        data.splice(8..20, [0x10, 0, 0, 0, 0x10, 0, 0, 0, 64, 0, 0, 0]);
        out.push(Edit::raw(table, row, super::ValueType::BINARY, data));
    }

    /// Windows' own driver of AHCI controllers, and what is left of VMware's.
    fn database(&self, out: &mut Vec<Edit>) {
        let (top, arch) = ("DriverDatabase", self.arch());
        let package = format!("mshdc.inf_{arch}_17a8bf4a7d4e7f5c");
        let inf = format!("{top}\\DriverInfFiles\\mshdc.inf");
        let own = format!("{top}\\DriverPackages\\{package}");
        let processor = match arch {
            "x86" => 0,
            "arm64" => 12,
            _ => 9,
        };
        let mut version = vec![0xff, 0xff, processor, 0];
        version.resize(48, 0);
        let ids = format!("{top}\\DeviceIds\\PCI\\CC_010601");
        out.extend([
            Edit::dword(
                top,
                "Version",
                if self.build < 10_000 {
                    0x0603_0000
                } else {
                    0x0a00_0000
                },
            ),
            Edit::raw(top, "OemInfMap", super::ValueType::BINARY, vec![0xe0]),
            Edit::create(format!("{top}\\DriverInfFiles")),
            Edit::text(&*inf, "Active", &package),
            Edit::texts(&*inf, "", &[&package]),
            Edit::raw(
                ids,
                "mshdc.inf",
                super::ValueType::BINARY,
                vec![1, 0xff, 0, 0],
            ),
            Edit::raw(&*own, "Version", super::ValueType::BINARY, version),
            Edit::text(
                format!("{own}\\Descriptors\\PCI\\CC_010601"),
                "Configuration",
                "msahci_Inst",
            ),
            Edit::text(
                format!("{own}\\Configurations\\msahci_Inst"),
                "Service",
                "storahci",
            ),
        ]);
    }

    /// A SOFTWARE hive.
    pub fn software(&self) -> Vec<Edit> {
        let key = "Microsoft\\Windows NT\\CurrentVersion";
        let current = "Microsoft\\Windows\\CurrentVersion";
        let build = self.build.to_string();
        let root = if self.build < 6000 {
            "C:\\WINDOWS"
        } else {
            "C:\\Windows"
        };
        let edition = if self.is_client() {
            "Professional"
        } else {
            "ServerStandard"
        };
        let uninstall = format!("{current}\\Uninstall\\{TOOLS}");
        let mut out = vec![
            Edit::text(key, "ProductName", self.product),
            Edit::text(key, "CurrentVersion", self.version),
            Edit::text(key, "CurrentBuildNumber", &build),
            Edit::text(key, "CurrentBuild", &build),
            Edit::text(key, "SystemRoot", root),
            Edit::expand(current, "DevicePath", "%SystemRoot%\\inf"),
            Edit::text(
                format!("{current}\\Run"),
                "VMware User Process",
                "\"C:\\Program Files\\VMware\\VMware Tools\\vmtoolsd.exe\" -n vmusr",
            ),
            Edit::text(&*uninstall, "DisplayName", "VMware Tools"),
            Edit::text(&*uninstall, "Publisher", "VMware, Inc."),
            Edit::text(
                "VMware, Inc.\\VMware Tools",
                "InstallPath",
                "C:\\Program Files\\VMware\\VMware Tools\\",
            ),
        ];
        if !self.installation.is_empty() {
            out.push(Edit::text(key, "InstallationType", self.installation));
            out.push(Edit::text(key, "EditionID", edition));
        }
        if self.build >= 10_000 {
            out.push(Edit::dword(key, "CurrentMajorVersionNumber", 10));
            out.push(Edit::dword(key, "CurrentMinorVersionNumber", 0));
        }
        out
    }
}

/// Letters of a disk with an MBR (its signature and the volume's offset), of one with a GPT
/// (`DMIO:ID:` and the partition), and of a CD drive.
fn letters() -> Vec<Edit> {
    let letter = |letter: char, data: Vec<u8>| {
        let name = format!("\\DosDevices\\{letter}:");
        Edit::raw("MountedDevices", &name, super::ValueType::BINARY, data)
    };
    let mbr = [&[0x1c, 0x1c, 0x1c, 0x5d][..], &(1_u64 << 20).to_le_bytes()].concat();
    let gpt = [&b"DMIO:ID:"[..], &[0x5a; 16]].concat();
    let drive = "\\??\\SCSI#CdRom&Ven_NECVMWar&Prod_VMware_SATA_CD00#5&280b647e&0&000000#{53f5630d-b6bf-11d0-94f2-00a0c91efb8b}";
    let drive = drive.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![letter('C', mbr), letter('E', gpt), letter('D', drive)]
}
