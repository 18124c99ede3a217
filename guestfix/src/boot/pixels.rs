// SPDX-License-Identifier: Apache-2.0
//! Text read off a graphical screen. GRUB hands Linux a graphics mode, and then a guest without a
//! serial console shows its panic or its login prompt as pixels only. The kernel's console draws
//! 8x16 cells in the font of the VGA BIOS, so the BIOS in the machine is the font to compare with.

/// Where the VGA BIOS lies in memory, and how much of it is searched.
pub(super) const ROM: u64 = 0xc_0000;
/// Bytes of the VGA BIOS.
pub(super) const ROM_SIZE: usize = 0x1_0000;

/// Width and height of a cell, pixels.
const CELL: (usize, usize) = (8, 16);
/// A text mode as QEMU draws it; its characters are better read from memory.
const TEXT_MODES: [(usize, usize); 2] = [(720, 400), (640, 400)];
/// Pixels in which a drawn glyph may differ: fonts of other kernels and a cursor.
const TOLERANCE: u32 = 6;
/// The letter A as every VGA font draws it: how the font is found.
const LETTER_A: [u8; 16] = [
    0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0, 0, 0, 0,
];

type Glyph = [u8; 16];

/// Letters that Linux draws eight pixels wide and the BIOS nine, read off a screen of Linux 6.1: the
/// rows of a glyph from top to bottom as one big-endian number.
const LINUX_LETTERS: [(char, u128); 13] = [
    ('0', 0x0000386cc6c6d6d6c6c66c3800000000),
    ('M', 0x0000c6eefefed6c6c6c6c6c600000000),
    ('T', 0x00007e7e5a1818181818183c00000000),
    ('V', 0x0000c6c6c6c6c6c6c66c381000000000),
    ('W', 0x0000c6c6c6c6d6d6d6feee6c00000000),
    ('X', 0x0000c6c66c7c38387c6cc6c600000000),
    ('Y', 0x0000666666663c181818183c00000000),
    ('Z', 0x0000fec6860c183060c2c6fe00000000),
    ('f', 0x00001c36323078303030307800000000),
    ('m', 0x0000000000ecfed6d6d6d6c600000000),
    ('v', 0x0000000000c6c6c6c6c66c3800000000),
    ('w', 0x0000000000c6c6d6d6d6fe6c00000000),
    ('x', 0x0000000000c66c3838386cc600000000),
];

/// The printable ASCII glyphs of a VGA BIOS.
#[derive(Debug, Clone)]
pub(super) struct Font(Vec<(char, Glyph)>);

impl Font {
    /// Finds the 8x16 font in a VGA BIOS; `None` where there is none.
    pub(super) fn in_rom(rom: &[u8]) -> Option<Self> {
        let at = rom
            .windows(LETTER_A.len())
            .position(|window| window == LETTER_A)?;
        let base = at.checked_sub(usize::from(b'A') * LETTER_A.len())?;
        let glyph = |byte: u8| -> Option<Glyph> {
            let start = base.checked_add(usize::from(byte) * 16)?;
            rom.get(start..start.checked_add(16)?)?.try_into().ok()
        };
        let glyphs: Option<Vec<_>> = (0x20..=0x7e)
            .map(|byte| Some((char::from(byte), glyph(byte)?)))
            .collect();
        let font = Self(glyphs?);
        let blank = font
            .0
            .first()
            .is_some_and(|(_, space)| space.iter().all(|row| *row == 0));
        if !blank {
            return None;
        }
        let linux = LINUX_LETTERS
            .iter()
            .map(|(letter, rows)| (*letter, rows.to_be_bytes()));
        Some(Self(font.0.into_iter().chain(linux).collect()))
    }

    /// The character that looks most like this, if any looks like it.
    fn read(&self, drawn: &Glyph) -> Option<char> {
        let differs = |glyph: &Glyph| -> u32 {
            drawn
                .iter()
                .zip(glyph)
                .map(|(a, b)| (a ^ b).count_ones())
                .sum()
        };
        self.0
            .iter()
            .map(|(character, glyph)| (differs(glyph), *character))
            .min()
            .filter(|(difference, _)| *difference <= TOLERANCE)
            .map(|(_, character)| character)
    }
}

/// A picture of the screen: binary PPM (netpbm's ppm(5)), 8 bits a channel.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    width: usize,
    height: usize,
    pixels: &'a [u8],
}

impl<'a> Picture<'a> {
    /// Reads a picture; `None` for anything else.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"P6\n")?;
        let mut number = || -> Option<usize> {
            let end = rest.iter().position(u8::is_ascii_whitespace)?;
            let (word, tail) = rest.split_at_checked(end)?;
            rest = tail.get(1..)?;
            std::str::from_utf8(word).ok()?.parse().ok()
        };
        let (width, height, depth) = (number()?, number()?, number()?);
        let size = width.checked_mul(height)?.checked_mul(3)?;
        (depth == 255 && rest.len() >= size).then_some(Self {
            width,
            height,
            pixels: rest,
        })
    }

    /// The machine is in text mode: its characters are in memory.
    pub(super) fn is_text_mode(&self) -> bool {
        TEXT_MODES.contains(&(self.width, self.height))
    }

    fn is_lit(&self, x: usize, y: usize) -> bool {
        let at = (y * self.width + x) * 3;
        self.pixels
            .get(at..at + 3)
            .is_some_and(|pixel| pixel.iter().any(|channel| *channel > 80))
    }

    fn glyph(&self, column: usize, row: usize) -> Glyph {
        std::array::from_fn(|line| {
            (0..CELL.0).fold(0, |bits, x| {
                bits << 1 | u8::from(self.is_lit(column * CELL.0 + x, row * CELL.1 + line))
            })
        })
    }

    /// The rows that hold text, top to bottom; what is no ASCII character becomes a blank.
    pub(super) fn rows(&self, font: &Font) -> Vec<String> {
        let mut last = (Glyph::default(), ' ');
        (0..self.height / CELL.1)
            .filter_map(|row| {
                let text: String = (0..self.width / CELL.0)
                    .map(|column| {
                        let drawn = self.glyph(column, row);
                        if drawn != last.0 {
                            last = (drawn, font.read(&drawn).unwrap_or(' '));
                        }
                        last.1
                    })
                    .collect();
                let text = text.trim_end();
                (!text.is_empty()).then(|| text.to_owned())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BIOS with a made-up font: A is A, every other glyph is its own number in rows 4 to 11.
    fn rom() -> Vec<u8> {
        let mut rom = vec![0xff; 100];
        for byte in 0..=255_u8 {
            let mut glyph = [0; 16];
            if byte == b'A' {
                glyph = LETTER_A;
            } else if byte != b' ' {
                glyph[4..12].fill(byte);
            }
            rom.extend(glyph);
        }
        rom
    }

    fn draw(font: &Font, rows: &[&str], flip: Option<(usize, usize)>) -> Vec<u8> {
        let (width, height) = (160, rows.len() * 16);
        let mut lit = vec![false; width * height];
        for (row, text) in rows.iter().enumerate() {
            for (column, character) in text.chars().enumerate() {
                let (_, glyph) = font.0.iter().find(|(c, _)| *c == character).unwrap();
                for (line, bits) in glyph.iter().enumerate() {
                    for x in 0..8 {
                        let at = (row * 16 + line) * width + column * 8 + x;
                        lit[at] = bits & (0x80 >> x) != 0;
                    }
                }
            }
        }
        if let Some((x, y)) = flip {
            lit[y * width + x] ^= true;
        }
        let mut out = format!("P6\n{width} {height}\n255\n").into_bytes();
        out.extend(lit.iter().flat_map(|on| [if *on { 170 } else { 0 }; 3]));
        out
    }

    #[test]
    fn text_is_read_off_pixels_also_where_one_differs() {
        let font = Font::in_rom(&rom()).unwrap();
        let text = ["ALERT!  /dev/sda1", "", "(initramfs)"];
        for flip in [None, Some((3, 2))] {
            let drawn = draw(&font, &text, flip);
            let picture = Picture::parse(&drawn).unwrap();
            assert_eq!(picture.rows(&font), ["ALERT!  /dev/sda1", "(initramfs)"]);
        }
    }

    #[test]
    fn what_is_no_picture_or_no_font_is_none() {
        assert!(Font::in_rom(&[0; 4096]).is_none());
        assert!(
            Font::in_rom(&LETTER_A).is_none(),
            "the font would begin before the ROM"
        );
        for bad in [
            &b"P6\n"[..],
            b"P5\n1 1\n255\n0",
            b"P6\n9 9\n255\nshort",
            b"P6\n99999999999999 9\n255\n",
        ] {
            assert!(Picture::parse(bad).is_none());
        }
    }
}
