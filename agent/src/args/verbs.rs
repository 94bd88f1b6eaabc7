//! Arguments of the verbs for people, named as in NVIDIA's mig-parted.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{KubeletArgs, NvmlArgs, StateArgs};

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The NVML library
    #[command(flatten)]
    pub nvml: NvmlArgs,
    /// Form of the file
    #[arg(
        short,
        long,
        visible_alias = "output-format",
        env = "MICA_AGENT_EXPORT_OUTPUT",
        value_name = "FORMAT",
        default_value = "yaml"
    )]
    pub output: FileFormat,
    /// Name of the config in the file
    #[arg(
        short = 'l',
        long,
        env = "MICA_AGENT_CONFIG_LABEL",
        value_name = "NAME",
        default_value = "current"
    )]
    pub config_label: String,
}

/// Form of a file of layouts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FileFormat {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Which config.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// File in mig-parted's format, YAML or JSON; - is standard input
    #[arg(short = 'f', long, env = "MICA_AGENT_CONFIG_FILE", value_name = "FILE")]
    pub config_file: PathBuf,
    /// Name of the config; may be left out when the file has only one
    #[arg(
        short = 'c',
        long,
        env = "MICA_AGENT_SELECTED_CONFIG",
        value_name = "NAME"
    )]
    pub selected_config: Option<String>,
    /// Mind MIG mode only, not what stands
    #[arg(short, long, env = "MICA_AGENT_MODE_ONLY")]
    pub mode_only: bool,
}

/// Arguments of `assert`.
#[derive(Debug, Args)]
pub struct AssertArgs {
    /// The NVML library
    #[command(flatten)]
    pub nvml: NvmlArgs,
    /// Which config
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only check that the file can be used and has the config; looks at no GPU
    #[arg(short = 'a', long, env = "MICA_AGENT_VALID_CONFIG")]
    pub valid_config: bool,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The NVML library
    #[command(flatten)]
    pub nvml: NvmlArgs,
    /// The node's kubelet
    #[command(flatten)]
    pub kubelet: KubeletArgs,
    /// Which config
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print the steps and take none
    #[arg(long)]
    pub dry_run: bool,
    /// What is kept on disk
    #[command(flatten)]
    pub state: StateArgs,
}
