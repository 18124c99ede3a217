// SPDX-License-Identifier: Apache-2.0
//! `--ip MAC=ADDR/PREFIX,GW[,DNS...]|dhcp`: another address for one card.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A new address for the card with this hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpChoice {
    /// Hardware address, lower case with colons.
    pub mac: String,
    /// How the card gets its address.
    pub address: Addressing,
}

/// How a card gets its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addressing {
    /// From a DHCP server.
    Dhcp,
    /// As given.
    Static(Static),
}

/// A fixed address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Static {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network: 0 to 32, or to 128 for IPv6.
    pub prefix: u8,
    /// The gateway, of the same family.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
}

impl Static {
    /// `192.0.2.10/24`.
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }

    /// The name servers, with this between them.
    pub fn dns_list(&self, between: &str) -> String {
        let all: Vec<String> = self.dns.iter().map(IpAddr::to_string).collect();
        all.join(between)
    }
}

impl FromStr for IpChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mac, rest) = text
            .split_once('=')
            .ok_or("expected MAC=ADDR/PREFIX,GW[,DNS...] or MAC=dhcp")?;
        let mac = crate::vm::mac(mac)
            .ok_or_else(|| format!("{mac:?} is no hardware address such as 52:54:00:12:34:56"))?;
        let address = match rest {
            "dhcp" => Addressing::Dhcp,
            _ => Addressing::Static(fixed(rest)?),
        };
        Ok(Self { mac, address })
    }
}

fn fixed(text: &str) -> Result<Static, String> {
    let mut parts = text.split(',').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let (address, prefix) = first
        .split_once('/')
        .ok_or_else(|| format!("{first:?} has no prefix length, as in 192.0.2.10/24"))?;
    let address = ip(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix
        .parse()
        .ok()
        .filter(|bits| *bits <= most)
        .ok_or_else(|| format!("{prefix:?} is no prefix length of {address}"))?;
    let gateway = match parts.next() {
        None | Some("") => None,
        Some(text) => Some(ip(text)?),
    };
    if gateway.is_some_and(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
        return Err("address and gateway are of different families".to_owned());
    }
    let dns = parts.map(ip).collect::<Result<_, _>>()?;
    Ok(Static {
        address,
        prefix,
        gateway,
        dns,
    })
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_documented() {
        let of = |text: &str| text.parse::<IpChoice>().unwrap();
        assert_eq!(of("00-50-56-AA-BB-CC=dhcp").address, Addressing::Dhcp);
        let full = of("00:50:56:aa:bb:cc=192.0.2.10/24,192.0.2.1,192.0.2.53,2001:db8::53");
        let Addressing::Static(full) = full.address else {
            panic!("not static")
        };
        assert_eq!(full.cidr(), "192.0.2.10/24");
        assert_eq!(full.dns_list(" "), "192.0.2.53 2001:db8::53");
        assert!(
            of("00:50:56:aa:bb:cc=192.0.2.10/24,,192.0.2.53")
                != of("00:50:56:aa:bb:cc=192.0.2.10/24")
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "dhcp",
            "x=dhcp",
            "00:50:56:aa:bb:cc=192.0.2.10",
            "00:50:56:aa:bb:cc=192.0.2.10/33",
            "00:50:56:aa:bb:cc=192.0.2.10/24,2001:db8::1",
            "00:50:56:aa:bb:cc=192.0.2.10/24,gw",
            "00:50:56:aa:bb:cc=",
        ] {
            assert!(text.parse::<IpChoice>().is_err(), "{text}");
        }
    }
}
