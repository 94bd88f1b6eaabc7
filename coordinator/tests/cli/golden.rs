//! Texts that must stay as they are: people read them, and programs read the JSON.

use std::fs;
use std::path::Path;

/// Compares with the file of that name under `golden/`. To make a file again, delete it, run the test, and read what it wrote.
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cli/golden")
        .join(name);
    if !path.exists() {
        fs::write(&path, text).unwrap();
        panic!(
            "{} was written; read it and run the test again",
            path.display()
        );
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "\n{text}");
}
