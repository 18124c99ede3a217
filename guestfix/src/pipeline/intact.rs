// SPDX-License-Identifier: Apache-2.0
//! The filesystems themselves, before and after: mounting one must neither switch a feature on that
//! the guest's own kernel may not know, nor leave it dirty.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::fs::health::{self, FsHealth};
use crate::verify::{Outcome, Severity, Verdict};
use crate::volume::Volume;

/// What the heads of all volumes said, by the volume's name.
#[derive(Debug, Default)]
pub(super) struct Heads(BTreeMap<String, FsHealth>);

impl Heads {
    /// Looks at every volume.
    pub(super) fn of(volumes: &[Volume]) -> Result<Self> {
        let mut heads = BTreeMap::new();
        for volume in volumes {
            if let Some(health) = health::health(volume)? {
                heads.insert(volume.name.clone(), health);
            }
        }
        Ok(Self(heads))
    }

    /// The verdict on a conversion: `self` before it, `after` behind it.
    pub(super) fn verdict(&self, after: &Self) -> Verdict {
        let mut wrong = Vec::new();
        for (name, before) in &self.0 {
            match after.0.get(name) {
                None => wrong.push(format!("{name} is no longer what it was")),
                Some(now) if now.features != before.features => {
                    wrong.push(format!(
                        "{name}: features {} -> {}",
                        before.features, now.features
                    ));
                }
                Some(now) if now.dirty && !before.dirty => wrong.push(format!("{name} is dirty")),
                Some(now) if now.errors && !before.errors => {
                    wrong.push(format!("{name} has errors: {}", now.detail));
                }
                Some(_) => {}
            }
        }
        let (result, detail) = if wrong.is_empty() {
            (Outcome::Pass, format!("{} volumes as before", self.0.len()))
        } else {
            (Outcome::Fail, wrong.join("; "))
        };
        Verdict {
            check: "filesystems-intact".to_owned(),
            severity: Severity::Required,
            result,
            reader: "superblock".to_owned(),
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(features: &str, dirty: bool) -> Heads {
        let health = FsHealth {
            dirty,
            errors: false,
            hibernated: false,
            unclean_log: false,
            features: features.to_owned(),
            detail: String::new(),
        };
        Heads(BTreeMap::from([("disk0p1".to_owned(), health)]))
    }

    #[test]
    fn a_new_feature_or_a_dirty_journal_fails() {
        let before = heads("3c/2c2/46b", false);
        assert_eq!(
            before.verdict(&heads("3c/2c2/46b", false)).result,
            Outcome::Pass
        );
        assert_eq!(
            before.verdict(&heads("3c/2c6/46b", false)).result,
            Outcome::Fail
        );
        assert_eq!(
            before.verdict(&heads("3c/2c2/46b", true)).result,
            Outcome::Fail
        );
        assert_eq!(before.verdict(&Heads::default()).result, Outcome::Fail);
        let dirty = heads("3c/2c6/46b", true);
        assert_eq!(
            dirty.verdict(&dirty).result,
            Outcome::Pass,
            "a journal that nobody replayed"
        );
    }
}
