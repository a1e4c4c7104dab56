//! What it costs to hand small datagrams to the kernel, over loopback to a socket that is read:
//! a batch cut by the kernel, against one system call for many datagrams.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nix::sys::socket::{setsockopt, sockopt};
use satsim::sink::{Datagram, Sink as _, batch::SEGMENTS_MAX, udp::Udp};
use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

fn send(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    group.throughput(Throughput::Elements(SEGMENTS_MAX as u64));
    for (name, segments, coalesced) in [
        ("cut_by_the_kernel", true, true),
        ("cut_by_the_kernel_read_one_by_one", true, false),
        ("many_in_a_call", false, false),
    ] {
        let station = UdpSocket::bind("127.0.0.1:0").unwrap();
        setsockopt(&station, sockopt::UdpGroSegment, &coalesced).unwrap();
        station.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let target = station.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let is_over = is_over.clone();
            move || {
                let mut buffer = vec![0; 65_536];
                let mut octets = 0;
                while !is_over.load(Ordering::Relaxed) {
                    octets += station.recv(&mut buffer).unwrap_or(0);
                }
                octets
            }
        });
        let mut udp = Udp::new(target, Arc::default()).unwrap();
        if !segments {
            udp = udp.without_segmentation();
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..SEGMENTS_MAX {
                    let datagram = Datagram { octets: &[0; OCTETS], frames: 1, offset_us: 0 };
                    udp.send(&datagram).unwrap();
                }
                udp.flush().unwrap();
            });
        });
        is_over.store(true, Ordering::Relaxed);
        let read = reader.join().unwrap() / OCTETS;
        println!("sent {}, read {read}", udp.frames_sent());
    }
    group.finish();
}

/// A health frame.
const OCTETS: usize = 68;

criterion_group!(benches, send);
criterion_main!(benches);
