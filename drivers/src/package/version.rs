// SPDX-License-Identifier: Apache-2.0
//! `DriverVer`, and the blob that `DriverDatabase` keeps of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::release::Arch;

/// Date and version of a driver:
/// <https://learn.microsoft.com/windows-hardware/drivers/install/inf-driverver-directive>.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct DriverVersion {
    /// Year, month and day; zeros where the INF has none.
    pub date: (u16, u8, u8),
    /// Four parts, the most significant first; zeros where the INF has none.
    pub version: [u16; 4],
}

/// Days from 1601-01-01, the epoch of FILETIME, to 1970-01-01.
const EPOCH_DAYS: i64 = 134_774;

impl DriverVersion {
    /// Reads `mm/dd/yyyy[,w.x.y.z]`; also with `-`. `None` for what is no date.
    pub fn parse(date: &str, version: Option<&str>) -> Option<Self> {
        let mut parts = date.trim().split(['/', '-']);
        let month: u8 = parts.next()?.trim().parse().ok()?;
        let day: u8 = parts.next()?.trim().parse().ok()?;
        let year: u16 = parts.next()?.trim().parse().ok()?;
        let real = (1..=12).contains(&month) && (1..=31).contains(&day) && year >= 1601;
        if !real || parts.next().is_some() {
            return None;
        }
        let mut out = [0; 4];
        let version = version.unwrap_or_default().trim();
        if !version.is_empty() {
            let mut slots = out.iter_mut();
            for part in version.split('.') {
                *slots.next()? = part.trim().parse().ok()?;
            }
        }
        Some(Self {
            date: (year, month, day),
            version: out,
        })
    }

    /// The version as `100.95.104.26200`.
    pub fn dotted(&self) -> String {
        let [a, b, c, d] = self.version;
        format!("{a}.{b}.{c}.{d}")
    }

    /// Midnight of the date in 100 ns since 1601; 0 where there is no date.
    pub fn filetime(&self) -> u64 {
        let (year, month, day) = self.date;
        if year == 0 {
            return 0;
        }
        let days = days_from_civil(year, month, day).saturating_add(EPOCH_DAYS);
        u64::try_from(days)
            .unwrap_or(0)
            .saturating_mul(864_000_000_000)
    }

    /// The 48 bytes of `Version` below `DriverDatabase\DriverPackages`, seen in installations:
    /// flags `00 ff` (a package that did not come with Windows), processor, 4 zeros, class GUID,
    /// FILETIME of the date, version with its last part first, 8 zeros.
    pub fn blob(&self, arch: Arch, class_guid: &str) -> [u8; 48] {
        let mut out = Vec::with_capacity(48);
        out.extend([0x00, 0xFF]);
        out.extend(arch.processor().to_le_bytes());
        out.extend([0; 4]);
        out.extend(guid_bytes(class_guid).unwrap_or_default());
        out.extend(self.filetime().to_le_bytes());
        for part in self.version.iter().rev() {
            out.extend(part.to_le_bytes());
        }
        out.extend([0; 8]);
        out.try_into().unwrap_or([0; 48])
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date;
        write!(f, "{} ({year:04}-{month:02}-{day:02})", self.dotted())
    }
}

/// Days since 1970-01-01 in the Gregorian calendar, years counted from March.
fn days_from_civil(year: u16, month: u8, day: u8) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year).saturating_sub(i64::from(month <= 2));
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = month.saturating_add(9).rem_euclid(12);
    let day_of_year = from_march
        .saturating_mul(153)
        .saturating_add(2)
        .div_euclid(5);
    let day_of_year = day_of_year.saturating_add(day).saturating_sub(1);
    let leaps = year_of_era
        .div_euclid(4)
        .saturating_sub(year_of_era.div_euclid(100));
    let day_of_era = year_of_era.saturating_mul(365).saturating_add(leaps);
    era.saturating_mul(146_097)
        .saturating_add(day_of_era)
        .saturating_add(day_of_year)
        .saturating_sub(719_468)
}

/// A GUID's 16 bytes as Windows keeps it: the first three fields little-endian.
/// <https://learn.microsoft.com/windows/win32/api/guiddef/ns-guiddef-guid>.
fn guid_bytes(text: &str) -> Option<[u8; 16]> {
    let text = text.trim().trim_start_matches('{').trim_end_matches('}');
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let value = u128::from_str_radix(&digits, 16).ok()?;
    let [a, b, c, d, e, f, g, h, rest @ ..] = value.to_be_bytes();
    let mut out = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    for (to, from) in out.iter_mut().skip(8).zip(rest) {
        *to = from;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blob_is_the_one_that_windows_wrote_for_vmci() {
        let version = DriverVersion::parse("07/11/2019", Some("9.8.1.0")).unwrap();
        let blob = version.blob(Arch::Amd64, "{4d36e97d-e325-11ce-bfc1-08002be10318}");
        let hex: String = blob.iter().map(|b| format!("{b:02x}")).collect();
        let (head, class) = ("00ff090000000000", "7de9364d25e3ce11bfc108002be10318");
        let (date, version) = ("008024957b37d501", "0000010008000900");
        assert_eq!(hex, format!("{head}{class}{date}{version}{:016}", 0));
    }

    #[test]
    fn the_architecture_is_in_the_third_byte() {
        let blob = |arch| DriverVersion::default().blob(arch, "")[2];
        assert_eq!(blob(Arch::X86), 0);
        assert_eq!(blob(Arch::Amd64), 9);
        assert_eq!(blob(Arch::Arm64), 12);
    }

    #[test]
    fn dates_are_months_first_and_must_be_dates() {
        let version = DriverVersion::parse("04/27/2017", Some("100.0.0.0")).unwrap();
        assert_eq!(version.date, (2017, 4, 27));
        assert_eq!(version.to_string(), "100.0.0.0 (2017-04-27)");
        assert_eq!(DriverVersion::parse("27/04/2017", None), None);
        assert_eq!(DriverVersion::parse("soon", None), None);
        assert_eq!(DriverVersion::parse("1/1/2020", Some("1.2.3.4.5")), None);
        assert_eq!(DriverVersion::parse("1/1/2020", Some("65536")), None);
        assert_eq!(
            DriverVersion::parse("1/1/1970", None).unwrap().filetime(),
            116_444_736_000_000_000
        );
    }
}
