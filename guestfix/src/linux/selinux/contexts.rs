// SPDX-License-Identifier: Apache-2.0
//! file_contexts(5): which label a path gets. Of all lines whose expression and kind of file fit,
//! the last one counts, and a line without special characters counts more than any with them, as
//! selabel_file(5) has it.

use std::cell::{Cell, OnceCell};

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::super::text::lines;
use crate::fs::FileType;

/// Endings of the files' names: the policy's, homes', the administrator's, and two of spellings of
/// directories, the administrator's and the policy's.
pub const FILES: [&str; 5] = ["", ".homedirs", ".local", ".subs", ".subs_dist"];

/// Bytes that one compiled expression may take.
const MAX_REGEX: usize = 256 << 10;
/// Compiled expressions that are kept for the next path, and that are made at all. A policy has
/// 6000, of which a path's beginning leaves a hundred.
const MAX_KEPT: usize = 1000;
const MAX_COMPILED: usize = 50_000;
/// Longest label.
const MAX_LABEL: usize = 4096;
const META: &[u8] = b".^$?*+|[({";

/// What is to be done about a path's label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Label {
    /// It gets this one.
    Set(String),
    /// It has none.
    None,
    /// It cannot be told; one clause.
    Unknown(String),
}

/// A policy's file contexts.
#[derive(Debug, Default)]
pub struct Contexts {
    /// Those that count more stand later.
    specs: Vec<Spec>,
    subs: Vec<(Vec<u8>, Vec<u8>)>,
    dist: Vec<(Vec<u8>, Vec<u8>)>,
    /// Expressions compiled so far.
    compiled: Cell<usize>,
}

#[derive(Debug)]
struct Spec {
    regex: String,
    /// What every path that fits begins with.
    prefix: Vec<u8>,
    exact: bool,
    compiled: OnceCell<Regex>,
    kind: Option<Kind>,
    /// `None` for `<<none>>`.
    context: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    Symlink,
    /// Devices, sockets, pipes: never what is asked about.
    Other,
}

impl Contexts {
    /// Reads the files that `file` has by the endings of [`FILES`]. Lines that are no contexts are
    /// skipped.
    pub fn parse<'a>(file: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let [base, homes, local, subs, dist] = FILES;
        let mut specs: Vec<Spec> = [base, homes, local]
            .iter()
            .flat_map(|end| lines(file(end).unwrap_or_default()))
            .filter_map(|line| spec(&line.text()))
            .collect();
        specs.sort_by_key(|spec| spec.exact);
        let pairs = |end: &str| {
            let mut pairs: Vec<_> = lines(file(end).unwrap_or_default())
                .iter()
                .filter_map(|line| pair(&line.text()))
                .collect();
            pairs.reverse();
            pairs
        };
        Self {
            specs,
            subs: pairs(subs),
            dist: pairs(dist),
            compiled: Cell::new(0),
        }
    }

    /// The label of a path that names a file of this type.
    pub fn label(&self, path: &[u8], file_type: FileType) -> Label {
        if self.specs.is_empty() {
            return Label::Unknown("its policy has no file contexts".to_owned());
        }
        let kind = match file_type {
            FileType::File => Kind::File,
            FileType::Dir => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::Special => return Label::None,
        };
        let path = substituted(&self.subs, path);
        let path = substituted(&self.dist, &path);
        for spec in self.specs.iter().rev() {
            if spec.kind.is_some_and(|of| of != kind) || !path.starts_with(&spec.prefix) {
                continue;
            }
            match self.fits(spec, &path) {
                Ok(false) => {}
                Ok(true) => return spec.context.clone().map_or(Label::None, Label::Set),
                Err(why) => return Label::Unknown(why),
            }
        }
        Label::None
    }

    fn fits(&self, spec: &Spec, path: &[u8]) -> Result<bool, String> {
        if spec.exact {
            return Ok(spec.prefix == path);
        }
        if let Some(regex) = spec.compiled.get() {
            return Ok(regex.is_match(path));
        }
        let times = self.compiled.get().saturating_add(1);
        self.compiled.set(times);
        if times > MAX_COMPILED {
            return Err("its policy has more expressions than any".to_owned());
        }
        let regex: Result<Regex, _> = RegexBuilder::new(&format!("^(?:{})$", spec.regex))
            .unicode(false)
            .dot_matches_new_line(true)
            .size_limit(MAX_REGEX)
            .build();
        let regex = regex.map_err(|_| {
            let regex = &spec.regex;
            format!("its policy has an expression that is not understood: {regex}")
        })?;
        let fits = regex.is_match(path);
        if times <= MAX_KEPT {
            let _ = spec.compiled.set(regex);
        }
        Ok(fits)
    }
}

/// `EXPRESSION [KIND] CONTEXT`.
fn spec(line: &str) -> Option<Spec> {
    let mut words = line.split_whitespace();
    let regex = words.next().filter(|word| word.starts_with('/'))?;
    let mut next = words.next()?;
    let kind = match next {
        "--" => Some(Kind::File),
        "-d" => Some(Kind::Dir),
        "-l" => Some(Kind::Symlink),
        "-c" | "-b" | "-s" | "-p" => Some(Kind::Other),
        _ => None,
    };
    if kind.is_some() {
        next = words.next()?;
    }
    let good = next.len() <= MAX_LABEL && next.bytes().all(|b| b.is_ascii_graphic());
    let (prefix, exact) = literal(regex.as_bytes());
    (good && words.next().is_none()).then(|| Spec {
        regex: regex.to_owned(),
        prefix,
        exact,
        compiled: OnceCell::new(),
        kind,
        context: (next != "<<none>>").then(|| next.to_owned()),
    })
}

/// What an expression begins with literally, and whether that is all of it.
fn literal(regex: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut bytes = regex.iter().copied();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b'\\' => match bytes.next() {
                // A class such as \d.
                Some(class) if class.is_ascii_alphanumeric() => None,
                other => other,
            },
            meta if META.contains(&meta) => {
                // It may stand for the last one's absence.
                if matches!(meta, b'?' | b'*' | b'{') {
                    out.pop();
                }
                None
            }
            plain => Some(plain),
        };
        match literal {
            Some(byte) => out.push(byte),
            None if has_choice(regex) => return (Vec::new(), false),
            None => return (out, false),
        }
    }
    (out, true)
}

/// A choice outside of all brackets: the beginning binds one side only.
fn has_choice(regex: &[u8]) -> bool {
    let mut depth = 0_i32;
    let mut bytes = regex.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// `/new /old`: what lies below the first is labelled as if it lay below the second.
fn pair(line: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut words = line.split_whitespace();
    let (from, to) = (words.next()?, words.next()?);
    let good = from.starts_with('/') && to.starts_with('/') && from != "/";
    good.then(|| (from.as_bytes().to_vec(), to.as_bytes().to_vec()))
}

fn substituted(pairs: &[(Vec<u8>, Vec<u8>)], path: &[u8]) -> Vec<u8> {
    let found = pairs.iter().find_map(|(from, to)| {
        let rest = path.strip_prefix(from.as_slice())?;
        let border = rest.is_empty() || rest.starts_with(b"/");
        border.then(|| match to.as_slice() {
            b"/" if rest.is_empty() => b"/".to_vec(),
            b"/" => rest.to_vec(),
            to => [to, rest].concat(),
        })
    });
    found.unwrap_or_else(|| path.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small policy of our own, written to hold one of every rule of matching.
    const POLICY: &str = "# comment\n/.*\tsystem_u:object_r:default_t:s0\n/\t-d\tsystem_u:object_r:root_t:s0\n/etc(/.*)?\tsystem_u:object_r:etc_t:s0\n/etc/systemd/system(/.*)?\tsystem_u:object_r:unit_t:s0\n/etc/fstab\\.d(/.*)?\tsystem_u:object_r:wrong_t:s0\n/etc/resolv\\.conf.*\t--\tsystem_u:object_r:net_conf_t:s0\n/etc/exact\tsystem_u:object_r:exact_t:s0\n/etc/exac[t]\tsystem_u:object_r:later_t:s0\n/usr(/.*)?\tsystem_u:object_r:usr_t:s0\n/usr/(.*/)?sbin(/.*)?\tsystem_u:object_r:bin_t:s0\n/usr/lib(/.*)?\tsystem_u:object_r:lib_t:s0\n/usr/lib/systemd/system(/.*)?\tsystem_u:object_r:unit_t:s0\n/proc(/.*)?\t<<none>>\n/var/log(/.*)?\t-d\tsystem_u:object_r:log_dir_t:s0\n/var/log/[^/]*\\d\t--\tsystem_u:object_r:numbered_t:s0\n/var/x|/var/yy\tsystem_u:object_r:choice_t:s0\n/dev/.*\t-c\tsystem_u:object_r:dev_t:s0\n/dev/shm/a?b\tsystem_u:object_r:maybe_t:s0\nbroken\n/short\n";
    const LOCAL: &str = "/etc/mine(/.*)?\tsystem_u:object_r:mine_t:s0\n";
    const SUBS: &str = "/srv/homes /home\n";
    const DIST: &str = "/lib /usr/lib\n/etc/systemd/system /usr/lib/systemd/system\n";

    fn contexts() -> Contexts {
        Contexts::parse(|end| match end {
            "" => Some(POLICY.as_bytes()),
            ".local" => Some(LOCAL.as_bytes()),
            ".subs" => Some(SUBS.as_bytes()),
            ".subs_dist" => Some(DIST.as_bytes()),
            _ => None,
        })
    }

    const PATHS: [(&str, FileType); 22] = [
        ("/", FileType::Dir),
        ("/.autorelabel", FileType::File),
        ("/etc", FileType::Dir),
        ("/etc/fstab", FileType::File),
        ("/etc/fstabxd", FileType::File),
        ("/etc/resolv.conf", FileType::File),
        ("/etc/resolv.conf", FileType::Symlink),
        ("/etc/resolvXconf", FileType::File),
        ("/etc/exact", FileType::File),
        ("/etc/mine/x", FileType::File),
        ("/etc/systemd/system/x.service", FileType::File),
        ("/lib/systemd/system/x.service", FileType::File),
        ("/lib/x", FileType::File),
        ("/libx", FileType::File),
        ("/usr/local/sbin/guestfix", FileType::File),
        ("/usr/sbin", FileType::Dir),
        ("/usr/share/x", FileType::File),
        ("/proc/1", FileType::Dir),
        ("/var/log", FileType::Dir),
        ("/var/log/x9", FileType::File),
        ("/var/log/x", FileType::File),
        ("/dev/shm/b", FileType::File),
    ];

    #[test]
    fn the_last_line_that_fits_counts_and_literal_ones_count_most() {
        let contexts = contexts();
        let got: Vec<String> = PATHS
            .iter()
            .map(
                |(path, kind)| match contexts.label(path.as_bytes(), *kind) {
                    Label::Set(label) => label.split(':').nth(2).unwrap().to_owned(),
                    Label::None => "-".to_owned(),
                    Label::Unknown(why) => why,
                },
            )
            .collect();
        assert_eq!(
            got,
            [
                "root_t",
                "default_t",
                "etc_t",
                "etc_t",
                "etc_t",
                "net_conf_t",
                "etc_t",
                "etc_t",
                "exact_t",
                "mine_t",
                "unit_t",
                "unit_t",
                "lib_t",
                "default_t",
                "bin_t",
                "bin_t",
                "usr_t",
                "-",
                "log_dir_t",
                "numbered_t",
                "default_t",
                "maybe_t",
            ]
        );
    }

    /// The oracle: libselinux's own answer, where its tool is there.
    #[test]
    fn libselinux_says_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("file_contexts");
        for (end, text) in [
            ("", POLICY),
            (".local", LOCAL),
            (".subs", SUBS),
            (".subs_dist", DIST),
        ] {
            let text = text.replace("broken\n/short\n", "");
            std::fs::write(dir.path().join(format!("file_contexts{end}")), text).unwrap();
        }
        let contexts = contexts();
        for (path, kind) in PATHS {
            let mode = match kind {
                FileType::Dir => "dir",
                FileType::Symlink => "symlink",
                _ => "file",
            };
            let ran = std::process::Command::new("matchpathcon")
                .args(["-n", "-m", mode, "-f"])
                .args([base.to_str().unwrap(), path])
                .output();
            let Ok(ran) = ran else {
                return;
            };
            let said = String::from_utf8(ran.stdout).unwrap();
            let ours = match contexts.label(path.as_bytes(), kind) {
                Label::Set(label) => label,
                _ => "<<none>>".to_owned(),
            };
            assert_eq!(ours, said.trim(), "{path} {kind:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let odd = Contexts::parse(|end| (end.is_empty()).then_some(&b"/x(?=y).*\ta:b:c\n"[..]));
        assert!(matches!(
            odd.label(b"/xy", FileType::File),
            Label::Unknown(_)
        ));
        assert_eq!(odd.label(b"/z", FileType::File), Label::None);
        let none = Contexts::parse(|_| None);
        assert!(matches!(
            none.label(b"/x", FileType::File),
            Label::Unknown(_)
        ));
    }

    #[test]
    fn an_expression_that_would_not_end_elsewhere_ends_here() {
        let label = |text: &'static str, path: &[u8]| {
            let contexts = Contexts::parse(|end| end.is_empty().then_some(text.as_bytes()));
            contexts.label(path, FileType::File)
        };
        let path = [b"/".to_vec(), vec![b'a'; 100_000]].concat();
        assert_eq!(label("/(a*)*(a*)*(a*)*b\ta:b:c\n", &path), Label::None);
        let huge = label("/x{1000}{1000}\ta:b:d\n", b"/x");
        assert!(matches!(huge, Label::Unknown(_)));
    }
}
