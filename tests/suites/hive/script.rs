// SPDX-License-Identifier: Apache-2.0
//! Random edit scripts, the same for the same seed, each step with its inverse.

use guestfix::hive::{Editor, Hive, Key, ValueType};

/// A small generator (xorshift64*): the same numbers on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        mixed as usize % most
    }
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    Create(String),
    Delete(String),
    Set(String, String, u32, Vec<u8>),
    Unset(String, String),
    Rename(String, String),
    Secure(String, Vec<u8>),
    Class(String, Option<String>),
}

fn name(random: &mut Random) -> String {
    match random.below(8) {
        0 => "\u{142}\u{3a9}".to_owned(),
        1 => "\u{e4}_x".to_owned(),
        2 => "long".repeat(5 + random.below(20)),
        _ => format!("n{}", random.below(12)),
    }
}

fn path(random: &mut Random, top: &str) -> String {
    let parts = 1 + random.below(3);
    let below: Vec<String> = (0..parts).map(|_| name(random)).collect();
    [top]
        .into_iter()
        .chain(below.iter().map(String::as_str))
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .join("\\")
}

impl Step {
    /// A step somewhere below `top`.
    pub fn random(random: &mut Random, top: &str, most: usize) -> Self {
        let path = path(random, top);
        match random.below(14) {
            0..=4 => Self::Create(path),
            5 => Self::Delete(path),
            6..=9 => {
                let len = match random.below(6) {
                    0..=1 => random.below(6),
                    2..=4 => random.below(300),
                    _ => random.below(50_000),
                };
                let data = (0..len.min(most)).map(|i| (i * 31 + len) as u8).collect();
                Self::Set(path, name(random), random.below(12) as u32, data)
            }
            10 => Self::Unset(path, name(random)),
            11 => Self::Rename(path, name(random)),
            12 => {
                let mut descriptor = vec![1, 0, 0, 0x80];
                descriptor.resize(20 + 4 * random.below(4), 0);
                Self::Secure(path, descriptor)
            }
            _ => Self::Class(path, (random.below(2) == 0).then(|| name(random))),
        }
    }

    /// Runs it; a key that is not there, or a name that is taken, is no fault of the step.
    pub fn run(&self, edit: &mut Editor<'_>) {
        let done = match self {
            Self::Create(path) => edit.create_key(path).map(drop),
            Self::Delete(path) => edit.delete_key(path).map(drop),
            Self::Set(path, name, kind, data) => edit.set_value(path, name, ValueType(*kind), data),
            Self::Unset(path, name) => edit.delete_value(path, name).map(drop),
            Self::Rename(path, name) => edit.rename_key(path, name),
            Self::Secure(path, descriptor) => edit.set_security(path, descriptor),
            Self::Class(path, class) => edit.set_class(path, class.as_deref()),
        };
        if let Err(error) = done {
            let expected = ["hive-no-key", "hive-exists"].contains(&error.code.as_str());
            assert!(expected, "{self:?}: {error}");
        }
    }

    /// The steps that take it back, in the order in which they are to be run.
    pub fn inverse(&self, hive: &Hive) -> Vec<Self> {
        match self {
            Self::Create(path) => first_missing(hive, path)
                .map(Self::Delete)
                .into_iter()
                .collect(),
            Self::Delete(path) => {
                let mut out = Vec::new();
                if let Some(key) = hive.key(path).unwrap() {
                    tree(key, path, &mut out);
                }
                out
            }
            Self::Set(path, name, ..) | Self::Unset(path, name) => {
                let Some(key) = hive.key(path).unwrap() else {
                    return Vec::new();
                };
                let old = key.value(name).unwrap().map(|value| {
                    let (kind, data) = (value.kind().unwrap().0, value.data().unwrap());
                    Self::Set(path.clone(), value.name().unwrap(), kind, data.into_owned())
                });
                vec![old.unwrap_or_else(|| Self::Unset(path.clone(), name.clone()))]
            }
            Self::Rename(path, name) => {
                let (up, old) = path.rsplit_once('\\').unwrap_or(("", path));
                let new = [up, name].join("\\");
                let new = new.trim_start_matches('\\').to_owned();
                let moves = hive.key(path).unwrap().is_some() && hive.key(&new).unwrap().is_none();
                moves
                    .then(|| Self::Rename(new, old.to_owned()))
                    .into_iter()
                    .collect()
            }
            Self::Secure(path, _) => of(hive, path, |key| {
                Self::Secure(path.clone(), key.security().unwrap().unwrap().to_vec())
            }),
            Self::Class(path, _) => of(hive, path, |key| {
                Self::Class(path.clone(), key.class().unwrap())
            }),
        }
    }
}

fn of(hive: &Hive, path: &str, step: impl FnOnce(Key<'_>) -> Step) -> Vec<Step> {
    hive.key(path).unwrap().map(step).into_iter().collect()
}

/// The topmost key of a path that is not there.
fn first_missing(hive: &Hive, path: &str) -> Option<String> {
    let ends = path
        .match_indices('\\')
        .map(|(at, _)| at)
        .chain([path.len()]);
    ends.map(|end| path[..end].to_owned())
        .find(|up| hive.key(up).unwrap().is_none())
}

/// Everything that makes a tree again.
fn tree(key: Key<'_>, path: &str, out: &mut Vec<Step>) {
    out.push(Step::Create(path.to_owned()));
    let descriptor = key.security().unwrap().unwrap().to_vec();
    out.push(Step::Secure(path.to_owned(), descriptor));
    out.push(Step::Class(path.to_owned(), key.class().unwrap()));
    for value in key.values().unwrap() {
        let value = value.unwrap();
        let (kind, data) = (value.kind().unwrap().0, value.data().unwrap());
        let name = value.name().unwrap();
        out.push(Step::Set(path.to_owned(), name, kind, data.into_owned()));
    }
    for sub in key.subkeys().unwrap() {
        let sub = sub.unwrap();
        tree(sub, &format!("{path}\\{}", sub.name().unwrap()), out);
    }
}
