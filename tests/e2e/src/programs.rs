//! Where the programs under test are: beside the running one, where cargo puts them all.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail};

/// Paths of the built programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `mica`: coordinator and command line.
    pub mica: PathBuf,
    /// `mica-agent`.
    pub agent: PathBuf,
    /// `libnvml_sim.so`: the simulated driver.
    pub nvml: PathBuf,
}

impl Programs {
    /// The programs in one folder.
    ///
    /// # Errors
    /// When one is missing; names it and the remedy.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let find = |name: &str| {
            let path = folder.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                bail!(
                    "{} is missing: run `cargo build --workspace` first",
                    path.display()
                )
            }
        };
        Ok(Self {
            mica: find("mica")?,
            agent: find("mica-agent")?,
            nvml: find("libnvml_sim.so")?,
        })
    }

    /// The programs beside the running one.
    ///
    /// # Errors
    /// When one is missing.
    pub fn beside_this() -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("this program's own path")?;
        Self::in_folder(this.parent().context("this program has no folder")?)
    }

    /// For tests: builds the programs in the test's own profile, once, and returns them. Cargo builds the programs of other
    /// crates only when asked.
    ///
    /// # Errors
    /// When the build fails.
    pub fn built() -> anyhow::Result<Self> {
        static BUILD: OnceLock<Result<(), String>> = OnceLock::new();
        let test = std::env::current_exe().context("this test's own path")?;
        // target/PROFILE/deps/TEST
        let folder = test
            .ancestors()
            .nth(2)
            .context("the test lies in no target folder")?;
        let release = folder
            .file_name()
            .is_some_and(|profile| profile == "release");
        let build = BUILD.get_or_init(|| build(release).map_err(|error| format!("{error:#}")));
        build.clone().map_err(anyhow::Error::msg)?;
        Self::in_folder(folder)
    }
}

fn build(release: bool) -> anyhow::Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--lib", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    // What cargo told this test about its own crate must not look like a change to the build scripts of others.
    let told = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if told.iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cargo build")?;
    if !status.success() {
        bail!("cargo build --workspace: {status}");
    }
    Ok(())
}
