//! Files that hold one key each.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrecy::SecretString;

/// More than any key has, so that a wrong path does not fill the memory.
const MAX_BYTES: usize = 4096;

/// The key in a file, without the space around it. The error is a sentence that names the file and the remedy, never the content.
pub(super) fn read_key(path: &Path) -> Result<String, String> {
    let name = path.display();
    let text = read_text(path)
        .map_err(|error| format!("{name} cannot be read ({error}); put the key into this file"))?;
    let key = text.trim();
    if key.is_empty() {
        return Err(format!("{name} is empty; put the key into this file"));
    }
    let problem = if text.len() > MAX_BYTES {
        "is longer than any key"
    } else if key.lines().count() > 1 {
        "has more than one line"
    } else if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "has space within the key"
    } else {
        return Ok(key.to_owned());
    };
    Err(format!(
        "{name} {problem}; it must hold the key and nothing else"
    ))
}

/// Like [`read_key`], for a key that must stay secret. Warns when every user of the machine can read it.
pub(super) fn read_secret(path: &Path) -> Result<SecretString, String> {
    let key = read_key(path)?;
    if world_readable(path) {
        tracing::warn!(
            file = %path.display(),
            "every user of this machine can read the secret key; run `chmod 600` on the file (in Kubernetes: defaultMode: 0400)"
        );
    }
    Ok(key.into())
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not text"))
}

#[cfg(unix)]
fn world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    /// `r` for others.
    const OTHERS_READ: u32 = 0o004;
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & OTHERS_READ != 0)
}

#[cfg(not(unix))]
fn world_readable(_: &Path) -> bool {
    false
}
