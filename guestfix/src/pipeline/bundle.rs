// SPDX-License-Identifier: Apache-2.0
//! The driver bundle of a Windows guest: found and read by the supervisor, when the guest's release
//! is known.

use std::path::{Path, PathBuf};

use drivers::{Bundle, Member, RegistryStrings, Release, Role};

use crate::error::{Error, Result};
use crate::inspect::Facts;
use crate::plan::Policy;

/// Where virtio-win is looked for when nothing else is said: by the name of a variable that
/// virt-v2v knows too, and where Red Hat's package puts it.
const VARIABLE: &str = "VIRTIO_WIN";
const INSTALLED: &str = "/usr/share/virtio-win";

/// The bundle of a guest.
#[derive(Debug, Default)]
pub(super) struct Drivers(Option<Bundle>);

impl Drivers {
    /// Opens the bundle that a Windows guest takes its drivers from, and adds what fits its release
    /// to the operator's choices. Nothing to do for any other guest, or where there is no bundle:
    /// the plan says what that means.
    ///
    /// # Errors
    /// Those of [`Bundle::open`] and [`Bundle::pick`].
    pub(super) fn pick(facts: &Facts, policy: &Policy) -> Result<(Self, Policy)> {
        let mut policy = policy.clone();
        let (Some(release), Some(path)) = (release(facts), place(policy.driver_bundle.as_deref()))
        else {
            return Ok((Self::default(), policy));
        };
        let named = |error| Error::of_bundle(error).on(path.display().to_string());
        let bundle = Bundle::open(&path).map_err(named)?;
        policy.drivers = Some(bundle.pick(&release, Role::ALL).map_err(named)?);
        Ok((Self(Some(bundle)), policy))
    }

    /// A file of the bundle, which must have that hash.
    ///
    /// # Errors
    /// `Corrupt`/`bundle-changed`; `Host` when reading fails.
    pub(super) fn read(&self, path: &str, len: u64, sha256: &str) -> Result<Vec<u8>> {
        let bundle = self.0.as_ref();
        let bundle = bundle.ok_or_else(|| Error::internal("a file of no bundle is asked for"))?;
        let member = Member {
            path: path.to_owned(),
            len,
            sha256: sha256.to_owned(),
        };
        bundle.read(&member).map_err(Error::of_bundle)
    }
}

/// What the operator named, what the environment names, what is installed: the first that is.
fn place(chosen: Option<&Path>) -> Option<PathBuf> {
    if let Some(chosen) = chosen {
        return Some(chosen.to_owned());
    }
    let named = std::env::var_os(VARIABLE).filter(|named| !named.is_empty());
    let installed = || Path::new(INSTALLED).exists().then(|| INSTALLED.into());
    named.map(PathBuf::from).or_else(installed)
}

/// `None` for a guest that is no Windows, and for one whose release no driver could be for.
fn release(facts: &Facts) -> Option<Release> {
    let windows = facts.windows.as_ref()?;
    let build = windows.build.to_string();
    let version = windows.nt_version.split_once('.');
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let strings = RegistryStrings {
        current_version: Some(&windows.nt_version),
        major: number(version.map(|(major, _)| major)),
        minor: number(version.map(|(_, minor)| minor)),
        build: Some(&build),
        installation_type: Some(&windows.installation_type)
            .filter(|t| !t.is_empty())
            .map(|t| &**t),
        product_name: facts.guest.product.as_deref(),
        product_type: Some(&windows.product_type)
            .filter(|t| !t.is_empty())
            .map(|t| &**t),
        architecture: Some(&facts.guest.arch),
    };
    match Release::from_registry(&strings) {
        Ok(release) => Some(release),
        Err(error) => {
            tracing::warn!(%error, "no driver is looked for");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::windows::fixture::{gathered, software, system, volume};

    #[test]
    fn the_registry_and_the_programs_say_which_release_it_is() {
        let facts = gathered(volume(&system(), &software()));
        let release = release(&facts).unwrap();
        assert_eq!(release.build, 17763);
        assert!(release.installation.is_server());
        assert_eq!(release.arch, drivers::Arch::Amd64);
        let unknown = gathered(volume(&system(), &[]));
        assert_eq!(super::release(&unknown), None);
    }

    #[test]
    fn a_bundle_that_is_named_must_be_there() {
        let facts = gathered(volume(&system(), &software()));
        let policy = Policy {
            driver_bundle: Some("/nowhere/virtio-win.iso".into()),
            ..Policy::default()
        };
        let error = Drivers::pick(&facts, &policy).unwrap_err();
        assert!(error.disk.unwrap().contains("/nowhere"));
        let none = Drivers::default().read("x", 1, "");
        assert_eq!(none.unwrap_err().kind, Kind::Internal);
    }
}
