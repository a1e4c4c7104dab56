//! Where datagrams go: the network, a pcap file, or both.

pub mod batch;
pub mod multicast;
pub mod pcap;
pub mod udp;

use std::{io, net::SocketAddr, path::PathBuf};

use nix::errno::Errno;

/// One datagram on its way.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Whole frames, back to back.
    pub octets: &'a [u8],
    /// How many.
    pub frames: usize,
    /// When it is sent, in simulated time, µs from the start.
    pub offset_us: i64,
}

/// Takes datagrams in order.
pub trait Sink {
    /// Takes one; it may leave later, with others.
    fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError>;
    /// Lets everything leave that was taken.
    fn flush(&mut self) -> Result<(), SinkError>;
    /// Frames that have left.
    fn frames_sent(&self) -> u64;
}

/// The network, a file, or both.
#[derive(Debug)]
pub struct Outlet {
    /// Sends.
    pub udp: Option<udp::Udp>,
    /// Records.
    pub pcap: Option<pcap::Pcap>,
}

/// Why a datagram could not leave.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The kernel did not take it, also after a time of trying.
    #[error("cannot send to {0}: {reason}; check the network and --target", reason = .1.desc())]
    Send(SocketAddr, Errno),
    /// The file did not take it.
    #[error("cannot write {0}: {1}; free some space, or give --pcap another place")]
    Pcap(PathBuf, io::Error),
}

impl Sink for Outlet {
    fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError> {
        if let Some(pcap) = &mut self.pcap {
            pcap.send(datagram)?;
        }
        if let Some(udp) = &mut self.udp {
            udp.send(datagram)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if let Some(pcap) = &mut self.pcap {
            pcap.flush()?;
        }
        if let Some(udp) = &mut self.udp {
            udp.flush()?;
        }
        Ok(())
    }

    /// Frames that the kernel took; those in the file when nothing is sent.
    fn frames_sent(&self) -> u64 {
        match (&self.udp, &self.pcap) {
            (Some(udp), _) => udp.frames_sent(),
            (None, Some(pcap)) => pcap.frames_sent(),
            (None, None) => 0,
        }
    }
}
