// SPDX-License-Identifier: Apache-2.0
//! Shadow copies (restore points, previous versions): Windows keeps what a block held before it
//! writes there. Nobody does that while it is off, so they are no whole copies any more of what a
//! conversion changed.

use super::gather::Gatherer;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Policy, Proposal, Target};
use crate::verify::Check;

const FOLDER: &str = "/System Volume Information";
/// The end of the name of each copy's store; alone it is their catalogue:
/// <https://github.com/libyal/libvshadow/blob/main/documentation/Volume%20Shadow%20Snapshot%20(VSS)%20format.asciidoc>.
const STORE: &str = "{3808876b-c176-4e48-b7ae-04046e6cc752}";

/// How many there are.
fn parse(facts: &Facts) -> usize {
    let names = facts.sources.dir(FOLDER).iter();
    let stores = names.map(|name| name.to_lowercase());
    stores
        .filter(|name| name.len() > STORE.len() && name.ends_with(STORE))
        .count()
}

/// Changes nothing; says what becomes of them.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let count = parse(facts);
    if count > 0 {
        out.concerns.push(Concern::warning(
            "shadow-copies",
            format!(
                "the system's volume has {count} shadow copies (restore points, previous versions): \
                 what is changed while Windows is off is not kept in them, so do not go back to one; \
                 delete them afterwards (vssadmin delete shadows /for=C: /all)"
            ),
        ));
    }
    out
}

/// Nothing to check in the guest.
pub const CHECKS: &[Check] = &[];

/// Lists them.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.dir(FOLDER).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{gathered, software, system, volume};
    use super::*;
    use crate::plan::Bus;

    #[test]
    fn a_catalogue_alone_is_no_copy() {
        let told = |names: &[&str]| {
            let empty = volume(&system(), &software());
            let volume = names.iter().fold(empty, |volume, name| {
                volume.file(&format!("{FOLDER}/{name}"), "")
            });
            let facts = gathered(volume);
            let target = Target::recommend(&facts, Bus::Virtio);
            let concerns = propose(&facts, &target, &Policy::default()).concerns;
            concerns.into_iter().map(|c| c.id).collect::<Vec<_>>()
        };
        let store = "{0a0b0c0d-0000-11ee-9000-000c29661aa2}{3808876B-C176-4e48-B7AE-04046E6CC752}";
        assert_eq!(told(&[]), [""; 0]);
        assert_eq!(told(&[STORE, "tracking.log"]), [""; 0]);
        assert_eq!(told(&[STORE, store]), ["shadow-copies"]);
    }
}
