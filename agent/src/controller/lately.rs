// SPDX-License-Identifier: Apache-2.0
//! What was done a moment ago. Stores show it a moment later; until then it is not done again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After so long a store shows what was done.
pub const SHOWN: Duration = Duration::from_secs(5);
/// So many are remembered before old ones are forgotten.
const MANY: usize = 256;

/// What was done a moment ago, by words that say what and to whom.
#[derive(Debug, Default)]
pub struct Lately(Mutex<HashMap<String, Instant>>);

impl Lately {
    /// It was done so lately that no store need show it yet.
    pub fn has(&self, what: &str) -> bool {
        self.all().get(what).is_some_and(|at| at.elapsed() < SHOWN)
    }

    /// It was done just now.
    pub fn note(&self, what: String) {
        let mut all = self.all();
        if all.len() >= MANY {
            all.retain(|_, at| at.elapsed() < SHOWN);
        }
        all.insert(what, Instant::now());
    }

    /// It was undone.
    pub fn forget(&self, what: &str) {
        self.all().remove(what);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
