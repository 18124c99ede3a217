// SPDX-License-Identifier: Apache-2.0
//! A release as a person writes it: `w10/amd64`, `2022/amd64`, `10.0.20348/arm64/server`.

use std::str::FromStr;

use super::{Arch, Installation, Product, Release};
use crate::error::{Error, Kind};

impl FromStr for Release {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split('/');
        let (name, arch, kind) = (parts.next(), parts.next(), parts.next());
        let wrong = || wrong(text);
        let arch = arch.and_then(Arch::parse).ok_or_else(wrong)?;
        let asked = match kind.map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("client") => Some(Installation::Client),
            Some("server") => Some(Installation::Server),
            Some("core") => Some(Installation::ServerCore),
            Some(_) => return Err(wrong()),
        };
        let name = name.unwrap_or_default();
        let release = match Product::of_folder(name) {
            Some(product) => of_product(product, arch, asked),
            None => of_numbers(name, arch, asked),
        };
        release.filter(|_| parts.next().is_none()).ok_or_else(wrong)
    }
}

fn of_product(product: Product, arch: Arch, asked: Option<Installation>) -> Option<Release> {
    let own = if product.is_server() {
        Installation::Server
    } else {
        Installation::Client
    };
    let installation = asked.unwrap_or(own);
    if installation.is_server() != product.is_server() {
        return None;
    }
    let (major, minor) = product.version();
    let minor = if product == Product::Xp && arch == Arch::Amd64 {
        2
    } else {
        minor
    };
    Some(Release {
        product,
        major,
        minor,
        build: product.usual_build(),
        installation,
        arch,
    })
}

/// `10.0.20348`, a client where nothing else is said.
fn of_numbers(text: &str, arch: Arch, asked: Option<Installation>) -> Option<Release> {
    let mut numbers = text.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor, build) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() {
        return None;
    }
    let installation = asked.unwrap_or(Installation::Client);
    let product = Product::of((major, minor), build, installation.is_server())?;
    Some(Release {
        product,
        major,
        minor,
        build,
        installation,
        arch,
    })
}

fn wrong(text: &str) -> Error {
    let known: Vec<&str> = Product::all().map(Product::folder).collect();
    Error::new(
        Kind::Usage,
        "no-such-release",
        format!("{text:?} is no release of Windows with its architecture"),
    )
    .hint(format!(
        "write RELEASE/ARCH, for example w10/amd64, or numbers with client, server or core, for \
         example 10.0.20348/amd64/server; releases are {}; architectures are x86, amd64, arm64",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_name_the_same_release() {
        let a: Release = "2k22/amd64".parse().unwrap();
        let b: Release = "10.0.20348/x64/server".parse().unwrap();
        let c: Release = "2022/AMD64".parse().unwrap();
        assert_eq!((&a, &a), (&b, &c));
        let core: Release = "2k16/amd64/core".parse().unwrap();
        assert_eq!(core.installation, Installation::ServerCore);
        assert_eq!(core.build, 14393);
    }

    #[test]
    fn nonsense_is_a_usage_error_that_lists_what_there_is() {
        for text in [
            "",
            "w10",
            "w10/mips",
            "w10/amd64/server",
            "w9/amd64",
            "10.0/x86",
            "w7/x86/client/x",
        ] {
            let error = text.parse::<Release>().unwrap_err();
            assert_eq!(error.kind, Kind::Usage, "{text}");
            assert!(error.hint.unwrap().contains("2k12R2"));
        }
    }
}
