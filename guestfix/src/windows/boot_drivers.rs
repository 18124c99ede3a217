// SPDX-License-Identifier: Apache-2.0
//! The drivers of the boot disk: virtio-blk and virtio-scsi both start with the kernel in every
//! control set that may be booted, and so do those of SATA. What is registered for a device so
//! that the driver is found is [`super::driver_database`]'s up from Windows 8.

use drivers::{Package, Pick, Picks, Role, Service};

use super::entries::{SYSTEM, installed, place};
use super::gather::Gatherer;
use super::naming::{self, Name};
use super::storage::{self, BOOT_SERVICES};
use crate::error::Result;
use crate::hive::script::Edit;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::inspect::windows::WindowsFacts;
use crate::plan::{Bus, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

pub(super) const TOPIC: &str = "boot-drivers";
/// The class of storage controllers, as INFs and the `CriticalDeviceDatabase` spell it.
const SCSI_ADAPTER: &str = "{4D36E97B-E325-11CE-BFC1-08002BE10318}";
/// The roles that carry a boot disk.
pub(super) const ROLES: [Role; 2] = [Role::Block, Role::Scsi];

/// `BusType` of storport's miniports: 1 SCSI for virtio-blk, which answers only the oldest
/// commands, 0xA SAS for virtio-scsi. With another one Windows sees the disk and then stops with
/// 0x7B: <https://learn.microsoft.com/windows-hardware/drivers/storage/registry-entries-for-storport-miniport-drivers>.
fn bus_type(role: Role) -> u32 {
    match role {
        Role::Scsi => 0xA,
        _ => 1,
    }
}

fn bus(role: Role) -> Bus {
    match role {
        Role::Scsi => Bus::Scsi,
        _ => Bus::Virtio,
    }
}

/// A picked driver that the guest lacks, and the names it will have there.
pub(super) struct New<'a> {
    pub(super) role: Role,
    pub(super) pick: &'a Pick,
    pub(super) service: &'a Service,
    pub(super) name: Name,
}

/// The guest knows these controllers' driver already, which then is kept: with its bundle, or
/// because this was done before.
pub(super) fn is_installed(facts: &Facts, windows: &WindowsFacts, role: Role) -> bool {
    let [modern, _] = storage::ids(role);
    windows.control_set_keys().all(|set| {
        let found = storage::associated(facts, windows, &set, modern);
        let service = found.map(|found| found.service).unwrap_or_default();
        let key = format!("{set}\\Services\\{service}");
        // Whether it starts at boot is settled for every driver alike.
        facts.sources.registry.dword(SYSTEM, &key, "Type") == Some(1)
            && storage::has_image(facts, windows, &set, &service)
    })
}

/// The picked boot drivers that the guest lacks.
pub(super) fn missing<'a>(facts: &Facts, windows: &WindowsFacts, picks: &'a Picks) -> Vec<New<'a>> {
    let lacking = ROLES
        .iter()
        .filter(|role| !is_installed(facts, windows, **role));
    let picked = lacking.filter_map(|role| {
        let pick = picks.of(*role)?;
        Some((*role, pick, pick.service()?))
    });
    let picked: Vec<_> = picked.collect();
    let packages: Vec<&Package> = picked.iter().map(|(_, pick, _)| &pick.package).collect();
    let names = naming::names(facts, &packages);
    let named = picked.into_iter().zip(names);
    named
        .map(|((role, pick, service), name)| New {
            role,
            pick,
            service,
            name,
        })
        .collect()
}

/// Places what starts the boot disk and registers it.
pub fn propose(facts: &Facts, target: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(windows) = &facts.windows else {
        return out;
    };
    if let Some(picks) = &policy.drivers {
        for new in missing(facts, windows, picks) {
            out.extend(install(facts, windows, &new));
        }
    }
    out.concerns.extend(lacking(facts, windows, target, policy));
    let why = "every driver that may carry the boot disk starts with the kernel, whatever hardware \
               the guest remembers";
    let edits = armed(facts, windows);
    out.changes.extend(Change::hive(
        TOPIC,
        why,
        &facts.sources.registry,
        SYSTEM,
        edits,
    ));
    out
}

fn install(facts: &Facts, windows: &WindowsFacts, new: &New<'_>) -> Proposal {
    let mut out = Proposal::default();
    let sources = &facts.sources;
    let bus = bus_name(new.role);
    let file = format!("{}.sys", new.service.name);
    let image = new.pick.package.files.iter().find(|have| {
        have.member
            .name()
            .eq_ignore_ascii_case(&new.service.binary.name)
            || have
                .place
                .name
                .eq_ignore_ascii_case(&new.service.binary.name)
    });
    let Some(image) = image else {
        out.concerns.push(Concern::critical(
            "boot-driver-incomplete",
            format!(
                "{} names {file}, which the bundle does not have",
                new.pick.package.inf.path
            ),
        ));
        return out;
    };
    let path = windows.in_system_root(&format!("System32/drivers/{file}"));
    let why = format!("the driver of {bus} disks ({})", new.pick.reason);
    out.changes
        .extend(place(TOPIC, &why, sources, &path, &image.member));
    let mut edits = Vec::new();
    for set in windows.control_set_keys() {
        edits.extend(service(facts, windows, &set, new));
        if !windows.has_driver_database() {
            edits.extend(critical(&set, new));
        }
    }
    let why = format!("Windows starts {} before it has a disk", new.service.name);
    out.changes
        .extend(Change::hive(TOPIC, why, &sources.registry, SYSTEM, edits));
    out
}

fn bus_name(role: Role) -> &'static str {
    match role {
        Role::Scsi => "virtio-scsi",
        _ => "virtio-blk",
    }
}

/// The service's key as its INF makes it.
fn service(facts: &Facts, windows: &WindowsFacts, set: &str, new: &New<'_>) -> Vec<Edit> {
    let service = new.service;
    let key = format!("{set}\\Services\\{}", service.name);
    let image = format!("System32\\drivers\\{}.sys", service.name);
    let group = service
        .load_order_group
        .as_deref()
        .unwrap_or("SCSI miniport");
    let mut edits = vec![
        Edit::dword(&*key, "Type", service.service_type),
        Edit::dword(&*key, "Start", 0),
        Edit::dword(&*key, "ErrorControl", service.error_control),
        Edit::text(&*key, "Group", group),
        Edit::expand(&*key, "ImagePath", &image),
    ];
    let registry = &facts.sources.registry;
    if registry.value(SYSTEM, &key, "Tag").is_some() {
        // An order among drivers of its group that was another installation's.
        edits.push(Edit::unset(&*key, "Tag"));
    }
    if let Some(name) = &service.display_name {
        let name = match windows.has_driver_database() {
            true => name.indirect(&new.name.inf),
            false => name.text.clone(),
        };
        edits.push(Edit::text(&*key, "DisplayName", &name));
    }
    if windows.has_driver_database() {
        edits.push(Edit::texts(&*key, "Owners", &[&new.name.inf]));
    }
    edits.extend(installed(registry, &key, &service.registry));
    let parameters = format!("{key}\\Parameters");
    edits.push(Edit::dword(&*parameters, "BusType", bus_type(new.role)));
    // 5 is PCIBus of INTERFACE_TYPE: the driver takes its devices from plug and play.
    edits.push(Edit::dword(format!("{parameters}\\PnpInterface"), "5", 1));
    if let Some(log) = &service.event_log {
        let key = format!("{set}\\Services\\EventLog\\{}\\{}", log.log, log.source);
        edits.extend(installed(registry, &key, &log.registry));
    }
    edits
}

/// Entries of the `CriticalDeviceDatabase`, from which Windows up to 7 and 2008 R2 starts boot
/// devices that it never saw. Ids of the INF and those that it leaves to Windows to complete.
fn critical(set: &str, new: &New<'_>) -> Vec<Edit> {
    let mut ids: Vec<String> = storage::ids(new.role)
        .concat()
        .iter()
        .map(|&id| id.to_owned())
        .collect();
    let devices = new.pick.package.devices_of(new.role);
    for id in devices.flat_map(|device| &device.ids) {
        let id = id.id.strip_prefix("PCI\\").unwrap_or(&id.id);
        if !ids.iter().any(|have| have.eq_ignore_ascii_case(id)) {
            ids.push(id.to_owned());
        }
    }
    ids.iter()
        .flat_map(|id| {
            let key = format!("{set}\\Control\\CriticalDeviceDatabase\\PCI#{id}");
            [
                Edit::text(&*key, "Service", &new.service.name),
                Edit::text(&*key, "ClassGUID", SCSI_ADAPTER),
            ]
        })
        .collect()
}

/// Every service of a boot disk starts at boot, and no hardware configuration says otherwise: with
/// the old machine's UUID Windows 8 and later would go by `StartOverride`.
fn armed(facts: &Facts, windows: &WindowsFacts) -> Vec<Edit> {
    let registry = &facts.sources.registry;
    let mut edits = Vec::new();
    for set in windows.control_set_keys() {
        let mut services: Vec<String> = BOOT_SERVICES.iter().map(|&s| s.to_owned()).collect();
        for role in ROLES {
            let [modern, _] = storage::ids(role);
            services.extend(
                storage::associated(facts, windows, &set, modern).map(|found| found.service),
            );
        }
        services.sort_unstable_by_key(|name| name.to_lowercase());
        services.dedup_by_key(|name| name.to_lowercase());
        for service in services {
            let key = format!("{set}\\Services\\{service}");
            // A key without a type is no driver, only what was left of one.
            if registry.dword(SYSTEM, &key, "Type") != Some(1) {
                continue;
            }
            edits.push(Edit::dword(&*key, "Start", 0));
            let demoted = format!("{key}\\StartOverride");
            if registry.key(SYSTEM, &demoted).is_some() {
                edits.push(Edit::delete(demoted));
            }
        }
    }
    edits
}

/// No driver for the target's bus, neither in the guest nor in the bundle; or for another one.
fn lacking(
    facts: &Facts,
    windows: &WindowsFacts,
    target: &Target,
    policy: &Policy,
) -> Vec<Concern> {
    let mut out = Vec::new();
    for role in ROLES {
        if is_installed(facts, windows, role) {
            continue;
        }
        let picks = policy.drivers.as_ref();
        if picks.is_some_and(|picks| picks.of(role).and_then(Pick::service).is_some()) {
            continue;
        }
        let why = match picks {
            None => "no driver bundle was given: pass --drivers virtio-win.iso".to_owned(),
            Some(picks) => {
                let missing = picks.missing.iter().find(|missing| missing.role == role);
                missing.map_or_else(
                    || "the bundle has none".to_owned(),
                    |missing| missing.why.clone(),
                )
            }
        };
        let message = format!("no driver for {} disks: {why}", bus_name(role));
        // Both are NoDriverBundle to the agent.
        let id = picks.map_or("no-driver-bundle", |_| "no-driver");
        out.push(match target.disk_bus == bus(role) {
            true => Concern::critical(id, message),
            false => Concern::warning("no-driver-of-other-bus", message),
        });
    }
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[
    Check {
        name: "boot-driver",
        what: "every control set that may be booted starts a driver for the boot disk's controller",
        severity: Severity::Required,
        run: check,
    },
    Check {
        name: "boot-driver-other-buses",
        what: "the guest would also start from virtio-blk, virtio-scsi and SATA disks",
        severity: Severity::Advised,
        run: check_others,
    },
];

fn check(facts: &Facts, target: &Target) -> Finding {
    match &facts.windows {
        Some(windows) => on_bus(facts, windows, target.disk_bus),
        None => Finding::skip("no Windows"),
    }
}

fn check_others(facts: &Facts, target: &Target) -> Finding {
    let Some(windows) = &facts.windows else {
        return Finding::skip("no Windows");
    };
    let others = [Bus::Virtio, Bus::Scsi, Bus::Sata]
        .into_iter()
        .filter(|bus| *bus != target.disk_bus);
    let found: Vec<Finding> = others.map(|bus| on_bus(facts, windows, bus)).collect();
    let details: Vec<&str> = found
        .iter()
        .map(|finding| finding.detail.as_str())
        .collect();
    let details = details.join("; ");
    match found
        .iter()
        .all(|finding| finding.result == crate::verify::Outcome::Pass)
    {
        true => Finding::pass(details),
        false => Finding::fail(details),
    }
}

fn on_bus(facts: &Facts, windows: &WindowsFacts, bus: Bus) -> Finding {
    let mut seen = Vec::new();
    for set in windows.control_set_keys() {
        let found = match storage::associated(facts, windows, &set, storage::ids_of_bus(bus)) {
            Ok(found) => found,
            Err(why) => return Finding::fail(why),
        };
        if let Some(why) = storage::not_started(facts, windows, &set, &found.service) {
            return Finding::fail(why);
        }
        let line = format!("{} by {}", found.service, found.by);
        if !seen.contains(&line) {
            seen.push(line);
        }
    }
    match seen.is_empty() {
        true => Finding::fail("no control set may be booted"),
        false => Finding::pass(seen.join(", ")),
    }
}

/// Reads what starts the boot disk.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    storage::gather(gather)
}
