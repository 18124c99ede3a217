// SPDX-License-Identifier: Apache-2.0
//! `mdadm.conf`: arrays are found by what their members say, not by where the members stand
//! (format: mdadm.conf(5)).

use std::ops::Range;

use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::devices;
use crate::linux::fstab::unparsable;
use crate::linux::text::{self, Edits};
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// Where the file may lie.
pub const PATHS: &[&str] = &["/etc/mdadm.conf", "/etc/mdadm/mdadm.conf"];
const TOPIC: &str = "mdadm";

/// A line with those that continue it: its words with their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// The words, the keyword first.
    pub words: Vec<(Range<usize>, String)>,
}

/// Reads the lines; a line that begins with a blank continues the one before.
pub fn parse(bytes: &[u8]) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    for line in text::lines(bytes) {
        let words = text::words(line.bytes, line.start).into_iter();
        let words: Vec<_> = words
            .map(|(at, word)| (at, String::from_utf8_lossy(word).into_owned()))
            .take_while(|(_, word)| !word.starts_with('#'))
            .collect();
        let goes_on = line
            .bytes
            .first()
            .is_some_and(|b| matches!(b, b' ' | b'\t'));
        match out.last_mut().filter(|_| goes_on) {
            _ if words.is_empty() => {}
            Some(last) => last.words.extend(words),
            None => out.push(Line { words }),
        }
    }
    out
}

impl Line {
    fn is(&self, keyword: &str) -> bool {
        // "dev" and "DEVICE" are the same: three letters are enough.
        let first = self
            .words
            .first()
            .map(|(_, word)| word.to_ascii_lowercase());
        first.is_some_and(|first| first.len() >= 3 && keyword.starts_with(&first))
    }

    fn rest(&self) -> &[(Range<usize>, String)] {
        self.words.get(1..).unwrap_or_default()
    }

    fn tag(&self, name: &str) -> Option<&(Range<usize>, String)> {
        self.rest().iter().find(|(_, word)| {
            let tag = word.split_once('=').map(|(tag, _)| tag);
            tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name))
        })
    }

    /// Devices that are looked at, where none of the new machine is among them.
    fn misses_all(&self) -> bool {
        let general = |word: &str| {
            matches!(word, "partitions" | "containers")
                || word.starts_with("/dev/*")
                || word.starts_with("/dev/disk/by-uuid")
        };
        self.is("device")
            && self.rest().iter().any(|(_, word)| is_old(word))
            && !self.rest().iter().any(|(_, word)| general(word))
    }

    /// `devices=` that names members by place.
    fn members(&self) -> Option<&(Range<usize>, String)> {
        let tag = self.tag("devices").filter(|_| self.is("array"))?;
        let members = tag.1.split_once('=')?.1;
        members.split(',').any(is_old).then_some(tag)
    }
}

/// A name or pattern of the old machine's disks.
fn is_old(word: &str) -> bool {
    // "/dev/sd*", "/dev/sd[a-c]1", "/dev/sda?"
    let head = word.split(['*', '?', '[']).next().unwrap_or(word);
    devices::is_unstable(word)
        || devices::is_unstable(&format!("{head}a"))
        || ["/dev/sd", "/dev/hd"].contains(&head)
}

/// Any device may be a member; members by place are left out where a UUID says it all.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    for path in PATHS {
        let Some(bytes) = facts.sources.bytes(path) else {
            continue;
        };
        if text::is_binary(bytes) {
            out.concerns.push(unparsable(path));
            continue;
        }
        out.changes.extend(Change::edit(
            TOPIC,
            "the members of the arrays have other names on KubeVirt",
            &facts.sources,
            path,
            edited(path, bytes, &mut out.concerns),
        ));
    }
    out
}

/// A configuration that looks for members on any disk.
fn edited(path: &str, text: &[u8], concerns: &mut Vec<Concern>) -> Vec<u8> {
    let mut edits = Edits::new();
    for line in parse(text) {
        edit(path, &line, &mut edits, concerns);
    }
    edits.apply(text)
}

fn edit(path: &str, line: &Line, edits: &mut Edits, concerns: &mut Vec<Concern>) {
    if line.misses_all()
        && let [(first, _), rest @ ..] = line.rest()
    {
        edits.replace(first.clone(), "partitions");
        for (at, _) in rest {
            edits.replace(at.clone(), "");
        }
    }
    let Some((at, word)) = line.members() else {
        return;
    };
    if line.tag("uuid").is_some() {
        // The blank before it goes too.
        edits.replace(at.start.saturating_sub(1)..at.end, "");
    } else {
        concerns.push(Concern::warning(
            "md-members-by-place",
            format!("{path} knows an array only by {word}; write UUID= there instead"),
        ));
    }
}

/// True for files of an initramfs that are mdadm's configuration there.
pub fn is_embedded(file: &str) -> bool {
    super::is_one_of(PATHS, file)
}

/// The names of the old machine's disks where such a text looks for members.
pub fn by_place(text: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    for line in parse(text) {
        if line.misses_all() {
            let words = line.rest().iter().map(|(_, word)| word);
            out.extend(words.filter(|word| is_old(word)).cloned());
        }
        let members = line.members().and_then(|(_, word)| word.split_once('='));
        let members = members.map(|(_, members)| members.split(','));
        out.extend(members.into_iter().flatten().map(str::to_owned));
    }
    out
}

/// Such a text that looks for them on any disk. What it cannot say without a name stays.
pub fn by_content(text: &[u8]) -> Vec<u8> {
    // What is not understood is said of the guest's own file.
    edited("", text, &mut Vec::new())
}

/// The check of this topic.
pub const CHECK: Check = Check {
    name: "md-members",
    what: "mdadm.conf does not look for the members of arrays under names of the old machine",
    severity: Severity::Advised,
    run: check,
};

fn check(facts: &Facts, _: &Target) -> Finding {
    let mut seen = PATHS
        .iter()
        .filter_map(|path| Some((path, facts.sources.bytes(path)?)))
        .peekable();
    if seen.peek().is_none() {
        return Finding::skip("there is no mdadm.conf");
    }
    for (path, bytes) in seen {
        let bad = parse(bytes)
            .into_iter()
            .find(|line| line.misses_all() || line.members().is_some());
        if let Some(line) = bad {
            let words: Vec<&str> = line.words.iter().map(|(_, word)| word.as_str()).collect();
            return Finding::fail(format!("{path}: {}", words.join(" ")));
        }
    }
    Finding::pass("by content")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;
    use crate::linux::fixture;
    use crate::verify::Outcome;

    const PATH: &str = "/etc/mdadm/mdadm.conf";

    fn facts(text: &str) -> Facts {
        fixture::gathered(MemoryFs::new().file(PATH, text))
    }

    fn written(facts: &Facts) -> (Option<String>, usize) {
        let out = propose(facts, &fixture::target(), &Policy::default());
        (fixture::written(&out.changes, PATH), out.concerns.len())
    }

    #[test]
    fn members_by_place_are_left_to_the_uuid() {
        let before = facts(
            "# md\r\nDEVICE /dev/sda1 /dev/sd[bc]1\r\nARRAY /dev/md0 level=raid1 devices=/dev/sda1,/dev/sdb1\r\n   UUID=1:2:3:4\r\nMAILADDR root\r\n",
        );
        assert_eq!(check(&before, &fixture::target()).result, Outcome::Fail);
        let (text, concerns) = written(&before);
        let text = text.unwrap();
        assert_eq!(
            text,
            "# md\r\nDEVICE partitions \r\nARRAY /dev/md0 level=raid1\r\n   UUID=1:2:3:4\r\nMAILADDR root\r\n"
        );
        assert_eq!(concerns, 0);
        assert_eq!(
            check(&facts(&text), &fixture::target()).result,
            Outcome::Pass
        );
    }

    #[test]
    fn an_array_without_a_uuid_is_told_of() {
        assert_eq!(
            written(&facts("ARRAY /dev/md0 devices=/dev/sda1,/dev/sdb1\n")),
            (None, 1)
        );
    }

    #[test]
    fn what_finds_any_member_stays() {
        for text in [
            "DEVICE partitions containers\n",
            "DEVICE /dev/sd* partitions\n",
            "# DEVICE /dev/sda\nARRAY /dev/md0 UUID=1\n",
        ] {
            assert_eq!(written(&facts(text)), (None, 0), "{text}");
            assert_eq!(
                check(&facts(text), &fixture::target()).result,
                Outcome::Pass
            );
        }
        assert_eq!(written(&facts("DEVICE\0\n")), (None, 1));
    }
}
