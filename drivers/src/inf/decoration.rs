// SPDX-License-Identifier: Apache-2.0
//! `TargetOSVersion`: which Windows a models section is for.
//!
//! `NT[Architecture][.[major][.[minor][.[ProductType][.[SuiteMask][.[BuildNumber]]]]]]`, from
//! <https://learn.microsoft.com/windows-hardware/drivers/install/inf-manufacturer-section> and
//! <https://learn.microsoft.com/windows-hardware/drivers/install/combining-platform-extensions-with-operating-system-versions>.

use super::number::dword;
use crate::release::{Arch, Release};

/// A parsed decoration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Decoration {
    arch: Processor,
    major: Option<u32>,
    minor: Option<u32>,
    product_type: Option<u32>,
    suite: Option<u32>,
    build: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Processor {
    #[default]
    Unsaid,
    Known(Arch),
    /// ia64, arm and what may come.
    Other,
}

/// How close a decoration comes; the greatest is taken: version before product type and suite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Closeness {
    version: (u32, u32, u32),
    product_type: bool,
    suite: bool,
    arch: bool,
}

impl Closeness {
    /// Major and minor version of the Windows that is named, zeros for none.
    pub(crate) fn windows(&self) -> (u32, u32) {
        (self.version.0, self.version.1)
    }
}

impl Decoration {
    /// Reads a decoration; `None` for what is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let head = parts.next()?.to_ascii_lowercase();
        let arch = match head.strip_prefix("nt")? {
            "" => Processor::Unsaid,
            word => Arch::parse(word).map_or(Processor::Other, Processor::Known),
        };
        let mut numbers = [None; 5];
        for slot in &mut numbers {
            match parts.next() {
                None => break,
                Some("") => {}
                Some(part) => *slot = Some(dword(part)?),
            }
        }
        let [major, minor, product_type, suite, build] = numbers;
        parts.next().is_none().then_some(Self {
            arch,
            major,
            minor,
            product_type,
            suite,
            build,
        })
    }

    /// How close it comes to a release; `None` where it is for others.
    pub(super) fn closeness(&self, release: &Release) -> Option<Closeness> {
        // From Server 2003 SP1 on other processors than x86 take named sections only.
        let arch = match self.arch {
            Processor::Unsaid => release.arch == Arch::X86,
            Processor::Known(arch) => release.arch == arch,
            Processor::Other => false,
        };
        let version = (self.major.unwrap_or(0), self.minor.unwrap_or(0));
        let build = self.build.unwrap_or(0);
        let old_enough = version < (release.major, release.minor)
            || version == (release.major, release.minor) && build <= release.build;
        let own_type = u32::from(release.installation.product_type());
        let product_type = self.product_type.is_none_or(|asked| asked == own_type);
        // The suites of an installation are not known; a section for one is no match.
        let suite = self.suite.is_none_or(|mask| mask == 0);
        (arch && old_enough && product_type && suite).then_some(Closeness {
            version: (version.0, version.1, build),
            product_type: self.product_type.is_some(),
            suite: self.suite.is_some(),
            arch: self.arch != Processor::Unsaid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closeness(decoration: &str, release: &str) -> Option<Closeness> {
        let release = release.parse().unwrap();
        Decoration::parse(decoration).unwrap().closeness(&release)
    }

    #[test]
    fn the_processor_must_be_the_right_one() {
        assert!(closeness("NTamd64", "w10/amd64").is_some());
        assert!(closeness("NTARM64.10.0", "w11/arm64").is_some());
        assert!(closeness("ntx86", "w10/amd64").is_none());
        assert!(closeness("NTia64", "2k8/amd64").is_none());
        assert!(closeness("NT.5.1", "w7/x86").is_some());
        assert!(closeness("NT", "w7/amd64").is_none());
    }

    #[test]
    fn the_version_must_be_reached_also_by_its_build() {
        assert!(closeness("NTamd64.6.1", "w10/amd64").is_some());
        assert!(closeness("NTamd64.10.0", "w7/amd64").is_none());
        assert!(closeness("NTamd64.10.0...17763", "10.0.17134/amd64").is_none());
        assert!(closeness("NTamd64.10.0...17763", "2k19/amd64").is_some());
        assert!(closeness("NTamd64.6.3...20000", "10.0.17134/amd64").is_some());
    }

    #[test]
    fn client_and_server_are_kept_apart_where_the_inf_does() {
        assert!(closeness("NTamd64.6.1.1", "w7/amd64").is_some());
        assert!(closeness("NTamd64.6.1.1", "2k8R2/amd64").is_none());
        assert!(closeness("NTamd64.6.1.3", "2k8R2/amd64").is_some());
        assert!(closeness("NTamd64.6.1.0x0000003", "2k8R2/amd64").is_some());
        assert!(closeness("NTamd64.10.0..0x100", "w10/amd64").is_none());
    }

    #[test]
    fn the_closest_wins() {
        let order = [
            "NTamd64",
            "NTamd64.6.1",
            "NTamd64.10.0",
            "NTamd64.10.0.1",
            "NTamd64.10.0...14393",
        ];
        let ranks: Vec<_> = order
            .iter()
            .map(|d| closeness(d, "w10/amd64/client").unwrap_or_default())
            .collect();
        assert!(ranks.windows(2).take(3).all(|w| w[0] < w[1]), "{ranks:?}");
        let built = closeness("NTamd64.10.0...14393", "10.0.19045/amd64").unwrap();
        assert!(built > closeness("NTamd64.10.0.1", "10.0.19045/amd64").unwrap());
    }

    #[test]
    fn what_is_no_decoration_is_none() {
        for text in ["", "amd64", "NTamd64.x", "NTamd64.10.0.1.2.3.4"] {
            assert_eq!(Decoration::parse(text), None, "{text}");
        }
    }
}
