// SPDX-License-Identifier: Apache-2.0
//! What has to wait for the first boot: one batch file, started by a service, which removes both
//! when it is done.
//!
//! The service's program is cmd.exe. It starts the batch file as a process of its own (`start`) and
//! ends at once: what never reports to the service control manager is given up after 30 seconds
//! (events 7009 and 7000), and the process that it started is ended then, but not that one's
//! children. Nothing waits for the batch file, so that a boot is never longer for it.

use super::entries::{SYSTEM, place};
use super::gather::Gatherer;
use super::{network, staging, vmware_tools};
use crate::error::Result;
use crate::fs::GuestPath;
use crate::hive::script::Edit;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::inspect::windows::WindowsFacts;
use crate::plan::{Action, Attrs, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

mod script;

pub(super) const TOPIC: &str = "firstboot";
/// Below the system's directory, whose access rights a new folder there gets: ordinary users only
/// read. The batch file takes that from them too, before anything else.
const FOLDER: &str = "guestfix";
const RUNNER: &str = "firstboot.cmd";
/// What gives network cards their addresses.
pub(super) const NETWORK: &str = "network.cmd";
const PACKAGES: &str = "packages.txt";
const DEVICES: &str = "devices.txt";
const AGENT: &str = "qemu-ga.msi";
const LOG: &str = "firstboot.log";
const STATE: &str = "state";
const SCRIPTS: &str = "scripts";
const SERVICE: &str = "GuestfixFirstboot";
/// What follows /c begins with no quote, so that cmd.exe takes none of the others away.
const COMMAND: &str = "\"%SystemRoot%\\System32\\cmd.exe\" /d /c start \"guestfix\" /min \"%SystemRoot%\\System32\\cmd.exe\" /d /c \"%SystemRoot%\\guestfix\\firstboot.cmd\"";

/// A file of the folder.
pub(super) fn in_folder(windows: &WindowsFacts, name: &str) -> String {
    windows.in_system_root(&format!("{FOLDER}/{name}"))
}

/// What an earlier first boot noted: its attempts and its steps, each with how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// It came to its end.
    pub done: bool,
    /// How often it started.
    pub attempts: u32,
    /// Steps that did not end with 0.
    pub failed: Vec<String>,
}

/// Reads the notes.
pub fn parse(sources: &Sources, windows: &WindowsFacts) -> State {
    let folder = in_folder(windows, STATE);
    let text = |name: &str| {
        sources
            .text(&format!("{folder}/{name}"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let names = sources.dir(&folder).iter();
    let steps = names.filter(|name| !matches!(name.as_str(), "attempts" | "done" | "rebooted"));
    let failed = steps.filter_map(|name| {
        let code = text(name);
        (code != "0").then(|| format!("{name} ({code})"))
    });
    State {
        done: sources.has(&format!("{folder}/done")),
        attempts: text("attempts").parse().unwrap_or(0),
        failed: failed.collect(),
    }
}

/// Writes the batch file with all that it needs, and the service that starts it.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(windows) = &facts.windows else {
        return out;
    };
    let sources = &facts.sources;
    let state = parse(sources, windows);
    if state.done && policy.firstboot.is_empty() {
        return out;
    }
    out.extend(scripts(sources, windows, policy));
    let wanted = !policy.firstboot.is_empty()
        || policy.drivers.is_some()
        || network::wants_first_boot(facts, policy)
        || sources.has(&in_folder(windows, RUNNER));
    if !wanted {
        return out;
    }
    out.changes.extend(agent(facts, windows, policy));
    for (name, lines, why) in [
        (
            PACKAGES,
            vmware_tools::packages_left(facts),
            "VMware's driver packages, which Windows itself removes",
        ),
        (
            DEVICES,
            network::ghosts(facts),
            "network cards of the old machine, which Windows itself removes",
        ),
    ] {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        if !lines.is_empty() {
            out.changes.extend(Change::edit(
                TOPIC,
                why,
                sources,
                &in_folder(windows, name),
                lines,
            ));
        }
    }
    out.changes.extend(forgotten(sources, windows));
    let text = script::text(windows.build, SERVICE);
    let why =
        "drivers, addresses and the guest agent at the first boot, each once and none for ever";
    out.changes.extend(Change::edit(
        TOPIC,
        why,
        sources,
        &in_folder(windows, RUNNER),
        text,
    ));
    let edits = windows
        .control_set_keys()
        .flat_map(|set| service(&set))
        .collect();
    let why = "starts it, without waiting for it, until it removes itself";
    out.changes
        .extend(Change::hive(TOPIC, why, &sources.registry, SYSTEM, edits));
    out
}

/// Notes of an earlier first boot would end this one at once.
fn forgotten(sources: &Sources, windows: &WindowsFacts) -> Vec<Change> {
    let folder = in_folder(windows, STATE);
    let notes = sources
        .dir(&folder)
        .iter()
        .map(|name| format!("{folder}/{name}"));
    let remove = |path: String| {
        let action = Action::RemoveFile {
            path: GuestPath::new(&path),
        };
        Change::new(TOPIC, "a note of an earlier first boot", action, None)
    };
    notes.map(remove).collect()
}

fn service(set: &str) -> Vec<Edit> {
    let key = format!("{set}\\Services\\{SERVICE}");
    vec![
        Edit::dword(&*key, "Type", 0x10),
        Edit::dword(&*key, "Start", 2),
        // A service that never reports has failed: no message about that at the console.
        Edit::dword(&*key, "ErrorControl", 0),
        Edit::expand(&*key, "ImagePath", COMMAND),
        Edit::text(&*key, "ObjectName", "LocalSystem"),
        Edit::text(
            &*key,
            "DisplayName",
            "guestfix: first boot on the new machine",
        ),
    ]
}

/// The operator's scripts.
fn scripts(sources: &Sources, windows: &WindowsFacts, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for (script, number) in policy.firstboot.iter().zip(1_u32..) {
        let kind = script
            .name
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .to_lowercase();
        if !["cmd", "bat", "exe", "ps1"].contains(&kind.as_str()) {
            out.concerns.push(Concern::critical(
                "firstboot-script-unknown",
                format!(
                    "Windows does not run {}: give it the ending .cmd, .bat, .ps1 or .exe",
                    script.name
                ),
            ));
            continue;
        }
        let path = in_folder(windows, &format!("{SCRIPTS}/{number:03}-{}", script.name));
        let old = sources.files.get(&path);
        if old.is_some_and(|file| file.content == script.content) {
            continue;
        }
        let action = Action::WriteFile {
            path: GuestPath::new(&path),
            before: old.map(|file| crate::digest::sha256_hex(&file.content)),
            content: script.content.clone(),
            attrs: Attrs::FILE,
        };
        let before = old.map(|file| file.content.as_slice());
        out.changes.push(Change::new(
            TOPIC,
            "to be run once after the first boot",
            action,
            before,
        ));
    }
    out
}

/// The installer of QEMU's guest agent, unless the guest has that.
fn agent(facts: &Facts, windows: &WindowsFacts, policy: &Policy) -> Option<Change> {
    let agent = policy.drivers.as_ref()?.agent.as_ref()?;
    let registry = &facts.sources.registry;
    let mut sets = windows.control_set_keys();
    if sets.any(|set| {
        registry
            .key(SYSTEM, &format!("{set}\\Services\\QEMU-GA"))
            .is_some()
    }) {
        return None;
    }
    let path = in_folder(windows, AGENT);
    place(
        TOPIC,
        "the guest agent, installed at the first boot",
        &facts.sources,
        &path,
        agent,
    )
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "first-boot",
    what: "what is left to the first boot will be started, or has come to its end",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let Some(windows) = &facts.windows else {
        return Finding::skip("no Windows");
    };
    let sources = &facts.sources;
    let state = parse(sources, windows);
    if state.done {
        return match state.failed.is_empty() {
            true => Finding::pass("it has come to its end"),
            false => Finding::fail(format!(
                "failed at the first boot: {}",
                state.failed.join(", ")
            )),
        };
    }
    if !sources.has(&in_folder(windows, RUNNER)) {
        let staged = sources.dir(&windows.in_system_root(staging::FOLDER));
        return match staged.is_empty() {
            true => Finding::skip("nothing is left to it"),
            false => Finding::fail("drivers are laid out and nothing imports them"),
        };
    }
    for set in windows.control_set_keys() {
        let key = format!("{set}\\Services\\{SERVICE}");
        let command = sources.registry.text(SYSTEM, &key, "ImagePath");
        if command.as_deref() != Some(COMMAND) {
            return Finding::fail(format!("{set} does not start it"));
        }
    }
    Finding::pass(format!("{SERVICE} starts {}", in_folder(windows, RUNNER)))
}

/// Reads what an earlier conversion or a first boot left.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for set in gather.control_sets().to_vec() {
        for service in [SERVICE, "QEMU-GA"] {
            gather.key(SYSTEM, &format!("{set}\\Services\\{service}"))?;
        }
    }
    let folder = gather.in_system_root(FOLDER);
    if !gather.exists(&folder)? {
        return Ok(());
    }
    for name in [RUNNER, NETWORK, PACKAGES, DEVICES, LOG] {
        gather.file(&format!("{folder}/{name}"))?;
    }
    gather.digest(&format!("{folder}/{AGENT}"))?;
    for below in [STATE, SCRIPTS] {
        let below = format!("{folder}/{below}");
        for name in gather.dir(&below)? {
            gather.file(&format!("{below}/{name}"))?;
        }
    }
    Ok(())
}

/// What a first boot that ran says, for `inspect`.
pub fn told(facts: &Facts) -> Option<Concern> {
    let windows = facts.windows.as_ref()?;
    let state = parse(&facts.sources, windows);
    let log = facts.sources.bytes(&in_folder(windows, LOG))?;
    let log = String::from_utf8_lossy(log);
    let last = log
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .to_owned();
    let at = in_folder(windows, LOG);
    Some(match (state.done, state.failed.as_slice()) {
        (true, []) => Concern::information(
            "first-boot-done",
            format!("the first boot ended well ({last}); {at}"),
        ),
        (true, failed) => Concern::warning(
            "first-boot-failed",
            format!("at the first boot failed: {}; see {at}", failed.join(", ")),
        ),
        (false, _) => Concern::warning(
            "first-boot-unfinished",
            format!(
                "the first boot started {} times and has not ended; its last words: {last}; see {at}",
                state.attempts
            ),
        ),
    })
}

#[cfg(test)]
mod tests;
