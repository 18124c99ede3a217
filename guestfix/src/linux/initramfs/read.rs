// SPDX-License-Identifier: Apache-2.0
//! Reads an initramfs image as the kernel unpacks it: archives one after the other, plain or
//! compressed, zeros between them (`unpack_to_rootfs` of the kernel's `init/initramfs.c`).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use super::compress::{Decoder, Format, Input};
use super::contents::Contents;
use super::cpio::{Damage, Reader};
use super::devices;
use crate::inspect::facts::{EmbeddedDevice, InitramfsFacts};
use crate::linux::storage::lvm;

/// More archives than this are no initramfs: generators write up to three.
const MAX_ARCHIVES: usize = 64;
/// Most bytes that are unpacked: a guest with more could hardly boot, and a bomb ends here.
const MAX_UNPACKED: u64 = 2 << 30;
const TOO_LARGE: Damage = Damage::Malformed("the image unpacks to more than 2 GiB");

/// An initramfs: what is published of it, and what splicing needs to know.
#[derive(Debug, Clone)]
pub struct Initramfs {
    /// The published part.
    pub facts: InitramfsFacts,
    /// The rest.
    pub contents: Arc<Contents>,
}

/// How far an image was read: what its archives hold together.
#[derive(Debug, Clone, Default)]
pub(super) struct SoFar {
    archives: Vec<String>,
    contents: Arc<Contents>,
    unpacked: u64,
}

/// Reads an image. Damage is a fact (`facts.damage`), not an error: the rest of the guest can
/// still be told. `facts.path` and `facts.size` are the caller's to fill in.
pub fn read_initramfs(image: impl Read, version: &str) -> Initramfs {
    read_on(SoFar::default(), 0, image, version).0
}

/// Reads on where an image was read up to `from`: `image` gives what follows.
pub(super) fn read_on(
    so_far: SoFar,
    from: u64,
    image: impl Read,
    version: &str,
) -> (Initramfs, SoFar) {
    let mut walk = Walk {
        version,
        archives: so_far.archives,
        contents: Arc::unwrap_or_clone(so_far.contents),
        unpacked: so_far.unpacked,
    };
    let mut input = Input::at(image, from);
    let damage = walk.image(&mut input).err().map(|why| {
        let at = input.offset();
        format!("{why} (near byte {at:#x} of the image)")
    });
    let Walk {
        archives,
        contents,
        unpacked,
        ..
    } = walk;
    let modules = contents.module_names();
    let filters = contents.configs.iter();
    let filters = filters.filter(|(file, _)| lvm::is_embedded(file));
    let filters = filters.flat_map(|(file, body)| lvm::embedded(file, body));
    let configs = contents.configs.iter();
    let configs = configs.filter(|(file, _)| devices::is_configuration(file));
    let configs = configs.flat_map(|(file, body)| {
        devices::in_file(file, body)
            .into_iter()
            .map(|device| (file.clone(), device))
    });
    let waits = contents.waits.iter().map(|(f, d)| (f.clone(), d.clone()));
    let facts = InitramfsFacts {
        path: String::new(),
        size: input.offset(),
        generator: contents.generator.name().to_owned(),
        archives: archives.clone(),
        damage,
        modules_dir: contents
            .modules_dir(version)
            .filter(|dir| !contents.modules_below(dir).is_empty()),
        modules,
        device_names: configs
            .chain(waits)
            .map(|(file, device)| EmbeddedDevice { file, device })
            .collect(),
        lvm_filters: filters.collect(),
    };
    let contents = Arc::new(contents);
    let so_far = SoFar {
        archives,
        contents: Arc::clone(&contents),
        unpacked,
    };
    (Initramfs { facts, contents }, so_far)
}

struct Walk<'a> {
    version: &'a str,
    archives: Vec<String>,
    contents: Contents,
    unpacked: u64,
}

impl Walk<'_> {
    fn image<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Damage> {
        loop {
            skip_zeros(input)?;
            let head = input.peek()?;
            if head.is_empty() {
                return match self.archives.is_empty() {
                    true => Err(Damage::Malformed("there is no archive in the image")),
                    false => Ok(()),
                };
            }
            if self.archives.len() >= MAX_ARCHIVES {
                return Err(Damage::Malformed("more archives than an initramfs has"));
            }
            match Format::detect(&head) {
                Some(Format::None) if input.offset().is_multiple_of(4) => {
                    self.archives.push(Format::None.name().to_owned());
                    self.archive(&mut Reader::new(&mut *input))?;
                }
                Some(Format::None) => {
                    return Err(Damage::Malformed(
                        "an archive does not begin at a multiple of 4",
                    ));
                }
                Some(format) => {
                    self.archives.push(format.name().to_owned());
                    self.compressed(format, input)?;
                }
                None => return Err(Damage::Malformed("no archive where one must begin")),
            }
        }
    }

    fn compressed<R: Read>(&mut self, format: Format, input: &mut Input<R>) -> Result<(), Damage> {
        let left = MAX_UNPACKED.saturating_sub(self.unpacked);
        let decoder = Decoder::new(format, input)?.take(left);
        let mut reader = Reader::new(BufReader::with_capacity(64 << 10, decoder));
        let walked = self.archives_in(&mut reader);
        let decoder = reader.into_inner().into_inner();
        if decoder.limit() == 0 {
            return Err(TOO_LARGE);
        }
        decoder.into_inner().finish();
        walked
    }

    fn archives_in<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<(), Damage> {
        while reader.next_archive()? {
            self.archive(reader)?;
        }
        Ok(())
    }

    fn archive<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<(), Damage> {
        loop {
            let before = reader.position();
            let Some(entry) = reader.next_entry()? else {
                return Ok(());
            };
            let step = reader.position().saturating_sub(before);
            self.unpacked = self.unpacked.saturating_add(step);
            if self.unpacked > MAX_UNPACKED {
                return Err(TOO_LARGE);
            }
            self.contents.take(&entry, reader, self.version)?;
        }
    }
}

pub(super) fn skip_zeros<R: Read>(input: &mut Input<R>) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(());
        }
        input.consume(zeros);
    }
}

#[cfg(test)]
mod tests;
