// SPDX-License-Identifier: Apache-2.0
//! A login on the serial console. systemd starts one by itself where the kernel's last console is
//! a serial port (systemd-getty-generator(8)); sysvinit needs a line in `/etc/inittab`.

use super::bootloader::cmdline::serial_port;
use super::gather::Gatherer;
use super::text::{self, Edits};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

const TOPIC: &str = "console";
const INITTAB: &str = "/etc/inittab";
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// An active line of inittab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Identifier, unique in the file.
    pub id: String,
    /// What is run.
    pub command: String,
}

/// Reads inittab(5).
pub fn parse(bytes: &[u8]) -> Vec<Process> {
    text::lines(bytes)
        .iter()
        .filter_map(|line| {
            let text = line.text();
            let mut fields = text.splitn(4, ':');
            let id = fields.next()?.trim().to_owned();
            let command = fields.nth(2)?.trim().to_owned();
            (!id.starts_with('#')).then_some(Process { id, command })
        })
        .collect()
}

/// A getty line for sysvinit.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(port) = serial_port(&facts.guest.arch) else {
        return out;
    };
    if has_systemd(facts) {
        if is_masked(facts, port) {
            out.concerns.push(Concern::warning(
                "serial-login-masked",
                format!("serial-getty@{port}.service is masked: virtctl console shows messages but no login; systemctl unmask it"),
            ));
        }
        return out;
    }
    let Some(bytes) = facts.sources.bytes(INITTAB) else {
        return out;
    };
    let table = parse(bytes);
    if table.is_empty() || table.iter().any(|process| process.command.contains(port)) {
        return out;
    }
    let why = "a login on the serial port, which virtctl console shows";
    out.changes.extend(Change::edit(
        TOPIC,
        why,
        &facts.sources,
        INITTAB,
        with_getty(bytes, &table, port),
    ));
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "console-login",
    what: "the guest offers a login on its serial port",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let Some(port) = serial_port(&facts.guest.arch) else {
        return Finding::skip(format!("no serial port is known for {}", facts.guest.arch));
    };
    if has_systemd(facts) {
        return if is_masked(facts, port) {
            Finding::fail(format!("serial-getty@{port}.service is masked"))
        } else {
            Finding::pass("systemd starts one on a serial console")
        };
    }
    let table = facts.sources.bytes(INITTAB).map(parse).unwrap_or_default();
    match table.iter().find(|process| process.command.contains(port)) {
        Some(process) => Finding::pass(process.command.clone()),
        None if table.is_empty() => Finding::skip("neither systemd nor an inittab"),
        None => Finding::fail(format!("no process of {INITTAB} serves {port}")),
    }
}

/// Reads what decides about logins.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.file(INITTAB)?;
    for dir in SYSTEMD {
        gather.dir(dir)?;
    }
    for port in ["ttyS0", "ttyAMA0"] {
        gather.link(&mask(port))?;
    }
    Ok(())
}

fn mask(port: &str) -> String {
    format!("/etc/systemd/system/serial-getty@{port}.service")
}

fn is_masked(facts: &Facts, port: &str) -> bool {
    let link = facts.sources.links.get(&mask(port));
    link.is_some_and(|target| target == "/dev/null")
}

/// The guest has systemd for its init.
pub(super) fn has_systemd(facts: &Facts) -> bool {
    let has = |dir: &&str| facts.sources.dir(dir).iter().any(|name| name == "systemd");
    SYSTEMD.iter().any(has)
}

fn with_getty(bytes: &[u8], table: &[Process], port: &str) -> Vec<u8> {
    let agetty = table
        .iter()
        .any(|process| process.command.contains("/agetty"));
    let program = if agetty { "agetty" } else { "getty" };
    let taken = |id: &&str| table.iter().any(|process| process.id == *id);
    let id = ["T0", "S0", "gf"]
        .into_iter()
        .find(|id| !taken(id))
        .unwrap_or("gf0");
    let end = text::line_end(bytes);
    let before = if bytes.ends_with(b"\n") { "" } else { end };
    let mut edits = Edits::new();
    edits.insert(
        bytes.len(),
        format!("{before}{id}:2345:respawn:/sbin/{program} -L {port} 115200 vt100{end}"),
    );
    edits.apply(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;
    use crate::verify::Outcome;

    fn facts(fs: MemoryFs) -> Facts {
        let mut facts = fixture::gathered(fs);
        facts.guest.arch = "x86_64".to_owned();
        facts
    }

    #[test]
    fn sysvinit_gets_a_line() {
        let old =
            "1:2345:respawn:/sbin/getty 38400 tty1\n#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100";
        let before = facts(MemoryFs::new().file(INITTAB, old));
        assert_eq!(check(&before, &fixture::target()).result, Outcome::Fail);
        let out = propose(&before, &fixture::target(), &Policy::default());
        let new = fixture::written(&out.changes, INITTAB).unwrap();
        assert_eq!(
            new,
            format!("{old}\nT0:2345:respawn:/sbin/getty -L ttyS0 115200 vt100\n")
        );
        let after = facts(MemoryFs::new().file(INITTAB, new));
        assert_eq!(check(&after, &fixture::target()).result, Outcome::Pass);
        assert!(
            propose(&after, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
    }

    #[test]
    fn systemd_needs_nothing_unless_it_is_masked() {
        let fs = MemoryFs::new()
            .file("/lib/systemd/systemd", "")
            .file(INITTAB, "1:2:respawn:x\n");
        let plain = facts(fs.clone());
        assert!(
            propose(&plain, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
        assert_eq!(check(&plain, &fixture::target()).result, Outcome::Pass);
        let masked = facts(fs.symlink(&mask("ttyS0"), "/dev/null"));
        assert_eq!(check(&masked, &fixture::target()).result, Outcome::Fail);
    }
}
