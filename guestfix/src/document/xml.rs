// SPDX-License-Identifier: Apache-2.0
//! XML as a tree of elements. Namespaces are left out: names are the local ones.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::MAX_DEPTH;
use crate::error::{Error, Result};

/// Elements of a document at most.
const MAX_ELEMENTS: usize = 200_000;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Name without its namespace's prefix.
    pub name: String,
    /// Attributes in order, names without prefix.
    pub attributes: Vec<(String, String)>,
    /// The text directly inside, blanks around it removed.
    pub text: String,
    /// The elements directly inside.
    pub children: Vec<Element>,
}

impl Element {
    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of that name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// The children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The element itself and everything inside it, in the order of the document.
    pub fn walk(&self) -> Vec<&Self> {
        let mut out = Vec::new();
        let mut todo = vec![self];
        while let Some(at) = todo.pop() {
            out.push(at);
            todo.extend(at.children.iter().rev());
        }
        out
    }
}

/// Reads the elements at the top of a document: one in XML proper, several in wicked's files.
///
/// # Errors
/// `Unsupported`/`bad-xml` when it is not well-formed, nests too deep or declares entities.
pub fn parse(bytes: &[u8]) -> Result<Vec<Element>> {
    let text = std::str::from_utf8(bytes).map_err(|e| bad("is not UTF-8").because(e))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    // The element that holds everything: one level more than the document has.
    let mut open = vec![Element::default()];
    let mut seen = 0_usize;
    loop {
        let event = reader.read_event().map_err(|e| {
            bad("is not well-formed")
                .at(reader.error_position())
                .because(e)
        })?;
        if matches!(event, Event::Start(_) | Event::Empty(_)) {
            seen = seen.saturating_add(1);
            if seen > MAX_ELEMENTS || open.len() > MAX_DEPTH {
                return Err(bad("is larger or deeper than any description of a machine"));
            }
        }
        match event {
            Event::Start(start) => open.push(element(&start)?),
            Event::Empty(start) => push(&mut open, element(&start)?),
            Event::End(_) => {
                let done = open.pop().unwrap_or_default();
                push(&mut open, done);
            }
            Event::Text(text) => note(&mut open, &text.xml10_content()),
            Event::CData(text) => note(&mut open, &text.xml10_content()),
            Event::GeneralRef(name) => {
                let text = format!("&{};", name.xml10_content());
                let text = quick_xml::escape::unescape(&text)
                    .map_err(|e| bad("uses an entity").because(e))?;
                note(&mut open, &text);
            }
            Event::DocType(_) => return Err(bad("has a document type declaration")),
            Event::Eof => break,
            _ => {}
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(top), true) => Ok(top.children.into_iter().map(trimmed).collect()),
        _ => Err(bad("ends inside an element")),
    }
}

fn push(open: &mut [Element], done: Element) {
    if let Some(outer) = open.last_mut() {
        outer.children.push(trimmed(done));
    }
}

fn trimmed(mut element: Element) -> Element {
    element.text = element.text.trim().to_owned();
    element
}

fn note(open: &mut [Element], text: &str) {
    if let Some(inner) = open.last_mut() {
        inner.text.push_str(text);
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element> {
    let mut out = Element {
        name: start.local_name().as_ref().to_owned(),
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| bad("has a broken attribute").because(e))?;
        let value = quick_xml::escape::unescape(&attribute.value)
            .map_err(|e| bad("uses an entity").because(e))?;
        let name = attribute.key.local_name().as_ref().to_owned();
        out.attributes.push((name, value.into_owned()));
    }
    Ok(out)
}

fn bad(what: &str) -> Error {
    Error::unsupported("bad-xml", format!("the XML {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_lose_their_prefix_and_keep_their_order() {
        let text = "<?xml version=\"1.0\"?>\r\n<!-- c --><a:x xmlns:a=\"u\" a:k=\"1 &amp; 2\"><b> one &lt;<![CDATA[ two]]> </b><b/></a:x>";
        let all = parse(text.as_bytes()).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].name, "x");
        assert_eq!(all[0].attribute("k"), Some("1 & 2"));
        assert_eq!(all[0].text_of("b"), Some("one < two"));
        assert_eq!(all[0].all("b").count(), 2);
        assert_eq!(all[0].walk().len(), 3);
    }

    #[test]
    fn what_could_grow_or_lead_outside_is_refused() {
        let deep = "<a>".repeat(100);
        for text in [
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a>&b;</a>",
            "<a b=\"&c;\"/>",
            "<a><b></a>",
            "<a>",
            "</a>",
            "<a b=c/>",
            deep.as_str(),
        ] {
            assert_eq!(
                parse(text.as_bytes()).unwrap_err().code,
                "bad-xml",
                "{text}"
            );
        }
        assert!(parse(b"\xff<a/>").is_err());
    }
}
