// SPDX-License-Identifier: Apache-2.0
//! Whether the $LogFile of an NTFS says that Windows has written everything back: its restart pages
//! (linux-ntfs documentation, "$LogFile"; `fs/ntfs3/fslog.c` of Linux).

use crate::volume::field::{has, le16, le32, le64};

/// Bytes of the file that [`is_clean`] looks at.
pub(super) const HEAD: usize = 12 << 10;
/// No client has the log open.
const NO_CLIENT: u16 = 0xffff;
/// RESTART_SINGLE_PAGE_IO, set when a volume was unmounted.
const CLEAN: u16 = 2;

/// True when nothing is to be replayed: also of a log that was emptied. Since Windows 8 a mounted
/// volume's log has version 2, and goes back to 1 when it is unmounted.
pub(super) fn is_clean(head: &[u8]) -> bool {
    if head.iter().take(512).all(|byte| *byte == 0xff) {
        return true;
    }
    let second = usize::try_from(le32(head, 16).unwrap_or(4096)).unwrap_or(4096);
    let pages = [0, second].map(|at| page(head.get(at..).unwrap_or_default()));
    let newest = pages.into_iter().flatten().max_by_key(|(lsn, _)| *lsn);
    newest.is_some_and(|(_, clean)| clean)
}

/// A restart page: its sequence number, and whether it says "clean".
fn page(bytes: &[u8]) -> Option<(u64, bool)> {
    if !has(bytes, 0, b"RSTR") && !has(bytes, 0, b"CHKD") {
        return None;
    }
    let area = bytes.get(usize::from(le16(bytes, 24)?)..)?;
    let open = le16(area, 12)? != NO_CLIENT && le16(area, 14)? & CLEAN == 0;
    Some((le64(area, 0)?, !open && le16(bytes, 28)? < 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(pages: [(u64, u16, u16, u16); 2]) -> Vec<u8> {
        let mut out = vec![0; HEAD];
        for (index, (lsn, client, flags, major)) in pages.into_iter().enumerate() {
            let page = &mut out[index * 4096..];
            page[..4].copy_from_slice(b"RSTR");
            page[16..20].copy_from_slice(&4096_u32.to_le_bytes());
            page[24..26].copy_from_slice(&0x30_u16.to_le_bytes());
            page[28..30].copy_from_slice(&major.to_le_bytes());
            page[0x30..0x38].copy_from_slice(&lsn.to_le_bytes());
            page[0x3c..0x3e].copy_from_slice(&client.to_le_bytes());
            page[0x3e..0x40].copy_from_slice(&flags.to_le_bytes());
        }
        out
    }

    #[test]
    fn the_newer_page_decides() {
        let (clean, open) = ((NO_CLIENT, 0, 1), (0, 0, 1));
        let with = |lsn, (a, b, c)| (lsn, a, b, c);
        assert!(is_clean(&log([with(5, clean), with(4, open)])));
        assert!(!is_clean(&log([with(5, clean), with(6, open)])));
        assert!(is_clean(&log([with(5, (0, CLEAN, 1)), with(4, open)])));
        assert!(!is_clean(&log([
            with(5, (NO_CLIENT, 0, 2)),
            with(4, clean)
        ])));
    }

    #[test]
    fn an_emptied_log_is_clean_and_nonsense_is_not() {
        assert!(is_clean(&[0xff; HEAD]));
        assert!(!is_clean(&[0; HEAD]));
        assert!(!is_clean(b"RSTR"));
    }
}
