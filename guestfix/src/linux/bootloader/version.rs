// SPDX-License-Identifier: Apache-2.0
//! The orders in which loaders list entries by version: rpm's, which GRUB's `blscfg` uses, and
//! that of the UAPI group, which systemd-boot uses.

use std::cmp::Ordering;

/// rpm's order of versions: runs of digits and of letters are compared one by one, whatever is
/// between them only parts them; `~` sorts before the end, `^` after it but before all else.
///
/// Source: rpm's `rpmvercmp`, described in <https://rpm.org/docs/latest/manual/dependencies.html>
/// ("Versioning").
pub fn rpm(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    let parted = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'^');
    loop {
        one = skip(one, parted);
        other = skip(other, parted);
        match (one.first(), other.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                one = one.get(1..).unwrap_or_default();
                other = other.get(1..).unwrap_or_default();
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(first), Some(second)) => {
                let digits = first.is_ascii_digit();
                if digits != second.is_ascii_digit() {
                    return if digits {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    };
                }
                let (a, rest) = run(one, digits);
                let (b, after) = run(other, digits);
                let order = if digits { numbers(a, b) } else { a.cmp(b) };
                if order != Ordering::Equal {
                    return order;
                }
                (one, other) = (rest, after);
            }
        }
    }
}

/// The order of names of entries in GRUB's `blscfg`: `NAME-VERSION-RELEASE`, part by part, each by
/// rpm's order. Greater stands first in the menu.
///
/// Source: `split_cmp` of `blscfg.c` in <https://github.com/rhboot/grub2>.
pub fn package(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| -> [String; 3] {
        let text = text.strip_suffix(".conf").unwrap_or(text);
        let (rest, release) = text.rsplit_once('-').unwrap_or((text, ""));
        let (name, version) = rest.rsplit_once('-').unwrap_or((rest, ""));
        [name, version, release].map(str::to_owned)
    };
    let (one, other) = (parts(one), parts(other));
    let mut orders = one.iter().zip(&other).map(|(a, b)| rpm(a, b));
    orders
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// The UAPI group's order of versions.
///
/// Source: <https://uapi-group.org/specifications/specs/version_format_specification/>.
pub fn uapi(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    loop {
        one = skip(one, |byte| !known(byte));
        other = skip(other, |byte| !known(byte));
        for (mark, with, without) in [
            (b'~', Ordering::Less, Ordering::Greater),
            (0, Ordering::Less, Ordering::Greater),
            (b'-', Ordering::Less, Ordering::Greater),
            (b'^', Ordering::Less, Ordering::Greater),
            (b'.', Ordering::Less, Ordering::Greater),
        ] {
            // The end stands for a mark of its own.
            let is = |text: &[u8]| text.first().copied().unwrap_or(0) == mark;
            match (is(one), is(other)) {
                (true, true) if mark == 0 => return Ordering::Equal,
                (true, true) => {
                    one = one.get(1..).unwrap_or_default();
                    other = other.get(1..).unwrap_or_default();
                    break;
                }
                (true, false) => return with,
                (false, true) => return without,
                (false, false) => {}
            }
        }
        let digit = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let letter = |text: &[u8]| text.first().is_some_and(u8::is_ascii_alphabetic);
        if digit(one) || digit(other) {
            let ((a, rest), (b, after)) = (run(one, true), run(other, true));
            match numbers(a, b) {
                Ordering::Equal => (one, other) = (rest, after),
                order => return order,
            }
        } else if letter(one) || letter(other) {
            let ((a, rest), (b, after)) = (run(one, false), run(other, false));
            match a.cmp(b) {
                Ordering::Equal => (one, other) = (rest, after),
                order => return order,
            }
        }
    }
}

fn skip(text: &[u8], unwanted: impl Fn(&u8) -> bool) -> &[u8] {
    let start = text.iter().take_while(|byte| unwanted(byte)).count();
    text.get(start..).unwrap_or_default()
}

/// The digits or letters at the beginning, and the rest.
fn run(text: &[u8], digits: bool) -> (&[u8], &[u8]) {
    let wanted = |byte: &&u8| match digits {
        true => byte.is_ascii_digit(),
        false => byte.is_ascii_alphabetic(),
    };
    let end = text.iter().take_while(wanted).count();
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// Numbers of any length by value.
fn numbers(one: &[u8], other: &[u8]) -> Ordering {
    let plain = |text| skip(text, |byte: &u8| *byte == b'0');
    let (one, other) = (plain(one), plain(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rpm_orders_versions() {
        for (less, more) in [
            ("5.9", "5.10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("a", "1"),
            ("1.0", "1.0a"),
            ("4.18.0-80.el8", "4.18.0-147.el8"),
        ] {
            assert_eq!(rpm(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(rpm(more, less), Ordering::Greater, "{less} {more}");
        }
        assert_eq!(rpm("1.0", "1_0"), Ordering::Equal);
        assert_eq!(rpm("1.010", "1.10"), Ordering::Equal);
    }

    #[test]
    fn entries_are_ordered_by_version_and_release_and_the_rescue_entry_is_last() {
        let id = "0123456789abcdef0123456789abcdef";
        let mut names = [
            format!("{id}-0-rescue.conf"),
            format!("{id}-5.14.0-70.el9.x86_64.conf"),
            format!("{id}-5.14.0-362.8.1.el9.x86_64.conf"),
            format!("{id}-5.4.17-2136.el8uek.x86_64.conf"),
        ];
        names.sort_by(|one, other| package(other, one));
        let want = [
            format!("{id}-5.14.0-362.8.1.el9.x86_64.conf"),
            format!("{id}-5.14.0-70.el9.x86_64.conf"),
            format!("{id}-5.4.17-2136.el8uek.x86_64.conf"),
            format!("{id}-0-rescue.conf"),
        ];
        assert_eq!(names, want);
    }

    #[test]
    fn the_uapi_order_is_that_of_its_examples() {
        let rising = [
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
        ];
        for pair in rising.windows(2) {
            assert_eq!(uapi(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(uapi("1_2", "12"), Ordering::Less);
        for odd in ["", "~", "--", "\u{e9}", "1\u{e9}2"] {
            assert_eq!(uapi(odd, odd), Ordering::Equal, "{odd}");
        }
    }
}
