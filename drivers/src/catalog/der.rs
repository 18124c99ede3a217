// SPDX-License-Identifier: Apache-2.0
//! DER, as much of it as signatures use: X.690, <https://www.itu.int/rec/T-REC-X.690>.
//!
//! Definite lengths and tags of one byte only; everything is borrowed, nothing is allocated.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BITS: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag `[number]` of something constructed.
pub(super) const fn context(number: u8) -> u8 {
    0xA0 | number
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// What it holds.
    pub value: &'a [u8],
    /// All of it with tag and length.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements inside.
    pub(super) fn inside(&self) -> Reader<'a> {
        Reader { rest: self.value }
    }
}

/// Elements that follow each other.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next element with that tag.
    pub(super) fn need(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// The next element if it has that tag; stays where it is otherwise.
    pub(super) fn maybe(&mut self, tag: u8) -> Option<Element<'a>> {
        (self.rest.first() == Some(&tag)).then(|| self.next())?
    }

    /// The elements inside the next one, a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        Some(self.need(SEQUENCE)?.inside())
    }

    /// The bytes of an object identifier.
    pub(super) fn oid(&mut self) -> Option<&'a [u8]> {
        Some(self.need(OID)?.value)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Element<'a>;

    /// The next element; `None` at the end and for what is no element.
    fn next(&mut self) -> Option<Element<'a>> {
        let start = self.rest;
        let [tag, first, ..] = start else { return None };
        // A tag that goes on in further bytes is not used here.
        if tag & 0x1F == 0x1F {
            return None;
        }
        let (head, len) = match first {
            0..=0x7F => (2_usize, usize::from(*first)),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7F);
                let head = count.checked_add(2)?;
                let digits = start.get(2..head)?;
                let len = digits.iter().try_fold(0_usize, |len, digit| {
                    len.checked_mul(256)?.checked_add(usize::from(*digit))
                })?;
                (head, len)
            }
            _ => return None,
        };
        let end = head.checked_add(len)?;
        let (whole, rest) = start.split_at_checked(end)?;
        self.rest = rest;
        Some(Element {
            tag: *tag,
            value: whole.get(head..)?,
            whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_short_and_long_lengths() {
        let mut long = vec![OCTETS, 0x82, 0x01, 0x00];
        long.extend([7; 256]);
        long.extend([INTEGER, 1, 5]);
        let mut reader = Reader::new(&long);
        assert_eq!(reader.need(OCTETS).unwrap().value.len(), 256);
        assert_eq!(reader.maybe(OCTETS), None);
        assert_eq!(reader.maybe(INTEGER).unwrap().value, [5]);
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn what_ends_early_or_has_no_length_is_nothing() {
        for bytes in [
            &[0x30][..],
            &[0x30, 5, 1],
            &[0x30, 0x80, 0, 0],
            &[0x1F, 1, 1],
            &[4, 0x84, 255, 255, 255, 255],
        ] {
            assert_eq!(Reader::new(bytes).next(), None, "{bytes:?}");
        }
    }
}
