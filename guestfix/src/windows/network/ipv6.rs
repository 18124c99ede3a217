// SPDX-License-Identifier: Apache-2.0
//! Fixed addresses and routes of IPv6. Windows keeps them in the tables of its network store
//! interface: one value for each, whose name is the key of the table's row and whose data is the
//! rest of the row. The tables of IPv4 have the same form, so real guests' show it; the fields have
//! the names of `MIB_UNICASTIPADDRESS_ROW` and `MIB_IPFORWARD_ROW2`:
//! <https://learn.microsoft.com/windows/win32/api/netioapi/ns-netioapi-mib_unicastipaddress_row>.

use std::net::{IpAddr, Ipv6Addr};

use super::super::entries::SYSTEM;
use super::cards::Address;
use crate::hive::script::Edit;
use crate::inspect::registry::{KeyFacts, Registry, ValueFacts};

/// The tables of addresses and of routes, below a control set.
pub(super) const TABLES: [&str; 2] = [
    "Control\\Nsi\\{eb004a01-9b1a-11d4-9123-0050047759bc}\\10",
    "Control\\Nsi\\{eb004a01-9b1a-11d4-9123-0050047759bc}\\16",
];
/// Bits of an address.
const BITS: u32 = 128;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) to: Ipv6Addr,
    pub(super) prefix: u8,
    /// `::` where what it leads to is on the link.
    pub(super) via: Ipv6Addr,
    /// Where one is set.
    pub(super) metric: Option<u32>,
}

/// What the tables say of one card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<Route>,
    /// Addresses whose row is shorter than any that was seen.
    pub(super) unread: Vec<Ipv6Addr>,
}

/// `NET_LUID` of an Ethernet card as it is written: 24 bits reserved, 24 of its number, 16 of its
/// type (6), the lowest first.
fn luid(number: u32) -> String {
    let [a, b, c, _] = number.to_le_bytes();
    format!("000000{a:02x}{b:02x}{c:02x}0600")
}

fn table<'r>(registry: &'r Registry, set: &str, table: &str) -> Option<&'r KeyFacts> {
    registry.key(SYSTEM, &format!("{set}\\{table}"))
}

/// Reads the rows of the card with this number (`NetLuidIndex`).
pub(super) fn parse(registry: &Registry, set: &str, number: u32) -> Fixed {
    let (luid, mut out) = (luid(number), Fixed::default());
    let [addresses, routes] = TABLES.map(|name| table(registry, set, name));
    for (name, value) in addresses.iter().flat_map(|key| &key.values) {
        let Some(ip) = name.strip_prefix(&luid).and_then(address) else {
            continue;
        };
        if ip.is_unicast_link_local() {
            continue;
        }
        match on_link_prefix(value) {
            Some(prefix) => out.addresses.push(Address {
                ip: IpAddr::V6(ip),
                prefix,
            }),
            None => out.unread.push(ip),
        }
    }
    for (name, value) in routes.iter().flat_map(|key| &key.values) {
        out.routes.extend(route(name, value, &luid));
    }
    out
}

/// 32 hex digits.
fn address(hex: &str) -> Option<Ipv6Addr> {
    let whole = hex.len() == 32;
    whole.then(|| u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from))?
}

fn number(value: &ValueFacts, at: usize) -> Option<u32> {
    let bytes = value.data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Behind both lifetimes and both origins.
fn on_link_prefix(value: &ValueFacts) -> Option<u8> {
    let bits = value.data.get(16).copied()?;
    (u32::from(bits) <= BITS).then_some(bits)
}

/// The key of a route: four bytes, the network, its bits with padding, 16 bytes, the card twice,
/// the next hop.
fn route(name: &str, value: &ValueFacts, luid: &str) -> Option<Route> {
    let hex = |from: usize, to: usize| name.get(from.checked_mul(2)?..to.checked_mul(2)?);
    if name.len() != 144 || hex(40, 48)? != luid {
        return None;
    }
    let prefix = u8::from_str_radix(hex(20, 21)?, 16).ok()?;
    let to = address(hex(4, 20)?)?;
    let own = to.is_multicast() || to.is_unicast_link_local() || u32::from(prefix) > BITS;
    (!own).then_some(Route {
        to,
        prefix,
        via: address(hex(56, 72)?)?,
        // Behind the lengths of the site's prefix and two lifetimes; all ones where Windows chooses.
        metric: number(value, 12).filter(|metric| *metric != u32::MAX),
    })
}

/// Takes the rows of a card away.
pub(super) fn neutral(registry: &Registry, set: &str, number: u32) -> Vec<Edit> {
    let luid = luid(number);
    let [addresses, routes] = TABLES;
    let rows = |name: &'static str, at: usize| {
        let key = table(registry, set, name);
        let values = key.into_iter().flat_map(|key| key.values.keys());
        values
            .filter(|row| row.get(at..).is_some_and(|row| row.starts_with(&luid)))
            .map(|row| Edit::unset(format!("{set}\\{name}"), row))
            .collect::<Vec<_>>()
    };
    [rows(addresses, 0), rows(routes, 80)].concat()
}

#[cfg(test)]
mod tests {
    use super::super::super::world::World;
    use super::*;
    use crate::hive::ValueType;

    /// `fe80`-free rows as Windows writes them: infinite lifetimes, origins, the prefix, the rest
    /// not set.
    fn row(prefix: u8) -> Vec<u8> {
        let mut out = vec![0xff; 48];
        out[8..20].copy_from_slice(&[0x10, 0, 0, 0, 0x10, 0, 0, 0, prefix, 0, 0, 0]);
        out
    }

    fn world(edits: Vec<Edit>) -> World {
        let system = [super::super::super::fixture::system(), edits].concat();
        World::made(&system, &super::super::super::fixture::software())
    }

    fn set(table: usize, name: &str, data: Vec<u8>) -> Edit {
        let key = format!("ControlSet001\\{}", TABLES[table]);
        Edit::raw(key, name, ValueType::BINARY, data)
    }

    const CARD: &str = "0000000100000600";
    const OTHER: &str = "0000000200000600";

    fn route_name(network: &str, prefix: &str, card: &str, hop: &str) -> String {
        let zeros = "0".repeat(32);
        format!("00000000{network}{prefix}000000{zeros}{card}{card}{hop}")
    }

    #[test]
    fn addresses_with_their_prefixes_and_routes_are_those_of_their_own_card() {
        let ip = "20010db8000000000000000000000005";
        let gateway = "20010db8000000000000000000000001";
        let zeros = "0".repeat(32);
        let mut metric = vec![0xff; 52];
        metric[12..16].copy_from_slice(&7_u32.to_le_bytes());
        let world = world(vec![
            set(0, &format!("{CARD}{ip}"), row(64)),
            set(0, &format!("{OTHER}{gateway}"), row(48)),
            set(0, &format!("{CARD}{gateway}"), vec![0; 4]),
            set(1, &route_name(&zeros, "00", CARD, gateway), metric),
            set(1, &route_name(ip, "30", OTHER, gateway), vec![0xff; 52]),
        ]);
        let facts = world.facts();
        // The tables are read for cards only, and this world has none.
        assert_eq!(
            parse(&facts.sources.registry, "ControlSet001", 1),
            Fixed {
                addresses: vec![Address {
                    ip: "2001:db8::5".parse().unwrap(),
                    prefix: 64
                }],
                routes: vec![Route {
                    to: Ipv6Addr::UNSPECIFIED,
                    prefix: 0,
                    via: "2001:db8::1".parse().unwrap(),
                    metric: Some(7),
                }],
                unread: vec!["2001:db8::1".parse().unwrap()],
            }
        );
        assert_eq!(
            neutral(&facts.sources.registry, "ControlSet001", 1).len(),
            3
        );
        assert_eq!(neutral(&facts.sources.registry, "ControlSet001", 9), []);
    }

    /// IPv4 has the same rows behind a shorter key, and what they must say is known there.
    #[test]
    fn rows_of_a_real_guest_say_the_mask_that_its_registry_says_elsewhere() {
        let Some(world) = World::win7() else { return };
        let key = "ControlSet001\\Control\\Nsi\\{eb004a00-9b1a-11d4-9123-0050047759bc}\\10";
        let hive = world.open("SYSTEM");
        let name = "00000007000006000a033a0500000000";
        let value = hive.value(key, name).unwrap().unwrap();
        let value = ValueFacts {
            name: name.to_owned(),
            kind: 3,
            data: value.data().unwrap().into_owned(),
        };
        assert!(name.starts_with(&luid(7)));
        // 10.3.58.5 with 255.255.255.0.
        assert_eq!(on_link_prefix(&value), Some(24));
    }
}
