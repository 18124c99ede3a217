// SPDX-License-Identifier: Apache-2.0
//! Images that are built here, sound and hostile; real ones are in the suites.

use proptest::prelude::*;

use super::*;

const SECTOR: usize = 2048;

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, out: &mut [u8], at: u64) -> std::io::Result<()> {
        let at = usize::try_from(at).unwrap();
        let part = self.get(at..at + out.len());
        out.copy_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A directory record.
fn record(name: &[u8], block: u32, len: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEAD];
    out[2..6].copy_from_slice(&block.to_le_bytes());
    out[10..14].copy_from_slice(&len.to_le_bytes());
    out[25] = flags;
    out[32] = name.len() as u8;
    out.extend(name);
    if name.len().is_multiple_of(2) {
        out.push(0);
    }
    out.extend(system_use);
    if !out.len().is_multiple_of(2) {
        out.push(0);
    }
    out[0] = out.len() as u8;
    out
}

const HEAD: usize = 33;

/// An image from what lies in its sectors from the 16th on.
fn image(sectors: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0; 16 * SECTOR];
    for sector in sectors {
        let mut sector = sector.clone();
        assert!(sector.len() <= SECTOR);
        sector.resize(SECTOR, 0);
        out.extend(sector);
    }
    out
}

fn descriptor(kind: u8, escape: &[u8], root: u32) -> Vec<u8> {
    let mut out = vec![0; SECTOR];
    out[0] = kind;
    out[1..6].copy_from_slice(b"CD001");
    out[88..88 + escape.len()].copy_from_slice(escape);
    out[128..130].copy_from_slice(&2048_u16.to_le_bytes());
    let root = record(&[0], root, 2048, 2, &[]);
    out[156..156 + root.len()].copy_from_slice(&root);
    out
}

fn own(block: u32, system_use: &[u8]) -> Vec<u8> {
    [
        record(&[0], block, 2048, 2, system_use),
        record(&[1], block, 2048, 2, &[]),
    ]
    .concat()
}

fn wide(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn open(bytes: Vec<u8>) -> Result<Iso<Vec<u8>>> {
    let len = bytes.len() as u64;
    Iso::read_from(bytes, len)
}

fn paths(iso: &Iso<Vec<u8>>) -> Vec<&str> {
    iso.files().iter().map(|f| f.path.as_str()).collect()
}

/// Sector 16 primary, 17 Joliet, 18 end, 19 plain root, 20 Joliet's root, 21 folder, 22 and 23 data.
fn plain() -> Vec<Vec<u8>> {
    let file = |name: &[u8]| record(name, 22, 5, 0, &[]);
    vec![
        descriptor(1, b"", 19),
        descriptor(2, b"%/E", 20),
        descriptor(255, b"", 0),
        [own(19, &[]), file(b"A_LONG_N.INF;1")].concat(),
        [
            own(20, &[]),
            file(&wide("A long näme.inf")),
            record(&wide("Sub"), 21, 2048, 2, &[]),
        ]
        .concat(),
        [
            own(21, &[]),
            record(&wide("two.sys"), 22, 2048, 0x80, &[]),
            record(&wide("two.sys"), 23, 3, 0, &[]),
        ]
        .concat(),
        b"first".to_vec(),
        b"end".to_vec(),
    ]
}

#[test]
fn joliets_names_are_taken_and_parts_of_a_file_are_joined() {
    let iso = open(image(&plain())).unwrap();
    assert_eq!(paths(&iso), ["A long näme.inf", "Sub/two.sys"]);
    assert_eq!(iso.read(0).unwrap(), b"first");
    let two = iso.read(1).unwrap();
    assert_eq!(
        (two.len(), &two[..5], &two[2048..]),
        (2051, &b"first"[..], &b"end"[..])
    );
    assert_eq!(iso.files()[1].len, 2051);
}

#[test]
fn without_joliet_the_plain_names_are_taken() {
    let mut sectors = plain();
    sectors[1] = descriptor(255, b"", 0);
    let iso = open(image(&sectors)).unwrap();
    assert_eq!(paths(&iso), ["A_LONG_N.INF"]);
}

/// `NM` in two parts, the second in a continuation, and links and moved folders.
#[test]
fn rock_ridges_names_win_also_over_several_areas() {
    let sp = [b'S', b'P', 7, 1, 0xBE, 0xEF, 0];
    let both = |value: u32| [value.to_le_bytes(), value.to_be_bytes()].concat();
    let continued = [&[b'C', b'E', 28, 1][..], &both(22), &both(100), &both(10)].concat();
    let name = [
        &[b'N', b'M', 10, 1, 1][..],
        b"Vio",
        b"st",
        continued.as_slice(),
    ]
    .concat();
    let link = [&[b'P', b'X', 12, 1][..], &both(0o120_777)].concat();
    let moved = [
        &[b'N', b'M', 9, 1, 0][..],
        b"Deep",
        &[b'C', b'L', 12, 1],
        &both(21),
    ]
    .concat();
    let relocated = [b'R', b'E', 4, 1];
    let mut data = vec![0; 110];
    data[100..110].copy_from_slice(&[b'N', b'M', 10, 1, 0, b'o', b'r', b'.', b's', b'y']);
    let sectors = vec![
        descriptor(1, b"", 19),
        descriptor(2, b"%/E", 20),
        descriptor(255, b"", 0),
        [
            own(19, &sp),
            record(b"VIOSTOR.SYS;1", 23, 3, 0, &name),
            record(b"LINK.;1", 0, 0, 0, &link),
            record(b"DEEP.;1", 0, 0, 0, &moved),
            record(b"RR_MOVED", 21, 2048, 2, &relocated),
        ]
        .concat(),
        own(20, &[]),
        [own(21, &[0; 100]), record(b"X.INF;1", 23, 3, 0, &[])].concat(),
        data,
        b"end".to_vec(),
    ];
    let iso = open(image(&sectors)).unwrap();
    assert_eq!(paths(&iso), ["Deep/X.INF", "Viostor.sy"]);
}

#[test]
fn a_folder_in_itself_is_told() {
    let mut sectors = plain();
    sectors[5].extend(record(&wide("loop"), 20, 2048, 2, &[]));
    let error = open(image(&sectors)).unwrap_err();
    assert_eq!(error.code, "iso-damaged");
    assert!(error.message.contains("lies in itself"), "{error}");
}

#[test]
fn an_image_cut_short_names_what_is_missing() {
    let whole = image(&plain());
    let cut = whole[..23 * SECTOR].to_vec();
    let error = open(cut).unwrap_err();
    assert_eq!(error.code, "iso-cut-short");
    assert!(error.message.contains("Sub/two.sys"), "{error}");
    assert_eq!(
        open(whole[..20 * SECTOR].to_vec()).unwrap_err().code,
        "iso-cut-short"
    );
    assert_eq!(
        open(whole[..16 * SECTOR].to_vec()).unwrap_err().code,
        "no-bundle"
    );
}

#[test]
fn lengths_that_no_image_has_are_refused_before_anything_is_read() {
    let mut sectors = plain();
    sectors[4] = [own(20, &[]), record(&wide("Sub"), 21, u32::MAX, 2, &[])].concat();
    let error = open(image(&sectors)).unwrap_err();
    assert!(error.message.contains("longer than any"), "{error}");
    sectors[4] = [own(20, &[]), record(&wide("bomb"), 22, u32::MAX, 0, &[])].concat();
    assert_eq!(open(image(&sectors)).unwrap_err().code, "iso-cut-short");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["..", "a/b", "a\\b", ""] {
        let mut sectors = plain();
        sectors[4].extend(record(&wide(name), 22, 5, 0, &[]));
        assert_eq!(
            open(image(&sectors)).unwrap_err().code,
            "iso-damaged",
            "{name}"
        );
    }
}

#[test]
fn other_files_are_no_bundle() {
    assert_eq!(open(vec![0; 40 * SECTOR]).unwrap_err().code, "no-bundle");
    let mut udf = vec![0; 40 * SECTOR];
    udf[16 * SECTOR + 1..16 * SECTOR + 6].copy_from_slice(b"BEA01");
    assert!(open(udf).unwrap_err().message.contains("UDF"));
}

proptest! {
    #[test]
    fn a_damaged_image_is_read_or_refused(
        changes in proptest::collection::vec((16 * SECTOR..24 * SECTOR, any::<u8>()), 1..60),
        focus in proptest::collection::vec((0..200_usize, any::<u8>()), 0..20),
        len in 16 * SECTOR..24 * SECTOR,
    ) {
        let mut bytes = image(&plain());
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        for (at, byte) in focus {
            bytes[19 * SECTOR + at] = byte;
            bytes[20 * SECTOR + at] ^= byte;
        }
        for bytes in [bytes.clone(), bytes[..len].to_vec()] {
            if let Ok(iso) = open(bytes) {
                for at in 0..iso.files().len() {
                    let _ = iso.read(at);
                }
            }
        }
    }
}
