// SPDX-License-Identifier: Apache-2.0
//! VMware Tools in SYSTEM: services with what refers to them, in every control set that may be
//! booted. What refers to a service goes first in meaning, though all of it is written at once: a
//! filter without its driver takes keyboard, mouse or disk with it.

use std::collections::BTreeSet;

use super::super::entries::SYSTEM;
use super::names::{DISABLED, EVENT_SOURCES, is_kept, is_tools, is_tools_path};
use super::{trace, winsock};
use crate::hive::ValueType;
use crate::hive::script::Edit;
use crate::inspect::registry::{KeyFacts, Registry, ValueFacts};

/// VMware's provider of shadow copies: its GUID spells `VMwareVM` in ASCII.
const VSS_PROVIDER: &str = "{564d7761-7265-2056-5353-2050726f7669}";

/// Services of VMware Tools in a control set, in lower case.
pub(super) fn services(registry: &Registry, set: &str) -> BTreeSet<String> {
    let top = format!("{set}\\Services");
    let names = registry.subkeys(SYSTEM, &top).iter();
    let tools = names.filter(|name| {
        let key = registry.key(SYSTEM, &format!("{top}\\{name}"));
        let shown = key.is_some_and(trace::in_key);
        let image = key.and_then(|key| key.value("ImagePath")?.text());
        let ours = is_tools(name, shown) || image.is_some_and(|path| is_tools_path(&path));
        ours && !is_kept(name)
    });
    tools
        .map(|name| name.to_lowercase())
        .filter(|name| !DISABLED.contains(&name.as_str()))
        .collect()
}

/// Everything of a control set.
pub(super) fn edits(registry: &Registry, set: &str) -> Vec<Edit> {
    let services = services(registry, set);
    let mut out = filters(registry, set, &services);
    out.extend(providers(registry, set, &services));
    out.extend(winsock::edits(registry, set));
    out.extend(leftovers(registry, set, &services));
    out.extend(
        services
            .iter()
            .map(|name| Edit::delete(format!("{set}\\Services\\{name}"))),
    );
    for name in DISABLED {
        let key = format!("{set}\\Services\\{name}");
        if registry.dword(SYSTEM, &key, "Start").is_some() {
            out.push(Edit::dword(key, "Start", 4));
        }
    }
    out
}

/// A list of texts without some of them: `None` where none of them is in it.
fn without(value: &ValueFacts, gone: &dyn Fn(&str) -> bool) -> Option<Vec<String>> {
    let texts = value.texts()?;
    let kept: Vec<String> = texts.iter().filter(|text| !gone(text)).cloned().collect();
    (kept.len() != texts.len()).then_some(kept)
}

/// A value that is a list, less what is gone; the value goes when nothing is left of it.
pub(super) fn shorter(key: &KeyFacts, name: &str, gone: &dyn Fn(&str) -> bool) -> Option<Edit> {
    let value = key.value(name)?;
    let kept = without(value, gone)?;
    Some(match kept.is_empty() {
        true => Edit::unset(&*key.path, &value.name),
        false => Edit::texts(&*key.path, &value.name, &kept),
    })
}

const FILTERS: [&str; 2] = ["UpperFilters", "LowerFilters"];

/// Filter drivers of device classes, of devices, and of devices that are still to come.
fn filters(registry: &Registry, set: &str, services: &BTreeSet<String>) -> Vec<Edit> {
    let gone = |name: &str| services.contains(&name.to_lowercase());
    let places = ["Control\\Class", "Enum", "Control\\CriticalDeviceDatabase"];
    let mut out = Vec::new();
    for place in places {
        for key in registry.below(SYSTEM, &format!("{set}\\{place}")) {
            out.extend(FILTERS.iter().filter_map(|name| shorter(key, name, &gone)));
            let critical = place.ends_with("Database");
            let service = key.value("Service").and_then(|value| value.text());
            if critical && service.is_some_and(|service| gone(&service)) {
                out.push(Edit::delete(&*key.path));
            }
        }
    }
    out
}

/// A key has a filter, or serves a device, that is one of VMware Tools'.
pub(super) fn names_filter(value: &ValueFacts) -> bool {
    let listed = FILTERS
        .iter()
        .any(|name| value.name.eq_ignore_ascii_case(name));
    let texts = value.texts().unwrap_or_default();
    listed && texts.iter().any(|text| is_tools(text, false))
}

/// `ProviderOrder` of the network providers, in which a missing one delays every login.
fn providers(registry: &Registry, set: &str, services: &BTreeSet<String>) -> Vec<Edit> {
    let mut out = Vec::new();
    let top = format!("{set}\\Control\\NetworkProvider");
    for list in ["Order", "HwOrder"] {
        let key = format!("{top}\\{list}");
        let Some(value) = registry.value(SYSTEM, &key, "ProviderOrder") else {
            continue;
        };
        let Some(text) = value.text() else { continue };
        let gone = |name: &&str| services.contains(&name.trim().to_lowercase());
        let kept: Vec<&str> = text.split(',').filter(|name| !gone(name)).collect();
        let kept = kept.join(",");
        if kept != text {
            let data = crate::hive::typed::string_data(&kept);
            out.push(Edit::raw(
                &*key,
                "ProviderOrder",
                ValueType(value.kind),
                data,
            ));
        }
    }
    if let Some(key) = registry.key(SYSTEM, &format!("{top}\\ProviderOrder")) {
        let gone = key
            .values
            .values()
            .filter(|value| services.contains(&value.name.to_lowercase()));
        out.extend(gone.map(|value| Edit::unset(&*key.path, &value.name)));
    }
    out
}

/// Sources of events, the time provider, the provider of shadow copies, the printer port and rules
/// of the firewall.
fn leftovers(registry: &Registry, set: &str, services: &BTreeSet<String>) -> Vec<Edit> {
    let mut out = Vec::new();
    let logs = format!("{set}\\Services\\EventLog");
    for key in registry.below(SYSTEM, &logs) {
        let depth = key.path.split('\\').count();
        let file = key.value("EventMessageFile").and_then(|value| value.text());
        let tools = EVENT_SOURCES.contains(&key.name().to_lowercase().as_str())
            || services.contains(&key.name().to_lowercase())
            || file.is_some_and(|file| is_tools_path(&file));
        // ControlSet001\Services\EventLog\System\vmci
        if depth == 5 && tools {
            out.push(Edit::delete(&*key.path));
        }
    }
    let keys = [
        "Services\\W32Time\\TimeProviders\\vmwTimeProvider".to_owned(),
        format!("Services\\VSS\\Providers\\{VSS_PROVIDER}"),
        "Control\\Print\\Monitors\\ThinPrint Print Port Monitor for VMWare".to_owned(),
    ];
    let keys = keys.iter().map(|key| format!("{set}\\{key}"));
    out.extend(
        keys.filter(|key| registry.key(SYSTEM, key).is_some())
            .map(Edit::delete),
    );
    for provider in registry.below(SYSTEM, &format!("{set}\\Services\\VSS\\Providers")) {
        let depth = provider.path.split('\\').count();
        if depth == 5
            && trace::in_key(provider)
            && !provider.name().eq_ignore_ascii_case(VSS_PROVIDER)
        {
            out.push(Edit::delete(&*provider.path));
        }
    }
    let policy = format!("{set}\\Services\\SharedAccess\\Parameters\\FirewallPolicy");
    for rules in registry.below(SYSTEM, &policy) {
        let tools = |value: &&ValueFacts| value.text().is_some_and(|text| firewall_of_tools(&text));
        let gone = rules.values.values().filter(tools);
        out.extend(gone.map(|value| Edit::unset(&*rules.path, &value.name)));
    }
    out
}

fn firewall_of_tools(rule: &str) -> bool {
    let app = rule.split('|').find_map(|part| part.strip_prefix("App="));
    app.is_some_and(is_tools_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_rule_is_told_by_its_program() {
        let rule =
            "v2.10|Action=Allow|App=C:\\Program Files\\VMware\\VMware Tools\\vmtoolsd.exe|Name=x|";
        assert!(firewall_of_tools(rule));
        assert!(!firewall_of_tools("v2.10|Action=Block|Name=VMware Tools|"));
    }
}
