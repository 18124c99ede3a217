// SPDX-License-Identifier: Apache-2.0
//! Catalogues: which files a signed list vouches for, and who signed it.
//!
//! A `.cat` file is PKCS #7 `SignedData` (RFC 2315, <https://www.rfc-editor.org/rfc/rfc2315>)
//! around a certificate trust list (`szOID_CTL`,
//! <https://learn.microsoft.com/windows/win32/api/wincrypt/ns-wincrypt-ctl_info>) of type
//! `szOID_CATALOG_LIST`. Microsoft's roots are not held here: a signature is followed to the end
//! of the chain that the file carries, and that end is named, not trusted.

mod authenticode;
mod certificate;
mod der;
mod digest;
mod list;
mod signed;

use crate::error::{Error, Result};
use crate::package::{DigestKind, Signature};

pub(crate) use authenticode::Embedded;
pub(crate) use digest::Digests;

/// Longer than any catalogue of a driver, in bytes.
const MAX_LEN: usize = 32 << 20;

/// A parsed catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// Digests of the files that it lists, of any length.
    members: std::collections::HashSet<Vec<u8>>,
    /// Who signed it; empty for a list that nobody signed. Nested signatures are among them.
    pub signatures: Vec<Signature>,
}

impl Catalog {
    /// Reads a catalogue and checks its signatures.
    ///
    /// # Errors
    /// `Corrupt`/`catalog-damaged` for what is no catalogue. A wrong signature is no error; it
    /// stands in `signatures`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged =
            |what: &str| Error::corrupt("catalog-damaged", format!("no catalogue: {what}"));
        if bytes.len() > MAX_LEN {
            return Err(damaged("it is longer than any"));
        }
        let signed = signed::SignedData::parse(bytes);
        let signed = signed.ok_or_else(|| damaged("it is no PKCS #7 signed data"))?;
        let members = list::members(&signed);
        let members = members.ok_or_else(|| damaged("it holds no list of files"))?;
        Ok(Self {
            members,
            signatures: signed.signatures(),
        })
    }

    /// How many digests it lists.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Which digests of a file it lists.
    pub(crate) fn lists(&self, digests: &Digests) -> Vec<DigestKind> {
        let listed = |kind: &DigestKind| self.members.contains(digests.of(*kind));
        let kinds = [DigestKind::Sha1, DigestKind::Sha256];
        kinds.into_iter().filter(listed).collect()
    }
}

#[cfg(test)]
mod tests;
