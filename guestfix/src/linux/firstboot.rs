// SPDX-License-Identifier: Apache-2.0
//! Scripts that the operator gives along (`--firstboot`): each is started once, in their order,
//! when the guest has booted first on KubeVirt. What they print goes to a log in the guest.
//!
//! A runner takes each script out of its directory before it starts it, so that one which restarts
//! the guest, or ends with it, is not started again; the rest follow at the next start. Then the
//! runner removes itself and what started it.

use super::gather::Gatherer;
use super::init::{self, Init};
use crate::digest::sha256_hex;
use crate::error::Result;
use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Action, Attrs, Change, Policy, Proposal, Target};
use crate::verify::Check;

const TOPIC: &str = "firstboot";
const NAME: &str = "guestfix-firstboot";
const RUNNER: &str = "/usr/local/sbin/guestfix-firstboot";
/// Scripts that are still to be run. `/usr/local` is where programs may be run in guests that
/// forbid it elsewhere, and where SELinux expects them.
const DIR: &str = "/usr/local/lib/guestfix/firstboot";
const UNIT: &str = "/etc/systemd/system/guestfix-firstboot.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/guestfix-firstboot.service";
const SCRIPT: &str = "/etc/init.d/guestfix-firstboot";
const PRIVATE: Attrs = Attrs {
    mode: 0o700,
    uid: 0,
    gid: 0,
};

const RUNNER_TEXT: &str = r#"#!/bin/sh
# Written by guestfix: runs each script given with --firstboot once, then removes itself.
dir=/usr/local/lib/guestfix/firstboot
umask 077
exec >>/var/log/guestfix-firstboot.log 2>&1
mkdir -p "$dir.done"
for script in "$dir"/*; do
	[ -f "$script" ] || continue
	name=${script##*/}
	# Taken away first: it must not start twice, whatever becomes of it.
	mv "$script" "$dir.done/$name" || exit 1
	sync
	echo "$(date): $name starts"
	(umask 022 && cd / && exec "$dir.done/$name" </dev/null)
	echo "$(date): $name ended with status $?"
done
rm -f /etc/systemd/system/multi-user.target.wants/guestfix-firstboot.service
rm -f /etc/systemd/system/guestfix-firstboot.service
rm -f /etc/rc?.d/S99guestfix-firstboot /etc/rc.d/rc?.d/S99guestfix-firstboot
rm -f /etc/init.d/rc?.d/S99guestfix-firstboot /etc/runlevels/default/guestfix-firstboot
rm -f /etc/init.d/guestfix-firstboot
rmdir "$dir"
rm -f /usr/local/sbin/guestfix-firstboot
echo "$(date): all done"
"#;

const UNIT_TEXT: &str = "[Unit]
Description=Scripts given to guestfix for the first boot
After=local-fs.target network.target
ConditionPathExists=/usr/local/sbin/guestfix-firstboot

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/guestfix-firstboot
TimeoutSec=0

[Install]
WantedBy=multi-user.target
";

const SYSV_TEXT: &str = "#!/bin/sh
# chkconfig: 2345 99 01
# description: Scripts given to guestfix for the first boot
### BEGIN INIT INFO
# Provides: guestfix-firstboot
# Required-Start: $local_fs $network
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: Scripts given to guestfix for the first boot
### END INIT INFO
[ \"$1\" = start ] || exit 0
[ -x /usr/local/sbin/guestfix-firstboot ] || exit 0
/usr/local/sbin/guestfix-firstboot </dev/null &
";

const OPENRC_TEXT: &str = "#!/sbin/openrc-run
description=\"Scripts given to guestfix for the first boot\"

depend() {
	after *
}

start() {
	[ -x /usr/local/sbin/guestfix-firstboot ] || return 0
	/usr/local/sbin/guestfix-firstboot </dev/null &
}
";

/// The scripts that still wait in a guest, in the order in which they will run, by a listing of
/// their directory.
pub fn parse(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names
}

/// Puts the scripts there, and what starts them.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    if policy.firstboot.is_empty() {
        return out;
    }
    let init = init::of(facts);
    if init == Init::Unknown {
        out.concerns.push(Concern::critical(
            "firstboot-impossible",
            "the guest has neither systemd, nor OpenRC, nor sysvinit to start the scripts of --firstboot: convert it without them",
        ));
        return out;
    }
    let sources = &facts.sources;
    for (index, script) in policy.firstboot.iter().enumerate() {
        let number = index.saturating_add(1);
        let path = format!("{DIR}/{number:03}-{}", script.name);
        let why = "to be run once after the first boot";
        out.changes
            .extend(file(sources, why, &path, &script.content, PRIVATE));
    }
    let why = "runs them, one after the other";
    out.changes
        .extend(file(sources, why, RUNNER, RUNNER_TEXT.as_bytes(), PRIVATE));
    let why = "starts them at the first boot";
    let (path, text, attrs) = match init {
        Init::Systemd => (UNIT, UNIT_TEXT, Attrs::FILE),
        Init::OpenRc => (SCRIPT, OPENRC_TEXT, Attrs::PROGRAM),
        _ => (SCRIPT, SYSV_TEXT, Attrs::PROGRAM),
    };
    out.changes
        .extend(file(sources, why, path, text.as_bytes(), attrs));
    let links = match init {
        Init::Systemd => vec![Action::Symlink {
            path: WANTED.into(),
            target: UNIT.to_owned(),
        }],
        _ => init::enable(facts, NAME, "2345", 99),
    };
    let links = links.into_iter().filter(|link| !is_so(sources, link));
    out.changes
        .extend(links.map(|link| Change::new(TOPIC, why, link, None)));
    out
}

/// Nothing is asserted: in a guest that has run there is nothing of it left.
pub const CHECKS: &[Check] = &[];

/// Reads what an earlier conversion put there.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    if !gather.file(RUNNER)? {
        return Ok(());
    }
    gather.files_in(DIR, |_| true)?;
    gather.file(UNIT)?;
    gather.file(SCRIPT)?;
    gather.link(WANTED)?;
    for above in ["/etc", "/etc/rc.d", "/etc/init.d"] {
        for level in 2..=5 {
            gather.link(&format!("{above}/rc{level}.d/S99{NAME}"))?;
        }
    }
    gather.link(&format!("{}/default/{NAME}", init::RUNLEVELS))?;
    Ok(())
}

fn is_so(sources: &Sources, link: &Action) -> bool {
    match link {
        Action::Symlink { path, target } => sources.links.get(&path.display()) == Some(target),
        _ => false,
    }
}

fn file(sources: &Sources, why: &str, path: &str, content: &[u8], attrs: Attrs) -> Option<Change> {
    let old = sources.files.get(path);
    if old.is_some_and(|file| file.content == content) {
        return None;
    }
    let action = Action::WriteFile {
        path: GuestPath::new(path),
        before: old.map(|file| sha256_hex(&file.content)),
        content: content.to_vec(),
        attrs,
    };
    let before = old.map(|file| file.content.as_slice());
    Some(Change::new(TOPIC, why, action, before))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;
    use crate::plan::policy::FirstbootScript;

    fn policy(scripts: &[(&str, &str)]) -> Policy {
        let script = |(name, content): &(&str, &str)| FirstbootScript {
            name: (*name).to_owned(),
            content: content.as_bytes().to_vec(),
        };
        Policy {
            firstboot: scripts.iter().map(script).collect(),
            ..Policy::default()
        }
    }

    fn paths(fs: &MemoryFs, policy: &Policy) -> Vec<String> {
        let facts = fixture::gathered(fs.clone());
        let out = propose(&facts, &fixture::target(), policy);
        out.changes
            .iter()
            .map(|change| change.path.clone())
            .collect()
    }

    #[test]
    fn scripts_keep_their_order_and_every_init_starts_them() {
        let two = policy(&[("z.sh", "#!/bin/sh\n"), ("a.sh", "#!/bin/sh\n")]);
        let systemd = MemoryFs::new().file("/lib/systemd/systemd", "");
        assert_eq!(
            paths(&systemd, &two),
            [
                "/usr/local/lib/guestfix/firstboot/001-z.sh",
                "/usr/local/lib/guestfix/firstboot/002-a.sh",
                RUNNER,
                UNIT,
                WANTED
            ]
        );
        let sysv = MemoryFs::new().dir("/etc/rc.d/rc3.d");
        assert_eq!(
            paths(&sysv, &two)[3..],
            [
                SCRIPT,
                "/etc/rc.d/rc2.d/S99guestfix-firstboot",
                "/etc/rc.d/rc3.d/S99guestfix-firstboot",
                "/etc/rc.d/rc4.d/S99guestfix-firstboot",
                "/etc/rc.d/rc5.d/S99guestfix-firstboot"
            ]
        );
        let openrc = MemoryFs::new().file("/etc/runlevels/default/sshd", "");
        assert_eq!(
            paths(&openrc, &two)[3..],
            [SCRIPT, "/etc/runlevels/default/guestfix-firstboot"]
        );
        assert!(paths(&systemd, &Policy::default()).is_empty());
    }

    #[test]
    fn a_second_conversion_changes_nothing() {
        let one = policy(&[("x", "#!/bin/sh\necho\n")]);
        for fs in [
            MemoryFs::new().file("/lib/systemd/systemd", ""),
            MemoryFs::new().dir("/etc/rc3.d"),
            MemoryFs::new().file("/etc/runlevels/default/sshd", ""),
        ] {
            let facts = fixture::gathered(fs.clone());
            let out = propose(&facts, &fixture::target(), &one);
            let after = fixture::applied(fs, &out.changes);
            assert!(paths(&after, &one).is_empty());
        }
    }

    #[test]
    fn a_guest_without_an_init_that_is_known_is_told_beforehand() {
        let facts = fixture::gathered(MemoryFs::new());
        let out = propose(&facts, &fixture::target(), &policy(&[("x", "")]));
        assert!(out.changes.is_empty());
        assert_eq!(out.concerns[0].id, "firstboot-impossible");
    }

    /// The runner itself, in a directory that stands for the guest's root.
    #[test]
    fn the_runner_starts_each_script_once_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        for path in [
            "/usr/local/lib/guestfix/firstboot",
            "/var/log",
            "/usr/local/sbin",
            "/etc/systemd/system/multi-user.target.wants",
        ] {
            std::fs::create_dir_all(format!("{root}{path}")).unwrap();
        }
        let here = |text: &str| {
            ["/usr/local", "/var/log", "/etc/"]
                .iter()
                .fold(text.to_owned(), |text, path| {
                    text.replace(path, &format!("{root}{path}"))
                })
        };
        let write = |path: &str, text: &str| {
            let path = format!("{root}{path}");
            std::fs::write(&path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&path, mode).unwrap();
        };
        write(RUNNER, &here(RUNNER_TEXT));
        write(UNIT, UNIT_TEXT);
        write(
            &format!("{DIR}/001-first one"),
            "#!/bin/sh\necho one; exit 3\n",
        );
        // The second ends the runner, as a restart of the guest would.
        write(
            &format!("{DIR}/002-second"),
            "#!/bin/sh\necho two; kill -9 $PPID\nkill -9 $(ps -o ppid= $PPID)\n",
        );
        write(&format!("{DIR}/003-third"), "#!/bin/sh\necho three\n");
        let run = || std::process::Command::new(format!("{root}{RUNNER}")).status();
        run().unwrap();
        if std::path::Path::new(&format!("{root}{RUNNER}")).exists() {
            run().unwrap();
        }
        let log =
            std::fs::read_to_string(format!("{root}/var/log/guestfix-firstboot.log")).unwrap();
        let said: Vec<_> = log
            .lines()
            .filter(|line| matches!(*line, "one" | "two" | "three"))
            .collect();
        assert_eq!(said, ["one", "two", "three"]);
        assert!(log.contains("001-first one ended with status 3"), "{log}");
        for path in [RUNNER, UNIT, DIR] {
            assert!(
                !std::path::Path::new(&format!("{root}{path}")).exists(),
                "{path}"
            );
        }
    }
}
