//! The address of a PostgreSQL server, and connecting to it: with TLS, where `sslmode` and
//! `sslrootcert` of the address ask for it, as they mean it to libpq.
//!
//! | `sslmode` | TLS | whom it trusts |
//! |---|---|---|
//! | `disable` | never | anybody |
//! | `prefer` (default) | if the server has it; if that fails, without | anybody |
//! | `require` | always | anybody; with `sslrootcert` as `verify-ca` |
//! | `verify-ca` | always | a server whose certificate a CA in `sslrootcert` has signed |
//! | `verify-full` | always | the same, if it is for the host of the address |
//!
//! `sslrootcert` is a file of certificates in PEM, or `system` for those that the machine trusts. To
//! a Unix socket TLS is not spoken, whatever the mode. What differs from libpq: the mode `allow` and
//! files in the home directory are not known, `sslrootcert` beside `disable` or `prefer` is an error
//! instead of a promise that is not kept, and the name of a host must be among the certificate's
//! subject alternative names.

mod parameters;
mod trust;

use std::{error::Error as _, fmt, future::Future, io, path::PathBuf, pin::Pin, str::FromStr};

use rustls::CertificateError;
use tokio_postgres::{
    CancelToken, Client, Config, Error,
    config::{Host, SslMode},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use parameters::Parameters;
use trust::Trust;

/// Where a database is, and how to speak to it.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: MakeRustlsConnect,
}

/// Drives a connection for as long as its client lives; to be spawned.
pub type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Why an address is none. No message has the password in it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AddressError {
    #[error("{}", explain(.0))]
    Form(#[from] Error),
    #[error("it names no host")]
    NoHost,
    #[error("a quoted value does not end")]
    Quote,
    #[error("sslmode={0}: expected disable, prefer, require, verify-ca or verify-full")]
    Mode(String),
    #[error("sslmode={0} needs sslrootcert=FILE, the CA's certificate, or sslrootcert=system")]
    NoRoots(&'static str),
    #[error("sslrootcert is not looked at with sslmode={0}: set sslmode=verify-full")]
    UnusedRoots(&'static str),
    #[error("sslrootcert=system trusts too many without sslmode=verify-full: set that")]
    WeakSystem,
    #[error("cannot read sslrootcert {}: {reason}", path.display())]
    Roots { path: PathBuf, reason: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads a URL or a string of `key=value`, and the file of `sslrootcert`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Parameters { rest, mode, roots } = Parameters::take_from(text)?;
        let mut config: Config = rest.parse()?;
        let hosts = config.get_hosts();
        if hosts.is_empty() && config.get_hostaddrs().is_empty() {
            return Err(AddressError::NoHost);
        }
        let is_local = config.get_hostaddrs().is_empty()
            && hosts.iter().all(|host| matches!(host, Host::Unix(_)));
        let (mode, trust) = Trust::from_parameters(mode.as_deref(), roots)?;
        config.ssl_mode(if is_local { SslMode::Disable } else { mode });
        Ok(Self { config, tls: MakeRustlsConnect::new(trust.into_client()?) })
    }
}

impl Address {
    /// What it says, without TLS; to be adjusted for [`Self::connect`].
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Connects with settings that came from [`Self::config`].
    pub async fn connect(&self, config: &Config) -> Result<(Client, Driver), Error> {
        let error = match connect(config, self.tls.clone()).await {
            Err(error) if config.get_ssl_mode() == SslMode::Prefer => error,
            outcome => return outcome,
        };
        let is_refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
        if !is_refused && tls_error(&error).is_none() {
            return Err(error);
        }
        // As libpq does: a server may take this user without TLS only.
        let mut config = config.clone();
        connect(config.ssl_mode(SslMode::Disable), self.tls.clone()).await.map_err(|_| error)
    }

    /// Asks the server to cancel what the connection of this token waits for, over a short connection
    /// of its own, with TLS as that one has it. Whether it was cancelled shows there.
    pub async fn cancel(&self, token: &CancelToken) -> Result<(), Error> {
        token.cancel_query(self.tls.clone()).await
    }
}

async fn connect(config: &Config, tls: MakeRustlsConnect) -> Result<(Client, Driver), Error> {
    let (client, connection) = config.connect(tls).await?;
    Ok((client, Box::pin(connection)))
}

// By hand: the driver's own leaves the password out, and the rest is of no use to a reader.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// What went wrong, in one line: the server's own words where there are any, since the driver's are
/// just "db error", and what to look at when TLS is the reason.
#[must_use]
pub fn explain(error: &Error) -> String {
    if let Some(server) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", server.message(), server.code().code());
    }
    let advice = match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            CertificateError::UnknownIssuer => {
                ": its certificate is signed by no CA in sslrootcert"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ": its certificate is not for the host of the address"
            }
            _ => "",
        },
        _ => "",
    };
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    if advice.is_empty() {
        format!("{error}{cause}")
    } else {
        format!("the database server is not trusted{advice}{cause}")
    }
}

/// The reason why TLS did not come about, if that was the reason.
fn tls_error(error: &Error) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SslMode, String> {
        let address: Result<Address, _> = text.parse();
        address.map(|address| address.config.get_ssl_mode()).map_err(|error| error.to_string())
    }

    #[test]
    fn modes() {
        for (parameters, mode) in [
            ("", SslMode::Prefer),
            ("?sslmode=disable", SslMode::Disable),
            ("?connect_timeout=3&sslmode=prefer&keepalives=1", SslMode::Prefer),
            ("?sslmode=require&sslrootcert=", SslMode::Require),
            ("?sslmode=verify-full&sslrootcert=system", SslMode::Require),
            ("?sslrootcert=system", SslMode::Require),
        ] {
            assert_eq!(
                read(&format!("postgresql://a:b@h/d{parameters}")),
                Ok(mode),
                "{parameters}"
            );
        }
        assert_eq!(read("host=h user=a sslmode = 'require'"), Ok(SslMode::Require));
        assert_eq!(
            read("postgresql://a@%2Frun/d?sslmode=verify-full&sslrootcert=system"),
            Ok(SslMode::Disable)
        );
    }

    #[test]
    fn errors_say_what_to_do_and_no_password() {
        for (parameters, part) in [
            ("?sslmode=allow", "verify-full"),
            ("?sslmode=sEcret", "expected disable"),
            ("?sslmode=verify-full", "sslrootcert=FILE"),
            ("?sslmode=verify-ca", "sslrootcert=FILE"),
            ("?sslmode=verify-ca&sslrootcert=system", "verify-full"),
            ("?sslmode=disable&sslrootcert=/ca.pem", "sslmode=verify-full"),
            ("?sslrootcert=/ca.pem", "sslmode=verify-full"),
            ("?sslmode=verify-full&sslrootcert=%2Fno%2Fsuch%20file", "/no/such file"),
            ("?sslmode=verify-full&sslrootcert=Cargo.toml", "no certificate"),
            ("?sslcert=x", "sslcert"),
        ] {
            let line = read(&format!("postgresql://a:p4ssword@h/d{parameters}")).unwrap_err();
            assert!(line.contains(part) && !line.contains("p4ssword"), "{parameters}: {line}");
            assert!(!line.contains('\n'), "{line}");
        }
        assert!(read("postgresql://").unwrap_err().contains("no host"));
        assert!(read("host='h").is_err());
    }

    #[test]
    fn the_password_is_not_shown() {
        let address: Address = "postgresql://a:p4ssword@h/d?sslmode=require".parse().unwrap();
        assert!(!format!("{address:?}").contains("p4ssword"));
        assert_eq!(address.config().get_password(), Some(&b"p4ssword"[..]));
    }
}
