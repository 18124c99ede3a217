// SPDX-License-Identifier: Apache-2.0
//! A release from what an installation's registry says of itself.

use super::{Arch, Installation, Product, Release};
use crate::error::{Error, Kind, Result};

/// Values of `SOFTWARE\Microsoft\Windows NT\CurrentVersion` (the first six) and of the control set
/// in use, as they stand there. What is missing stays `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryStrings<'a> {
    /// `CurrentVersion`: `6.1`; stays at `6.3` from 8.1 on.
    pub current_version: Option<&'a str>,
    /// `CurrentMajorVersionNumber`, from Windows 10 on.
    pub major: Option<u32>,
    /// `CurrentMinorVersionNumber`, from Windows 10 on.
    pub minor: Option<u32>,
    /// `CurrentBuild` or `CurrentBuildNumber`: `19045`.
    pub build: Option<&'a str>,
    /// `InstallationType`: `Client`, `Server` or `Server Core`; from Windows 7 on.
    pub installation_type: Option<&'a str>,
    /// `ProductName`, read only where nothing else tells client from server.
    pub product_name: Option<&'a str>,
    /// `Control\ProductOptions\ProductType`: `WinNT`, `ServerNT` or `LanmanNT`.
    pub product_type: Option<&'a str>,
    /// `Control\Session Manager\Environment\PROCESSOR_ARCHITECTURE`: `AMD64`.
    pub architecture: Option<&'a str>,
}

impl Release {
    /// The release that an installation's registry names.
    ///
    /// # Errors
    /// `Unsupported`/`unknown-release` where version, build or architecture are missing or of no
    /// Windows from XP on.
    pub fn from_registry(strings: &RegistryStrings<'_>) -> Result<Self> {
        let (major, minor) = version(strings).ok_or_else(|| unknown("its version", strings))?;
        let build = strings.build.and_then(|text| text.trim().parse().ok());
        let build: u32 = build.ok_or_else(|| unknown("its build", strings))?;
        let arch = strings.architecture.and_then(Arch::parse);
        let arch = arch.ok_or_else(|| unknown("its architecture", strings))?;
        let installation = installation(strings);
        let product = Product::of((major, minor), build, installation.is_server())
            .ok_or_else(|| unknown("a Windows from XP on", strings))?;
        Ok(Self {
            product,
            major,
            minor,
            build,
            installation,
            arch,
        })
    }
}

fn version(strings: &RegistryStrings<'_>) -> Option<(u32, u32)> {
    if let Some(major) = strings.major {
        return Some((major, strings.minor.unwrap_or(0)));
    }
    let (major, minor) = strings.current_version?.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `ProductType` is what the kernel goes by; the other two say what it does not.
fn installation(strings: &RegistryStrings<'_>) -> Installation {
    let is = |value: Option<&str>, word: &str| value.is_some_and(|v| v.eq_ignore_ascii_case(word));
    if is(strings.product_type, "LanmanNT") {
        return Installation::DomainController;
    }
    if is(strings.installation_type, "Server Core") || is(strings.installation_type, "Nano Server")
    {
        return Installation::ServerCore;
    }
    let named = strings.product_name.is_some_and(|n| n.contains("Server"));
    let server = match (strings.product_type, strings.installation_type) {
        (Some(kind), _) => kind.eq_ignore_ascii_case("ServerNT"),
        (None, Some(kind)) => kind.eq_ignore_ascii_case("Server"),
        (None, None) => named,
    };
    if server {
        Installation::Server
    } else {
        Installation::Client
    }
}

fn unknown(what: &str, strings: &RegistryStrings<'_>) -> Error {
    Error::new(
        Kind::Unsupported,
        "unknown-release",
        format!("the registry does not tell {what} ({strings:?})"),
    )
    .hint("guestfix knows Windows XP to 11 and Server 2003 to 2025")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_7_as_its_registry_says_it() {
        let release = Release::from_registry(&RegistryStrings {
            current_version: Some("6.1"),
            build: Some("7601"),
            installation_type: Some("Client"),
            product_type: Some("WinNT"),
            architecture: Some("x86"),
            ..RegistryStrings::default()
        })
        .unwrap();
        assert_eq!(release.product, Product::Seven);
        assert!(release.needs_sha1() && !release.has_driver_database());
        assert!(!release.wants_signed_drivers());
    }

    #[test]
    fn windows_11_says_6_3_and_is_told_by_its_numbers() {
        let release = Release::from_registry(&RegistryStrings {
            current_version: Some("6.3"),
            major: Some(10),
            minor: Some(0),
            build: Some("26100"),
            product_name: Some("Windows 10 Pro"),
            installation_type: Some("Client"),
            architecture: Some("ARM64"),
            ..RegistryStrings::default()
        })
        .unwrap();
        assert_eq!(
            (release.product, release.arch),
            (Product::Eleven, Arch::Arm64)
        );
    }

    #[test]
    fn a_server_is_told_by_any_of_three_values() {
        let base = RegistryStrings {
            major: Some(10),
            build: Some("20348"),
            architecture: Some("AMD64"),
            ..RegistryStrings::default()
        };
        let of = |s: RegistryStrings<'_>| Release::from_registry(&s).unwrap().installation;
        let core = RegistryStrings {
            installation_type: Some("Server Core"),
            ..base.clone()
        };
        assert_eq!(of(core), Installation::ServerCore);
        let controller = RegistryStrings {
            product_type: Some("LanmanNT"),
            ..base.clone()
        };
        assert_eq!(of(controller), Installation::DomainController);
        let named = RegistryStrings {
            product_name: Some("Windows Server 2022"),
            ..base.clone()
        };
        assert_eq!(of(named), Installation::Server);
        assert_eq!(of(base), Installation::Client);
    }

    #[test]
    fn what_is_missing_or_too_old_is_said() {
        let error = Release::from_registry(&RegistryStrings::default()).unwrap_err();
        assert_eq!(error.code, "unknown-release");
        let old = RegistryStrings {
            current_version: Some("5.0"),
            build: Some("2195"),
            architecture: Some("x86"),
            ..RegistryStrings::default()
        };
        assert!(Release::from_registry(&old).is_err());
    }
}
