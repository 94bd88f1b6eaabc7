//! The one place that writes to stdout.

use std::io::{self, Write};

use super::fail::Fail;

/// Writes data, as it is, and at once: what follows may be long in coming.
pub(super) fn print(data: &str) -> Result<(), Fail> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(data.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Fail::Output)
}
