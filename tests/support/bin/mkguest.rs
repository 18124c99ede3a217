// SPDX-License-Identifier: Apache-2.0
//! `mkguest [--path] [NAME...]`: builds the guests that the cache lacks (all, without a NAME) and prints where they are.
//! `--path` only prints where they are or would be.
#![allow(clippy::print_stdout, clippy::print_stderr)]
use std::process::ExitCode;
use tests::guest::{Guest, NAMES, image_path};

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let only_paths = names.iter().any(|argument| argument == "--path");
    names.retain(|argument| argument != "--path");
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        eprintln!(
            "mkguest: no guest {unknown:?}; there are: {}",
            NAMES.join(", ")
        );
        return ExitCode::from(2);
    }
    if names.is_empty() {
        names = NAMES.iter().map(|&name| name.to_owned()).collect();
    }
    for name in names {
        if only_paths {
            println!("{}", image_path(&name).display());
        } else {
            println!("{}", Guest::get(&name).path().display());
        }
    }
    ExitCode::SUCCESS
}
