//! `clearml-sim`: runs the simulated ClearML server until it is interrupted.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Parser;
use clearml_sim::{Credentials, Mode, Seed, Server, State};

/// A simulated ClearML API server.
///
/// Prints its URL, then one line for each user: company, user, access key, secret key. The keys mean nothing outside this program.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Which edition of the server to be.
    #[arg(long, env = "CLEARML_SIM_MODE", value_enum, default_value_t)]
    mode: Mode,
    /// Where to listen; port 0 takes any free one.
    #[arg(long, env = "CLEARML_SIM_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Companies, users, queues and tasks to start with, as JSON (see README.md); without it, company "clearml" with user "admin".
    #[arg(long, env = "CLEARML_SIM_SEED_FILE")]
    seed_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args {
        mode,
        listen,
        seed_file,
    } = Args::parse();
    let state = State::with_mode(mode);
    let users = match seed_file {
        Some(path) => read(&path)?,
        None => Seed::small(mode),
    }
    .plant(&state);
    let server = Server::start(listen, state)
        .await
        .with_context(|| format!("failed to listen at {listen}; choose another --listen"))?;
    print(&server, &users)?;
    tokio::signal::ctrl_c()
        .await
        .context("failed to wait for an interrupt")?;
    Ok(server.shutdown().await?)
}

fn read(path: &Path) -> anyhow::Result<Seed> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not a seed file; README.md shows one", path.display()))
}

fn print(server: &Server, users: &[(String, String, Credentials)]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", server.url())?;
    for (company, user, keys) in users {
        let Credentials {
            access_key,
            secret_key,
        } = keys;
        writeln!(out, "{company} {user} {access_key} {secret_key}")?;
    }
    Ok(out.flush()?)
}
