//! What goes to standard output (data, and nothing else) and to the ready file.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
};

/// Writes text. A reader that has closed the pipe has had enough, which is no error.
pub fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes the address of the HTTP server to a file, which appears only when it is whole.
pub fn ready(file: &Path, http: SocketAddr) -> io::Result<()> {
    let beside = file.with_extension("new");
    let content = serde_json::json!({ "http": http.to_string() });
    std::fs::write(&beside, format!("{content}\n"))?;
    std::fs::rename(beside, file)
}
