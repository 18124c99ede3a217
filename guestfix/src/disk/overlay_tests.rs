// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::super::fake::Memory;
use super::*;

fn delta() -> File {
    tempfile::tempfile().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

proptest! {
    #[test]
    fn an_overlay_behaves_like_plain_memory(
        clusters in 1_usize..6,
        tail in prop_oneof![Just(0_usize), Just(512), Just(1536), Just(4095)],
        grow in prop_oneof![Just(0_usize), Just(4096), Just(5000)],
        writes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..14_000, any::<u8>()), 0..24),
        reads in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..14_000), 1..8),
    ) {
        let base = pattern(clusters * CLUSTER + tail);
        let mut model = base.clone();
        model.resize(base.len() + grow, 0);
        let memory = Memory::new(base.clone());
        let overlay = Overlay::with_len(memory.clone(), model.len() as u64, delta(), u64::MAX);
        for (at, len, byte) in writes {
            let at = at.index(model.len());
            let len = len.min(model.len() - at);
            let data: Vec<u8> = (0..len).map(|i| byte.wrapping_add(i as u8)).collect();
            overlay.write_at(&data, at as u64).unwrap();
            model[at..at + len].copy_from_slice(&data);
        }
        let mut whole = vec![0; model.len()];
        overlay.read_at(&mut whole, 0).unwrap();
        prop_assert_eq!(&whole, &model);
        for (at, len) in reads {
            let at = at.index(model.len());
            let len = len.min(model.len() - at);
            let mut got = vec![0; len];
            overlay.read_at(&mut got, at as u64).unwrap();
            prop_assert_eq!(&got[..], &model[at..at + len]);
        }
        prop_assert_eq!(memory.bytes(), base.clone());

        // Laying the changed bytes over the base gives the same; so does another process's view.
        let mut laid = base;
        laid.resize(model.len(), 0);
        overlay.read_changed(|at, data| {
            laid[at as usize..at as usize + data.len()].copy_from_slice(data);
            Ok(())
        }).unwrap();
        prop_assert_eq!(&laid, &model);
        let changed = overlay.changed();
        prop_assert!(changed.windows(2).all(|w| w[0].offset + w[0].len <= w[1].offset));
        let other = Overlay::from_changed(memory, model.len() as u64, overlay.delta, &changed, u64::MAX).unwrap();
        other.read_at(&mut whole, 0).unwrap();
        prop_assert_eq!(&whole, &model);
        prop_assert_eq!(other.changed(), changed);
    }
}

#[test]
fn a_sparse_disk_of_ten_tebibytes_costs_only_what_is_written() {
    let base = Memory::sparse(10 << 40);
    let overlay = Overlay::new(base, delta(), 1 << 20);
    overlay.write_at(b"end", (10 << 40) - 3).unwrap();
    overlay.write_at(b"start", 0).unwrap();
    assert_eq!(overlay.delta_bytes(), 2 * CLUSTER_U64);
    assert_eq!(overlay.changed().len(), 2);
    let mut end = [0; 3];
    overlay.read_at(&mut end, (10 << 40) - 3).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn a_long_read_asks_the_base_once_for_each_untouched_run() {
    let base = Memory::sparse(8 << 20);
    let overlay = Overlay::new(base.clone(), delta(), 1 << 20);
    overlay.write_at(&[1; CLUSTER], 512 << 10).unwrap();
    let before = base.reads();
    overlay.read_at(&mut vec![0; 1 << 20], 0).unwrap();
    assert_eq!(base.reads() - before, 2);
}

#[test]
fn a_full_overlay_latches_its_error() {
    let overlay = Overlay::new(Memory::sparse(1 << 20), delta(), 2 * CLUSTER_U64);
    overlay.write_at(&[1; 2 * CLUSTER], 0).unwrap();
    overlay.write_at(&[2; 10], 100).unwrap();
    overlay.flush().unwrap();
    let error = overlay.write_at(&[3; 1], 8192).unwrap_err();
    assert_eq!(error.code, "no-space");
    assert_eq!(overlay.latched(), Some(error.clone()));
    assert_eq!(overlay.write_at(&[4; 1], 0).unwrap_err(), error);
    assert_eq!(overlay.flush().unwrap_err(), error);
    overlay.latch(Error::host("later", "a later error"));
    assert_eq!(overlay.latched(), Some(error));
}

#[test]
fn a_delta_that_cannot_be_written_latches() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let overlay = Overlay::new(
        Memory::sparse(1 << 20),
        File::open(file.path()).unwrap(),
        1 << 20,
    );
    assert!(overlay.write_at(&[1], 0).is_err());
    assert!(overlay.latched().is_some());
    assert!(overlay.changed().is_empty());
}

#[test]
fn reads_beyond_the_end_are_refused_without_latching() {
    let overlay = Overlay::new(Memory::sparse(8192), delta(), 1 << 20);
    assert_eq!(
        overlay.write_at(&[1; 2], 8191).unwrap_err().code,
        "out-of-range"
    );
    assert_eq!(
        overlay.read_at(&mut [1; 2], u64::MAX).unwrap_err().code,
        "out-of-range"
    );
    assert_eq!(overlay.latched(), None);
}

#[test]
fn another_process_cannot_hand_in_lying_extents() {
    let extent = |offset, len, delta| Extent { offset, len, delta };
    for lie in [
        vec![extent(1, 4096, 0)],
        vec![extent(0, 4096, 7)],
        vec![extent(0, 100, 0)],
        vec![extent(0, 0, 0)],
        vec![extent(8192, 4096, 0)],
        vec![extent(0, u64::MAX, 0)],
        vec![extent(4096, 4096, 0), extent(0, 4096, 4096)],
        vec![extent(0, 8192, 0), extent(4096, 4096, 8192)],
    ] {
        let made = Overlay::from_changed(Memory::sparse(8192), 8192, delta(), &lie, 1 << 20);
        assert_eq!(made.unwrap_err().code, "overlay", "{lie:?}");
    }
    let large = [extent(0, 8 << 40, 0)];
    let made = Overlay::from_changed(Memory::sparse(8 << 40), 8 << 40, delta(), &large, 1 << 20);
    assert_eq!(made.unwrap_err().code, "overlay");
}

#[test]
fn threads_may_write_at_once() {
    let overlay = Overlay::new(Memory::sparse(1 << 20), delta(), 1 << 21);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let overlay = &overlay;
            scope.spawn(move || {
                for n in 0..64_u64 {
                    let at = (n * 4 + u64::from(thread)) * 1024;
                    overlay.write_at(&[thread + 1; 1024], at).unwrap();
                }
            });
        }
    });
    let mut whole = vec![0; 256 << 10];
    overlay.read_at(&mut whole, 0).unwrap();
    assert!(
        whole
            .chunks(1024)
            .enumerate()
            .all(|(i, c)| c.iter().all(|&b| b == (i % 4) as u8 + 1))
    );
}
