//! An installed Grafana with this repository's provisioning, on one database.
//!
//! Guarantees: it listens on 127.0.0.1 only, keeps everything it writes in the folder that it is
//! given, reads no configuration but this one, and ends with its owner (see [`crate::program`]).
//!
//! Limits: nothing is installed, and the database is reached without TLS.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, iter};

use anyhow::{Context, Result, bail};

use crate::Program;
use crate::station::free_address;

/// The role that reads the database.
pub const READER: &str = "orbitstream_reader";

/// Names the folder of a Grafana that is not on the PATH, such as an unpacked archive.
pub const HOME_VARIABLE: &str = "GRAFANA_HOME";

/// Where to look for people who have none.
pub const NOT_FOUND: &str = "Grafana was not found: neither grafana nor grafana-server is on the \
    PATH or in /usr/share/grafana. docs/grafana.md says how to install it; GRAFANA_HOME names the \
    folder of an unpacked archive";

/// Grafana's usual port, 3000, is the receiver's.
const PORT: u16 = 3_001;

/// Where packages put it. What they put on the PATH is a script that wants to be root.
const PACKAGED_HOME: &str = "/usr/share/grafana";

/// The programs that hold the server, in `bin` of its home: since 9.4, and before.
const PROGRAMS: [(&str, &[&str]); 2] = [("grafana", &["server"]), ("grafana-server", &[])];

/// From this version on the PostgreSQL datasource is a plugin that the server installs by itself.
const POSTGRES_IS_A_PLUGIN_SINCE: (u32, u32) = (13, 2);

/// The provisioning of this repository.
const PROVISIONING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../grafana");

/// How long it may take to answer; the first start makes its own database.
const READY_DURATION_MAX: Duration = Duration::from_secs(180);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The database that it shows.
#[derive(Clone, Debug)]
pub struct Source {
    /// Host and port.
    pub address: String,
    /// Name of the database.
    pub database: String,
    /// Password of [`READER`].
    pub password: String,
}

/// Who may do what in it.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Whoever reaches this machine's loopback may look, and nothing else.
    LookOnly,
    /// The user `admin` with this password has all rights; there is no anonymous access. The password
    /// holds only for a folder that is new.
    Admin(&'a str),
}

/// A running Grafana.
#[derive(Debug)]
pub struct Grafana {
    program: Program,
    address: String,
}

impl Grafana {
    /// Starts Grafana if it is installed, with its data and its log in `folder`.
    pub fn start_if_installed(
        source: &Source,
        access: Access<'_>,
        folder: &Path,
    ) -> Result<Option<Self>> {
        let home = env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty()).map(PathBuf::from);
        let Some(mut command) = server(home.as_deref())? else {
            return Ok(None);
        };
        let provisioning = fs::canonicalize(PROVISIONING)
            .with_context(|| format!("cannot find Grafana's provisioning in {PROVISIONING}"))?;
        let data = folder.join("grafana");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        // Without one, a file in its home would be read.
        let configuration = data.join("grafana.ini");
        fs::write(&configuration, "# All settings come from the environment.\n")
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let address = free_address(PORT, |address| TcpListener::bind(address).is_ok())?;
        let port = address.rsplit(':').next().unwrap_or_default();
        command
            .arg("--config")
            .arg(&configuration)
            .env("GF_PATHS_PROVISIONING", provisioning.join("provisioning"))
            .env("GF_PATHS_DATA", &data)
            .env("GF_PATHS_LOGS", data.join("log"))
            .env("GF_PATHS_PLUGINS", data.join("plugins"))
            .env("GF_SERVER_HTTP_ADDR", "127.0.0.1")
            .env("GF_SERVER_HTTP_PORT", port)
            .env("GF_DASHBOARDS_MIN_REFRESH_INTERVAL", "1s")
            .env("GF_ANALYTICS_REPORTING_ENABLED", "false")
            .env("GF_ANALYTICS_CHECK_FOR_UPDATES", "false")
            .env("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false")
            .env("GF_NEWS_NEWS_FEED_ENABLED", "false")
            // Read by the files in grafana/provisioning.
            .env("ORBITSTREAM_DB_HOST", &source.address)
            .env("ORBITSTREAM_DB_NAME", &source.database)
            .env("ORBITSTREAM_READER_PASSWORD", &source.password)
            .env("ORBITSTREAM_DASHBOARDS", provisioning.join("dashboards"));
        match access {
            Access::LookOnly => command
                .env("GF_AUTH_ANONYMOUS_ENABLED", "true")
                .env("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer")
                .env("GF_AUTH_DISABLE_LOGIN_FORM", "true")
                .env("GF_SECURITY_ADMIN_PASSWORD", random_password()),
            Access::Admin(password) => command.env("GF_SECURITY_ADMIN_PASSWORD", password),
        };
        let program = Program::start(&mut command, &folder.join("grafana.log"))?;
        Ok(Some(Self { program, address }))
    }

    /// Its address for a browser.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An error with the end of its log if it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.program.check_running()
    }

    /// Waits until it answers.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        while agent.get(format!("{}/api/health", self.url())).call().is_err() {
            self.check_running()?;
            if start.elapsed() > READY_DURATION_MAX {
                bail!(
                    "Grafana does not answer at {}; its log:\n{}",
                    self.url(),
                    self.program.log_tail()
                );
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

/// A random password of 128 bits.
pub fn random_password() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The password in the file `path`, readable by its owner only; a new one if there is no such file.
pub fn kept_password(path: &Path) -> Result<String> {
    if let Ok(password) = fs::read_to_string(path) {
        return Ok(password.trim().to_owned());
    }
    let password = random_password();
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{password}"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(password)
}

/// The command that runs the server of the Grafana in `home`, or of the one that is installed.
fn server(home: Option<&Path>) -> Result<Option<Command>> {
    if let Some(home) = home {
        let command = server_in(home).with_context(|| {
            format!("{HOME_VARIABLE}={} holds no bin/grafana with conf/ beside it", home.display())
        })?;
        return Ok(Some(command));
    }
    let beside_path = PROGRAMS.iter().filter_map(|(name, _)| {
        let program = fs::canonicalize(on_path(name)?).ok()?;
        program.parent().and_then(Path::parent).map(Path::to_owned)
    });
    let homes = beside_path.chain(iter::once(PathBuf::from(PACKAGED_HOME)));
    // A build that keeps to another layout knows its own home.
    let elsewhere = || {
        PROGRAMS.iter().find_map(|(name, arguments)| {
            let mut command = Command::new(on_path(name)?);
            command.args(*arguments);
            Some(command)
        })
    };
    Ok(homes.into_iter().find_map(|home| server_in(&home)).or_else(elsewhere))
}

/// The same for the Grafana in this folder, if there is one.
fn server_in(home: &Path) -> Option<Command> {
    let (program, arguments) = PROGRAMS
        .iter()
        .map(|(name, arguments)| (home.join("bin").join(name), arguments))
        .find(|(program, _)| program.is_file() && home.join("conf/defaults.ini").is_file())?;
    let mut command = Command::new(program);
    command.args(*arguments).arg("--homepath").arg(home);
    let version = fs::read_to_string(home.join("VERSION")).ok();
    if version.and_then(|text| major_minor(&text)).is_some_and(|v| v < POSTGRES_IS_A_PLUGIN_SINCE) {
        // Nothing of what it would fetch is needed here.
        command.env("GF_PLUGINS_PREINSTALL_DISABLED", "true");
    }
    Some(command)
}

/// The first two numbers of a version such as `13.1.5` or `v7.5.5`.
fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home with these programs.
    fn home(programs: &[&str], version: &str) -> Result<tempfile::TempDir> {
        let home = tempfile::tempdir()?;
        for folder in ["bin", "conf"] {
            fs::create_dir(home.path().join(folder))?;
        }
        fs::write(home.path().join("conf/defaults.ini"), "")?;
        fs::write(home.path().join("VERSION"), version)?;
        for program in programs {
            fs::write(home.path().join("bin").join(program), "")?;
        }
        Ok(home)
    }

    fn words(command: &Command) -> Vec<String> {
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn both_names_of_the_server_are_known() -> Result<()> {
        let new = home(&["grafana", "grafana-server"], "13.1.5")?;
        let path = new.path().to_string_lossy().into_owned();
        let command = server(Some(new.path()))?.context("a server")?;
        assert!(Path::new(command.get_program()).ends_with("bin/grafana"));
        assert_eq!(words(&command), ["server", "--homepath", &path]);

        let old = home(&["grafana-server"], "7.5.5\n")?;
        let path = old.path().to_string_lossy().into_owned();
        let command = server(Some(old.path()))?.context("a server")?;
        assert!(Path::new(command.get_program()).ends_with("bin/grafana-server"));
        assert_eq!(words(&command), ["--homepath", &path]);
        Ok(())
    }

    #[test]
    fn a_folder_without_grafana_is_an_error_that_names_it() -> Result<()> {
        let home = home(&[], "13.1.5")?;
        let error = server(Some(home.path())).expect_err("no program");
        assert!(error.to_string().contains(&*home.path().to_string_lossy()), "{error}");
        Ok(())
    }

    #[test]
    fn plugins_are_fetched_only_where_the_datasource_is_one() -> Result<()> {
        for (version, is_disabled) in [("v7.5.5", true), ("13.1.5", true), ("13.2.0", false)] {
            let home = home(&["grafana"], version)?;
            let command = server(Some(home.path()))?.context("a server")?;
            let is_set =
                command.get_envs().any(|(name, _)| name == "GF_PLUGINS_PREINSTALL_DISABLED");
            assert_eq!(is_set, is_disabled, "{version}");
        }
        Ok(())
    }

    #[test]
    fn a_kept_password_stays_the_same() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("password");
        let first = kept_password(&path)?;
        assert_eq!(first.len(), 32);
        assert_eq!(kept_password(&path)?, first);
        Ok(())
    }
}
