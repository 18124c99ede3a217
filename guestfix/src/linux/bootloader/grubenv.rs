// SPDX-License-Identifier: Apache-2.0
//! GRUB's environment block: exactly 1024 bytes, a signature line, `name=value` lines, and `#` up
//! to the end (GRUB manual, "The GRUB environment block").

use super::cmdline::{self, Run};
use crate::error::{Error, Result};
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text::{self, Edits};

/// The block's length; GRUB writes in place and must find it so.
pub const LEN: usize = 1024;
const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Value as written.
    pub value: String,
    /// Where the value stands.
    pub at: std::ops::Range<usize>,
}

/// Reads a block.
///
/// # Errors
/// `Corrupt`/`grubenv` when length or signature are wrong.
pub fn parse(bytes: &[u8]) -> Result<Vec<Variable>> {
    if bytes.len() != LEN || !bytes.starts_with(SIGNATURE) {
        return Err(Error::corrupt(
            "grubenv",
            format!(
                "not a GRUB environment block of {LEN} bytes (it has {})",
                bytes.len()
            ),
        ));
    }
    Ok(text::lines(bytes)
        .iter()
        .filter(|line| !line.bytes.starts_with(b"#"))
        .filter_map(|line| {
            let equals = line.bytes.iter().position(|byte| *byte == b'=')?;
            let (name, value) = line.bytes.split_at_checked(equals)?;
            let from = line.start.checked_add(equals)?.checked_add(1)?;
            Some(Variable {
                name: String::from_utf8_lossy(name).into_owned(),
                value: String::from_utf8_lossy(value.get(1..)?).into_owned(),
                at: from..line.end,
            })
        })
        .collect())
}

/// Stable device names and a serial console in `kernelopts`, where kernels get their arguments
/// from it; `saved` is remembered as the entry to start.
///
/// # Errors
/// As [`parse`]; `Unsupported`/`grubenv` when the new arguments do not fit.
pub fn edit(
    facts: &Facts,
    path: &str,
    bytes: &[u8],
    saved: Option<&str>,
) -> Result<(Vec<u8>, Vec<Concern>)> {
    let mut edits = Edits::new();
    let mut concerns = Vec::new();
    let variables = parse(bytes)?;
    for variable in variables.iter().filter(|v| v.name == "kernelopts") {
        let args = cmdline::words_in(bytes, variable.at.clone());
        let run = Run {
            file: path,
            bytes,
            args: &args,
            initramfs: true,
            end: Some(args.last().map_or(variable.at.end, |arg| arg.at.end)),
        };
        run.edit(facts, &mut edits, &mut concerns);
    }
    if let Some(entry) = saved {
        match variables.iter().find(|v| v.name == "saved_entry") {
            Some(variable) => edits.replace(variable.at.clone(), entry),
            None => edits.insert(SIGNATURE.len(), format!("saved_entry={entry}\n")),
        }
    }
    if edits.is_empty() {
        return Ok((bytes.to_vec(), concerns));
    }
    repad(edits.apply(bytes)).map(|block| (block, concerns))
}

/// A block that only remembers an entry.
///
/// # Errors
/// `Unsupported`/`grubenv` when its name does not fit.
pub fn with_saved(entry: &str) -> Result<Vec<u8>> {
    let mut block = SIGNATURE.to_vec();
    block.extend(format!("saved_entry={entry}\n").into_bytes());
    repad(block)
}

/// Brings an edited block back to its length.
fn repad(mut block: Vec<u8>) -> Result<Vec<u8>> {
    while block.last() == Some(&b'#') {
        block.pop();
    }
    if block.len() > LEN {
        return Err(Error::unsupported(
            "grubenv",
            "the new kernel arguments do not fit",
        ));
    }
    block.resize(LEN, b'#');
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID};
    use super::*;

    fn block(body: &str) -> Vec<u8> {
        let mut block = SIGNATURE.to_vec();
        block.extend_from_slice(body.as_bytes());
        block.resize(LEN, b'#');
        block
    }

    #[test]
    fn kernelopts_are_edited_and_the_length_stays() {
        let mut facts = fixture::facts();
        facts.guest.arch = "x86_64".to_owned();
        let old = block(
            "# WARNING\nsaved_entry=x\nkernelopts=root=/dev/sda1 ro quiet \nboot_success=1\n",
        );
        let (new, _) = edit(&facts, "grubenv", &old, None).unwrap();
        assert_eq!(
            new,
            block(&format!(
                "# WARNING\nsaved_entry=x\nkernelopts=root=UUID={ROOT_UUID} ro quiet console=tty0 console=ttyS0,115200n8 \nboot_success=1\n"
            ))
        );
        assert_eq!(edit(&facts, "grubenv", &new, None).unwrap().0, new);
    }

    #[test]
    fn a_block_without_kernelopts_stays() {
        let old = block("saved_entry=x\n");
        assert_eq!(
            edit(&fixture::facts(), "grubenv", &old, None).unwrap().0,
            old
        );
    }

    #[test]
    fn an_entry_is_remembered_in_the_place_of_the_old_one() {
        let old = block("saved_entry=a\nboot_success=1\n");
        let new = edit(&fixture::facts(), "grubenv", &old, Some("bb>c"))
            .unwrap()
            .0;
        assert_eq!(new, block("saved_entry=bb>c\nboot_success=1\n"));
        let new = edit(&fixture::facts(), "grubenv", &block("x=1\n"), Some("b"))
            .unwrap()
            .0;
        assert_eq!(new, block("saved_entry=b\nx=1\n"));
        assert_eq!(with_saved("b").unwrap(), block("saved_entry=b\n"));
    }

    #[test]
    fn a_wrong_length_or_signature_and_too_much_text_are_refused() {
        assert_eq!(parse(&block("")[..1000]).unwrap_err().code, "grubenv");
        assert_eq!(parse(&vec![b'#'; LEN]).unwrap_err().code, "grubenv");
        let mut facts = fixture::facts();
        facts.guest.arch = "x86_64".to_owned();
        let long = block(&format!("kernelopts=root=/dev/sda1 {}\n", "x".repeat(960)));
        assert_eq!(
            edit(&facts, "grubenv", &long, None).unwrap_err().code,
            "grubenv"
        );
    }
}
