// SPDX-License-Identifier: Apache-2.0
//! The whole transaction against disks that lose power at every step.

use super::world::World;
use super::*;

/// Runs `act` once for every point it passes, stopping it there, and then `check`.
fn at_every_point(
    make: impl Fn() -> World,
    act: impl Fn(&World) -> Result<()>,
    check: impl Fn(&World, u64),
) -> u64 {
    for k in 0.. {
        let world = make();
        fault::stop_after(Some(k));
        let result = act(&world);
        world.power_cut(k);
        check(&world, k);
        match result {
            Ok(()) => return k,
            Err(e) => assert!(
                e.code == fault::CODE || e.code == "commit-incomplete",
                "{k}: {e}"
            ),
        }
    }
    unreachable!()
}

#[test]
fn a_commit_stopped_at_any_point_is_all_or_nothing() {
    for grow in [false, true] {
        let points = at_every_point(
            || World::new(grow),
            |world| world.commit().map(|_| ()),
            |world, k| {
                let pending = world.home().has_journal();
                let recovered = world.recover().unwrap();
                let committed = !world.home().undo_records().unwrap().is_empty();
                assert_eq!(recovered == Recovered::RolledForward, pending, "point {k}");
                assert!(!pending || committed, "point {k}");
                let expected = if committed { &world.new } else { &world.old };
                assert!(&world.bytes() == expected, "point {k}: neither old nor new");
                assert_eq!(world.leftovers(), [""; 0]);
                if committed {
                    world.undo(false).unwrap();
                    assert!(world.bytes() == world.old, "point {k}: undo is not exact");
                }
            },
        );
        assert!(points > 12, "{points} points");
    }
}

#[test]
fn an_undo_stopped_at_any_point_is_all_or_nothing() {
    for grow in [false, true] {
        let make = || {
            let world = World::new(grow);
            world.commit().unwrap();
            world
        };
        let points = at_every_point(
            make,
            |world| world.undo(false).map(|_| ()),
            |world, k| {
                world.recover().unwrap();
                let undone = world.home().undo_records().unwrap().is_empty();
                let expected = if undone { &world.old } else { &world.new };
                assert!(&world.bytes() == expected, "point {k}: neither old nor new");
                assert_eq!(world.leftovers(), [""; 0]);
            },
        );
        assert!(points > 6, "{points} points");
    }
}

#[test]
fn a_recovery_may_be_interrupted_and_run_again() {
    let make = || {
        let world = World::new(true);
        world.interrupt();
        world
    };
    at_every_point(
        make,
        |world| world.recover().map(|_| ()),
        |world, k| {
            world.recover().unwrap();
            assert!(world.bytes() == world.new, "point {k}");
        },
    );
}

#[test]
fn a_disk_that_fails_at_any_operation_leaves_old_or_new() {
    for failing in 0..2 {
        for n in 0.. {
            let world = World::new(false);
            world.disks[failing].fail_after(Some(n));
            let result = world.commit();
            world.power_cut(n);
            if result.is_ok() {
                assert!(n > 4);
                break;
            }
            let error = result.unwrap_err();
            assert_eq!(error.code, "commit-incomplete", "{error}");
            assert!(error.hint.unwrap().contains("recover"));
            assert_eq!(world.recover().unwrap(), Recovered::RolledForward);
            assert!(world.bytes() == world.new);
        }
    }
}
