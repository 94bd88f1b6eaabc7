//! Tests of the whole crate through its public face.

mod cases;
mod oracle;
mod properties;
mod report;
mod rules;
mod support;
