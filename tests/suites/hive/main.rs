// SPDX-License-Identifier: Apache-2.0
//! The registry room from outside: the verbs of `guestfix hive`, and what other readers see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod command;
#[path = "../../../guestfix/fuzz/exercise.rs"]
mod exercise;
mod hostile;
mod readers;
mod sample;
mod script;
mod scripts;
