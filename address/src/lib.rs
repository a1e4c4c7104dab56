//! The address of a PostgreSQL database, and connecting to it: with TLS, where `sslmode` and
//! `sslrootcert` of the address ask for it, as they mean it to libpq.
//!
//! No message, log line or `Debug` output has the password in it: errors of connecting name host,
//! port, database and user ([`ConnectError`]), errors of reading an address repeat no part that a
//! password could have run into.
//!
//! The settings in `options` (`-c NAME=VALUE`) are not sent when a connection starts, since poolers
//! refuse that, but are set right after it ([`Address::settings`]).
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

mod connect_error;
mod parameters;
mod settings;
mod trust;

use std::{
    error::Error as _, fmt, future::Future, io, path::PathBuf, pin::Pin, str::FromStr, sync::Arc,
};

use rustls::CertificateError;
use tokio::sync::OnceCell;
use tokio_postgres::{
    CancelToken, Client, Config, Error,
    config::{Host, SslMode},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use connect_error::ConnectError;

use parameters::Parameters;
use settings::{Scope, Settings};
use trust::Trust;

/// Where a database is, and how to speak to it.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: MakeRustlsConnect,
    settings: Settings,
    /// Whether the address is a URL whose password has a percent sign, which begins an encoded
    /// octet there.
    has_percent_in_password: bool,
    checked: Arc<OnceCell<()>>,
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
    #[error("it is neither a URL that begins with postgresql:// nor pairs of KEY=VALUE")]
    NoForm,
    #[error("a quoted value does not end")]
    Quote,
    #[error(
        "there is more than one @ in it: in a user's name or password, @ is written %40, / is %2F, \
         : is %3A, # is %23, ? is %3F, % is %25 and a space %20"
    )]
    Encoding,
    #[error(
        "what follows the password is no KEY=VALUE: a value with spaces is written in quotes ('), \
         and with a backslash before each ' and \\ in it"
    )]
    AfterPassword,
    #[error("options={0}: expected -c NAME=VALUE or --NAME=VALUE, separated by spaces")]
    Options(String),
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

    /// Reads a URL or a string of `key=value`, and the file of `sslrootcert`. White space around it,
    /// such as the end of a line, is no part of it.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let Parameters { rest, mode, roots, options } = Parameters::take_from(text)?;
        let settings = Settings::from_options(options.as_deref().unwrap_or_default())?;
        let mut config: Config = rest.parse()?;
        let hosts = config.get_hosts();
        if hosts.is_empty() && config.get_hostaddrs().is_empty() {
            return Err(AddressError::NoHost);
        }
        let is_local = config.get_hostaddrs().is_empty()
            && hosts.iter().all(|host| matches!(host, Host::Unix(_)));
        let (mode, trust) = Trust::from_parameters(mode.as_deref(), roots)?;
        config.ssl_mode(if is_local { SslMode::Disable } else { mode });
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(trust.into_client()?),
            settings,
            has_percent_in_password: parameters::has_percent_in_password(text),
            checked: Arc::default(),
        })
    }
}

impl Address {
    /// What it says, without TLS; to be adjusted for [`Self::connect`].
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Statements that apply the settings in `options`, to be executed right after connecting; none
    /// if there are none.
    #[must_use]
    pub fn settings(&self) -> Option<String> {
        self.settings.statements(Scope::Session)
    }

    /// The same for the current transaction only.
    #[must_use]
    pub fn transaction_settings(&self) -> Option<String> {
        self.settings.statements(Scope::Transaction)
    }

    /// Where it leads, for people: database, host, port and user.
    #[must_use]
    pub fn target(&self) -> String {
        connect_error::target(&self.config)
    }

    /// Set once whoever connects has found out what has to be known of this address; clones share it.
    #[must_use]
    pub fn checked(&self) -> &OnceCell<()> {
        &self.checked
    }

    /// What is to be said about an error of connecting; without one, there was no answer in time.
    #[must_use]
    pub fn connect_error(&self, cause: Option<Error>) -> ConnectError {
        ConnectError::new(&self.config, self.has_percent_in_password, cause)
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
            ("?options=-B%20100", "-c NAME=VALUE"),
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
    fn an_address_that_a_password_runs_through_says_how_to_write_it_and_shows_nothing_of_it() {
        for (text, part) in [
            ("postgresql://a:p4ss@w0rd@h/d", "%40"),
            ("postgresql://a:p4ss@w0rd/x?y=1@h:5432/d", "%40"),
            ("postgresql://a:p4ss@w0?rd=1@h:5432/d", "%40"),
            ("postgresql://me@server:p4ss@h/d", "%40"),
            ("host=h password=p4ss w0rd user=a", "quotes"),
            ("host=h password=p4ss w0rd=x user=a", "quotes"),
            ("host=h user=a password=p4ss w0rd", "quotes"),
            ("host=h user=a password='p4ss", "does not end"),
            ("mysql://a:p4ss@h/d?w0=1", "postgresql://"),
            ("a:p4ss@h/d?w0=1", "postgresql://"),
            ("host=h user=a password='p4ss'w0rd", "quotes"),
        ] {
            let line = read(text).unwrap_err();
            assert!(line.contains(part), "{text}: {line}");
            assert!(!line.contains("p4ss") && !line.contains("w0"), "{text}: {line}");
        }
        // These are read as they are meant.
        for (password, written) in [
            ("p/w", "p/w"),
            ("p#w", "p#w"),
            ("p?w", "p?w"),
            ("p w", "p w"),
            ("p:w", "p:w"),
            ("50%off", "50%off"),
            ("p@w", "p%40w"),
            ("p/?#%w", "p%2F%3F%23%25w"),
        ] {
            let address: Address = format!("postgresql://a:{written}@h:7/d").parse().unwrap();
            let config = address.config();
            assert_eq!(config.get_password(), Some(password.as_bytes()), "{written}");
            assert_eq!((config.get_dbname(), config.get_ports()), (Some("d"), &[7][..]));
        }
    }

    #[test]
    fn white_space_around_an_address_is_no_part_of_it() {
        for text in ["postgresql://a:b@h/d\n", " postgresql://a:b@h/d\r\n", "host=h dbname=d\n"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.config().get_dbname(), Some("d"), "{text:?}");
        }
    }

    #[test]
    fn settings_in_options_are_set_after_connecting() {
        let text = "postgresql://a@h/d?options=-csearch_path%3D%22GS-1%22%2Cpublic%20-c%20role=x";
        let address: Address = text.parse().unwrap();
        assert_eq!(address.config().get_options(), None);
        let settings = address.settings().unwrap();
        assert!(settings.contains(r#"E'search_path', E'"GS-1",public'"#), "{settings}");
        assert!(settings.contains("E'role', E'x'"), "{settings}");
        let address: Address = r"host=h options='-c a.b=it\'s'".parse().unwrap();
        assert!(address.settings().unwrap().contains(r"E'a.b', E'it\'s'"));
        let address: Address = "postgresql://a@h/d".parse().unwrap();
        assert_eq!(address.settings(), None);
    }

    #[test]
    fn the_password_is_not_shown() {
        let address: Address = "postgresql://a:p4ssword@h/d?sslmode=require".parse().unwrap();
        assert!(!format!("{address:?}").contains("p4ssword"));
        assert_eq!(address.config().get_password(), Some(&b"p4ssword"[..]));
    }
}
