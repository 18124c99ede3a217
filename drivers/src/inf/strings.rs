// SPDX-License-Identifier: Apache-2.0
//! `[Strings]`: tokens and their substitution.
//! <https://learn.microsoft.com/windows-hardware/drivers/install/inf-strings-section>

use std::collections::HashMap;

use super::line::RawSection;
use crate::package::Text;

/// The language that is read where an INF is localised: what the guest speaks is not known, and
/// Windows takes the undecorated section where its own language is missing.
const ENGLISH: &str = "strings.0409";

/// Tokens in lower case, with their texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Strings(HashMap<String, String>);

impl Strings {
    /// Collects what the sections define: the undecorated one first, then English, then any other
    /// language. Of two texts the first counts.
    pub(super) fn collect(sections: &[RawSection]) -> Self {
        let mut tables: Vec<(u8, &RawSection)> = sections
            .iter()
            .filter_map(|section| rank(&section.name).map(|rank| (rank, section)))
            .collect();
        tables.sort_by_key(|(rank, _)| *rank);
        let mut out = HashMap::new();
        for line in tables.iter().flat_map(|(_, section)| &section.lines) {
            if let (Some(key), Some(value)) = (&line.key, line.fields.first()) {
                out.entry(key.to_lowercase())
                    .or_insert_with(|| value.clone());
            }
        }
        Self(out)
    }

    /// Substitutes tokens. `%%` is one percent sign; `%12%` and unknown tokens stay.
    pub(super) fn text(&self, raw: String) -> Text {
        if !raw.contains('%') {
            return Text {
                text: raw.clone(),
                raw,
            };
        }
        let mut text = String::with_capacity(raw.len());
        let mut rest = raw.as_str();
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            let Some((token, behind)) = after.split_once('%') else {
                text.push('%');
                rest = after;
                break;
            };
            if token.is_empty() {
                text.push('%');
            } else if let Some(value) = self.0.get(&token.to_lowercase()) {
                text.push_str(value);
            } else {
                text.push('%');
                text.push_str(token);
                text.push('%');
            }
            rest = behind;
        }
        text.push_str(rest);
        Text { raw, text }
    }
}

fn rank(name: &str) -> Option<u8> {
    let name = name.to_lowercase();
    match name.as_str() {
        "strings" => Some(0),
        ENGLISH => Some(1),
        other => other.starts_with("strings.").then_some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::super::line;
    use super::*;

    fn strings(text: &str) -> Strings {
        Strings::collect(&line::sections(text).unwrap())
    }

    #[test]
    fn tokens_are_found_in_any_case_and_percent_signs_survive() {
        let strings = strings("[Strings]\nVENDOR = \"Acme, Inc.\"\n12=no\n");
        let text = |raw: &str| strings.text(raw.to_owned()).text;
        assert_eq!(text("%vendor% disk"), "Acme, Inc. disk");
        assert_eq!(text("%%SystemRoot%%\\x"), "%SystemRoot%\\x");
        assert_eq!(text("%13%\\viostor.sys"), "%13%\\viostor.sys");
        assert_eq!(text("%unknown%"), "%unknown%");
        assert_eq!(text("100%"), "100%");
    }

    #[test]
    fn a_language_fills_in_what_the_plain_section_lacks() {
        let strings = strings(
            "[Strings.0407]\na=deutsch\nc=nur\n[Strings.0409]\na=english\nb=too\n[Strings]\nd=plain\n",
        );
        let text = |raw: &str| strings.text(raw.to_owned()).text;
        assert_eq!(text("%a% %b% %c% %d%"), "english too nur plain");
    }

    #[test]
    fn the_raw_text_is_kept() {
        let strings = strings("[Strings]\nA=b\n");
        let text = strings.text("%A%".to_owned());
        assert_eq!((text.raw.as_str(), text.token().as_str()), ("%A%", "%a%"));
    }
}
