// SPDX-License-Identifier: Apache-2.0
//! What the guest starts its services with, and how a script is made to start at boot.

use super::console;
use super::gather::Gatherer;
use super::text;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Sources;
use crate::plan::Action;

/// Where Alpine and Gentoo keep links to what starts.
pub const RUNLEVELS: &str = "/etc/runlevels";
/// Above the directories of links of other inits: Red Hat's, Debian's, SUSE's.
const RC: [&str; 3] = ["/etc/rc.d", "/etc", "/etc/init.d"];
/// upstart's jobs; it runs scripts of sysvinit too.
pub const JOBS: &str = "/etc/init";

/// An init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC.
    OpenRc,
    /// sysvinit, or upstart in its place.
    SysV,
    /// None of these.
    Unknown,
}

/// The guest's init.
pub fn of(facts: &Facts) -> Init {
    if console::has_systemd(facts) {
        Init::Systemd
    } else if facts.sources.has(RUNLEVELS) {
        Init::OpenRc
    } else if rc(&facts.sources).is_some() {
        Init::SysV
    } else {
        Init::Unknown
    }
}

/// True where upstart starts the services.
pub fn is_upstart(sources: &Sources) -> bool {
    sources.dir(JOBS).iter().any(|job| job == "rc.conf")
}

/// Reads what tells the init.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.dir(RUNLEVELS)?;
    gather.dir(JOBS)?;
    for above in RC {
        gather.presence(&format!("{above}/rc3.d"))?;
    }
    Ok(())
}

fn rc(sources: &Sources) -> Option<&'static str> {
    let there = |above: &&str| sources.has(&format!("{above}/rc3.d"));
    RC.iter().copied().find(|above| there(above))
}

/// Levels and place of a script by its own comments: `# chkconfig: 2345 20 80` or LSB's
/// `# Default-Start: 2 3 4 5`.
pub fn levels(script: &[u8]) -> (String, u8) {
    let usual = ("2345".to_owned(), 90);
    for line in text::lines(script) {
        let text = line.text();
        let Some((key, value)) = text.trim_start_matches(['#', ' ', '\t']).split_once(':') else {
            continue;
        };
        let mut words = value.split_whitespace();
        match key.trim() {
            "chkconfig" => {
                let levels = words.next().filter(|levels| *levels != "-");
                let place = words.next().and_then(|place| place.parse().ok());
                let levels = levels.map_or(usual.0, str::to_owned);
                return (digits(&levels), place.unwrap_or(90).min(99));
            }
            "Default-Start" => return (digits(&words.collect::<String>()), 90),
            _ => {}
        }
    }
    usual
}

fn digits(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '0'..='6')).collect()
}

/// Directories of links in which a script would be found, as far as they are there.
pub fn link_dirs(facts: &Facts, levels: &str) -> Vec<String> {
    match of(facts) {
        Init::OpenRc => vec![format!("{RUNLEVELS}/default")],
        Init::SysV => rc(&facts.sources).map_or_else(Vec::new, |above| {
            let dirs = levels.chars().map(|level| format!("{above}/rc{level}.d"));
            dirs.collect()
        }),
        Init::Systemd | Init::Unknown => Vec::new(),
    }
}

/// Links that start a script of `/etc/init.d`.
pub fn enable(facts: &Facts, script: &str, levels: &str, place: u8) -> Vec<Action> {
    let name = match of(facts) {
        Init::OpenRc => script.to_owned(),
        _ => format!("S{place:02}{script}"),
    };
    link_dirs(facts, levels)
        .into_iter()
        .map(|dir| Action::Symlink {
            path: format!("{dir}/{name}").as_str().into(),
            target: format!("/etc/init.d/{script}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;

    #[test]
    fn every_init_is_known() {
        for (fs, want) in [
            (
                MemoryFs::new()
                    .file("/lib/systemd/systemd", "")
                    .dir("/etc/rc3.d"),
                Init::Systemd,
            ),
            (
                MemoryFs::new().file("/etc/runlevels/default/x", ""),
                Init::OpenRc,
            ),
            (MemoryFs::new().dir("/etc/rc.d/rc3.d"), Init::SysV),
            (MemoryFs::new().dir("/etc/init.d/rc3.d"), Init::SysV),
            (MemoryFs::new(), Init::Unknown),
        ] {
            assert_eq!(of(&fixture::gathered(fs)), want);
        }
    }

    #[test]
    fn scripts_say_when_they_start() {
        for (script, want) in [
            ("#!/bin/sh\n# chkconfig: 345 5 95\n", ("345", 5)),
            ("# chkconfig: - 70 30\n", ("2345", 70)),
            (
                "### BEGIN INIT INFO\r\n# Default-Start:     2 3 4 5\r\n",
                ("2345", 90),
            ),
            ("nothing: here\n", ("2345", 90)),
            ("# chkconfig: x y\n\u{0}", ("", 90)),
        ] {
            assert_eq!(
                levels(script.as_bytes()),
                (want.0.to_owned(), want.1),
                "{script}"
            );
        }
    }
}
