// SPDX-License-Identifier: Apache-2.0
//! The part of the first boot that gives the new cards the old addresses: calls of netsh, which
//! every release from Vista on has, also Server Core. The card is found by its hardware address in
//! the list of interfaces that `route print` begins with (`number...address ......name`), the only
//! listing that has number and hardware address side by side without a word of any language.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::cards::{Settings, mask};
use super::ipv6::Route;

/// One new card and what it is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// The name it had.
    pub(super) name: String,
    /// Its hardware address on the new machine.
    pub(super) mac: String,
    pub(super) settings: Settings,
}

/// What is safe in a batch file and in quotes; anything else is left out.
fn safe(text: &str) -> String {
    let good =
        |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | ' ' | '/');
    text.chars().filter(good).collect()
}

/// The batch file: for each card its own label, which exits with 0 when the card was found and all
/// went well.
pub(super) fn text(assignments: &[Assignment]) -> String {
    let mut out = String::from(HEAD);
    for number in 1..=assignments.len() {
        let _ = writeln!(out, "call :card{number}\r\nif errorlevel 1 set GF_BAD=1\r");
    }
    out.push_str("exit /b %GF_BAD%\r\n");
    for (assignment, number) in assignments.iter().zip(1..) {
        card(&mut out, number, assignment);
    }
    out.push_str(TAIL);
    out
}

const HEAD: &str = "@echo off\r\n\
rem Written by guestfix: gives the network cards the addresses that they had.\r\n\
setlocal EnableExtensions DisableDelayedExpansion\r\n\
set GF_BAD=0\r\n";

/// Waits up to two minutes for a card, then sets `GF_IF` to its number.
const TAIL: &str = "\r\n\
:find\r\n\
set GF_IF=\r\n\
set GF_TRY=0\r\n\
:again\r\n\
for /f \"tokens=1 delims=.\" %%a in ('route print ^| find \"...%~1 \"') do if not defined GF_IF set /a GF_IF=%%a\r\n\
for /f \"tokens=1 delims=.\" %%a in ('route print ^| find \"...%~2 \"') do if not defined GF_IF set /a GF_IF=%%a\r\n\
if defined GF_IF exit /b 0\r\n\
set /a GF_TRY+=1\r\n\
if %GF_TRY% GEQ 24 exit /b 1\r\n\
ping -n 6 127.0.0.1 >nul\r\n\
goto again\r\n\
\r\n\
:do\r\n\
echo netsh %*\r\n\
netsh %*\r\n\
if errorlevel 1 set GF_RC=1\r\n\
exit /b 0\r\n\
\r\n\
:dns\r\n\
rem Vista and 2008 do not know validate=no.\r\n\
echo netsh interface %~1 %~2 dnsservers name=%GF_IF% %~4\r\n\
if \"%~2\"==\"set\" goto dnsset\r\n\
netsh interface %~1 add dnsservers name=%GF_IF% address=%~4 index=%~3 validate=no\r\n\
if not errorlevel 1 exit /b 0\r\n\
netsh interface %~1 add dnsserver name=%GF_IF% address=%~4 index=%~3\r\n\
if errorlevel 1 set GF_RC=1\r\n\
exit /b 0\r\n\
:dnsset\r\n\
netsh interface %~1 set dnsservers name=%GF_IF% source=static address=%~4 register=primary validate=no\r\n\
if not errorlevel 1 exit /b 0\r\n\
netsh interface %~1 set dnsserver name=%GF_IF% source=static address=%~4 register=primary\r\n\
if errorlevel 1 set GF_RC=1\r\n\
exit /b 0\r\n\
\r\n\
:key\r\n\
rem The key of the interface that has this address now.\r\n\
set GF_KEY=\r\n\
for /f \"tokens=*\" %%k in ('reg query HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces /s /f \"%~1\" /d ^| find \"HKEY_\"') do call :exact \"%%k\" \"%~1\"\r\n\
if not defined GF_KEY set GF_RC=1\r\n\
if not defined GF_KEY exit /b 1\r\n\
for %%g in (\"%GF_KEY%\") do set GF_GUID=%%~nxg\r\n\
exit /b 0\r\n\
\r\n\
:exact\r\n\
for /f \"tokens=3\" %%v in ('reg query \"%~1\" /v IPAddress 2^>nul ^| find \"IPAddress\"') do for /f \"tokens=1 delims=\\\" %%w in (\"%%v\") do if \"%%w\"==\"%~2\" set \"GF_KEY=%~1\"\r\n\
exit /b 0\r\n";

fn card(out: &mut String, number: usize, assignment: &Assignment) {
    let Assignment {
        name,
        mac,
        settings,
    } = assignment;
    let spaced = mac.replace(':', " ");
    let mut line = |text: String| {
        out.push_str(&text);
        out.push_str("\r\n");
    };
    line(format!("\r\n:card{number}"));
    line(format!("echo {} with {mac}", safe(name)));
    line("set GF_RC=0".to_owned());
    // find knows case, and which one is printed is nowhere written.
    line(format!(
        "call :find \"{spaced}\" \"{}\"",
        spaced.to_uppercase()
    ));
    line("if errorlevel 1 echo no card has this address".to_owned());
    line("if errorlevel 1 exit /b 1".to_owned());
    line("echo it is interface %GF_IF%".to_owned());
    for command in commands(settings) {
        line(command);
    }
    if let Some(first) = settings
        .addresses
        .iter()
        .find(|address| address.ip.is_ipv4())
    {
        if !settings.suffix.is_empty() || settings.netbios != 0 {
            line(format!("call :key \"{}\"", first.ip));
            line("if errorlevel 1 exit /b 1".to_owned());
        }
        if !settings.suffix.is_empty() {
            line(format!(
                "reg add \"%GF_KEY%\" /v Domain /t REG_SZ /d \"{}\" /f",
                safe(&settings.suffix)
            ));
        }
        if settings.netbios != 0 {
            line(format!(
                "reg add \"HKLM\\SYSTEM\\CurrentControlSet\\Services\\NetBT\\Parameters\\Interfaces\\Tcpip_%GF_GUID%\" /v NetbiosOptions /t REG_DWORD /d {} /f",
                settings.netbios
            ));
        }
    }
    line("exit /b %GF_RC%".to_owned());
}

/// netsh's commands in the order in which it wants them.
fn commands(settings: &Settings) -> Vec<String> {
    let mut out = Vec::new();
    let (four, six): (Vec<_>, Vec<_>) = settings.addresses.iter().partition(|a| a.ip.is_ipv4());
    let gateways = settings.gateways.iter();
    let (gateways4, gateways6): (Vec<_>, Vec<_>) = gateways.partition(|(ip, _)| ip.is_ipv4());
    let mut gateways4 = gateways4.into_iter();
    for (address, index) in four.into_iter().zip(0..) {
        let mask = mask(address.prefix);
        let first = (index == 0).then(|| gateways4.next()).flatten();
        let gateway = first.map_or_else(String::new, |(ip, metric)| {
            format!(" gateway={ip} gwmetric={metric}")
        });
        out.push(match index {
            0 => format!("call :do interface ipv4 set address name=%GF_IF% source=static address={} mask={mask}{gateway}", address.ip),
            _ => format!("call :do interface ipv4 add address name=%GF_IF% address={} mask={mask}", address.ip),
        });
    }
    for (ip, metric) in gateways4 {
        out.push(format!(
            "call :do interface ipv4 add address name=%GF_IF% gateway={ip} gwmetric={metric}"
        ));
    }
    for address in six {
        out.push(format!(
            "call :do interface ipv6 add address interface=%GF_IF% address={}/{} store=persistent",
            address.ip, address.prefix
        ));
    }
    for (ip, metric) in gateways6 {
        out.push(format!("call :do interface ipv6 add route prefix=::/0 interface=%GF_IF% nexthop={ip} metric={metric} store=persistent"));
    }
    out.extend(settings.routes.iter().map(route));
    out.extend(dns(&settings.dns));
    if let Some(metric) = settings.metric {
        out.push(format!(
            "call :do interface ipv4 set interface interface=%GF_IF% metric={metric}"
        ));
    }
    for (ip, index) in settings.wins.iter().zip(1..) {
        out.push(format!(
            "call :do interface ipv4 add winsservers name=%GF_IF% address={ip} index={index}"
        ));
    }
    out
}

fn route(route: &Route) -> String {
    let hop = match route.via.is_unspecified() {
        true => String::new(),
        false => format!(" nexthop={}", route.via),
    };
    let metric = route.metric.map(|metric| format!(" metric={metric}"));
    format!(
        "call :do interface ipv6 add route prefix={}/{} interface=%GF_IF%{hop}{} store=persistent",
        route.to,
        route.prefix,
        metric.unwrap_or_default()
    )
}

fn dns(servers: &[IpAddr]) -> Vec<String> {
    let mut out = Vec::new();
    for (family, four) in [("ipv4", true), ("ipv6", false)] {
        let own = servers.iter().filter(|ip| ip.is_ipv4() == four);
        for (ip, index) in own.zip(1..) {
            let verb = if index == 1 { "set" } else { "add" };
            out.push(format!("call :dns {family} {verb} {index} {ip}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::cards::Address;
    use super::*;

    fn full() -> Assignment {
        let v4 = |ip: &str| Address {
            ip: ip.parse().unwrap(),
            prefix: 24,
        };
        Assignment {
            name: "Ethernet0 & del %x%".into(),
            mac: "52:54:00:aa:bb:cc".into(),
            settings: Settings {
                addresses: vec![
                    v4("192.0.2.10"),
                    v4("192.0.2.11"),
                    Address {
                        ip: "2001:db8::5".parse().unwrap(),
                        prefix: 64,
                    },
                ],
                gateways: vec![
                    ("192.0.2.1".parse().unwrap(), 0),
                    ("2001:db8::1".parse().unwrap(), 5),
                ],
                routes: vec![Route {
                    to: "2001:db8:7::".parse().unwrap(),
                    prefix: 48,
                    via: "2001:db8::2".parse().unwrap(),
                    metric: None,
                }],
                dns: vec!["192.0.2.53".parse().unwrap(), "192.0.2.54".parse().unwrap()],
                suffix: "corp.example".into(),
                metric: Some(20),
                wins: vec!["192.0.2.60".parse().unwrap()],
                netbios: 2,
            },
        }
    }

    #[test]
    fn a_card_gets_all_that_it_had() {
        let text = text(&[full()]);
        for line in [
            "echo Ethernet0  del x with 52:54:00:aa:bb:cc",
            "call :find \"52 54 00 aa bb cc\" \"52 54 00 AA BB CC\"",
            "call :do interface ipv4 set address name=%GF_IF% source=static address=192.0.2.10 mask=255.255.255.0 gateway=192.0.2.1 gwmetric=0",
            "call :do interface ipv4 add address name=%GF_IF% address=192.0.2.11 mask=255.255.255.0",
            "call :do interface ipv6 add address interface=%GF_IF% address=2001:db8::5/64 store=persistent",
            "call :do interface ipv6 add route prefix=::/0 interface=%GF_IF% nexthop=2001:db8::1 metric=5 store=persistent",
            "call :do interface ipv6 add route prefix=2001:db8:7::/48 interface=%GF_IF% nexthop=2001:db8::2 store=persistent",
            "call :dns ipv4 set 1 192.0.2.53",
            "call :dns ipv4 add 2 192.0.2.54",
            "call :do interface ipv4 set interface interface=%GF_IF% metric=20",
            "call :do interface ipv4 add winsservers name=%GF_IF% address=192.0.2.60 index=1",
            "call :key \"192.0.2.10\"",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}\n{text}");
        }
        assert!(text.split("\r\n").all(|line| !line.contains('\n')));
    }

    /// `route print` of Windows 10, as it is printed in German.
    const ROUTES: &str = "==========\r\nSchnittstellenliste\r\n  5...00 0c 29 66 1a a2 ......Intel\r\n 17...52 54 00 aa bb cc ......Red Hat VirtIO Ethernet Adapter\r\n  1...........................Software Loopback Interface 1\r\n";

    #[test]
    fn under_wine_the_card_is_found_by_its_address() {
        let Some(wine) = super::super::super::wine::Wine::start() else {
            return;
        };
        let mut plain = full();
        plain.settings.suffix.clear();
        plain.settings.netbios = 0;
        // Wine has no list of routes to print.
        let text = text(&[plain])
            .replace("route print", "type routes.txt")
            .replace("GEQ 24", "GEQ 1");
        wine.write("guestfix", "routes.txt", ROUTES);
        wine.write("guestfix", "network.cmd", &text);
        let said = wine.run(&[
            "cmd",
            "/d",
            "/c",
            "cd /d C:\\windows\\guestfix & call network.cmd",
        ]);
        assert!(said.contains("it is interface 17"), "{said}");
        assert!(
            said.contains(
                "netsh interface ipv4 set address name=17 source=static address=192.0.2.10"
            ),
            "{said}"
        );
        assert!(
            said.contains("netsh interface ipv4 add dnsservers name=17 192.0.2.54"),
            "{said}"
        );
    }

    #[test]
    fn no_card_s_name_can_run_anything() {
        assert!(!text(&[full()]).contains("& del"));
        assert_eq!(safe("a\"b^c|d>e\r\nf"), "abcdef");
    }
}
