//! Values that several options take, each with an error that shows the right form.

use std::{
    ffi::OsStr,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use ipnet::{IpNet, Ipv4Net};

/// A boolean in any of the words that people use for one, in any case.
pub(super) fn boolean(text: &str) -> Result<bool, &'static str> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["true", "yes", "on", "1"]) {
        Ok(true)
    } else if is_one_of(&["false", "no", "off", "0"]) {
        Ok(false)
    } else {
        Err(BOOLEAN_FORM)
    }
}

/// An IP address and a port. The scope of an IPv6 address is an interface's name or index.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        // What is written as an IPv4-mapped address is an IPv4 address.
        return Ok(match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => (ip, address.port()).into(),
            IpAddr::V6(_) => address,
        });
    }
    if let Some((ip, scope, port)) = scoped(text) {
        let index = nix::net::if_::if_nametoindex(scope)
            .map_err(|_| format!("there is no network interface {scope:?}"))?;
        return Ok(SocketAddrV6::new(ip, port, 0, index).into());
    }
    Err(address_form(text))
}

/// The parts of `[ADDRESS%INTERFACE]:PORT`.
fn scoped(text: &str) -> Option<(std::net::Ipv6Addr, &str, u16)> {
    let (inside, port) = text.strip_prefix('[')?.rsplit_once("]:")?;
    let (ip, scope) = inside.split_once('%')?;
    Some((ip.parse().ok()?, scope, port.parse().ok()?))
}

/// What is expected in place of `text`, with its own parts where they can be made out.
fn address_form(text: &str) -> String {
    let port = |text: &str| text.parse::<u16>().ok();
    let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if let Some(port) = port(text.strip_prefix(':').unwrap_or(text)) {
        return format!(
            "expected ADDRESS:PORT, such as 127.0.0.1:{port} for this machine alone, or \
             0.0.0.0:{port} for every IPv4 address of it"
        );
    }
    if let Ok(ip) = bare {
        let address = SocketAddr::from((ip, EXAMPLE_PORT));
        return format!("expected ADDRESS:PORT, such as {address}");
    }
    match text.rsplit_once(':') {
        Some((host, digits)) if port(digits).is_some() && is_host_name(host) => format!(
            "host names are not resolved here: expected an IP address and a port, such as \
             127.0.0.1:{digits}"
        ),
        _ => format!(
            "expected ADDRESS:PORT, such as 127.0.0.1:{EXAMPLE_PORT} or [::1]:{EXAMPLE_PORT}"
        ),
    }
}

fn is_host_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// A network, or a single address. IPv4-mapped IPv6 networks are the IPv4 networks that they map, as
/// the sources that are compared with them are the IPv4 addresses.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    let text = text.trim();
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| NETWORK_FORM)?;
    let IpNet::V6(mapped) = network else { return Ok(network) };
    let length = mapped.prefix_len().checked_sub(MAPPED_PREFIX_BITS);
    match (mapped.addr().to_ipv4_mapped(), length) {
        (Some(address), Some(length)) => {
            Ipv4Net::new(address, length).map(IpNet::V4).map_err(|_| NETWORK_FORM)
        }
        _ => Ok(network),
    }
}

/// Makes an empty environment variable the same as none, for all options of a command. Compose files
/// and unit files set variables to nothing for "use the default".
pub(super) fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    command.mut_subcommands(without_empty_variables)
}

const BOOLEAN_FORM: &str = "expected true or false; yes and no, on and off, 1 and 0 are the same";
const NETWORK_FORM: &str = "expected a network such as 192.0.2.0/24 or 2001:db8::/32, or an address \
    such as 192.0.2.1";
const EXAMPLE_PORT: u16 = 10_015;
/// The length of `::ffff:0:0/96`.
const MAPPED_PREFIX_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_words_in_any_case() {
        for word in ["1", "yes", "on", "true", "YES", "On", "True"] {
            assert_eq!(boolean(word), Ok(true), "{word}");
        }
        for word in ["0", "no", "off", "false", "NO", "Off", "False"] {
            assert_eq!(boolean(word), Ok(false), "{word}");
        }
        for word in ["", "2", "y", "enabled", "truely", " true", "-1"] {
            assert_eq!(boolean(word), Err(BOOLEAN_FORM), "{word:?}");
        }
    }

    #[test]
    fn addresses_and_ports() {
        for (text, expected) in [
            ("127.0.0.1:10015", "127.0.0.1:10015"),
            (" 0.0.0.0:1 ", "0.0.0.0:1"),
            ("[::]:10015", "[::]:10015"),
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:5"),
            ("[::ffff:c000:201]:5", "192.0.2.1:5"),
            ("[ff15::1%1]:5", "[ff15::1%1]:5"),
            ("[ff15::1%lo]:5", "[ff15::1%1]:5"),
        ] {
            assert_eq!(
                socket_address(text).map(|address| address.to_string()),
                Ok(expected.into())
            );
        }
        for (text, example) in [
            ("10015", "127.0.0.1:10015"),
            (":10015", "0.0.0.0:10015"),
            ("3000", "127.0.0.1:3000"),
            ("127.0.0.1", "127.0.0.1:10015"),
            ("::1", "[::1]:10015"),
            ("[::1]", "[::1]:10015"),
            ("localhost:3000", "127.0.0.1:3000"),
            ("my-host.example:3000", "127.0.0.1:3000"),
            ("localhost", "127.0.0.1:10015"),
            ("", "[::1]:10015"),
            ("127.0.0.1:65536", "127.0.0.1:10015"),
            ("99999", "127.0.0.1:10015"),
            ("*:10015", "127.0.0.1:10015"),
            ("udp://127.0.0.1:10015", "127.0.0.1:10015"),
            ("[fe80::1%no-such-one]:5", "no network interface \"no-such-one\""),
        ] {
            let error = socket_address(text).unwrap_err();
            assert!(error.contains(example), "{text:?}: {error}");
        }
    }

    #[test]
    fn networks_and_single_addresses() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            (" 192.0.2.77/24", "192.0.2.1", "192.0.3.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.1/128", "192.0.2.1", "192.0.2.2"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.0"),
            ("::ffff:0:0/96", "203.0.113.1", "2001:db8::1"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ] {
            let network = network(text).unwrap();
            let contains = |address: &str| {
                network.contains(&address.parse::<IpAddr>().unwrap().to_canonical())
            };
            assert!(contains(inside) && !contains(outside), "{text}");
        }
        for text in
            ["", "localhost", "192.0.2.0/33", "192.0.2", "192.0.2.0/255.255.255.0", "::/129"]
        {
            assert_eq!(network(text), Err(NETWORK_FORM), "{text:?}");
        }
    }
}
