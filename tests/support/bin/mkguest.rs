// SPDX-License-Identifier: Apache-2.0
//! `mkguest [--path] [--full] [NAME...]`: builds the guests that the cache lacks and prints where they are. Without a NAME
//! it is about all that a normal run needs, with `--full` about all. `--path` only prints where they are or would be.
#![allow(clippy::print_stdout, clippy::print_stderr)]
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::guest::{Guest, NAMES, ONLY_FULL, image_path};

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let only_paths = names.iter().any(|argument| argument == "--path");
    let full = names.iter().any(|argument| argument == "--full");
    names.retain(|argument| argument != "--path" && argument != "--full");
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        eprintln!(
            "mkguest: no guest {unknown:?}; there are: {}",
            NAMES.join(", ")
        );
        return ExitCode::from(2);
    }
    if names.is_empty() {
        let wanted = NAMES
            .iter()
            .filter(|name| full || !ONLY_FULL.contains(name));
        names = wanted.map(|&name| name.to_owned()).collect();
    }
    if !only_paths {
        build(&names);
    }
    for name in names {
        println!("{}", image_path(&name).display());
    }
    ExitCode::SUCCESS
}

/// Builds as many at once as there are processors: each build keeps one busy, in its bootstrap as in its emulated boot.
fn build(names: &[String]) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..processors.min(names.len()) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    Guest::get(name);
                }
            });
        }
    });
}
