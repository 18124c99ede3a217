// SPDX-License-Identifier: Apache-2.0
//! The products, which numbers tell them, and in which folders of a bundle their drivers lie.

use serde::{Deserialize, Serialize};

/// A product of the NT line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Product {
    /// Windows XP (5.1), and its x64 edition (5.2).
    #[serde(rename = "xp")]
    Xp,
    /// Windows Server 2003 and 2003 R2 (5.2).
    #[serde(rename = "2k3")]
    Server2003,
    /// Windows Vista (6.0).
    #[serde(rename = "vista")]
    Vista,
    /// Windows Server 2008 (6.0).
    #[serde(rename = "2k8")]
    Server2008,
    /// Windows 7 (6.1).
    #[serde(rename = "w7")]
    Seven,
    /// Windows Server 2008 R2 (6.1).
    #[serde(rename = "2k8R2")]
    Server2008R2,
    /// Windows 8 (6.2).
    #[serde(rename = "w8")]
    Eight,
    /// Windows Server 2012 (6.2).
    #[serde(rename = "2k12")]
    Server2012,
    /// Windows 8.1 (6.3).
    #[serde(rename = "w8.1")]
    EightOne,
    /// Windows Server 2012 R2 (6.3).
    #[serde(rename = "2k12R2")]
    Server2012R2,
    /// Windows 10 (10240 to 19045).
    #[serde(rename = "w10")]
    Ten,
    /// Windows Server 2016 (14393).
    #[serde(rename = "2k16")]
    Server2016,
    /// Windows Server 2019 (17763) and the half-yearly releases around it.
    #[serde(rename = "2k19")]
    Server2019,
    /// Windows Server 2022 (20348).
    #[serde(rename = "2k22")]
    Server2022,
    /// Windows 11 (22000 and later).
    #[serde(rename = "w11")]
    Eleven,
    /// Windows Server 2025 (26100 and later).
    #[serde(rename = "2k25")]
    Server2025,
}

/// One row: product, folder words, major, minor, first build, server, title.
type Row = (
    Product,
    &'static [&'static str],
    (u32, u32),
    u32,
    bool,
    &'static str,
);

/// Oldest first. Versions and builds:
/// <https://learn.microsoft.com/windows/win32/sysinfo/operating-system-version>,
/// <https://learn.microsoft.com/windows/release-health/release-information> and
/// <https://learn.microsoft.com/windows-server/get-started/windows-server-release-info>. The first
/// folder word is virtio-win's own, the others are spelled in bundles of other makers.
const ROWS: &[Row] = &[
    (
        Product::Xp,
        &["xp", "wxp"],
        (5, 1),
        2600,
        false,
        "Windows XP",
    ),
    (
        Product::Server2003,
        &["2k3", "w2k3", "2003"],
        (5, 2),
        3790,
        true,
        "Windows Server 2003",
    ),
    (
        Product::Vista,
        &["vista", "wvista"],
        (6, 0),
        6000,
        false,
        "Windows Vista",
    ),
    (
        Product::Server2008,
        &["2k8", "w2k8", "2008"],
        (6, 0),
        6001,
        true,
        "Windows Server 2008",
    ),
    (
        Product::Seven,
        &["w7", "win7"],
        (6, 1),
        7600,
        false,
        "Windows 7",
    ),
    (
        Product::Server2008R2,
        &["2k8R2", "w2k8R2", "2008R2"],
        (6, 1),
        7600,
        true,
        "Windows Server 2008 R2",
    ),
    (
        Product::Eight,
        &["w8", "win8"],
        (6, 2),
        9200,
        false,
        "Windows 8",
    ),
    (
        Product::Server2012,
        &["2k12", "w2k12", "2012"],
        (6, 2),
        9200,
        true,
        "Windows Server 2012",
    ),
    (
        Product::EightOne,
        &["w8.1", "w81", "win8.1"],
        (6, 3),
        9600,
        false,
        "Windows 8.1",
    ),
    (
        Product::Server2012R2,
        &["2k12R2", "w2k12R2", "2012R2"],
        (6, 3),
        9600,
        true,
        "Windows Server 2012 R2",
    ),
    (
        Product::Ten,
        &["w10", "win10"],
        (10, 0),
        10240,
        false,
        "Windows 10",
    ),
    (
        Product::Server2016,
        &["2k16", "w2k16", "2016"],
        (10, 0),
        14300,
        true,
        "Windows Server 2016",
    ),
    (
        Product::Server2019,
        &["2k19", "w2k19", "2019"],
        (10, 0),
        16299,
        true,
        "Windows Server 2019",
    ),
    (
        Product::Server2022,
        &["2k22", "w2k22", "2022"],
        (10, 0),
        20348,
        true,
        "Windows Server 2022",
    ),
    (
        Product::Eleven,
        &["w11", "win11"],
        (10, 0),
        22000,
        false,
        "Windows 11",
    ),
    (
        Product::Server2025,
        &["2k25", "w2k25", "2025"],
        (10, 0),
        25398,
        true,
        "Windows Server 2025",
    ),
];

impl Product {
    /// Every product, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        ROWS.iter().map(|row| row.0)
    }

    /// The newest product that these numbers reach; `None` for what is older than XP.
    pub fn of(version: (u32, u32), build: u32, server: bool) -> Option<Self> {
        // XP's x64 edition carries the version of 2003.
        let version = match version {
            (5, 2) if !server => (5, 1),
            (major, _) if major > 10 => (10, 0),
            other => other,
        };
        let mut rows = ROWS
            .iter()
            .rev()
            .filter(|row| row.2 == version && row.4 == server);
        let oldest = rows.clone().next_back();
        rows.find(|row| build >= row.3).or(oldest).map(|row| row.0)
    }

    /// The product that a folder of a bundle, or a word of the command line, names.
    pub fn of_folder(word: &str) -> Option<Self> {
        let named = |row: &&Row| row.1.iter().any(|name| name.eq_ignore_ascii_case(word));
        ROWS.iter().find(named).map(|row| row.0)
    }

    /// virtio-win's word for it, for example `2k12R2`.
    pub fn folder(self) -> &'static str {
        self.row().1.first().copied().unwrap_or_default()
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        self.row().5
    }

    /// Version of NT.
    pub fn version(self) -> (u32, u32) {
        self.row().2
    }

    /// The build that stands for it where only its name is said: the last of Windows 10 and 11's
    /// most common one, else the released one.
    pub fn usual_build(self) -> u32 {
        match self {
            Self::Seven | Self::Server2008R2 => 7601,
            Self::Ten => 19045,
            Self::Server2016 => 14393,
            Self::Server2019 => 17763,
            Self::Eleven => 22631,
            Self::Server2025 => 26100,
            _ => self.row().3,
        }
    }

    /// Whether it is a server.
    pub fn is_server(self) -> bool {
        self.row().4
    }

    /// In which order folders may serve it: its own, its twin's of the same kernel, older ones
    /// going back, then newer ones going forward. Older drivers run on newer kernels by Windows'
    /// own promise; the reverse holds only where the INF says so.
    pub fn near(self) -> Vec<Self> {
        let age = |p: Self| (p.version(), p.row().3);
        let twin = |p: Self| p.version() == self.version() && p.close_to(self);
        let mut out = vec![self];
        out.extend(Self::all().filter(|p| *p != self && twin(*p)));
        let known = |p: &Self, out: &[Self]| out.contains(p);
        let older: Vec<Self> = Self::all()
            .rev()
            .filter(|p| age(*p) <= age(self) && !known(p, &out))
            .collect();
        out.extend(older);
        let newer: Vec<Self> = Self::all().filter(|p| !known(p, &out)).collect();
        out.extend(newer);
        out
    }

    /// Client and server of one kernel.
    fn close_to(self, other: Self) -> bool {
        let pair = |a, b| (self, other) == (a, b) || (other, self) == (a, b);
        self.version() < (10, 0)
            || pair(Self::Eleven, Self::Server2025)
            || pair(Self::Ten, Self::Server2016)
            || pair(Self::Ten, Self::Server2019)
    }

    fn row(self) -> &'static Row {
        const NONE: Row = (Product::Xp, &[], (0, 0), 0, false, "");
        ROWS.iter().find(|row| row.0 == self).unwrap_or(&NONE)
    }
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.folder())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_the_product() {
        let of = |v, b, s| Product::of(v, b, s).unwrap();
        assert_eq!(of((5, 1), 2600, false), Product::Xp);
        assert_eq!(of((5, 2), 3790, false), Product::Xp);
        assert_eq!(of((5, 2), 3790, true), Product::Server2003);
        assert_eq!(of((6, 0), 6002, true), Product::Server2008);
        assert_eq!(of((6, 1), 7601, false), Product::Seven);
        assert_eq!(of((6, 3), 9600, true), Product::Server2012R2);
        assert_eq!(of((10, 0), 19045, false), Product::Ten);
        assert_eq!(of((10, 0), 22631, false), Product::Eleven);
        assert_eq!(of((10, 0), 14393, true), Product::Server2016);
        assert_eq!(of((10, 0), 17763, true), Product::Server2019);
        assert_eq!(of((10, 0), 20348, true), Product::Server2022);
        assert_eq!(of((10, 0), 26100, true), Product::Server2025);
        assert_eq!(Product::of((5, 0), 2195, false), None);
    }

    #[test]
    fn the_order_of_folders_starts_at_home_and_goes_back_before_it_goes_forward() {
        let near = Product::Server2022.near();
        assert_eq!(near[0], Product::Server2022);
        assert_eq!(
            &near[1..4],
            [Product::Server2019, Product::Server2016, Product::Ten]
        );
        assert_eq!(Product::Server2025.near()[1], Product::Eleven);
        assert_eq!(Product::Eleven.near()[1], Product::Server2025);
        assert_eq!(Product::Seven.near()[1], Product::Server2008R2);
        for product in Product::all() {
            assert_eq!(product.near().len(), ROWS.len(), "{product}");
        }
    }

    #[test]
    fn folders_are_known_in_any_case() {
        assert_eq!(Product::of_folder("2K12r2"), Some(Product::Server2012R2));
        assert_eq!(Product::of_folder("W8.1"), Some(Product::EightOne));
        assert_eq!(Product::of_folder("amd64"), None);
        for product in Product::all() {
            assert_eq!(Product::of_folder(product.folder()), Some(product));
        }
    }
}
