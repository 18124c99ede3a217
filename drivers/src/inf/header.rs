// SPDX-License-Identifier: Apache-2.0
//! `[Version]`: <https://learn.microsoft.com/windows-hardware/drivers/install/inf-version-section>.

use super::{Inf, Section};
use crate::error::{Error, Result};
use crate::package::{DriverVersion, Text};
use crate::release::Arch;

/// What `[Version]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// `Class`.
    pub class: String,
    /// `ClassGuid`, lower case.
    pub class_guid: String,
    /// `Provider`.
    pub provider: Text,
    /// `DriverVer`.
    pub version: DriverVersion,
    /// `PnpLockdown`.
    pub pnp_lockdown: bool,
}

impl Inf {
    /// Reads `[Version]`.
    ///
    /// # Errors
    /// `Corrupt`/`inf-no-version` where the section, its signature or its class is missing: then it
    /// is no INF of a driver.
    pub(crate) fn header(&self) -> Result<Header> {
        let section = self.version_section()?;
        let value = |key| section.value(key).unwrap_or_default().to_owned();
        let provider = section.first("Provider").and_then(|line| line.full(0));
        let version = section.first("DriverVer").and_then(|line| {
            DriverVersion::parse(line.field(0).unwrap_or_default(), line.field(1))
        });
        Ok(Header {
            class: value("Class"),
            class_guid: value("ClassGuid").to_lowercase(),
            provider: provider.cloned().unwrap_or_default(),
            version: version.unwrap_or_default(),
            pnp_lockdown: section.value("PnpLockdown") == Some("1"),
        })
    }

    /// The catalogue for a processor: `CatalogFile.NTamd64`, `CatalogFile.NT`, `CatalogFile`.
    pub(crate) fn catalog(&self, arch: Arch) -> Option<&str> {
        let section = self.section("Version")?;
        let own = format!("CatalogFile.NT{arch}");
        [own.as_str(), "CatalogFile.NT", "CatalogFile"]
            .into_iter()
            .find_map(|key| section.value(key))
    }

    fn version_section(&self) -> Result<&Section> {
        let broken = |what: &str| Error::corrupt("inf-no-version", format!("no INF: {what}"));
        let section = self.section("Version");
        let section = section.ok_or_else(|| broken("it has no section [Version]"))?;
        let signature = section.value("Signature").unwrap_or_default();
        let known = ["$windows nt$", "$chicago$", "$windows 95$"];
        if !known.contains(&signature.to_lowercase().as_str()) {
            return Err(broken("its section [Version] has no signature of Windows"));
        }
        Ok(section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_is_named_for_a_processor_or_for_all() {
        let inf = Inf::parse(
            b"[Version]\nSignature=\"$CHICAGO$\"\nCatalogFile=a.cat\nCatalogFile.NTAMD64=b.cat\n",
        )
        .unwrap();
        assert_eq!(inf.catalog(Arch::Amd64), Some("b.cat"));
        assert_eq!(inf.catalog(Arch::X86), Some("a.cat"));
        assert!(inf.header().is_ok());
    }

    #[test]
    fn without_its_signature_it_is_no_inf() {
        for text in ["[a]\nb=c\n", "[Version]\nSignature=\"$Linux$\"\n", ""] {
            let error = Inf::parse(text.as_bytes()).unwrap().header().unwrap_err();
            assert_eq!(error.code, "inf-no-version", "{text}");
        }
    }
}
