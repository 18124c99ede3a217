// SPDX-License-Identifier: Apache-2.0
//! The command line of `guestfix` for a conversion: a pure function.

use std::path::PathBuf;

use super::enter::{disk_path, state_path};
use crate::api::conversion::GuestOptions;
use crate::api::profile::GuestConversionProfileSpec;
use crate::api::status::Claim;
use crate::api::{GuestConversion, Mode};
use crate::brain::stand::{Stand, verb};

/// What a command line names beside the conversion.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Drivers for Windows.
    pub drivers: Option<PathBuf>,
    /// Files with the keys that the conversion names, in its order.
    pub keys: Vec<PathBuf>,
    /// Where journals are kept when there is no state claim.
    pub state_dir: PathBuf,
}

/// The arguments of a run; `recover` in place of the conversion's own verb where that is asked.
pub fn arguments(
    conversion: &GuestConversion,
    profile: &GuestConversionProfileSpec,
    places: &Places,
    recover: bool,
) -> Vec<String> {
    let mode = conversion.spec.mode;
    let status = conversion.stands();
    let state = match &status.state_claim {
        Some(_) => state_path(),
        None => places.state_dir.clone(),
    };
    let mut out = words(&["--format", "json", "--progress", "json", "--state-dir"]);
    out.push(state.display().to_string());
    out.push(if recover { "recover" } else { verb(mode) }.to_owned());
    let options = conversion.spec.options.clone().unwrap_or_default();
    if !recover {
        out.extend(own(conversion, profile, &options, places));
    }
    // Nothing of a tenant's is taken for an option.
    out.push("--".to_owned());
    out.extend(disks(&status.claims));
    out
}

fn own(
    conversion: &GuestConversion,
    profile: &GuestConversionProfileSpec,
    options: &GuestOptions,
    places: &Places,
) -> Vec<String> {
    let mode = conversion.spec.mode;
    if mode == Mode::Undo {
        return Vec::new();
    }
    let mut out = Vec::new();
    opening(conversion, options, places, &mut out);
    if mode == Mode::Boot {
        out.push(format!("--bus={}", options.bus.as_str()));
        return out;
    }
    if let Some(root) = &options.root {
        out.push(format!("--root={root}"));
    }
    if mode == Mode::Inspect {
        return out;
    }
    out.push(format!("--bus={}", options.bus.as_str()));
    out.push(format!("--initramfs={}", options.initramfs.as_str()));
    if options.no_guest_code {
        out.push("--no-guest-code".to_owned());
    }
    out.extend(options.nic.iter().map(|nic| format!("--nic={nic}")));
    out.extend(options.ip.iter().map(|ip| format!("--ip={ip}")));
    out.extend(
        profile
            .firstboot
            .iter()
            .map(|script| format!("--firstboot={script}")),
    );
    if let Some(packages) = &profile.guest_agent_packages {
        out.push(format!("--guest-agent-packages={packages}"));
    }
    if let Some(drivers) = &places.drivers {
        out.push(format!("--drivers={}", drivers.display()));
        if profile.allow_unsigned_drivers {
            out.push("--allow-unsigned-drivers".to_owned());
        }
    }
    if mode == Mode::Convert {
        out.push("--ask-before-commit".to_owned());
        if profile.commit_anyway {
            out.push("--commit-anyway".to_owned());
        }
    }
    out
}

fn opening(
    conversion: &GuestConversion,
    options: &GuestOptions,
    places: &Places,
    out: &mut Vec<String>,
) {
    if options.allow_degraded {
        out.push("--allow-degraded".to_owned());
    }
    let boot = options.boot_disk.as_ref();
    let claims = conversion.stands().claims;
    let boot = boot.and_then(|boot| claims.iter().find(|c| c.claim_name == *boot));
    if let Some(uid) = boot.and_then(|claim| claim.uid.as_ref()) {
        out.push(format!("--boot-disk={}", disk_path(uid).display()));
    }
    for (key, path) in options.key.iter().zip(&places.keys) {
        out.push(format!("--key={}=file:{}", key.volume, path.display()));
    }
}

fn disks(claims: &[Claim]) -> impl Iterator<Item = String> {
    let uids = claims.iter().filter_map(|claim| claim.uid.as_ref());
    uids.map(|uid| disk_path(uid).display().to_string())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conversion::GuestConversionSpec;
    use crate::api::status::GuestConversionStatus;

    fn conversion(mode: Mode, options: GuestOptions) -> GuestConversion {
        let mut new = GuestConversion::new(
            "web01",
            GuestConversionSpec {
                mode,
                options: Some(options),
                ..GuestConversionSpec::default()
            },
        );
        new.status = Some(GuestConversionStatus {
            claims: vec![Claim {
                claim_name: "web01-d0".into(),
                uid: Some("u-0".into()),
                ..Claim::default()
            }],
            state_claim: Some(Claim::default()),
            ..GuestConversionStatus::default()
        });
        new
    }

    #[test]
    fn what_a_tenant_writes_never_becomes_an_option_of_its_own() {
        let hostile = GuestOptions {
            root: Some("--commit-anyway".into()),
            nic: vec!["--drivers=/etc".into()],
            ..GuestOptions::default()
        };
        let profile = GuestConversionProfileSpec::plain();
        let args = arguments(
            &conversion(Mode::Convert, hostile),
            &profile,
            &Places::default(),
            false,
        );
        assert!(
            !args
                .iter()
                .any(|a| a == "--commit-anyway" || a == "--drivers=/etc")
        );
        assert!(args.contains(&"--root=--commit-anyway".to_owned()));
        assert!(args.contains(&"--ask-before-commit".to_owned()));
        assert_eq!(args.last().unwrap(), "/run/guestfix/guest/disks/u-0");
    }

    #[test]
    fn recover_takes_only_the_disks() {
        let profile = GuestConversionProfileSpec {
            commit_anyway: true,
            ..GuestConversionProfileSpec::plain()
        };
        let args = arguments(
            &conversion(Mode::Convert, GuestOptions::default()),
            &profile,
            &Places::default(),
            true,
        );
        let tail = args
            .iter()
            .skip_while(|a| *a != "recover")
            .cloned()
            .collect::<Vec<_>>();
        assert_eq!(tail, ["recover", "--", "/run/guestfix/guest/disks/u-0"]);
    }
}
