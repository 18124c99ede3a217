// SPDX-License-Identifier: Apache-2.0
//! Addresses in netplan's YAML (netplan(5)). The keys about addresses are written anew; all other
//! lines of the definition stay.

use super::Wish;
use crate::document::yaml::{self, Entry, Yaml};
use crate::linux::text::{self, Edits};
use crate::plan::addressing::{Addressing, Static};

/// The file with the card's new address.
pub(super) fn set(bytes: &[u8], wish: &Wish<'_>) -> Result<Vec<u8>, String> {
    let documents = yaml::parse(bytes).map_err(|e| e.to_string())?;
    let network = documents
        .iter()
        .find_map(|document| document.get("network"));
    let cards = network.and_then(|network| network.get("ethernets"));
    let mut mine = cards
        .into_iter()
        .flat_map(Yaml::entries)
        .filter(|d| is_mine(d, wish));
    let (Some(definition), None) = (mine.next(), mine.next()) else {
        return Err("it is defined more than once".to_owned());
    };
    if definition.lines.is_empty() {
        return Err("it is written in flow style, which is not edited".to_owned());
    }
    let inner = definition.value.entries();
    if inner.iter().any(|entry| entry.lines.is_empty()) {
        return Err("it is written in flow style, which is not edited".to_owned());
    }
    let indent = inner
        .first()
        .map_or(definition.indent.saturating_add(2), |entry| entry.indent);
    let end = text::line_end(bytes);
    let mut edits = Edits::new();
    for entry in inner.iter().filter(|entry| is_replaced(&entry.key, wish)) {
        edits.replace(entry.lines.clone(), "");
    }
    let mut out = String::new();
    for (key, value) in replacement(&definition.value, wish) {
        emit(&key, &value, indent, end, &mut out);
    }
    // "ens192: {}" and "ens192:" alike become a line of their own.
    let first = inner.first().map(|entry| entry.lines.start);
    match first {
        Some(at) => edits.insert(at, out),
        None => {
            let head = format!(
                "{}{}:{end}",
                " ".repeat(definition.indent),
                quoted(&definition.key)
            );
            edits.replace(definition.lines.clone(), format!("{head}{out}"));
        }
    }
    let new = edits.apply(bytes);
    // What was written must say what was meant.
    match yaml::parse(&new) {
        Ok(_) => Ok(new),
        Err(error) => Err(error.to_string()),
    }
}

fn is_mine(definition: &Entry, wish: &Wish<'_>) -> bool {
    let at = |path: &[&str]| definition.value.at(path).and_then(Yaml::text);
    let name = at(&["set-name"]).or_else(|| at(&["match", "name"]));
    let id = definition.value.get("match").is_none() && definition.key == wish.name;
    let mac = at(&["match", "macaddress"]).and_then(crate::vm::mac);
    id || name == Some(wish.name) || mac.is_some_and(|mac| mac == wish.mac || mac == wish.new_mac)
}

fn is_replaced(key: &str, wish: &Wish<'_>) -> bool {
    let new_dns = matches!(wish.to, Addressing::Static(fixed) if !fixed.dns.is_empty());
    match key {
        "addresses" | "routes" => true,
        "nameservers" => new_dns,
        "dhcp4" | "gateway4" => !wish.is_v6(),
        "dhcp6" | "gateway6" => wish.is_v6(),
        _ => false,
    }
}

/// The keys about addresses as they will be; what is of the other family stays in them.
fn replacement(old: &Yaml, wish: &Wish<'_>) -> Vec<(String, Yaml)> {
    let list = |key: &str| {
        old.get(key)
            .map_or_else(Vec::new, |value| value.items().to_vec())
    };
    let address = |item: &Yaml| match item.entries().first() {
        Some(entry) => entry.key.clone(),
        None => item.text().unwrap_or_default().to_owned(),
    };
    let mut addresses: Vec<Yaml> = list("addresses");
    addresses.retain(|item| !wish.is_mine(&address(item)));
    let mut routes = list("routes");
    routes.retain(|route| !is_default(route, wish));
    let mut out = Vec::new();
    let (dhcp, gateway) = match wish.is_v6() {
        true => ("dhcp6", "::/0"),
        false => ("dhcp4", "0.0.0.0/0"),
    };
    let fixed = match wish.to {
        Addressing::Dhcp => None,
        Addressing::Static(fixed) => Some(fixed),
    };
    out.push((
        dhcp.to_owned(),
        scalar(if fixed.is_none() { "true" } else { "false" }),
    ));
    if let Some(fixed) = fixed {
        addresses.insert(0, scalar(&fixed.cidr()));
        routes.extend(fixed.gateway.map(|via| {
            // netplan older than 0.103 does not know "default".
            map(&[("to", scalar(gateway)), ("via", scalar(&via.to_string()))])
        }));
        out.extend(name_servers(old, fixed));
    }
    for (key, items) in [("addresses", addresses), ("routes", routes)] {
        if !items.is_empty() {
            out.push((key.to_owned(), Yaml::List(items)));
        }
    }
    out
}

fn is_default(route: &Yaml, wish: &Wish<'_>) -> bool {
    let get = |key: &str| route.get(key).and_then(Yaml::text).unwrap_or_default();
    matches!(get("to"), "default" | "0.0.0.0/0" | "::/0" | "0/0") && wish.is_mine(get("via"))
}

fn name_servers(old: &Yaml, fixed: &Static) -> Option<(String, Yaml)> {
    if fixed.dns.is_empty() {
        return None;
    }
    let dns = fixed
        .dns
        .iter()
        .map(|dns| scalar(&dns.to_string()))
        .collect();
    let mut entries = vec![("addresses", Yaml::List(dns))];
    if let Some(search) = old.at(&["nameservers", "search"]) {
        entries.push(("search", search.clone()));
    }
    Some(("nameservers".to_owned(), map(&entries)))
}

fn scalar(text: &str) -> Yaml {
    Yaml::Scalar(text.to_owned())
}

fn map(entries: &[(&str, Yaml)]) -> Yaml {
    let entry = |(key, value): &(&str, Yaml)| Entry {
        key: (*key).to_owned(),
        value: value.clone(),
        lines: 0..0,
        indent: 0,
    };
    Yaml::Map(entries.iter().map(entry).collect())
}

/// Block style, two columns a level; items of lists in flow style.
fn emit(key: &str, value: &Yaml, indent: usize, end: &str, out: &mut String) {
    let pad = " ".repeat(indent);
    let key = quoted(key);
    match value {
        Yaml::List(items) => {
            out.push_str(&format!("{pad}{key}:{end}"));
            for item in items {
                out.push_str(&format!("{pad}- {}{end}", flow(item)));
            }
        }
        Yaml::Map(entries) => {
            out.push_str(&format!("{pad}{key}:{end}"));
            for entry in entries {
                emit(&entry.key, &entry.value, indent.saturating_add(2), end, out);
            }
        }
        other => out.push_str(&format!("{pad}{key}: {}{end}", flow(other))),
    }
}

fn flow(value: &Yaml) -> String {
    match value {
        Yaml::Null => "null".to_owned(),
        Yaml::Scalar(text) => quoted(text),
        Yaml::List(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Yaml::Map(entries) => {
            let all: Vec<String> = entries
                .iter()
                .map(|entry| format!("{}: {}", quoted(&entry.key), flow(&entry.value)))
                .collect();
            format!("{{{}}}", all.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    let word = !text.is_empty() && text.chars().all(plain) && !text.starts_with(['-', '.']);
    match word {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}
