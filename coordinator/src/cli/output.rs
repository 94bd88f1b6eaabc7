//! Where text goes: data to stdout, here and nowhere else, and what is said to people to stderr.

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

/// Says a line on stderr. When nobody listens there, nobody can be told.
pub(super) fn tell(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}
