//! Grafana beside the demo, where it is installed.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

use anyhow::{Context, Result};
use harness::Program;

use harness::station::free_address;

/// Its usual 3000 is the receiver's.
const PORT: u16 = 3_001;

/// Where packages put what Grafana serves, unless it lies beside the program.
const HOME: &str = "/usr/share/grafana";

/// The provisioning of this repository.
const PROVISIONING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../grafana");

/// A running Grafana.
pub(crate) struct Grafana {
    program: Program,
    address: String,
}

impl Grafana {
    /// Starts Grafana on `database` as `orbitstream_reader` if it is installed.
    pub(crate) fn start_if_installed(
        database_port: u16,
        database: &str,
        password: &str,
        folder: &Path,
    ) -> Result<Option<Self>> {
        let Some(mut command) = server() else {
            return Ok(None);
        };
        let provisioning = fs::canonicalize(PROVISIONING)
            .with_context(|| format!("cannot find Grafana's provisioning in {PROVISIONING}"))?;
        let data = folder.join("grafana");
        fs::create_dir_all(&data)?;
        let address = free_address(PORT, |address| TcpListener::bind(address).is_ok())?;
        let port = address.rsplit(':').next().unwrap_or_default();
        command
            .env("GF_PATHS_PROVISIONING", provisioning.join("provisioning"))
            .env("GF_PATHS_DATA", &data)
            .env("GF_PATHS_LOGS", data.join("log"))
            .env("GF_SERVER_HTTP_ADDR", "127.0.0.1")
            .env("GF_SERVER_HTTP_PORT", port)
            // Whoever can reach this machine's loopback may look, and nothing else.
            .env("GF_AUTH_ANONYMOUS_ENABLED", "true")
            .env("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer")
            .env("GF_AUTH_DISABLE_LOGIN_FORM", "true")
            .env("GF_SECURITY_ADMIN_PASSWORD", format!("{:032x}", rand::random::<u128>()))
            .env("GF_DASHBOARDS_MIN_REFRESH_INTERVAL", "1s")
            .env("GF_PLUGINS_PREINSTALL_DISABLED", "true")
            .env("GF_ANALYTICS_REPORTING_ENABLED", "false")
            .env("GF_ANALYTICS_CHECK_FOR_UPDATES", "false")
            .env("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false")
            .env("GF_NEWS_NEWS_FEED_ENABLED", "false")
            // Read by the files in grafana/provisioning.
            .env("ORBITSTREAM_DB_HOST", format!("127.0.0.1:{database_port}"))
            .env("ORBITSTREAM_DB_NAME", database)
            .env("ORBITSTREAM_READER_PASSWORD", password)
            .env("ORBITSTREAM_DASHBOARDS", provisioning.join("dashboards"));
        let program = Program::start(&mut command, &folder.join("grafana.log"))?;
        Ok(Some(Self { program, address }))
    }

    /// A line for people: where it is, or why it is not.
    pub(crate) fn note(&mut self) -> String {
        match self.program.check_running() {
            Ok(()) => format!("Grafana      http://{}", self.address),
            Err(error) => format!("Grafana      {error}"),
        }
    }
}

/// The command that runs Grafana's server: its newer name, or its older one.
fn server() -> Option<Command> {
    let (path, arguments): (PathBuf, &[&str]) =
        match (on_path("grafana"), on_path("grafana-server")) {
            (Some(path), _) => (path, &["server"]),
            (None, Some(path)) => (path, &[]),
            (None, None) => return None,
        };
    let mut command = Command::new(&path);
    command.args(arguments);
    let real = fs::canonicalize(&path).unwrap_or(path);
    let beside = real.parent().and_then(Path::parent).map(Path::to_owned);
    if let Some(home) = beside
        .into_iter()
        .chain(iter::once(PathBuf::from(HOME)))
        .find(|home| home.join("conf/defaults.ini").is_file())
    {
        command.arg("--homepath").arg(home);
    }
    Some(command)
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|p| p.is_file())
}
