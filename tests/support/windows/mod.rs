// SPDX-License-Identifier: Apache-2.0
//! Disks of Windows guests as far as they can be made here: partitions, NTFS with the directories of
//! a system, hives, and programs that are nothing but their heads. They hold all that a conversion
//! reads and changes; no Windows starts from them. Needs root, ntfs-3g and mkntfs.
use crate::planted::write;
use crate::tool::{self, LoopDevice};
use guestfix::hive::script::{self, Edit};
use guestfix::hive::{Dirty, Hive, ValueType};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

mod ntfs;
pub mod peer;
pub mod release;

pub use ntfs::NtfsMount;
use ntfs::format;
pub use release::{RELEASES, Release, named};

const MIB: u64 = 1 << 20;
/// What `PE\0\0` is followed by on x86.
const I386: u16 = 0x14c;
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
    release: Release,
    hives: Vec<(String, Vec<u8>)>,
}

/// A hive that a script makes.
pub fn hive(edits: &[Edit]) -> Vec<u8> {
    let mut hive = Hive::create(5, 0x1d9_0000_0000_0000).unwrap();
    let mut editor = hive.edit(0x1d9_0000_0000_0001).unwrap();
    script::run(&mut editor, edits).unwrap();
    editor.finish().unwrap();
    hive.into_bytes()
}

impl Windows {
    /// One that starts by BIOS, from hives that are made here.
    pub fn bios(release: Release) -> Self {
        let mut hives = vec![
            ("SYSTEM".to_owned(), hive(&release.system())),
            ("SOFTWARE".to_owned(), hive(&release.software())),
            ("DEFAULT".to_owned(), hive(&[Edit::create("Software")])),
        ];
        if release.has_database() {
            let keys = ["DeviceIds\\PCI", "DriverInfFiles", "DriverPackages"];
            let keys = keys.map(|key| Edit::create(format!("DriverDatabase\\{key}")));
            hives.push(("DRIVERS".to_owned(), hive(&keys)));
        }
        Self {
            efi: false,
            mib: 96,
            release,
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

    /// Windows 7 on BIOS, with both hives of a real guest where they are at hand.
    pub fn windows_7() -> Self {
        let hives = ["SYSTEM", "SOFTWARE"];
        Self::bios(named("w7/x86"))
            .sized(160)
            .with_given("win7-x86-vmware", &hives)
    }

    /// Windows 10 on UEFI, with the SYSTEM of a real guest where it is at hand.
    pub fn windows_10() -> Self {
        Self::efi(named("w10/amd64"))
            .sized(160)
            .with_given("win10-uefi-vmware", &["SYSTEM"])
    }

    fn with_given(self, folder: &str, names: &[&str]) -> Self {
        let given = crate::hive::given();
        names.iter().fold(self, |windows, name| {
            match given.get(&format!("{folder}/{name}")) {
                Some(sample) => windows.with_hive(name, sample.bytes.clone()),
                None => windows,
            }
        })
    }

    /// Another hive in the place of one that was made here.
    #[must_use]
    pub fn with_hive(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.hives.retain(|(have, _)| have != name);
        self.hives.push((name.to_owned(), bytes));
        self
    }

    /// A hive is made that large, by keys that nobody asks for, unless it is.
    #[must_use]
    pub fn grown_to(self, name: &str, bytes: usize) -> Self {
        let found = self.hives.iter().find(|(have, _)| have == name);
        let (_, old) = found.expect("the hive is there").clone();
        if old.len() >= bytes {
            return self;
        }
        let mut hive = Hive::open(old, &[], Dirty::Refuse).unwrap();
        let mut number = 0;
        while hive.bytes().len() < bytes {
            let mut editor = hive.edit(0x1d9_0000_0000_0002).unwrap();
            for _ in 0..4000 {
                let key = format!("Ballast\\{:03}\\{number}", number / 200);
                let data = vec![number as u8; 60 + number % 200];
                editor.create_key(&key).unwrap();
                editor
                    .set_value(&key, "v", ValueType::BINARY, &data)
                    .unwrap();
                number += 1;
            }
            editor.finish().unwrap();
        }
        self.with_hive(name, hive.into_bytes())
    }

    /// Bytes of its largest hive.
    pub fn largest_hive(&self) -> usize {
        let sizes = self.hives.iter().map(|(_, bytes)| bytes.len());
        sizes.max().unwrap_or(0)
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
            &program(self.release.machine(), 300_000),
        );
        write(
            &tree.join("Microsoft/Boot/bootmgr.efi"),
            &program(self.release.machine(), 200_000),
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
            fs::write(path, program(self.release.machine(), 40_000)).unwrap();
        }
        for name in self
            .release
            .disk_services()
            .iter()
            .chain(&["partmgr", "vmci", "pvscsi"])
        {
            let path = top.join(format!("Windows/System32/drivers/{name}.sys"));
            fs::write(path, program(self.release.machine(), 20_000)).unwrap();
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
