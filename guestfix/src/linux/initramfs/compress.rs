// SPDX-License-Identifier: Apache-2.0
//! The compressions of initramfs images and kernel modules, told by magic number, decoded as
//! streams that stop exactly where the compressed data ends.
//!
//! Magic numbers: the kernel's `lib/decompress.c`.

use std::io::{self, BufRead, BufReader, Read};

use super::lz4::Lz4Legacy;
use crate::error::{Error, Result};

/// The largest decoder memory that is granted, KiB: a 128 MiB window is the most the kernel takes.
const MAX_WINDOW_KIB: u32 = 136 << 10;
/// The kernel's limit for zstd windows, as a power of two.
const MAX_ZSTD_WINDOW: u32 = 27;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A cpio archive as it is.
    None,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// LZMA alone (`.lzma`).
    Lzma,
    /// xz.
    Xz,
    /// LZO (`lzop`); not decoded.
    Lzo,
    /// lz4's legacy frame.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Format {
    /// Tells the compression from the first six bytes.
    pub fn detect(head: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Format); 9] = [
            (b"0707", Format::None),
            (&[0x1f, 0x8b], Format::Gzip),
            (&[0x1f, 0x9e], Format::Gzip),
            (b"BZh", Format::Bzip2),
            (&[0x5d, 0x00, 0x00], Format::Lzma),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Format::Xz),
            (&[0x89, b'L', b'Z'], Format::Lzo),
            (&[0x02, 0x21, 0x4c, 0x18], Format::Lz4),
            (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
        ];
        MAGICS
            .iter()
            .find(|(magic, _)| head.starts_with(magic))
            .map(|(_, format)| *format)
    }

    /// The word for it in facts.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A buffered input that counts what was taken and takes bytes back.
#[derive(Debug)]
pub struct Input<R> {
    inner: BufReader<R>,
    returned: Vec<u8>,
    taken: u64,
}

impl<R: Read> Input<R> {
    /// Starts at offset 0.
    pub fn new(inner: R) -> Self {
        Self::at(inner, 0)
    }

    /// Starts at an offset: `inner` gives what follows it.
    pub fn at(inner: R, offset: u64) -> Self {
        Self {
            inner: BufReader::with_capacity(128 << 10, inner),
            returned: Vec::new(),
            taken: offset,
        }
    }

    /// Bytes taken so far: the offset in the file.
    pub fn offset(&self) -> u64 {
        self.taken
    }

    /// Gives back bytes a decoder read too far. They must be the last ones taken.
    fn unread(&mut self, bytes: &[u8]) {
        self.taken = self.taken.saturating_sub(bytes.len() as u64);
        self.returned.splice(0..0, bytes.iter().copied());
    }

    /// Takes up to six bytes and gives them back.
    ///
    /// # Errors
    /// What the input reports.
    pub fn peek(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::with_capacity(6);
        self.by_ref().take(6).read_to_end(&mut head)?;
        self.unread(&head);
        Ok(head)
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.returned.is_empty() {
            self.inner.fill_buf()
        } else {
            Ok(&self.returned)
        }
    }

    fn consume(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count as u64);
        if self.returned.is_empty() {
            self.inner.consume(count);
        } else {
            self.returned.drain(..count.min(self.returned.len()));
        }
    }
}

/// A decoder of one compressed stream. [`Decoder::finish`] leaves the input right behind it.
pub enum Decoder<'a, R: Read> {
    /// gzip.
    Gzip(Box<flate2::bufread::GzDecoder<&'a mut Input<R>>>),
    /// bzip2.
    Bzip2(Box<bzip2::bufread::BzDecoder<&'a mut Input<R>>>),
    /// LZMA alone.
    Lzma(Box<lzma_rust2::LzmaReader<&'a mut Input<R>>>),
    /// xz.
    Xz(Box<lzma_rust2::XzReader<&'a mut Input<R>>>),
    /// lz4's legacy frame.
    Lz4(Box<Lz4Legacy<&'a mut Input<R>>>),
    /// Zstandard.
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a mut Input<R>>>),
}

impl<R: Read> std::fmt::Debug for Decoder<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl<'a, R: Read> Decoder<'a, R> {
    /// A decoder for the stream that begins at the input's place.
    ///
    /// # Errors
    /// `Unsupported` for a format without a decoder; `InvalidData` for a damaged head.
    pub fn new(format: Format, input: &'a mut Input<R>) -> io::Result<Self> {
        Ok(match format {
            Format::Gzip => Self::Gzip(Box::new(flate2::bufread::GzDecoder::new(input))),
            Format::Bzip2 => Self::Bzip2(Box::new(bzip2::bufread::BzDecoder::new(input))),
            Format::Lzma => Self::Lzma(Box::new(lzma_rust2::LzmaReader::new_mem_limit(
                input,
                MAX_WINDOW_KIB,
                None,
            )?)),
            Format::Xz => Self::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(
                input,
                false,
                MAX_WINDOW_KIB,
            ))),
            Format::Lz4 => Self::Lz4(Box::new(Lz4Legacy::new(input))),
            Format::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(MAX_ZSTD_WINDOW)?;
                Self::Zstd(Box::new(decoder))
            }
            Format::None | Format::Lzo => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("{} is not decoded", format.name()),
                ));
            }
        })
    }

    /// Gives back what was read too far.
    pub fn finish(self) {
        if let Self::Lzma(decoder) = self {
            let (input, unused) = decoder.into_parts();
            input.unread(&unused);
        }
    }
}

impl<R: Read> Read for Decoder<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Bzip2(decoder) => decoder.read(out),
            Self::Lzma(decoder) => decoder.read(out),
            Self::Xz(decoder) => decoder.read(out),
            Self::Lz4(decoder) => decoder.read(out),
            Self::Zstd(decoder) => decoder.read(out),
        }
    }
}

/// Unpacks a kernel module file (`.ko`, `.ko.gz`, `.ko.xz`, `.ko.zst`), up to `limit` bytes.
///
/// # Errors
/// `Corrupt`/`module-damaged` when it does not decode; `Unsupported`/`file-too-large`.
pub fn unpack_module(name: &str, file: impl Read, limit: u64) -> Result<Vec<u8>> {
    let damaged = |e: io::Error| {
        Error::corrupt(
            "module-damaged",
            format!("module {name} cannot be unpacked"),
        )
        .because(e)
    };
    let mut input = Input::new(file);
    let mut out = Vec::new();
    match Format::detect(&input.peek().map_err(damaged)?) {
        Some(format @ (Format::Gzip | Format::Xz | Format::Zstd)) => {
            Decoder::new(format, &mut input)
                .and_then(|decoder| decoder.take(limit.saturating_add(1)).read_to_end(&mut out))
        }
        _ => input.take(limit.saturating_add(1)).read_to_end(&mut out),
    }
    .map_err(damaged)?;
    if out.len() as u64 > limit {
        return Err(Error::unsupported(
            "file-too-large",
            format!("module {name} is larger than {limit} bytes"),
        ));
    }
    Ok(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// Pipes bytes through a program of this machine.
    pub(crate) fn pipe(argv: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(argv[0])
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", argv[0]));
        let mut stdin = child.stdin.take().unwrap();
        let bytes = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{argv:?}");
        output.stdout
    }

    /// The command lines that Debian's and Fedora's generators use.
    pub(crate) const TOOLS: [(Format, &[&str]); 6] = [
        (Format::Gzip, &["gzip", "-n", "-c"]),
        (Format::Bzip2, &["bzip2", "-c"]),
        (Format::Lzma, &["lzma", "-c"]),
        (Format::Xz, &["xz", "--check=crc32", "-c"]),
        (Format::Lz4, &["lz4", "-l", "-c"]),
        (Format::Zstd, &["zstd", "-q", "-c"]),
    ];

    fn sample() -> Vec<u8> {
        (0..300_000_u32)
            .flat_map(|n| (n % 1000).to_le_bytes())
            .collect()
    }

    #[test]
    fn every_stream_decodes_and_ends_where_it_ends() {
        for (format, argv) in TOOLS {
            let packed = pipe(argv, &sample());
            assert_eq!(Format::detect(&packed), Some(format));
            let mut file = packed.clone();
            // lz4's legacy frame ends at a zero word; the others end by themselves.
            file.extend_from_slice(b"\0\0\0\0tail");
            let mut input = Input::new(file.as_slice());
            let mut decoder = Decoder::new(format, &mut input).unwrap();
            let mut out = Vec::new();
            decoder.read_to_end(&mut out).unwrap();
            decoder.finish();
            assert!(out == sample(), "{format:?}");
            let mut rest = Vec::new();
            input.read_to_end(&mut rest).unwrap();
            while rest.first() == Some(&0) {
                rest.remove(0);
            }
            assert_eq!(rest, b"tail", "{format:?}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error_not_a_short_success() {
        for (format, argv) in TOOLS {
            let packed = pipe(argv, &sample());
            let cut = &packed[..packed.len() - 9];
            let mut input = Input::new(cut);
            let mut out = Vec::new();
            let read = Decoder::new(format, &mut input)
                .and_then(|mut decoder| decoder.read_to_end(&mut out));
            assert!(read.is_err(), "{format:?}");
        }
    }

    #[test]
    fn modules_unpack_whatever_their_suffix_says() {
        let elf = b"\x7fELF a module".to_vec();
        for argv in [
            &["xz", "--check=crc32", "-c"][..],
            &["zstd", "-q", "-c"],
            &["gzip", "-c"],
            &["cat"],
        ] {
            let packed = pipe(argv, &elf);
            assert_eq!(unpack_module("m", packed.as_slice(), 100).unwrap(), elf);
            let error = unpack_module("m", packed.as_slice(), 4).unwrap_err();
            assert_eq!(error.code, "file-too-large");
        }
    }
}
