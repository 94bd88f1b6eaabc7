//! `mica completion`.

use clap::{CommandFactory, ValueEnum};

use super::{fail::Fail, output};

/// How to use what is printed.
pub(super) const HELP: &str = "\
Examples:
  source <(mica completion bash)
  mica completion zsh > \"${fpath[1]}/_mica\"
  mica completion fish > ~/.config/fish/completions/mica.fish";

/// A shell that can complete.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "they are the names of shells")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for the commands of `C`.
pub(super) fn print<C: CommandFactory>(shell: Shell) -> Result<(), Fail> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut C::command(), "mica", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
