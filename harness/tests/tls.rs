//! TLS to PostgreSQL: what `sslmode` and `sslrootcert` promise is kept, and a promise that cannot be
//! kept is one clear line. The certificates are made here, by OpenSSL.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use harness::cluster::OWNER;
use harness::program::sibling;
use harness::station::{RECEIVER_REPORT, SATSIM_REPORT};
use harness::{Cluster, Constellation, Reports, Station, StopMode, Verification};
use support::ports;

/// Only by TLS, except by the Unix socket; one database is for those without it, one for both.
const RULES: &str = "local all all trust\n\
    hostnossl plain all 127.0.0.1/32 scram-sha-256\n\
    hostssl plain all 127.0.0.1/32 reject\n\
    host either all 127.0.0.1/32 scram-sha-256\n\
    hostssl all all 127.0.0.1/32 scram-sha-256\n";

/// A server with a certificate for `localhost`, and the folder of the certificates.
struct Server {
    cluster: Cluster,
    certificates: PathBuf,
    _folder: tempfile::TempDir,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| start().expect("a server that speaks TLS"))
}

fn start() -> Result<Server> {
    let cluster = Cluster::start()?;
    let folder = tempfile::tempdir()?;
    let certificates = folder.path().to_owned();
    for name in ["ca", "other"] {
        let subject = format!("/CN={name}");
        let files = ["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")];
        openssl(
            &certificates,
            &[&["req", "-x509", "-subj", &subject][..], &NEW_KEY, &files].concat(),
        )?;
    }
    let request = ["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"];
    openssl(&certificates, &[&["req"][..], &NEW_KEY, &request].concat())?;
    fs::write(certificates.join("names"), "subjectAltName = DNS:localhost\n")?;
    let sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names \
                -out server.pem";
    openssl(&certificates, &sign.split_whitespace().collect::<Vec<_>>())?;

    let data = cluster.directory().join("data");
    let owner = fs::metadata(&data)?;
    for (from, to) in [("server.pem", "server.crt"), ("server.key", "server.key")] {
        let to = data.join(to);
        fs::copy(certificates.join(from), &to)?;
        fs::set_permissions(&to, Permissions::from_mode(0o600))?;
        chown(&to, Some(owner.uid()), Some(owner.gid()))?;
    }
    fs::write(data.join("pg_hba.conf"), RULES)?;
    cluster.sql("postgres", "ALTER SYSTEM SET ssl = on")?;
    cluster.stop(StopMode::Fast)?;
    cluster.start_again()?;
    let socket = cluster.url_by_socket(OWNER, "postgres")?;
    for database in ["plain", "either", "secret", "flown"] {
        cluster.sql_at(&socket, &format!("CREATE DATABASE {database}"))?;
    }
    Ok(Server { cluster, certificates, _folder: folder })
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("cannot run openssl: scripts/setup.sh postgres")?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Server {
    /// URL of a database by a host's name, with further parameters.
    fn url(&self, host: &str, database: &str, parameters: &str) -> String {
        let url = self.cluster.url(database).replace("127.0.0.1", host);
        format!("{url}?{parameters}")
    }

    /// `sslmode` with a file of certificates.
    fn with_roots(&self, mode: &str, file: &str) -> String {
        format!("sslmode={mode}&sslrootcert={}", self.certificates.join(file).display())
    }
}

/// Makes the tables, which needs a connection; the one line that says why not.
fn migrate(url: &str) -> Result<Result<(), String>> {
    let output =
        Command::new(sibling("receiver")?).arg("migrate").env("DATABASE_URL", url).output()?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let error = String::from_utf8(output.stderr)?;
    ensure!(error.lines().count() == 1 && error.starts_with("error: "), "{error}");
    Ok(Err(error))
}

#[test]
fn what_each_mode_takes() -> Result<()> {
    let server = server();
    for (host, database, parameters) in [
        ("127.0.0.1", "secret", "sslmode=require".to_owned()),
        ("127.0.0.1", "secret", "sslmode=prefer".into()),
        ("127.0.0.1", "secret", String::new()),
        ("127.0.0.1", "secret", server.with_roots("verify-ca", "ca.pem")),
        ("127.0.0.1", "secret", server.with_roots("require", "ca.pem")),
        ("localhost", "secret", server.with_roots("verify-full", "ca.pem")),
        // A server's own certificate may be what is trusted.
        ("localhost", "secret", server.with_roots("verify-full", "server.pem")),
        ("127.0.0.1", "either", "sslmode=disable".into()),
        ("127.0.0.1", "plain", "sslmode=disable".into()),
        // The server has TLS, but not for this database.
        ("127.0.0.1", "plain", "sslmode=prefer".into()),
    ] {
        let url = server.url(host, database, &parameters);
        assert_eq!(migrate(&url)?, Ok(()), "{host} {database} {parameters}");
    }
    Ok(())
}

#[test]
fn what_each_mode_refuses() -> Result<()> {
    let server = server();
    for (host, database, parameters, part) in [
        ("localhost", "secret", server.with_roots("verify-full", "other.pem"), "signed by no CA"),
        ("localhost", "secret", server.with_roots("verify-ca", "other.pem"), "signed by no CA"),
        ("localhost", "secret", server.with_roots("require", "other.pem"), "signed by no CA"),
        ("127.0.0.1", "secret", server.with_roots("verify-full", "ca.pem"), "not for the host"),
        ("127.0.0.1", "secret", server.with_roots("verify-full", "server.pem"), "not for the host"),
        ("localhost", "secret", "sslrootcert=system".into(), "signed by no CA"),
        ("127.0.0.1", "secret", "sslmode=disable".into(), "no encryption"),
        ("127.0.0.1", "plain", "sslmode=require".into(), "SSL encryption"),
        ("127.0.0.1", "secret", "sslmode=verify-full".into(), "sslrootcert=FILE"),
        ("127.0.0.1", "secret", server.with_roots("verify-full", "ca.key"), "no certificate"),
        ("127.0.0.1", "secret", server.with_roots("prefer", "ca.pem"), "sslmode=verify-full"),
    ] {
        let error = migrate(&server.url(host, database, &parameters))?.expect_err(&parameters);
        assert!(error.contains(part), "{host} {parameters}: {error}");
    }
    let without = support::cluster().url("postgres");
    let error = migrate(&format!("{without}?sslmode=require"))?.expect_err("there is no TLS");
    assert!(error.contains("does not support TLS"), "{error}");
    Ok(())
}

#[test]
fn every_connection_is_encrypted() -> Result<()> {
    let server = server();
    let url = server.url("localhost", "flown", &server.with_roots("verify-full", "ca.pem"));
    let folder = tempfile::tempdir()?;
    let mut station = Station::start(&url, folder.path(), ports(), &["--migrate", "--writers=2"])?;
    let flight = ["--satellites=10", "--rate=50", "--count=5000"];
    Constellation::fly(station.target(), folder.path(), &flight)?;
    station.wait_until_quiet()?;
    // Asked by the Unix socket, where there is no TLS.
    let socket = server.cluster.url_by_socket(OWNER, "flown")?;
    let sessions = "SELECT bool_and(ssl), bool_and(version = 'TLSv1.3'), count(*) >= 2
                    FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                    WHERE application_name = 'orbitstream receiver' AND datname = 'flown'";
    assert_eq!(server.cluster.sql_at(&socket, sessions)?, "t|t|t");
    let counters = station.stop()?;
    assert_eq!((counters.committed, counters.sample_residual()), (5_000, 0));
    let reports = Reports {
        truth: &folder.path().join(SATSIM_REPORT),
        receiver: Some(&folder.path().join(RECEIVER_REPORT)),
    };
    let verification = Verification::run(reports, &socket, &[])?;
    assert!(verification.agrees, "{}", verification.page);
    Ok(())
}
