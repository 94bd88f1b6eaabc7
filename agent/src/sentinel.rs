//! The file that asks for a reboot of the node: kured, for one, watches `/var/run/reboot-required`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::{error, info, warn};

use crate::generation::replace;

/// How a file begins that is ours.
const OURS: &str = "mica-agent: ";

/// The file, and what it says.
#[derive(Debug)]
pub struct Sentinel {
    file: PathBuf,
    /// Why the last attempt to write or remove it failed, to say it once.
    failed: Option<String>,
}

impl Sentinel {
    /// In this file.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file, failed: None }
    }

    /// Asks for a reboot, for these reasons; with none, no longer. A file that somebody else has made is left alone.
    pub fn ask(&mut self, reasons: &[String]) {
        let lines = reasons.iter().map(|reason| format!("{OURS}{reason}\n"));
        let wanted: String = lines.collect();
        let result = self.update(&wanted);
        let failed = result.err().map(|error| error.to_string());
        if let Some(problem) = failed.as_ref().filter(|_| failed != self.failed) {
            let file = self.file.display();
            error!(%file, problem, "the file that asks for a reboot cannot be kept; see --reboot-sentinel");
        }
        self.failed = failed;
    }

    fn update(&self, wanted: &str) -> io::Result<()> {
        let file = self.file.display();
        match read(&self.file)? {
            Some(text) if !text.starts_with(OURS) || text == wanted => Ok(()),
            None if wanted.is_empty() => Ok(()),
            Some(_) if wanted.is_empty() => {
                fs::remove_file(&self.file)?;
                info!(%file, "no GPU waits for a reboot any more");
                Ok(())
            }
            Some(_) | None => {
                replace(&self.file, wanted.as_bytes())
                    .map_err(|error| io::Error::other(error.to_string()))?;
                warn!(%file, why = wanted.trim_end(), "the node has to be rebooted");
                Ok(())
            }
        }
    }
}

fn read(file: &Path) -> io::Result<Option<String>> {
    match fs::read(file) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_as_long_as_a_gpu_waits() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reboot-required");
        let mut sentinel = Sentinel::new(file.clone());
        sentinel.ask(&[]);
        assert!(!file.exists());
        sentinel.ask(&["GPU-1: no reset".to_owned()]);
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "mica-agent: GPU-1: no reset\n"
        );
        sentinel.ask(&["GPU-1: no reset".to_owned(), "GPU-2: sick".to_owned()]);
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2);
        // A successor knows it as its own.
        Sentinel::new(file.clone()).ask(&[]);
        assert!(!file.exists());
    }

    #[test]
    fn what_others_have_written_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reboot-required");
        for theirs in ["", "*** System restart required ***\n"] {
            fs::write(&file, theirs).unwrap();
            let mut sentinel = Sentinel::new(file.clone());
            sentinel.ask(&["GPU-1: no reset".to_owned()]);
            sentinel.ask(&[]);
            assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_no_end() {
        let mut sentinel = Sentinel::new(PathBuf::from("/no/such/folder/reboot-required"));
        sentinel.ask(&["GPU-1: no reset".to_owned()]);
        assert!(sentinel.failed.is_some());
        sentinel.ask(&[]);
        assert!(sentinel.failed.is_none());
    }
}
