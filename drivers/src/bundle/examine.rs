// SPDX-License-Identifier: Apache-2.0
//! What the files of a package show: lengths, digests, images and who vouches for them.

use sha2::{Digest, Sha256};

use crate::bytes::hex;
use crate::catalog::{Catalog, Digests, Embedded};
use crate::error::Result;
use crate::inf::Copy;
use crate::package::{DigestKind, DriverFile, Member, Signature, Vouch};
use crate::pe::{self, Pe};
use crate::source::Files;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The INF.
    pub inf: Member,
    /// Who vouches for the INF.
    pub inf_vouch: Vouch,
    /// The catalogue, where it is there.
    pub catalog: Option<Member>,
    /// The files that are there, in the order asked for.
    pub files: Vec<DriverFile>,
    /// Names of those that are not.
    pub missing: Vec<String>,
    /// Images that are none, with why.
    pub damaged: Vec<String>,
    /// Digests of the signatures that vouch for all of it; empty where nobody does.
    pub signed_with: Vec<DigestKind>,
}

/// Something that can look at the files of a package.
pub(crate) trait Witness {
    /// Looks at an INF, its catalogue and the files that it copies.
    ///
    /// # Errors
    /// Only those of reading: what is missing or damaged is evidence.
    fn examine(&self, inf: &str, catalog: Option<&str>, copies: &[Copy]) -> Result<Evidence>;
}

impl Witness for Files {
    fn examine(&self, inf: &str, catalog: Option<&str>, copies: &[Copy]) -> Result<Evidence> {
        let folder = inf.rsplit_once('/').map_or("", |(folder, _)| folder);
        let list = Listed::read(self, folder, catalog)?;
        let inf_bytes = self.read(inf)?;
        let mut out = Evidence {
            inf: member(inf, &inf_bytes),
            inf_vouch: list.vouch(&inf_bytes, None),
            catalog: list.member.clone(),
            files: Vec::new(),
            missing: Vec::new(),
            damaged: Vec::new(),
            signed_with: list.signed_with(),
        };
        for copy in copies {
            let Some(file) = self.find(&beside(folder, &copy.source)) else {
                out.missing.push(copy.source.clone());
                continue;
            };
            let bytes = self.read(&file.path)?;
            let image = pe::is_image(&bytes).then(|| Pe::parse(&bytes));
            let image = match image {
                Some(Err(error)) => {
                    out.damaged
                        .push(format!("{}: {}", copy.source, error.message));
                    None
                }
                other => other.and_then(Result::ok),
            };
            out.files.push(DriverFile {
                member: member(&file.path, &bytes),
                place: copy.place.clone(),
                vouch: list.vouch(&bytes, image.as_ref()),
                image: image.map(|image| image.image()),
            });
        }
        Ok(out)
    }
}

/// A catalogue as it was found.
#[derive(Debug, Default)]
struct Listed {
    name: String,
    member: Option<Member>,
    catalog: Option<Catalog>,
    /// Why there is none.
    why: String,
}

impl Listed {
    fn read(files: &Files, folder: &str, name: Option<&str>) -> Result<Self> {
        let Some(name) = name else {
            return Ok(Self {
                why: "the INF names no catalogue".to_owned(),
                ..Self::default()
            });
        };
        let mut out = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let Some(file) = files.find(&beside(folder, name)) else {
            out.why = format!("the catalogue {name} is missing");
            return Ok(out);
        };
        let bytes = files.read(&file.path)?;
        out.member = Some(member(&file.path, &bytes));
        match Catalog::parse(&bytes) {
            Ok(catalog) => out.catalog = Some(catalog),
            Err(error) => out.why = format!("{name}: {}", error.message),
        }
        Ok(out)
    }

    /// Who vouches for a file: the catalogue, or the image's own signature.
    fn vouch(&self, bytes: &[u8], image: Option<&Pe<'_>>) -> Vouch {
        let digests = self
            .catalog
            .as_ref()
            .map(|c| c.lists(&Digests::of_file(bytes)));
        let by_catalog = self.catalog.as_ref().zip(digests.filter(|d| !d.is_empty()));
        if let Some((catalog, digests)) = by_catalog {
            let signature = best(&catalog.signatures);
            let vouch = Vouch::Catalog {
                catalog: self
                    .member
                    .as_ref()
                    .map_or_else(String::new, |m| m.path.clone()),
                digests,
                signature: signature.cloned(),
            };
            if vouch.is_vouched() {
                return vouch;
            }
            return embedded(image).unwrap_or(vouch);
        }
        let why = if self.catalog.is_some() {
            format!("{} does not list it", self.name)
        } else {
            self.why.clone()
        };
        embedded(image).unwrap_or(Vouch::Nobody {
            why: match image.and_then(|image| Embedded::read(image).wrong) {
                Some(wrong) => format!("{why}, and {wrong}"),
                None => why,
            },
        })
    }

    fn signed_with(&self) -> Vec<DigestKind> {
        let signatures = self.catalog.iter().flat_map(|c| &c.signatures);
        let mut out: Vec<DigestKind> = signatures.filter(|s| s.holds()).map(|s| s.digest).collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// What an image's own signature says, where it holds.
fn embedded(image: Option<&Pe<'_>>) -> Option<Vouch> {
    let embedded = Embedded::read(image?);
    let signature = best(&embedded.signatures).filter(|s| s.holds())?;
    Some(Vouch::Embedded {
        digest: signature.digest,
        signature: signature.clone(),
    })
}

/// The signature that says most: one that holds, with the strongest digest.
fn best(signatures: &[Signature]) -> Option<&Signature> {
    signatures.iter().max_by_key(|s| (s.holds(), s.digest))
}

pub(super) fn member(path: &str, bytes: &[u8]) -> Member {
    Member {
        path: path.to_owned(),
        len: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        sha256: hex(&Sha256::digest(bytes)),
    }
}

fn beside(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}
