// SPDX-License-Identifier: Apache-2.0

use std::os::unix::fs::PermissionsExt;

use super::*;

fn disk(path: &str) -> DiskIdentity {
    DiskIdentity {
        path: path.to_owned(),
        claim_uid: None,
        size: 512,
    }
}

#[test]
fn the_order_of_disks_does_not_matter_but_the_set_does() {
    let (a, b) = (disk("/a"), disk("/b"));
    let both = guest_id(&[a.clone(), b.clone()]).unwrap();
    assert_eq!(both, guest_id(&[b.clone(), a.clone()]).unwrap());
    assert_ne!(both, guest_id(std::slice::from_ref(&a)).unwrap());
    assert_eq!(
        guest_id(&[a.clone(), a.clone()]).unwrap_err().code,
        "same-disk-twice"
    );
    let claim = |path: &str| DiskIdentity {
        claim_uid: Some("u".to_owned()),
        ..disk(path)
    };
    assert_eq!(
        guest_id(&[claim("/a")]).unwrap(),
        guest_id(&[claim("/b")]).unwrap()
    );
}

#[test]
fn a_home_is_private_and_has_one_writer() {
    let state = tempfile::tempdir().unwrap();
    let disks = [disk("/a")];
    assert!(Home::look(state.path(), &disks).unwrap().is_none());
    let home = Home::open(state.path(), &disks).unwrap();
    assert_eq!(
        home.dir().metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    for name in [IDENTITY, LOCK] {
        let mode = home
            .dir()
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let busy = Home::open(state.path(), &disks).unwrap_err();
    assert_eq!(busy.code, "busy");
    assert!(
        busy.message.contains(&std::process::id().to_string()),
        "{busy}"
    );
    assert_eq!(Home::look(state.path(), &disks).unwrap_err().code, "busy");
    assert!(list(state.path()).unwrap()[0].busy);
    drop(home);
    let (one, two) = (
        Home::look(state.path(), &disks).unwrap(),
        Home::look(state.path(), &disks).unwrap(),
    );
    assert!(one.is_some() && two.is_some());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_the_hosts_fault() {
    let error = Home::open(Path::new("/proc/none"), &[disk("/a")]).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (crate::error::Kind::Host, "state-dir")
    );
    assert!(error.hint.is_some());
}

#[test]
fn prune_removes_what_is_chosen_but_never_a_pending_journal() {
    let state = tempfile::tempdir().unwrap();
    for path in ["/a", "/b", "/c"] {
        let home = Home::open(state.path(), &[disk(path)]).unwrap();
        home.create("undo-0001").unwrap();
        if path == "/b" {
            home.create(JOURNAL).unwrap();
        }
    }
    let listed = list(state.path()).unwrap();
    assert_eq!(listed.len(), 3);
    assert!(
        listed
            .iter()
            .all(|entry| entry.undo_depth == 1 && entry.created > 0 && !entry.busy)
    );
    let removed = prune(state.path(), |entry| entry.disks[0].path != "/c").unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].disks, [disk("/a")]);
    let mut left: Vec<_> = list(state.path())
        .unwrap()
        .into_iter()
        .map(|e| e.disks[0].path.clone())
        .collect();
    left.sort();
    assert_eq!(left, ["/b", "/c"]);
}

#[test]
fn a_disk_that_waits_for_recovery_with_another_is_refused_alone() {
    let state = tempfile::tempdir().unwrap();
    let home = Home::open(state.path(), &[disk("/a"), disk("/b")]).unwrap();
    home.create(JOURNAL).unwrap();
    drop(home);
    let error = Home::open(state.path(), &[disk("/b")]).unwrap_err();
    assert_eq!(error.code, "pending-journal");
    assert!(error.hint.unwrap().contains("/a /b"));
    assert!(Home::open(state.path(), &[disk("/c")]).is_ok());
}
