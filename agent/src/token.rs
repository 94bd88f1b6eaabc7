//! The token by which the agent identifies itself to the coordinator.

use std::path::PathBuf;

use tonic::metadata::{Ascii, MetadataValue};

/// A file with a token. The kubelet replaces it before the token expires, so that it is read anew each time.
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// The file need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The value of `authorization` that goes with a call; it is not shown in logs. `Err` names the file and never what is in it.
    pub async fn authorization(&self) -> Result<MetadataValue<Ascii>, String> {
        let file = self.0.display();
        let text = tokio::fs::read_to_string(&self.0)
            .await
            .map_err(|error| format!("cannot read --token-file {file}: {error}"))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(format!("--token-file {file} is empty"));
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| format!("--token-file {file} does not hold a token"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_is_said_without_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let token = TokenFile::new(path.clone());
        let problem = token.authorization().await.unwrap_err();
        assert!(
            problem.starts_with("cannot read --token-file ") && problem.contains("No such file"),
            "{problem}"
        );
        for (text, words) in [(" \n", "is empty"), ("sec\nret", "does not hold a token")] {
            std::fs::write(&path, text).unwrap();
            let problem = token.authorization().await.unwrap_err();
            assert!(
                problem.contains(words) && !problem.contains("sec"),
                "{problem}"
            );
        }
        std::fs::write(&path, "secret\n").unwrap();
        let value = token.authorization().await.unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer secret");
        assert!(!format!("{value:?}").contains("secret"), "{value:?}");
    }
}
