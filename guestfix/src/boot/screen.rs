// SPDX-License-Identifier: Apache-2.0
//! The VGA text screen, for guests without a serial console: Linux in text mode, boot loaders and
//! the BIOS write characters to video memory, where they can be read as text.

/// Where text mode's memory begins (IBM VGA: page frame B800).
pub(super) const ADDRESS: u64 = 0xb_8000;

/// Its size. All of it is read: Linux scrolls by moving the screen's start within it.
pub(super) const SIZE: usize = 0x8000;

/// Columns of a text screen.
const COLUMNS: usize = 80;

/// The rows that hold text, top to bottom. A cell is a character of code page 437 and an
/// attribute; what is not ASCII becomes a blank.
pub(super) fn rows(memory: &[u8]) -> Vec<String> {
    memory.chunks_exact(COLUMNS * 2).filter_map(row).collect()
}

fn row(cells: &[u8]) -> Option<String> {
    let text: String = cells
        .iter()
        .step_by(2)
        .map(|&byte| match byte {
            0x20..=0x7e => char::from(byte),
            _ => ' ',
        })
        .collect();
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn memory(rows: &[&str]) -> Vec<u8> {
        let mut memory = Vec::new();
        for row in rows {
            for byte in format!("{row:<80}").bytes() {
                memory.extend([byte, 0x07]);
            }
        }
        memory.resize(SIZE, 0);
        memory
    }

    #[test]
    fn text_is_read_and_blank_rows_are_left_out() {
        let screen = memory(&["Kernel panic - not syncing: x", "", "(initramfs) "]);
        assert_eq!(
            rows(&screen),
            ["Kernel panic - not syncing: x", "(initramfs)"]
        );
    }

    proptest! {
        #[test]
        fn any_memory_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
            for row in rows(&bytes) {
                prop_assert!(row.len() <= COLUMNS && row.is_ascii());
            }
        }
    }
}
