//! What the kernel dropped for want of buffer, asked of proc(5): it is the same for any socket.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};

/// Messages dropped at the open socket that is bound to this address of IPv4.
pub(crate) fn of(address: SocketAddr) -> Result<u64> {
    in_table(&fs::read_to_string("/proc/net/udp")?, address.port())
}

fn in_table(table: &str, port: u16) -> Result<u64> {
    let port = format!(":{port:04X}");
    let row = table
        .lines()
        .find(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port)));
    let drops = row.and_then(|row| row.split_whitespace().last()?.parse().ok());
    drops.context("the socket is not in /proc/net/udp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_of_the_row() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            7: 0100007F:4E2F 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 35\n\
            8: 00000000:2F4E 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 2 2 0 0\n";
        assert_eq!(in_table(table, 0x4E2F).unwrap(), 35);
        assert_eq!(in_table(table, 0x2F4E).unwrap(), 0);
        assert!(in_table(table, 1).is_err());
    }
}
