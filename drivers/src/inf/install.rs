// SPDX-License-Identifier: Apache-2.0
//! `DDInstall` sections: <https://learn.microsoft.com/windows-hardware/drivers/install/inf-ddinstall-section>.

use super::{Copy, Inf, Section};
use crate::package::{Install, RegEntry};
use crate::release::Arch;

/// Sections that pull in others, deeper than any INF does.
const MAX_NEEDS: usize = 16;

/// The install sections of a release, with what they copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Installs {
    /// Each once, in order of first use.
    pub sections: Vec<Install>,
    /// Each once, in their order.
    pub copies: Vec<Copy>,
}

impl Inf {
    /// Resolves the install sections of these names; those that do not exist are left out.
    pub(crate) fn installs<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        arch: Arch,
    ) -> Installs {
        let mut out = Installs::default();
        for name in names {
            let known = |install: &Install| install.name.eq_ignore_ascii_case(name);
            if out.sections.iter().any(known) {
                continue;
            }
            if let Some((install, copies)) = self.install(name, arch) {
                out.sections.push(install);
                for copy in copies {
                    if !out.copies.contains(&copy) {
                        out.copies.push(copy);
                    }
                }
            }
        }
        out
    }

    /// The section that a processor takes: `.NTamd64`, `.NT`, then the plain one.
    fn actual(&self, name: &str, arch: Arch) -> Option<&Section> {
        self.section(&format!("{name}.NT{arch}"))
            .or_else(|| self.section(&format!("{name}.NT")))
            .or_else(|| self.section(name))
    }

    fn install(&self, name: &str, arch: Arch) -> Option<(Install, Vec<Copy>)> {
        let own = self.actual(name, arch)?;
        let sister = |end: &str| self.section(&format!("{}.{end}", own.name));
        let mut ignored = Vec::new();
        let mut includes = Vec::new();
        let main = self.with_needed(own, &mut includes, &mut ignored);
        let hardware = self.all_needed(sister("HW"), &mut includes, &mut ignored);
        let services = self.all_needed(sister("Services"), &mut includes, &mut ignored);
        if sister("CoInstallers").is_some_and(|section| !section.lines.is_empty()) {
            ignored.push("co-installers".to_owned());
        }
        let copies = main.iter().flat_map(|s| self.copy_files(s, arch)).collect();
        let install = Install {
            name: name.to_owned(),
            section: own.name.clone(),
            includes,
            software: self.entries(&main),
            hardware: self.entries(&hardware),
            services: services
                .iter()
                .flat_map(|section| self.services(section, &mut ignored))
                .collect(),
            ignored,
        };
        Some((install, copies))
    }

    fn entries(&self, sections: &[&Section]) -> Vec<RegEntry> {
        sections.iter().flat_map(|s| self.add_reg(s)).collect()
    }

    fn all_needed<'a>(
        &'a self,
        section: Option<&'a Section>,
        includes: &mut Vec<String>,
        ignored: &mut Vec<String>,
    ) -> Vec<&'a Section> {
        section.map_or_else(Vec::new, |s| self.with_needed(s, includes, ignored))
    }

    /// The section and those that `Needs` names in this INF, each once; what it needs of Windows'
    /// own INFs is noted only.
    /// <https://learn.microsoft.com/windows-hardware/drivers/install/inf-ddinstall-section>
    fn with_needed<'a>(
        &'a self,
        section: &'a Section,
        includes: &mut Vec<String>,
        ignored: &mut Vec<String>,
    ) -> Vec<&'a Section> {
        let mut out = vec![section];
        let mut at = 0_usize;
        while let Some(section) = out.get(at).copied() {
            at = at.saturating_add(1);
            for file in section.names("Include").map(str::to_lowercase) {
                if !includes.contains(&file) {
                    includes.push(file);
                }
            }
            for name in section.names("Needs") {
                match self.section(name) {
                    Some(needed) if out.len() < MAX_NEEDS => {
                        if !out.iter().any(|known| std::ptr::eq(*known, needed)) {
                            out.push(needed);
                        }
                    }
                    _ => ignored.push(format!("Needs={name}")),
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::RegData;

    fn install(text: &str, arch: Arch) -> Installs {
        let inf = Inf::parse(text.as_bytes()).unwrap();
        inf.installs(["I", "i", "none"].into_iter(), arch)
    }

    #[test]
    fn the_most_special_section_is_taken_with_its_own_sisters() {
        let text = "[I]\nAddReg=a\n[I.NT]\nAddReg=b\n[I.NTamd64]\nAddReg=c\n[I.NTamd64.HW]\nAddReg=d\n\
                    [I.HW]\nAddReg=a\n[a]\nHKR,,a,,1\n[b]\nHKR,,b,,1\n[c]\nHKR,,c,,1\n[d]\nHKR,,d,,1\n";
        let got = install(text, Arch::Amd64);
        assert_eq!(got.sections.len(), 1);
        let one = &got.sections[0];
        assert_eq!(one.section, "I.NTamd64");
        assert_eq!(one.software[0].name.as_deref(), Some("c"));
        assert_eq!(one.hardware[0].name.as_deref(), Some("d"));
        let other = install(text, Arch::Arm64);
        assert_eq!(other.sections[0].section, "I.NT");
        assert!(other.sections[0].hardware.is_empty());
    }

    #[test]
    fn needs_follow_within_the_file_and_never_in_circles() {
        let text = "[I]\nInclude=Machine.inf,pci.inf\nNeeds=J,Far.Away\n[J]\nNeeds=I,J\nAddReg=a\nInclude=pci.inf\n\
                    [a]\nHKR,,n,,v\n[I.CoInstallers]\nAddReg=a\n";
        let got = install(text, Arch::X86);
        let one = &got.sections[0];
        assert_eq!(one.includes, ["machine.inf", "pci.inf"]);
        assert_eq!(one.ignored, ["Needs=Far.Away", "co-installers"]);
        assert_eq!(one.software[0].data, Some(RegData::Sz("v".to_owned())));
    }
}
