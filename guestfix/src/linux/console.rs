// SPDX-License-Identifier: Apache-2.0
//! A login on the serial console. systemd starts one by itself where the kernel's last console is
//! a serial port (systemd-getty-generator(8)); sysvinit needs a line in `/etc/inittab`.

use super::bootloader::cmdline::serial_port;
use super::gather::Gatherer;
use super::init;
use super::text::{self, Edits};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

const TOPIC: &str = "console";
const INITTAB: &str = "/etc/inittab";
const SECURETTY: &str = "/etc/securetty";
const GETTIES: [&str; 2] = ["/sbin/getty", "/sbin/agetty"];
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// An active line of inittab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Identifier, unique in the file.
    pub id: String,
    /// What is run.
    pub command: String,
    /// A line as only busybox's init has it.
    pub busybox: bool,
}

/// Reads inittab(5).
pub fn parse(bytes: &[u8]) -> Vec<Process> {
    text::lines(bytes)
        .iter()
        .filter_map(|line| {
            let text = line.text();
            let mut fields = text.splitn(4, ':');
            let id = fields.next()?.trim().to_owned();
            let levels = fields.next()?;
            let action = fields.next()?.trim();
            let command = fields.next()?.trim().to_owned();
            // Others have `si::sysinit:`, this one runs without a name too.
            let busybox = id.is_empty() && levels.is_empty() && action == "sysinit";
            (!id.starts_with('#')).then_some(Process {
                id,
                command,
                busybox,
            })
        })
        .collect()
}

/// A getty for sysvinit, busybox and upstart, and root's right to log in there.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(port) = serial_port(&facts.guest.arch) else {
        return out;
    };
    out.changes.extend(securetty(facts, port));
    let why = "a login on the serial port, which virtctl console shows";
    let sources = &facts.sources;
    match manner(facts) {
        Manner::Systemd if is_masked(facts, port) => out.concerns.push(Concern::warning(
            "serial-login-masked",
            format!("serial-getty@{port}.service is masked: virtctl console shows messages but no login; systemctl unmask it"),
        )),
        Manner::Upstart if job(sources, port).is_none() => {
            let path = format!("{}/{port}.conf", init::JOBS);
            let text = upstart_job(sources, port);
            out.changes.extend(Change::edit(TOPIC, why, sources, &path, text));
        }
        Manner::Inittab(bytes, table) if !serves(&table, port) => {
            let new = with_getty(sources, (bytes, &table), port);
            out.changes.extend(Change::edit(TOPIC, why, sources, INITTAB, new));
        }
        _ => {}
    }
    out
}

/// What starts logins.
enum Manner<'a> {
    Systemd,
    Upstart,
    Inittab(&'a [u8], Vec<Process>),
    Unknown,
}

fn manner(facts: &Facts) -> Manner<'_> {
    if has_systemd(facts) {
        return Manner::Systemd;
    }
    // upstart leaves an inittab of which it reads the runlevel only.
    if init::is_upstart(&facts.sources) {
        return Manner::Upstart;
    }
    let bytes = facts.sources.bytes(INITTAB).unwrap_or_default();
    let table = parse(bytes);
    match table.is_empty() || text::is_binary(bytes) {
        true => Manner::Unknown,
        false => Manner::Inittab(bytes, table),
    }
}

fn serves(table: &[Process], port: &str) -> bool {
    table.iter().any(|process| process.command.contains(port))
}

/// The job of upstart that serves a port: our own, the guest's, or Red Hat's `serial.conf`, which
/// serves whatever port is the console.
fn job(sources: &Sources, port: &str) -> Option<String> {
    let own = format!("{port}.conf");
    let jobs = sources.dir(init::JOBS).iter();
    let mut serving = jobs.filter(|job| **job == own || *job == "serial.conf");
    serving.next().map(|job| format!("{}/{job}", init::JOBS))
}

fn upstart_job(sources: &Sources, port: &str) -> String {
    let program = getty(sources, &[]);
    format!(
        "# Written by guestfix: a login on the serial port.\nstart on stopped rc RUNLEVEL=[2345]\nstop on runlevel [!2345]\n\nrespawn\nexec {program} -L 115200 {port} vt100\n"
    )
}

/// Adds the port to the terminals on which root may log in (securetty(5)), where there is a list.
fn securetty(facts: &Facts, port: &str) -> Option<Change> {
    let bytes = facts.sources.bytes(SECURETTY)?;
    let lines = text::lines(bytes);
    let listed = lines.iter().any(|line| line.text().trim() == port);
    // An empty list forbids root everywhere, on purpose.
    let meant = lines.iter().any(|line| !line.text().trim().is_empty());
    if listed || !meant || text::is_binary(bytes) {
        return None;
    }
    let end = text::line_end(bytes);
    let before = if bytes.ends_with(b"\n") { "" } else { end };
    let new = [bytes, before.as_bytes(), port.as_bytes(), end.as_bytes()].concat();
    let why = "root may log in on the serial port as on the screen";
    Change::edit(TOPIC, why, &facts.sources, SECURETTY, new)
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
    match manner(facts) {
        Manner::Systemd if is_masked(facts, port) => {
            Finding::fail(format!("serial-getty@{port}.service is masked"))
        }
        Manner::Systemd => Finding::pass("systemd starts one on a serial console"),
        Manner::Upstart => match job(&facts.sources, port) {
            Some(job) => Finding::pass(job),
            None => Finding::fail(format!("no job of {} serves {port}", init::JOBS)),
        },
        Manner::Inittab(_, table) => {
            match table.iter().find(|process| process.command.contains(port)) {
                Some(process) => Finding::pass(process.command.clone()),
                None => Finding::fail(format!("no process of {INITTAB} serves {port}")),
            }
        }
        Manner::Unknown => Finding::skip("neither systemd, nor upstart, nor an inittab"),
    }
}

/// Reads what decides about logins.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.file(INITTAB)?;
    gather.file(SECURETTY)?;
    for program in GETTIES {
        gather.presence(program)?;
    }
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

/// The guest's getty for serial ports: mingetty and others serve none.
fn getty(sources: &Sources, table: &[Process]) -> &'static str {
    let [getty, agetty] = GETTIES;
    let used = table
        .iter()
        .any(|process| process.command.contains("/agetty"));
    match used || (sources.has(agetty) && !sources.has(getty)) {
        true => agetty,
        false => getty,
    }
}

fn with_getty(sources: &Sources, (bytes, table): (&[u8], &[Process]), port: &str) -> Vec<u8> {
    let program = getty(sources, table);
    let taken = |id: &&str| table.iter().any(|process| process.id == *id);
    let id = ["T0", "S0", "gf"]
        .into_iter()
        .find(|id| !taken(id))
        .unwrap_or("gf0");
    let end = text::line_end(bytes);
    let before = if bytes.ends_with(b"\n") { "" } else { end };
    // busybox has the terminal in the first field and no runlevels.
    let busybox = table.iter().any(|process| process.busybox);
    let line = match busybox {
        true => format!("{port}::respawn:{program} -L {port} 115200 vt100"),
        false => format!("{id}:2345:respawn:{program} -L {port} 115200 vt100"),
    };
    let mut edits = Edits::new();
    edits.insert(bytes.len(), format!("{before}{line}{end}"));
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

    #[test]
    fn busybox_and_old_agetty_get_lines_of_their_own() {
        let alpine = "::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n#ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100\n";
        let fs = MemoryFs::new()
            .file(INITTAB, alpine)
            .file(SECURETTY, "console\ntty1");
        let out = propose(&facts(fs.clone()), &fixture::target(), &Policy::default());
        let new = fixture::written(&out.changes, INITTAB).unwrap();
        assert_eq!(
            new,
            format!("{alpine}ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100\n")
        );
        assert_eq!(
            fixture::written(&out.changes, SECURETTY).unwrap(),
            "console\ntty1\nttyS0\n"
        );
        let after = facts(fixture::applied(fs, &out.changes));
        assert!(
            propose(&after, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
        let rhel5 = "id:3:initdefault:\nsi::sysinit:/etc/rc.d/rc.sysinit\n1:2345:respawn:/sbin/mingetty tty1\n";
        let fs = MemoryFs::new()
            .file(INITTAB, rhel5)
            .file("/sbin/agetty", "");
        let out = propose(&facts(fs), &fixture::target(), &Policy::default());
        let new = fixture::written(&out.changes, INITTAB).unwrap();
        assert_eq!(
            new,
            format!("{rhel5}T0:2345:respawn:/sbin/agetty -L ttyS0 115200 vt100\n")
        );
    }

    #[test]
    fn upstart_gets_a_job_unless_red_hats_is_there() {
        let fs = MemoryFs::new()
            .file("/etc/init/rc.conf", "")
            .file(INITTAB, "id:3:initdefault:\n");
        let before = facts(fs.clone());
        assert_eq!(check(&before, &fixture::target()).result, Outcome::Fail);
        let out = propose(&before, &fixture::target(), &Policy::default());
        assert_eq!(out.changes.len(), 1);
        let job = fixture::written(&out.changes, "/etc/init/ttyS0.conf").unwrap();
        assert!(job.contains("exec /sbin/getty -L 115200 ttyS0 vt100\n"));
        let after = facts(fixture::applied(fs.clone(), &out.changes));
        assert_eq!(check(&after, &fixture::target()).result, Outcome::Pass);
        let rhel6 = facts(fs.file("/etc/init/serial.conf", ""));
        assert!(
            propose(&rhel6, &fixture::target(), &Policy::default())
                .changes
                .is_empty()
        );
    }
}
