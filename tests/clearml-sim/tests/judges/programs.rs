//! Starting the other programs, which get no further than this machine.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use clearml_sim::{Credentials, Server, State};
use tokio::{process::Command, time::timeout};

/// Longest life of a program that ends by itself.
const DEADLINE: Duration = Duration::from_secs(300);

pub(crate) async fn serve(state: &State) -> Server {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(address, state.clone()).await.unwrap()
}

/// A file beside the tests.
pub(crate) fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges");
    folder.join(name)
}

/// The Python that has ClearML's packages.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("MICA_TEST_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// A program whose home is a folder, and that finds no way out of this machine.
pub(crate) fn program(name: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(name);
    command.kill_on_drop(true).env("HOME", home);
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env(proxy, "http://127.0.0.1:9");
    }
    for exempt in ["no_proxy", "NO_PROXY"] {
        command.env(exempt, "127.0.0.1,localhost");
    }
    command
}

/// Where ClearML's Python packages find the server, and with whose keys.
pub(crate) fn point(command: &mut Command, server: &Server, keys: &Credentials) {
    let url = server.url();
    for host in ["API", "WEB", "FILES"] {
        command.env(format!("CLEARML_{host}_HOST"), url);
    }
    command.env("CLEARML_API_ACCESS_KEY", &keys.access_key);
    command.env("CLEARML_API_SECRET_KEY", &keys.secret_key);
}

pub(crate) async fn run(command: &mut Command) -> Output {
    timeout(DEADLINE, command.output()).await.unwrap().unwrap()
}
