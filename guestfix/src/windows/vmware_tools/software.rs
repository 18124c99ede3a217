// SPDX-License-Identifier: Apache-2.0
//! VMware Tools in SOFTWARE: its own keys, what Windows Installer and COM know of it, and what
//! starts it. A 32-bit copy of each place is under `Wow6432Node`.

use std::collections::BTreeSet;

use super::super::entries::SOFTWARE;
use super::super::gather::Gatherer;
use super::names::{RUN, is_tools_path};
use super::system::shorter;
use super::trace;
use crate::error::Result;
use crate::hive::Key;
use crate::hive::script::Edit;
use crate::inspect::registry::{KeyFacts, Registry, ValueFacts};

/// What other keys name VMware Tools by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Product codes, `{fe2f6a2c-196e-4210-9c04-2b1bc21f07ef}`, and the way Windows Installer
    /// spells them in names of keys, both in lower case.
    pub(super) products: BTreeSet<(String, String)>,
    /// COM classes, type libraries and application ids, in lower case with braces.
    pub(super) guids: BTreeSet<String>,
}

/// Windows Installer's spelling of a product code: the digits of the first three fields backwards,
/// those of the rest in pairs; read off the keys of installations.
pub(super) fn packed(guid: &str) -> Option<String> {
    let digits: Vec<char> = guid.chars().filter(char::is_ascii_hexdigit).collect();
    if digits.len() != 32 || guid.len() != 38 {
        return None;
    }
    let (fields, rest) = digits.split_at(16);
    let mut out = String::new();
    let mut fields = fields.iter();
    for len in [8, 4, 4] {
        let field: Vec<char> = fields.by_ref().take(len).copied().collect();
        out.extend(field.iter().rev());
    }
    out.extend(rest.chunks(2).flat_map(|pair| pair.iter().rev()));
    Some(out.to_lowercase())
}

/// A path without `Wow6432Node`, in lower case, so that both copies of a place look alike.
fn plain(path: &str) -> String {
    path.to_lowercase().replace("wow6432node\\", "")
}

/// The names of a path below a place; `None` where it is elsewhere.
fn below<'p>(plain: &'p str, place: &str) -> Option<Vec<&'p str>> {
    let rest = plain.strip_prefix(place)?.strip_prefix('\\')?;
    Some(rest.split('\\').collect())
}

/// A path up to the key that is so many names below its place.
fn cut(path: &str, drop: usize) -> String {
    let names: Vec<&str> = path.split('\\').collect();
    let keep = names.len().saturating_sub(drop);
    names.get(..keep).unwrap_or_default().join("\\")
}

fn values_lead_to_tools(key: &KeyFacts) -> bool {
    key.values.values().any(leads_to_tools)
}

fn leads_to_tools(value: &ValueFacts) -> bool {
    is_tools_path(&value.text().unwrap_or_default())
}

const UNINSTALL: &str = "microsoft\\windows\\currentversion\\uninstall";
const USER_DATA: &str = "microsoft\\windows\\currentversion\\installer\\userdata\\s-1-5-18";

/// Products and COM classes, from the keys that name VMware.
pub(super) fn known(registry: &Registry) -> Known {
    let mut out = Known::default();
    for key in registry.below(SOFTWARE, "") {
        out.learn(key);
    }
    // Application ids are named by the classes that use them.
    for key in registry.below(SOFTWARE, "Classes\\AppID") {
        let id = key.value("AppID").and_then(|value| value.text());
        if super::names_library(key.name()) {
            out.guids.extend(id.map(|id| id.to_lowercase()));
        }
    }
    out
}

impl Known {
    fn learn(&mut self, key: &KeyFacts) {
        let plain = plain(&key.path);
        let text = |name: &str| {
            key.value(name)
                .and_then(|value| value.text())
                .unwrap_or_default()
        };
        if let Some([guid]) = below(&plain, UNINSTALL).as_deref() {
            let name = text("DisplayName");
            if let (true, Some(packed)) = (is_tools_name(&name), packed(guid)) {
                self.products.insert(((*guid).to_owned(), packed));
            }
        }
        for kind in ["classes\\clsid", "classes\\typelib", "classes\\appid"] {
            if let Some([guid, ..]) = below(&plain, kind).as_deref()
                && guid.starts_with('{')
                && values_lead_to_tools(key)
            {
                self.guids.insert((*guid).to_owned());
            }
        }
    }

    fn is_packed(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.products.iter().any(|(_, packed)| *packed == name)
    }

    fn is_code(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.products.iter().any(|(code, _)| *code == name)
    }

    fn has(&self, guid: &str) -> bool {
        self.guids.contains(&guid.to_lowercase())
    }

    /// The key is named by, or names, what is known.
    fn concerns(&self, path: &str, key: &Key<'_>) -> Result<bool> {
        let name = path.rsplit('\\').next().unwrap_or_default();
        if self.is_packed(name) || self.is_code(name) || self.has(name) {
            return Ok(true);
        }
        let lower = path.to_lowercase();
        let installer = lower.contains("\\installer\\");
        let classes = lower.contains("classes\\");
        if !installer && !classes {
            return Ok(false);
        }
        for value in key.values()? {
            let value = value?;
            if installer && self.is_packed(&value.name()?) {
                return Ok(true);
            }
            let short = (70..=90).contains(&value.len()?);
            if classes && short && value.name()?.is_empty() {
                let text = crate::hive::typed::string(&value).unwrap_or_default();
                if self.has(&text) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn is_tools_name(name: &str) -> bool {
    let name = name.trim().to_lowercase();
    name == "vmware tools" || name.starts_with("vmware tools ")
}

/// Everything of the hive, each key once, those that go in the order of their paths.
pub(super) fn edits(registry: &Registry) -> Vec<Edit> {
    let known = known(registry);
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut out = Vec::new();
    for key in registry.below(SOFTWARE, "") {
        let plain = plain(&key.path);
        match whole(&plain, key, &known) {
            Some(drop) => {
                gone.insert(cut(&key.path, drop));
            }
            None => out.extend(values(&plain, key, &known)),
        }
    }
    gone.extend(tasks(registry));
    gone.extend(emptied(registry, &gone, &out));
    let inside = |path: &str| {
        let path = path.to_lowercase();
        gone.iter().any(|top| {
            let rest = path.strip_prefix(&top.to_lowercase());
            rest.is_some_and(|rest| rest.starts_with('\\'))
        })
    };
    let within = |edit: &Edit| inside(edit.key()) || gone.contains(edit.key());
    out.retain(|edit| !within(edit));
    let tops: Vec<&String> = gone.iter().filter(|path| !inside(path)).collect();
    out.extend(tops.into_iter().map(Edit::delete));
    out
}

/// How many names from its end the key goes that this one is in, where it does.
fn whole(plain: &str, key: &KeyFacts, known: &Known) -> Option<usize> {
    let at = |place: &str| below(plain, place);
    if let Some([product, rest @ ..]) = at("vmware, inc.").as_deref() {
        let tools = [
            "vmware tools",
            "vmware drivers",
            "vmware vgauth",
            "cblauncher",
            "vmware caf",
        ];
        return tools.contains(product).then_some(rest.len());
    }
    // The printer of the tools; another ThinPrint says nothing of VMware.
    if plain == "thinprint\\tpautoconnect" {
        let names = |value: &ValueFacts| {
            let text = value.text().unwrap_or_default();
            text.to_lowercase().contains("vmware")
        };
        return key.values.values().any(names).then_some(0);
    }
    for place in [
        UNINSTALL,
        "classes\\installer\\products",
        "classes\\installer\\features",
    ] {
        if let Some([name, rest @ ..]) = at(place).as_deref() {
            return (known.is_code(name) || known.is_packed(name)).then_some(rest.len());
        }
    }
    if let Some([name, rest @ ..]) = at(&format!("{USER_DATA}\\products")).as_deref() {
        return known.is_packed(name).then_some(rest.len());
    }
    for place in ["clsid", "typelib", "appid", "interface"] {
        if let Some([name, rest @ ..]) = at(&format!("classes\\{place}")).as_deref() {
            let own = known.has(name) || (place == "appid" && super::names_library(name));
            let through = place == "interface" && default_is(key, known);
            return (own || through).then_some(rest.len());
        }
    }
    for place in [
        "classes\\installer\\win32assemblies",
        "classes\\installer\\assemblies",
    ] {
        if let Some([name]) = at(place).as_deref() {
            return is_tools_path(&name.replace('|', "\\")).then_some(0);
        }
    }
    named(plain, key, known)
}

/// Keys of which one level lies below their place.
fn named(plain: &str, key: &KeyFacts, known: &Known) -> Option<usize> {
    let at = |place: &str| below(plain, place);
    if let Some([_]) = at("microsoft\\windows\\currentversion\\app paths").as_deref() {
        return values_lead_to_tools(key).then_some(0);
    }
    for place in [
        "microsoft\\windows\\currentversion\\explorer\\controlpanel\\namespace",
        "microsoft\\com3\\selfreg\\clsid",
    ] {
        if let Some([guid]) = at(place).as_deref() {
            return known.has(guid).then_some(0);
        }
    }
    if let Some([name, rest @ ..]) = at("clients\\startmenuinternet").as_deref() {
        return name.starts_with("vmwarehostopen").then_some(rest.len());
    }
    if let Some([name, rest @ ..]) =
        at("microsoft\\windows\\currentversion\\setup\\pnplockdownfiles").as_deref()
    {
        return is_tools_path(&name.replace('/', "\\")).then_some(rest.len());
    }
    // A name for a class: `VMPerfProvider.VMStatsProvider\CLSID`.
    if let Some([name, rest @ ..]) = at("classes").as_deref() {
        let leads = matches!(rest, ["clsid"]) && default_is(key, known);
        return (leads || name.starts_with("vmwarehostopen")).then_some(rest.len());
    }
    None
}

fn default_is(key: &KeyFacts, known: &Known) -> bool {
    let text = key.value("").and_then(|value| value.text());
    text.is_some_and(|text| known.has(&text))
}

/// A maker's folder that Windows Installer remembers because it made it, with nothing but the tools
/// in it.
fn holds_tools_only(key: &KeyFacts, folder: &str) -> bool {
    let folder = folder.to_lowercase();
    let inside = |value: &&ValueFacts| {
        let name = value.name.to_lowercase();
        name != folder && name.starts_with(&folder)
    };
    folder.ends_with("\\vmware\\")
        && key
            .values
            .values()
            .filter(inside)
            .all(|value| is_tools_path(&value.name))
}

/// Values that go from keys that stay.
fn values(plain: &str, key: &KeyFacts, known: &Known) -> Vec<Edit> {
    let current = "microsoft\\windows\\currentversion";
    let unset = |wanted: &dyn Fn(&ValueFacts) -> bool| -> Vec<Edit> {
        let gone = key.values.values().filter(|value| wanted(value));
        gone.map(|value| Edit::unset(&*key.path, &value.name))
            .collect()
    };
    let is = |place: &str| plain == format!("{current}\\{place}");
    if is("run") || is("runonce") {
        return unset(&|value| {
            RUN.contains(&value.name.to_lowercase().as_str()) || leads_to_tools(value)
        });
    }
    if is("installer\\folders") {
        return unset(&|value| is_tools_path(&value.name) || holds_tools_only(key, &value.name));
    }
    if is("shareddlls") || is("setup\\pnplockdownfiles") {
        return unset(&|value| is_tools_path(&value.name));
    }
    if plain == "registeredapplications" {
        return unset(&|value| value.name.eq_ignore_ascii_case("VMware Host Open"));
    }
    if plain == "microsoft\\wbem\\cimom" {
        return shorter(key, "Autorecover MOFs", &is_tools_path)
            .into_iter()
            .collect();
    }
    if plain.starts_with("microsoft\\windows nt\\currentversion\\perflib") {
        return Vec::new();
    }
    match plain.contains("installer\\") {
        true => unset(&|value| known.is_packed(&value.name)),
        false => Vec::new(),
    }
}

/// Components and upgrade codes of Windows Installer that no other product has, and the maker's own
/// key when nothing else is in it.
fn emptied(registry: &Registry, gone: &BTreeSet<String>, edits: &[Edit]) -> Vec<String> {
    let mut out = Vec::new();
    for key in registry.below(SOFTWARE, "") {
        let plain = plain(&key.path);
        let unset = edits.iter().filter(|edit| edit.key() == key.path).count();
        let of_installer = plain.contains("installer\\upgradecodes\\")
            || plain.starts_with(&format!("{USER_DATA}\\components\\"));
        let bare = unset == key.values.len() && key.subkeys.is_empty();
        if of_installer && unset > 0 && bare {
            out.push(key.path.clone());
        }
        let all_gone = key
            .subkeys
            .iter()
            .all(|name| gone.contains(&format!("{}\\{name}", key.path)));
        if plain == "vmware, inc." && key.values.is_empty() && all_gone {
            out.push(key.path.clone());
        }
    }
    out
}

const TASKS: &str = "Microsoft\\Windows NT\\CurrentVersion\\Schedule\\TaskCache";

/// Scheduled tasks that start VMware Tools: the tree's entry, the task, and its place in the lists
/// of what starts when.
fn tasks(registry: &Registry) -> Vec<String> {
    let mut out = Vec::new();
    for key in registry.below(SOFTWARE, &format!("{TASKS}\\Tasks")) {
        if !starts_tools(key) {
            continue;
        }
        let id = key.name().to_owned();
        let path = key
            .value("Path")
            .and_then(|value| value.text())
            .unwrap_or_default();
        out.push(key.path.clone());
        let lists = ["Boot", "Logon", "Plain", "Maintenance"].iter();
        out.extend(lists.map(|list| format!("{TASKS}\\{list}\\{id}")));
        if !path.trim_matches('\\').is_empty() {
            out.push(format!("{TASKS}\\Tree\\{}", path.trim_matches('\\')));
        }
    }
    out.retain(|path| registry.key(SOFTWARE, path).is_some());
    out
}

/// A task's actions lead to VMware Tools.
fn starts_tools(task: &KeyFacts) -> bool {
    let wide = |value: &ValueFacts| {
        // Its texts stand at any place, odd ones too.
        [0, 1].into_iter().any(|skip| {
            let pairs = value.data.get(skip..).unwrap_or_default().chunks_exact(2);
            let units = pairs.filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)));
            let units: Vec<u16> = units.collect();
            is_tools_path(&String::from_utf16_lossy(&units))
        })
    };
    task.value("Actions").is_some_and(wide)
}

/// The name of a cached installer.
fn cached(properties: &KeyFacts) -> Option<String> {
    let path = properties.value("LocalPackage")?.text()?;
    let name = path.rsplit('\\').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The tasks' own files.
pub(super) fn task_files(registry: &Registry) -> Vec<String> {
    let tree = format!("{TASKS}\\Tree\\");
    let gone = tasks(registry).into_iter();
    gone.filter_map(|key| Some(key.strip_prefix(&tree)?.replace('\\', "/")))
        .collect()
}

/// The cached installers, as `LocalPackage` names them, and the folders of their icons.
pub(super) fn installers(registry: &Registry) -> Vec<String> {
    let known = known(registry);
    let mut out = Vec::new();
    for (code, packed) in &known.products {
        let key = format!("{USER_DATA}\\products\\{packed}\\InstallProperties");
        out.extend(registry.key(SOFTWARE, &key).and_then(cached));
        out.push(code.clone());
    }
    out
}

/// Reads what names VMware, and then what names that by number, with its files.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    let mut traced = Vec::new();
    let mut open = false;
    gather.scan(SOFTWARE, &mut |path, key| {
        open = true;
        let found = trace::of(path, key)?;
        if found {
            traced.push(path.to_owned());
        }
        Ok(found)
    })?;
    if !open {
        return Ok(());
    }
    for maker in ["VMware, Inc.", "Wow6432Node\\VMware, Inc."] {
        gather.subtree(SOFTWARE, maker, 1)?;
    }
    let mut known = Known::default();
    for key in traced
        .iter()
        .filter_map(|path| gather.recorded(SOFTWARE, path))
    {
        known.learn(key);
    }
    gather.scan(SOFTWARE, &mut |path, key| known.concerns(path, key))?;
    for (code, packed) in &known.products {
        let product = format!("{USER_DATA}\\products\\{packed}");
        gather.subtree(SOFTWARE, &product, 1)?;
        let key = gather.recorded(SOFTWARE, &format!("{product}\\InstallProperties"));
        let package = key.and_then(cached);
        for name in [Some(code.clone()), package].into_iter().flatten() {
            let path = gather.in_system_root(&format!("Installer/{name}"));
            gather.presence(&path)?;
            super::files::gather_below(gather, &path)?;
        }
    }
    super::files::gather(gather)?;
    super::packages::gather_infs(gather)?;
    gather_tasks(gather)
}

fn gather_tasks(gather: &mut Gatherer<'_>) -> Result<()> {
    let tasks = format!("{TASKS}\\Tasks");
    gather.subtree(SOFTWARE, &tasks, 1)?;
    let ids = gather
        .recorded(SOFTWARE, &tasks)
        .map(|key| key.subkeys.clone());
    for id in ids.unwrap_or_default() {
        let task = gather.recorded(SOFTWARE, &format!("{tasks}\\{id}"));
        let Some(task) = task.filter(|task| starts_tools(task)) else {
            continue;
        };
        let path = task
            .value("Path")
            .and_then(|value| value.text())
            .unwrap_or_default();
        for list in ["Boot", "Logon", "Plain", "Maintenance"] {
            gather.key(SOFTWARE, &format!("{TASKS}\\{list}\\{id}"))?;
        }
        gather.key(
            SOFTWARE,
            &format!("{TASKS}\\Tree\\{}", path.trim_matches('\\')),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_codes_are_spelled_as_windows_installer_does() {
        let code = "{FE2F6A2C-196E-4210-9C04-2B1BC21F07EF}";
        assert_eq!(packed(code).unwrap(), "c2a6f2efe6910124c940b2b12cf170fe");
        assert_eq!(packed("{FE2F6A2C}"), None);
    }

    #[test]
    fn both_copies_of_a_place_look_alike() {
        let path = "Wow6432Node\\VMware, Inc.\\VMware Tools";
        assert_eq!(plain(path), "vmware, inc.\\vmware tools");
        assert_eq!(
            plain("Classes\\Wow6432Node\\CLSID\\{A}"),
            "classes\\clsid\\{a}"
        );
        assert_eq!(cut(path, 1), "Wow6432Node\\VMware, Inc.");
    }
}
