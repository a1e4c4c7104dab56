//! Runs the command and reads what it leaves.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::{
    net::UdpSocket,
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

use pcap_file::pcap::PcapReader;
use serde_json::Value;

pub(crate) fn satsim(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_satsim"));
    command.args(arguments.split_whitespace());
    command
}

pub(crate) fn run(arguments: &str) -> Output {
    satsim(arguments).output().unwrap()
}

pub(crate) fn succeed(arguments: &str) -> Output {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    output
}

/// Time (Unix µs) and payload of each packet, the headers checked.
pub(crate) fn datagrams(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = std::fs::read(path).unwrap();
    let mut reader = PcapReader::new(&file[..]).unwrap();
    let mut datagrams = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        let sliced = etherparse::SlicedPacket::from_ethernet(&packet.data).unwrap();
        let Some(etherparse::TransportSlice::Udp(udp)) = sliced.transport else {
            panic!("no UDP");
        };
        assert_eq!(udp.destination_port(), 10_015);
        datagrams.push((packet.timestamp.as_micros() as u64, udp.payload().to_vec()));
    }
    datagrams
}

pub(crate) fn report(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Receives until nothing has come for a while after the sender has ended.
pub(crate) fn receive(socket: UdpSocket) -> thread::JoinHandle<Vec<Vec<u8>>> {
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        let mut datagrams = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            datagrams.push(buffer[..length].to_vec());
        }
        datagrams
    })
}
