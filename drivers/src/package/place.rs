// SPDX-License-Identifier: Apache-2.0
//! Where an INF puts a file.

use serde::{Deserialize, Serialize};

/// A directory identifier, a folder below it and a name. Identifiers:
/// <https://learn.microsoft.com/windows-hardware/drivers/install/using-dirids>.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// 10 Windows, 11 `System32`, 12 `System32\drivers`, 13 the package's folder in the
    /// `DriverStore`, 17 `INF`, 24 the drive's root; others are not resolved.
    pub dirid: u32,
    /// The folder below it, with `\`, mostly empty.
    pub folder: String,
    /// The file's name at its goal.
    pub name: String,
}

impl Place {
    /// The path below the Windows folder, with `\`; `None` for a dirid that lies elsewhere.
    /// `store` is the package's folder in `System32\DriverStore\FileRepository`.
    pub fn below_windows(&self, store: &str) -> Option<String> {
        let base = match self.dirid {
            10 => String::new(),
            11 => "System32".to_owned(),
            12 => "System32\\drivers".to_owned(),
            13 => format!("System32\\DriverStore\\FileRepository\\{store}"),
            17 => "INF".to_owned(),
            18 => "Help".to_owned(),
            20 => "Fonts".to_owned(),
            _ => return None,
        };
        let parts = [base.as_str(), self.folder.as_str(), self.name.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
        Some(parts.join("\\"))
    }

    /// What Windows writes into `ImagePath` of a driver: relative to Windows below `System32`,
    /// with `\SystemRoot\` in the `DriverStore`. `None` as for [`Place::below_windows`].
    pub fn image_path(&self, store: &str) -> Option<String> {
        let path = self.below_windows(store)?;
        Some(match self.dirid {
            11 | 12 => path,
            _ => format!("\\SystemRoot\\{path}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dirid: u32, folder: &str, name: &str) -> Place {
        Place {
            dirid,
            folder: folder.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn each_dirid_is_a_folder_of_windows() {
        let path = |p: Place| p.below_windows("x.inf_amd64_00").unwrap();
        assert_eq!(
            path(place(12, "", "viostor.sys")),
            "System32\\drivers\\viostor.sys"
        );
        assert_eq!(path(place(11, "", "a.dll")), "System32\\a.dll");
        assert_eq!(path(place(10, "sub", "a.txt")), "sub\\a.txt");
        assert_eq!(
            path(place(13, "", "viostor.sys")),
            "System32\\DriverStore\\FileRepository\\x.inf_amd64_00\\viostor.sys"
        );
        assert_eq!(place(16_422, "", "a").below_windows("x"), None);
    }

    #[test]
    fn an_image_path_is_spelled_as_windows_spells_it() {
        let boot = place(12, "", "viostor.sys");
        assert_eq!(
            boot.image_path("x").unwrap(),
            "System32\\drivers\\viostor.sys"
        );
        let store = place(13, "", "netkvm.sys");
        assert_eq!(
            store.image_path("n.inf_amd64_1").unwrap(),
            "\\SystemRoot\\System32\\DriverStore\\FileRepository\\n.inf_amd64_1\\netkvm.sys"
        );
    }
}
