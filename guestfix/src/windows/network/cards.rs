// SPDX-License-Identifier: Apache-2.0
//! The guest's network cards as its registry has them: which are hardware, their names, their
//! hardware addresses, and how each gets its address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::entries::{SOFTWARE, SYSTEM};
use super::ipv6::{self, Route};
use crate::inspect::Facts;
use crate::inspect::facts::NicFacts;
use crate::inspect::registry::{KeyFacts, Registry};

/// The class of network cards.
pub(super) const CLASS: &str = "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}";
pub(super) const CONNECTIONS: &str = "Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}";
pub(super) const SETUP: &str = "Control\\NetworkSetup2\\Interfaces";
pub(super) const TCPIP: &str = "Services\\Tcpip\\Parameters\\Interfaces";
pub(super) const TCPIP6: &str = "Services\\Tcpip6\\Parameters\\Interfaces";
pub(super) const NETBT: &str = "Services\\NetBT\\Parameters\\Interfaces";
/// Where older versions of VMware Tools note which card has which hardware address.
pub(super) const TOOLS: &str = "VMware, Inc.\\VMware Tools\\VMUpgradeHelper\\Adapters";
/// `NCF_PHYSICAL`: <https://learn.microsoft.com/windows-hardware/drivers/network/specifying-network-component-characteristics>.
const PHYSICAL: u32 = 4;

/// An address with its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
}

/// What a card is set to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) addresses: Vec<Address>,
    /// Gateways with their metrics, 0 for one that Windows chooses.
    pub(super) gateways: Vec<(IpAddr, u32)>,
    /// Routes of IPv6, the default one among them.
    pub(super) routes: Vec<Route>,
    pub(super) dns: Vec<IpAddr>,
    pub(super) suffix: String,
    /// The interface's own metric, where one is set.
    pub(super) metric: Option<u32>,
    pub(super) wins: Vec<Ipv4Addr>,
    /// 1 on, 2 off; 0 as DHCP says.
    pub(super) netbios: u32,
}

/// A card of the old machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Card {
    /// `{698E50A9-4F58-4D86-B61D-F42E58DCACF6}` as stored.
    pub(super) guid: String,
    /// `Ethernet0`.
    pub(super) name: String,
    /// `PCI\VEN_...\...`.
    pub(super) instance: String,
    /// Lower case with colons, where the registry tells.
    pub(super) mac: Option<String>,
    pub(super) settings: Settings,
    /// Windows saw it leave.
    pub(super) ghost: bool,
    /// `NetLuidIndex`: its number in Windows' own tables.
    pub(super) number: Option<u32>,
    /// Fixed addresses of IPv6 whose prefix is not known.
    pub(super) unread: Vec<Ipv6Addr>,
}

impl Settings {
    /// Something was set by hand.
    pub(super) fn is_static(&self) -> bool {
        !self.addresses.is_empty() || !self.dns.is_empty()
    }
}

/// The cards of a control set that are hardware, in the order in which Windows numbers them.
pub(super) fn all(facts: &Facts, set: &str) -> Vec<Card> {
    let registry = &facts.sources.registry;
    let class = format!("{set}\\{CLASS}");
    let macs = noted(registry);
    let mut keys: Vec<&KeyFacts> = registry.below(SYSTEM, &class).collect();
    keys.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    keys.into_iter()
        .filter_map(|key| card(registry, set, key, &macs))
        .collect()
}

fn card(
    registry: &Registry,
    set: &str,
    key: &KeyFacts,
    macs: &BTreeMap<String, String>,
) -> Option<Card> {
    let guid = key.value("NetCfgInstanceId")?.text()?;
    let traits = key
        .value("Characteristics")
        .and_then(|value| value.dword())
        .unwrap_or(0);
    let instance = key.value("DeviceInstanceID").and_then(|value| value.text());
    let connection = format!("{set}\\{CONNECTIONS}\\{guid}\\Connection");
    let instance = instance.or_else(|| registry.text(SYSTEM, &connection, "PnpInstanceID"))?;
    let hardware = ["PCI\\", "USB\\", "VMBUS\\"].iter().any(|bus| {
        instance
            .get(..bus.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(bus))
    });
    if traits & PHYSICAL == 0 || !hardware {
        return None;
    }
    let name = registry
        .text(SYSTEM, &connection, "Name")
        .unwrap_or_else(|| guid.clone());
    let mac = mac(registry, set, key, &guid)
        .or_else(|| macs.get(&guid.to_lowercase()).cloned())
        .or_else(|| of_instance(&instance));
    let number = key.value("NetLuidIndex").and_then(|value| value.dword());
    let fixed = number.map(|number| ipv6::parse(registry, set, number));
    let fixed = fixed.unwrap_or_default();
    let mut settings = settings(registry, set, &guid);
    settings.addresses.extend(fixed.addresses);
    settings.routes = fixed.routes;
    Some(Card {
        settings,
        ghost: ghost(registry, set, &instance),
        number,
        unread: fixed.unread,
        guid,
        name,
        instance,
        mac,
    })
}

/// The address that Windows noted, or that somebody set for the driver.
fn mac(registry: &Registry, set: &str, class: &KeyFacts, guid: &str) -> Option<String> {
    let own = class.value("NetworkAddress").and_then(|value| value.text());
    let own = own.and_then(|text| from_hex(&text));
    let kernel = format!("{set}\\{SETUP}\\{guid}\\Kernel");
    let noted = ["PermanentAddress", "CurrentAddress"]
        .iter()
        .find_map(|name| {
            let data = &registry.value(SYSTEM, &kernel, name)?.data;
            from_bytes(data)
        });
    noted.or(own)
}

fn from_bytes(bytes: &[u8]) -> Option<String> {
    let good = bytes.len() == 6 && bytes.iter().any(|byte| *byte != 0);
    let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    good.then(|| text.join(":"))
}

fn from_hex(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let bytes = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at.saturating_add(2))?, 16).ok());
    from_bytes(&bytes.collect::<Option<Vec<u8>>>()?)
}

/// The instance of a PCI Express card is its serial number, which of a network card is its address
/// with `FFFF` in its middle and 8 zero bits at its end (EUI-64, lower half first).
fn of_instance(instance: &str) -> Option<String> {
    let serial = instance.rsplit('\\').next()?;
    let plain = serial.len() == 18 && serial.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain || !serial.get(6..10)?.eq_ignore_ascii_case("FFFF") {
        return None;
    }
    from_hex(&format!("{}{}", serial.get(..6)?, serial.get(10..16)?))
}

/// What older VMware Tools noted: GUID to hardware address.
fn noted(registry: &Registry) -> BTreeMap<String, String> {
    let keys = registry.below(SOFTWARE, TOOLS);
    let pairs = keys.filter_map(|key| {
        let guid = key.value("InterfaceGUID")?.text()?;
        Some((guid.to_lowercase(), from_hex(key.name())?))
    });
    pairs.collect()
}

/// Windows 8 and later note when a device left and forget it when it comes again: property 0067 of
/// `DEVPKEY_Device_LastRemovalDate`.
fn ghost(registry: &Registry, set: &str, instance: &str) -> bool {
    let key = format!("{set}\\Enum\\{instance}\\Properties\\{REMOVED}");
    registry
        .key(SYSTEM, &key)
        .is_some_and(|key| !key.values.is_empty())
}

/// Where that is noted, below `Properties`.
pub(super) const REMOVED: &str = "{83da6326-97a6-4088-9453-a1923f573b29}\\0067";

fn texts(registry: &Registry, key: &str, name: &str) -> Vec<String> {
    let value = registry.value(SYSTEM, key, name);
    let listed = value.and_then(|value| value.texts());
    // Some programs write one text where Windows writes a list.
    let single = value.and_then(|value| value.text());
    let texts = listed
        .or_else(|| single.map(|text| vec![text]))
        .unwrap_or_default();
    let split = texts.iter().flat_map(|text| text.split([',', ' ']));
    split
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}

fn settings(registry: &Registry, set: &str, guid: &str) -> Settings {
    let key = format!("{set}\\{TCPIP}\\{guid}");
    let key6 = format!("{set}\\{TCPIP6}\\{guid}");
    let netbt = format!("{set}\\{NETBT}\\Tcpip_{guid}");
    let list = |key: &str, name: &str| texts(registry, key, name);
    let fixed = registry.dword(SYSTEM, &key, "EnableDHCP") == Some(0);
    let mut out = Settings {
        suffix: registry.text(SYSTEM, &key, "Domain").unwrap_or_default(),
        metric: registry
            .dword(SYSTEM, &key, "InterfaceMetric")
            .filter(|metric| *metric != 0),
        wins: list(&netbt, "NameServerList")
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        netbios: registry
            .dword(SYSTEM, &netbt, "NetbiosOptions")
            .unwrap_or(0),
        ..Settings::default()
    };
    let dns = list(&key, "NameServer")
        .into_iter()
        .chain(list(&key6, "NameServer"));
    out.dns = dns.filter_map(|text| text.parse().ok()).collect();
    if !fixed {
        return out;
    }
    let masks = list(&key, "SubnetMask");
    for (ip, mask) in list(&key, "IPAddress").iter().zip(masks) {
        let ip: Option<Ipv4Addr> = ip.parse().ok().filter(|ip: &Ipv4Addr| !ip.is_unspecified());
        let prefix = mask.parse().ok().and_then(prefix);
        let address = ip.zip(prefix).map(|(ip, prefix)| Address {
            ip: ip.into(),
            prefix,
        });
        out.addresses.extend(address);
    }
    let metrics = list(&key, "DefaultGatewayMetric");
    let metrics = metrics
        .iter()
        .map(|text| text.parse().unwrap_or(0))
        .chain(std::iter::repeat(0));
    let gateways = list(&key, "DefaultGateway").into_iter().zip(metrics);
    out.gateways = gateways
        .filter_map(|(text, metric)| Some((text.parse().ok()?, metric)))
        .collect();
    out
}

/// The bits of a mask that has no gap.
fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then(|| u8::try_from(ones).unwrap_or(32))
}

/// The mask of an IPv4 prefix.
pub(super) fn mask(prefix: u8) -> Ipv4Addr {
    let bits = u32::MAX
        .checked_shl(32_u32.saturating_sub(u32::from(prefix)))
        .unwrap_or(0);
    Ipv4Addr::from(bits)
}

impl Card {
    /// As the public facts have it.
    pub(super) fn facts(&self, set: &str) -> NicFacts {
        let fixed = self.settings.addresses.iter();
        NicFacts {
            name: self.name.clone(),
            mac: self.mac.clone(),
            method: if self.settings.addresses.is_empty() {
                "dhcp"
            } else {
                "static"
            }
            .to_owned(),
            addresses: fixed.map(|a| format!("{}/{}", a.ip, a.prefix)).collect(),
            file: format!("SYSTEM\\{set}\\{TCPIP}\\{}", self.guid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_wherever_they_stand() {
        let e1000e = "PCI\\VEN_8086&DEV_10D3&SUBSYS_07D015AD&REV_00\\000C29FFFF661AA200";
        assert_eq!(of_instance(e1000e).as_deref(), Some("00:0c:29:66:1a:a2"));
        assert_eq!(
            of_instance("PCI\\VEN_8086&DEV_100F\\4&B70F118&0&0888"),
            None
        );
        assert_eq!(
            from_hex("00-50-56-A5-12-69").as_deref(),
            Some("00:50:56:a5:12:69")
        );
        assert_eq!(from_hex("00-50-56"), None);
        assert_eq!(from_bytes(&[0; 6]), None);
    }

    #[test]
    fn masks_and_prefixes_are_the_same_thing() {
        for bits in 0..=32 {
            assert_eq!(prefix(mask(bits)), Some(bits));
        }
        assert_eq!(prefix("255.0.255.0".parse().unwrap()), None);
    }
}
