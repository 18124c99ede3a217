// SPDX-License-Identifier: Apache-2.0
//! Addresses in ifcfg files.

use super::{Wish, Written};
use crate::linux::network::changes::Draft;
use crate::linux::network::{SUSE_CONFIG, SUSE_ROUTES};
use crate::linux::shell;
use crate::linux::text::{self, Edits};
use crate::plan::addressing::{Addressing, Static};

/// The file without the assignments that `drop` names, with others at its end.
fn edit(bytes: &[u8], drop: impl Fn(&str, &str) -> bool, add: &[String]) -> Vec<u8> {
    let end = text::line_end(bytes);
    let mut edits = Edits::new();
    let lines = text::lines(bytes);
    for assignment in shell::assignments(bytes) {
        let line = lines
            .iter()
            .find(|line| line.start == assignment.line.start);
        if let Some(line) = line.filter(|_| drop(&assignment.name, &assignment.value)) {
            edits.replace(line.start..line.next, "");
        }
    }
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        edits.insert(bytes.len(), end);
    }
    for line in add {
        edits.insert(bytes.len(), format!("{line}{end}"));
    }
    edits.apply(bytes)
}

/// True for `IPADDR`, `IPADDR0`, `IPADDR_1` and their like.
fn is_key(key: &str, of: &[&str]) -> bool {
    of.iter().any(|name| {
        let rest = key.strip_prefix(name);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('_') || rest.parse::<u8>().is_ok()
        })
    })
}

/// Red Hat's file (initscripts, sysconfig.txt).
pub(super) fn red_hat(bytes: &[u8], wish: &Wish<'_>) -> Vec<u8> {
    let v4 = [
        "BOOTPROTO",
        "IPADDR",
        "PREFIX",
        "NETMASK",
        "GATEWAY",
        "NETWORK",
        "BROADCAST",
    ];
    let v6 = [
        "IPV6INIT",
        "IPV6ADDR",
        "IPV6ADDR_SECONDARIES",
        "IPV6_DEFAULTGW",
        "IPV6_AUTOCONF",
        "DHCPV6C",
    ];
    let mut add = Vec::new();
    let mut dns = false;
    match wish.to {
        Addressing::Dhcp => add.push("BOOTPROTO=dhcp".to_owned()),
        Addressing::Static(fixed) if wish.is_v6() => {
            add.extend(["IPV6INIT=yes", "IPV6_AUTOCONF=no"].map(str::to_owned));
            add.push(format!("IPV6ADDR={}", fixed.cidr()));
            add.extend(
                fixed
                    .gateway
                    .map(|gateway| format!("IPV6_DEFAULTGW={gateway}")),
            );
            dns = servers(fixed, &mut add);
        }
        Addressing::Static(fixed) => {
            add.push("BOOTPROTO=none".to_owned());
            add.push(format!("IPADDR={}", fixed.address));
            add.push(format!("PREFIX={}", fixed.prefix));
            add.extend(fixed.gateway.map(|gateway| format!("GATEWAY={gateway}")));
            dns = servers(fixed, &mut add);
        }
    }
    let family: &[&str] = if wish.is_v6() { &v6 } else { &v4 };
    edit(
        bytes,
        |key, _| is_key(key, family) || (dns && is_key(key, &["DNS"])),
        &add,
    )
}

fn servers(fixed: &Static, add: &mut Vec<String>) -> bool {
    let all = fixed.dns.iter().enumerate();
    add.extend(all.map(|(at, dns)| format!("DNS{}={dns}", at.saturating_add(1))));
    !fixed.dns.is_empty()
}

/// SUSE's: addresses in one file, routes and name servers in others (ifcfg(5), ifroute(5)).
pub(super) fn suse(path: &str, bytes: &[u8], wish: &Wish<'_>, draft: &Draft<'_>) -> Written {
    let all = shell::assignments(bytes);
    let is_address = |key: &str| is_key(key, &["IPADDR"]);
    // A mask goes with the address of the same suffix.
    let gone: Vec<&str> = all
        .iter()
        .filter(|a| is_address(&a.name) && (a.value.is_empty() || wish.is_mine(&a.value)))
        .filter_map(|a| a.name.strip_prefix("IPADDR"))
        .collect();
    let stays = all
        .iter()
        .any(|a| is_address(&a.name) && !a.value.is_empty() && !wish.is_mine(&a.value));
    let drop = |key: &str, _: &str| {
        let suffix = ["IPADDR", "PREFIXLEN", "NETMASK", "BROADCAST", "NETWORK"]
            .iter()
            .find_map(|name| key.strip_prefix(name));
        key == "BOOTPROTO" || suffix.is_some_and(|suffix| gone.contains(&suffix))
    };
    let mut add = Vec::new();
    let mut out = Vec::new();
    match wish.to {
        Addressing::Dhcp => add.push(format!(
            "BOOTPROTO='{}'",
            if stays { "dhcp4" } else { "dhcp" }
        )),
        Addressing::Static(fixed) => {
            add.push("BOOTPROTO='static'".to_owned());
            let key = if stays { "IPADDR_guestfix" } else { "IPADDR" };
            add.push(format!("{key}='{}'", fixed.cidr()));
            out.extend(name_servers(fixed, draft));
        }
    }
    out.insert(0, (path.to_owned(), edit(bytes, drop, &add)));
    out.extend(routes(path, wish, draft));
    out
}

/// `default GATEWAY - NAME`, in the card's own file; out of the common one.
fn routes(path: &str, wish: &Wish<'_>, draft: &Draft<'_>) -> Written {
    let own = path.replace("/ifcfg-", "/ifroute-");
    let common = SUSE_ROUTES.to_owned();
    let mut out = Vec::new();
    for file in [common, own.clone()] {
        let old = draft.bytes(&file);
        let end = text::line_end(old);
        let mut edits = Edits::new();
        for line in text::lines(old) {
            let text = line.text();
            let words: Vec<&str> = text.split_whitespace().collect();
            if let ["default", gateway, rest @ ..] = words.as_slice()
                && wish.is_mine(gateway)
                && rest
                    .get(1)
                    .is_none_or(|device| *device == "-" || *device == wish.name)
            {
                edits.replace(line.start..line.next, "");
            }
        }
        if file == own
            && let Addressing::Static(Static {
                gateway: Some(gateway),
                ..
            }) = wish.to
        {
            edits.insert(old.len(), format!("default {gateway} - -{end}"));
        }
        let new = edits.apply(old);
        if new != old {
            out.push((file, new));
        }
    }
    out
}

/// netconfig(8) makes resolv.conf from this.
fn name_servers(fixed: &Static, draft: &Draft<'_>) -> Option<(String, Vec<u8>)> {
    let old = draft.bytes(SUSE_CONFIG);
    let all = shell::assignments(old);
    let line = all
        .iter()
        .rfind(|a| a.name == "NETCONFIG_DNS_STATIC_SERVERS")?;
    let inner = line
        .inner
        .clone()
        .filter(|_| line.quote.is_some() && !fixed.dns.is_empty())?;
    let mut edits = Edits::new();
    edits.replace(inner, fixed.dns_list(" "));
    Some((SUSE_CONFIG.to_owned(), edits.apply(old)))
}
