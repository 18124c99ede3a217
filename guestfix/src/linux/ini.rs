// SPDX-License-Identifier: Apache-2.0
//! Section files: systemd's units and network files (systemd.syntax(7)), NetworkManager keyfiles.

use super::text::lines;

/// One `key=value` line of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Section name without brackets.
    pub section: String,
    /// Key.
    pub key: String,
    /// Value, blanks around it removed.
    pub value: String,
}

/// Every setting in order; comments and anything else are skipped.
pub fn settings(bytes: &[u8]) -> Vec<Setting> {
    let mut section = String::new();
    let mut out = Vec::new();
    for line in lines(bytes) {
        let line = line.text();
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            out.push(Setting {
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            });
        }
    }
    out
}

/// The values of a key in order.
pub fn values<'a>(settings: &'a [Setting], section: &str, key: &str) -> Vec<&'a str> {
    settings
        .iter()
        .filter(|s| s.section == section && s.key == key)
        .map(|s| s.value.as_str())
        .collect()
}

/// The last value of a key that is not empty.
pub fn value<'a>(settings: &'a [Setting], section: &str, key: &str) -> Option<&'a str> {
    let all = values(settings, section, key);
    all.last().copied().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_belong_to_their_section() {
        let all =
            settings(b"A=0\n[Match]\r\n Name = a b \n#Name=c\n[Link]\nName=d\nName=e\nodd\n[x");
        assert_eq!(value(&all, "Match", "Name"), Some("a b"));
        assert_eq!(values(&all, "Link", "Name"), ["d", "e"]);
        assert_eq!(value(&all, "Link", "Gone"), None);
    }
}
