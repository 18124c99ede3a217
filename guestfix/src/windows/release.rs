// SPDX-License-Identifier: Apache-2.0
//! Which Windows this is: product, version, edition and architecture, the control sets that may be
//! booted, names and clock.

use super::gather::Gatherer;
use super::time_zone;
use crate::error::Result;
use crate::fs::{FileType, GuestPath, Tree};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Firmware, Guest};
use crate::inspect::program;
use crate::inspect::registry::Registry;
use crate::inspect::windows::WindowsFacts;
use crate::plan::{Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// Where the system may lie: of NT 5.0 and later by default; another name needs an answer file.
const ROOTS: &[&str] = &["/Windows", "/WINNT"];
/// A program of every Windows, for its machine.
const PROGRAMS: &[&str] = &["System32/ntoskrnl.exe", "System32/cmd.exe"];
const VERSION: &str = "Microsoft\\Windows NT\\CurrentVersion";
/// The first build that is called Windows 11, though its registry goes on to say 10.
const WINDOWS_11: u32 = 22_000;

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "windows-recognised",
    what: "version, architecture and the control sets of a Windows guest are known",
    severity: Severity::Required,
    run: check,
}];

/// The system's directory, in the case in which it is stored; `None` where there is no Windows.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn system_root(tree: &Tree) -> Result<Option<String>> {
    for root in ROOTS {
        let hive = GuestPath::new(format!("{root}/System32/config/SYSTEM"));
        let meta = tree.stat(&hive)?;
        if meta.is_some_and(|meta| meta.file_type == FileType::File && meta.len > 0) {
            let real = tree.resolve(&GuestPath::new(root))?;
            return Ok(real.map(|real| real.display()));
        }
    }
    Ok(None)
}

/// What to call it among several roots, without opening a hive.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn title(tree: &Tree) -> Result<String> {
    let root = system_root(tree)?.unwrap_or_default();
    let arch = arch(tree, &root)?.unwrap_or("unknown machine");
    Ok(format!("Windows in {root}, {arch}"))
}

fn arch(tree: &Tree, root: &str) -> Result<Option<&'static str>> {
    for name in PROGRAMS {
        let path = GuestPath::new(format!("{root}/{name}"));
        if let Some(mut file) = tree.open(&path)?
            && let Some(machine) = program::parse(file.as_mut()).and_then(|program| program.arch)
        {
            return Ok(Some(machine));
        }
    }
    Ok(None)
}

/// Reads what says which release it is.
///
/// # Errors
/// Those of reading the registry.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.key("SYSTEM", "")?;
    gather.key("SYSTEM", "Select")?;
    gather.key("SYSTEM", "Setup")?;
    for key in [
        "Control\\ProductOptions",
        "Control\\ComputerName\\ComputerName",
        "Control\\TimeZoneInformation",
        "Control\\Session Manager\\Environment",
        "Services\\Tcpip\\Parameters",
    ] {
        gather.in_control_sets(key, 0)?;
    }
    gather.key("SOFTWARE", VERSION)?;
    Ok(())
}

/// Fills in the guest and [`Facts::windows`], from what [`gather`] recorded.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub(super) fn fill(tree: &Tree, system_root: &str, facts: &mut Facts) -> Result<()> {
    let arch = arch(tree, system_root)?;
    let registry = &facts.sources.registry;
    let windows = windows(registry, system_root);
    let set = windows.control_set_keys().next().unwrap_or_default();
    let product = product(registry, windows.build);
    let pretty = match windows.service_pack.is_empty() {
        true => product.clone(),
        false => format!("{product} {}", windows.service_pack),
    };
    facts.guest = Guest {
        family: "windows".to_owned(),
        distro: None,
        product: Some(product),
        pretty_name: pretty,
        version: windows.nt_version.clone(),
        build: Some(windows.build.to_string()),
        arch: arch.unwrap_or("unknown").to_owned(),
        hostname: registry
            .text(
                "SYSTEM",
                &format!("{set}\\Services\\Tcpip\\Parameters"),
                "Hostname",
            )
            .or_else(|| {
                let key = format!("{set}\\Control\\ComputerName\\ComputerName");
                registry.text("SYSTEM", &key, "ComputerName")
            })
            .filter(|name| !name.is_empty()),
    };
    facts.windows = Some(windows);
    Ok(())
}

fn product(registry: &Registry, build: u32) -> String {
    let name = registry.text("SOFTWARE", VERSION, "ProductName");
    let name = name.filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "Windows".to_owned());
    match name.strip_prefix("Windows 10") {
        Some(edition) if build >= WINDOWS_11 => format!("Windows 11{edition}"),
        _ => name,
    }
}

fn windows(registry: &Registry, system_root: &str) -> WindowsFacts {
    let text = |name: &str| registry.text("SOFTWARE", VERSION, name);
    let number = |name: &str| registry.dword("SOFTWARE", VERSION, name);
    let control_sets = control_sets(registry);
    let set = control_sets
        .first()
        .map(|number| format!("ControlSet{number:03}"))
        .unwrap_or_default();
    let zone = format!("{set}\\Control\\TimeZoneInformation");
    let major = number("CurrentMajorVersionNumber").zip(number("CurrentMinorVersionNumber"));
    let time_zone = registry
        .text("SYSTEM", &zone, "TimeZoneKeyName")
        .filter(|name| !name.is_empty());
    let build = text("CurrentBuildNumber").or_else(|| text("CurrentBuild"));
    WindowsFacts {
        system_root: system_root.to_owned(),
        system_drive: text("SystemRoot").as_deref().and_then(drive),
        nt_version: match major {
            Some((major, minor)) => format!("{major}.{minor}"),
            None => text("CurrentVersion").unwrap_or_default(),
        },
        build: build
            .and_then(|build| build.trim().parse().ok())
            .unwrap_or(0),
        revision: number("UBR").unwrap_or(0),
        edition: text("EditionID").unwrap_or_default(),
        installation_type: text("InstallationType").unwrap_or_default(),
        product_type: registry
            .text(
                "SYSTEM",
                &format!("{set}\\Control\\ProductOptions"),
                "ProductType",
            )
            .unwrap_or_default(),
        service_pack: text("CSDVersion").unwrap_or_default(),
        control_sets,
        iana_zone: time_zone
            .as_deref()
            .and_then(time_zone::parse)
            .map(str::to_owned),
        time_zone,
        clock_is_utc: is_universal(registry, &zone),
    }
}

/// `RealTimeIsUniversal`, which is written as a number of four or of eight bytes.
fn is_universal(registry: &Registry, zone: &str) -> bool {
    let value = registry.value("SYSTEM", zone, "RealTimeIsUniversal");
    value.is_some_and(|value| value.data.iter().any(|byte| *byte != 0))
}

fn drive(root: &str) -> Option<String> {
    let (letter, rest) = root.split_at_checked(1)?;
    let is_drive = letter.chars().all(|c| c.is_ascii_alphabetic()) && rest.starts_with(':');
    is_drive.then(|| format!("{}:", letter.to_ascii_uppercase()))
}

/// Current, Default and LastKnownGood, those that exist, each once.
fn control_sets(registry: &Registry) -> Vec<u32> {
    let there = registry.subkeys("SYSTEM", "");
    let mut out = Vec::new();
    for name in ["Current", "Default", "LastKnownGood"] {
        let Some(number) = registry.dword("SYSTEM", "Select", name) else {
            continue;
        };
        let key = format!("ControlSet{number:03}");
        let exists = there.iter().any(|have| have.eq_ignore_ascii_case(&key));
        if number != 0 && exists && !out.contains(&number) {
            out.push(number);
        }
    }
    out
}

/// Changes nothing; says what stands against converting this release at all.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(windows) = &facts.windows else {
        return out;
    };
    if let Some(why) = fault(facts, windows) {
        out.concerns.push(Concern::critical("windows-unknown", why));
    }
    let setup = |name: &str| facts.sources.registry.dword("SYSTEM", "Setup", name);
    if setup("SystemSetupInProgress").unwrap_or(0) != 0 {
        out.concerns.push(Concern::warning(
            "windows-setup-pending",
            "Windows Setup has not ended in this guest (or it was prepared by sysprep): it goes on \
             at the next start, on the new machine",
        ));
    }
    if facts.firmware == Firmware::Efi && facts.guest.arch == "i386" {
        out.concerns.push(Concern::warning(
            "efi-32-bit",
            "the guest starts by 32-bit UEFI, which KubeVirt's firmware for x86 is not: give the VM \
             a 32-bit firmware",
        ));
    }
    out
}

fn fault(facts: &Facts, windows: &WindowsFacts) -> Option<String> {
    if windows.control_sets.is_empty() {
        return Some("the registry names no control set that exists: no Windows starts so".into());
    }
    if windows.build == 0 {
        return Some("the registry does not say which Windows this is: no driver fits".into());
    }
    if !matches!(facts.guest.arch.as_str(), "i386" | "x86_64" | "aarch64") {
        return Some(format!(
            "Windows' own programs are for no known machine ({}): no driver fits",
            facts.guest.arch
        ));
    }
    None
}

fn check(facts: &Facts, _: &Target) -> Finding {
    let Some(windows) = &facts.windows else {
        return Finding::skip("no Windows guest");
    };
    match fault(facts, windows) {
        Some(why) => Finding::fail(why),
        None => Finding::pass(format!(
            "{} {} build {}.{}, {}, control sets {:?}",
            facts.guest.pretty_name,
            windows.nt_version,
            windows.build,
            windows.revision,
            facts.guest.arch,
            windows.control_sets
        )),
    }
}

#[cfg(test)]
mod tests;
