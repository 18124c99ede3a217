// SPDX-License-Identifier: Apache-2.0
//! The rooms under test and nothing else of guestfix, so that a build with instrumentation takes a
//! minute. The crate has the library's name: what is fuzzed is what users call.
#![allow(missing_docs)]

#[path = "../src/error.rs"]
pub mod error;
#[path = "../src/hive/mod.rs"]
pub mod hive;

pub use error::{Error, Kind, Result};
