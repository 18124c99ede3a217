// SPDX-License-Identifier: Apache-2.0
//! What a guest's program touches is told, whatever filesystem it is on.

use guestfix::host::fanotify::{How, Touched};

use crate::fixtures::{other, scratch, two_volumes, volume};
use crate::guest::{Guest, is_root};

fn list(touched: &Touched) -> Vec<(String, How)> {
    let paths = touched.paths.iter();
    paths
        .map(|touch| (touch.path.display(), touch.how))
        .collect()
}

#[test]
fn what_is_made_changed_and_removed_is_told_on_every_filesystem() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let mut images = two_volumes();
    images.push((volume(3), other(64, "xfs")));
    images.push((volume(4), other(64, "btrfs")));
    let guest = Guest::new(images, dir.path());
    guest.mount(1, "/").unwrap();
    guest.mount(2, "/boot").unwrap();
    guest.mount_as(3, "/home", "xfs").unwrap();
    guest.mount_as(4, "/opt", "btrfs").unwrap();
    for at in ["/etc", "/boot", "/home", "/opt"] {
        guest.shell(&format!(
            "cd {at}; mkdir sub; echo 1 > sub/changed; echo 1 > sub/mode; echo 1 > sub/gone; \
             echo 1 > sub/read; echo 1 > sub/replaced"
        ));
        let script = format!(
            "cd {at}; echo 2 >> sub/changed; chmod 600 sub/mode; rm sub/gone; cat sub/read; \
             echo 2 > sub/new; echo 2 > sub/short; rm sub/short; mkdir sub/dir sub/brief; \
             echo 3 > sub/brief/x; rm -r sub/brief; echo 2 > .tmp; mv .tmp sub/replaced; \
             mv sub/dir moved; echo 1 > moved/inside"
        );
        let (exit, touched) = guest.run_watched(&["/bin/sh", "-c", &script], 20);
        assert!(exit.success(), "{exit:?}");
        assert_eq!(touched.unseen, [""; 0]);
        let path = |name: &str| format!("{at}/{name}");
        let want = [
            (path("moved"), How::Changed),
            (path("moved/inside"), How::Created),
            (path("sub/changed"), How::Changed),
            (path("sub/gone"), How::Removed),
            (path("sub/mode"), How::Changed),
            (path("sub/new"), How::Created),
            (path("sub/replaced"), How::Changed),
        ];
        assert_eq!(list(&touched), want, "{at}");
    }
    guest
        .ask(guestfix::host::mounter::MountRequest::Unmount)
        .unwrap();
}

#[test]
fn more_paths_than_are_told_are_counted() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = Guest::new(two_volumes(), dir.path());
    guest.mount(1, "/").unwrap();
    let script = "n=0; while [ $n -lt 3000 ]; do : > /home/$n; n=$((n+1)); done";
    let (exit, touched) = guest.run_watched(&["/bin/sh", "-c", script], 60);
    assert!(exit.success(), "{exit:?}");
    assert_eq!(touched.paths.len(), 2000);
    assert_eq!(touched.more, 1000);
    assert_eq!(touched.unseen, [""; 0]);
    guest.finish();
}
