// SPDX-License-Identifier: Apache-2.0
//! The API `guestfix.io/v1alpha1`: the types, from which the CRDs are generated.

pub mod condition;
pub mod conversion;
pub mod crd;
pub mod foreign;
pub mod names;
pub mod profile;
pub mod status;

pub use conversion::{GuestConversion, GuestConversionSpec, Mode};
pub use profile::{GuestConversionProfile, GuestConversionProfileSpec};
pub use status::GuestConversionStatus;
