//! Why a connection did not come about, and where it was to lead.

use std::{error::Error as _, fmt, io};

use tokio_postgres::{
    Config, Error,
    config::Host,
    error::{DbError, SqlState},
};

use super::{explain, tls_error};

/// Why a connection did not come about, with host, port, database and user, and without the
/// password.
#[derive(Debug)]
pub struct ConnectError {
    target: String,
    has_percent_in_password: bool,
    /// None if there was no answer in time.
    cause: Option<Error>,
}

impl ConnectError {
    pub(crate) fn new(
        config: &Config,
        has_percent_in_password: bool,
        cause: Option<Error>,
    ) -> Self {
        // The system's own limit ends a wait as ours does.
        let is_slow = |cause: &Error| {
            let io = cause.source().and_then(|cause| cause.downcast_ref::<io::Error>());
            io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
        };
        let cause = cause.filter(|cause| !is_slow(cause));
        Self { target: target(config), has_percent_in_password, cause }
    }

    /// What the server has said, if it answered.
    #[must_use]
    pub fn as_db_error(&self) -> Option<&DbError> {
        self.cause.as_ref()?.as_db_error()
    }

    /// Whether there was no answer within the time for it.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.cause.is_none()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to {}: ", self.target)?;
        let Some(cause) = &self.cause else { return f.write_str("no answer in time") };
        match cause.source() {
            // Without the driver's own words, which say that it cannot connect.
            Some(source) if cause.as_db_error().is_none() && tls_error(cause).is_none() => {
                write!(f, "{source}")?;
            }
            _ => f.write_str(&explain(cause))?,
        }
        let is_wrong_password = cause.code() == Some(&SqlState::INVALID_PASSWORD);
        if is_wrong_password && self.has_percent_in_password {
            f.write_str(
                "; in the password of a URL, a percent sign begins an encoded octet: one that is \
                 meant is written %25",
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectError {}

/// Database, hosts with their ports, and user.
pub(crate) fn target(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |place: usize| ports.get(place).or(ports.first()).copied().unwrap_or(5432);
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts: Vec<String> =
        if config.get_hosts().is_empty() { addresses.collect() } else { hosts.collect() };
    let places: Vec<String> = hosts
        .iter()
        .enumerate()
        .map(|(place, host)| {
            let host = host.escape_debug();
            if host.to_string().contains(':') {
                format!("[{host}]:{}", port(place))
            } else {
                format!("{host}:{}", port(place))
            }
        })
        .collect();
    let user = config.get_user().map(|user| format!("user {user:?}"));
    let user = user.unwrap_or_else(|| "the user of this process".to_owned());
    let database = config.get_dbname().or(config.get_user());
    let database =
        database.map_or_else(|| "the database".to_owned(), |name| format!("database {name:?}"));
    format!("{database} at {} as {user}", places.join(", "))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn the_target_names_database_host_port_and_user() {
        for (address, expected) in [
            ("postgresql://me:pw@db.example:7/x", r#"database "x" at db.example:7 as user "me""#),
            (
                "postgresql://me@[::1]/My%20%22own%22",
                r#"database "My \"own\"" at [::1]:5432 as user "me""#,
            ),
            ("postgresql://me@a:1,b:2/x", r#"database "x" at a:1, b:2 as user "me""#),
            ("postgresql://me@%2Frun%2Fpg/x", r#"database "x" at /run/pg:5432 as user "me""#),
            ("host=h user=Operator port=6", r#"database "Operator" at h:6 as user "Operator""#),
            ("hostaddr=127.0.0.1", "the database at 127.0.0.1:5432 as the user of this process"),
        ] {
            assert_eq!(target(&address.parse().unwrap()), expected);
        }
    }
}
