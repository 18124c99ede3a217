// SPDX-License-Identifier: Apache-2.0
//! `CopyFiles`: which files lie where in the package, and where they go.
//! <https://learn.microsoft.com/windows-hardware/drivers/install/inf-copyfiles-directive>,
//! <https://learn.microsoft.com/windows-hardware/drivers/install/inf-destinationdirs-section>,
//! <https://learn.microsoft.com/windows-hardware/drivers/install/inf-sourcedisksfiles-section>.

use super::number::dword;
use super::{Inf, Section};
use crate::package::Place;
use crate::release::Arch;

/// A file to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Its path from the INF's folder, with `/`.
    pub source: String,
    /// Where it goes.
    pub place: Place,
}

impl Inf {
    /// The files that `CopyFiles` of a section names.
    pub(super) fn copy_files(&self, section: &Section, arch: Arch) -> Vec<Copy> {
        let mut out = Vec::new();
        for name in section.names("CopyFiles") {
            if let Some(file) = name.strip_prefix('@') {
                out.push(self.copy(file, file, self.destination(None), arch));
                continue;
            }
            let Some(list) = self.section(name) else {
                continue;
            };
            for line in &list.lines {
                let Some(to) = line.field(0) else { continue };
                let from = line.field(1).unwrap_or(to);
                out.push(self.copy(to, from, self.destination(Some(name)), arch));
            }
        }
        out
    }

    fn copy(&self, to: &str, from: &str, (dirid, folder): (u32, String), arch: Arch) -> Copy {
        let place = Place {
            dirid,
            folder,
            name: to.to_owned(),
        };
        Copy {
            source: self.source(from, arch),
            place,
        }
    }

    /// Dirid and folder of a file list, or the default.
    fn destination(&self, list: Option<&str>) -> (u32, String) {
        let Some(section) = self.section("DestinationDirs") else {
            return (0, String::new());
        };
        let own = list.and_then(|list| section.first(list));
        let Some(line) = own.or_else(|| section.first("DefaultDestDir")) else {
            return (0, String::new());
        };
        let dirid = line.field(0).and_then(dword).unwrap_or(0);
        let folder = line.field(1).unwrap_or_default().trim_matches('\\');
        (dirid, folder.to_owned())
    }

    /// The path of a source file: its disk's path, its own folder, its name.
    fn source(&self, file: &str, arch: Arch) -> String {
        let line = self.by_arch("SourceDisksFiles", arch, file);
        let disk = line.and_then(|line| line.field(0));
        let disk = disk.and_then(|disk| self.by_arch("SourceDisksNames", arch, disk));
        let disk_path = disk.and_then(|line| line.field(3)).unwrap_or_default();
        let folder = line.and_then(|line| line.field(1)).unwrap_or_default();
        let joined = format!("{disk_path}\\{folder}\\{file}").replace('\\', "/");
        let parts: Vec<&str> = joined
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        parts.join("/")
    }

    fn by_arch(&self, section: &str, arch: Arch, key: &str) -> Option<&super::Line> {
        let own = self.section(&format!("{section}.{arch}"));
        let plain = self.section(section);
        own.and_then(|section| section.first(key))
            .or_else(|| plain.and_then(|section| section.first(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_their_list_goes_and_come_from_their_disk() {
        let inf = Inf::parse(
            b"[I]\nCopyFiles=L, @readme.txt\nCopyFiles=M\n[L]\nviostor.sys,,,2\nnew.dll,old.dll\n[M]\na.exe\n\
              [DestinationDirs]\nDefaultDestDir=10,\"sub\\\"\nL=12\nM=11\n\
              [SourceDisksNames]\n1=d,,,\"\"\n[SourceDisksNames.amd64]\n2=d,,,\\x64\n\
              [SourceDisksFiles]\nviostor.sys=1\n[SourceDisksFiles.amd64]\nold.dll=2,deep\\down\n",
        )
        .unwrap();
        let copies = inf.copy_files(inf.section("I").unwrap(), Arch::Amd64);
        let got: Vec<(&str, u32, &str, &str)> = copies
            .iter()
            .map(|c| {
                (
                    c.source.as_str(),
                    c.place.dirid,
                    c.place.folder.as_str(),
                    c.place.name.as_str(),
                )
            })
            .collect();
        assert_eq!(
            got,
            [
                ("viostor.sys", 12, "", "viostor.sys"),
                ("x64/deep/down/old.dll", 12, "", "new.dll"),
                ("readme.txt", 10, "sub", "readme.txt"),
                ("a.exe", 11, "", "a.exe"),
            ]
        );
    }
}
