//! Finds the built library, to copy it into nodes.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The name under which NVML clients look for the library.
pub const SONAME: &str = "libnvidia-ml.so.1";

/// The name under which cargo builds it.
const BUILT: &str = "libnvml_sim.so";

/// Why there is no library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// The file named is not there.
    #[error("library {0} is not a file")]
    Missing(PathBuf),
    /// None beside the program.
    #[error(
        "no {BUILT} in {0}, beside it or in its deps folder; build it with `cargo build -p nvml-sim` or name it with --library"
    )]
    NotFound(PathBuf),
}

/// The library named, or the newest one near the running program: cargo leaves it in the profile's folder when it builds the
/// package itself, and only in `deps` below it when it builds the package for another one's tests.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, LibraryError> {
    if let Some(path) = named {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(LibraryError::Missing(path.to_owned()))
        };
    }
    let near = near_this_program();
    let places = near
        .iter()
        .flat_map(|folder| [folder.join(BUILT), folder.join("deps").join(BUILT)]);
    let age = |path: &PathBuf| {
        path.metadata()
            .and_then(|file| file.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    places
        .filter(|path| path.is_file())
        .max_by_key(age)
        .ok_or_else(|| LibraryError::NotFound(near.into_iter().next().unwrap_or_default()))
}

/// The folder of the running program and the one above it: cargo builds tests into a folder below that of programs.
pub(crate) fn near_this_program() -> Vec<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let near = program.ancestors().skip(1).take(2);
    near.map(Path::to_owned).collect()
}
