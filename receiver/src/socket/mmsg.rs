//! recvmmsg(2) and its control messages: the only unsafe code of the station.
//!
//! `libc` is called directly because the lengths of control buffer and address are in-out fields
//! that have to be set again before every call; with `nix` a header that was used once has room for
//! no more control messages than the last datagram brought, and the coalesced segments' size would
//! be lost.
#![allow(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::RawFd,
};

use nix::libc;

use super::Arrival;

/// Room for the datagrams of one system call, made once.
pub struct Arrivals {
    headers: Vec<libc::mmsghdr>,
    // What the headers point to: never moved or resized, and written to by nobody while the kernel does.
    buffers: Vec<u8>,
    _vectors: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
    /// Messages of the last call.
    received: usize,
}

/// An address of either family: a fourth of `sockaddr_storage`, so that less of the cache is written.
type Name = libc::sockaddr_in6;

/// Space for control messages, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL_OCTETS]);

/// Messages that one call takes at most. With coalescing each may hold many datagrams.
const MESSAGES: usize = 32;
/// The longest payload of a UDP datagram, coalesced or not, fits.
const PAYLOAD_OCTETS: usize = 65_536;
/// Buffers do not start a power of two apart, so that the first lines of all of them do not
/// compete for the same sets of the processor's cache.
const BUFFER_OCTETS: usize = PAYLOAD_OCTETS + 192;
/// A `timespec` and two numbers of 4 octets, each with its head, and room to spare.
const CONTROL_OCTETS: usize = 96;

impl Arrivals {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (name, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut buffers = vec![0; MESSAGES * BUFFER_OCTETS];
        let mut names: Vec<Name> = vec![name; MESSAGES];
        let mut controls = vec![Control([0; CONTROL_OCTETS]); MESSAGES];
        let buffer = |buffer: &mut [u8]| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: PAYLOAD_OCTETS,
        };
        let mut vectors: Vec<_> = buffers.chunks_exact_mut(BUFFER_OCTETS).map(buffer).collect();
        let mut headers: Vec<libc::mmsghdr> = vec![header; MESSAGES];
        let parts = vectors.iter_mut().zip(&mut names).zip(&mut controls);
        for (header, ((vector, name), control)) in headers.iter_mut().zip(parts) {
            let header = &mut header.msg_hdr;
            header.msg_name = std::ptr::from_mut(name).cast();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            give_room(header);
        }
        Self { headers, buffers, _vectors: vectors, names, controls, received: 0 }
    }

    /// Lets the kernel write down where datagrams come from, or no longer: that takes a tenth of what it
    /// needs for a small one.
    pub fn ask_sources(&mut self, asks: bool) {
        for (header, name) in self.headers.iter_mut().zip(&mut self.names) {
            // Of no family, until the kernel writes there.
            name.sin6_family = 0;
            header.msg_hdr.msg_name = match asks {
                true => std::ptr::from_mut(name).cast(),
                false => std::ptr::null_mut(),
            };
        }
    }

    /// Takes what the socket holds, without blocking.
    pub(super) fn receive(&mut self, socket: RawFd) -> io::Result<()> {
        let written = &mut self.headers[..std::mem::take(&mut self.received)];
        written.iter_mut().for_each(|header| give_room(&mut header.msg_hdr));
        // SAFETY: each header points to buffers of the stated sizes on the heap, which `self` owns and
        // keeps as they are, and which nobody else reads or writes during the call, since `self` is
        // borrowed mutably.
        let received = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                MESSAGES as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        self.received = received.unsigned_abs() as usize;
        Ok(())
    }

    /// Whether the last call had room for more: the socket held nothing else then.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.received < MESSAGES
    }

    /// Messages of the last call: datagrams, or what the kernel coalesced of them.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.received
    }

    /// Shows the datagrams of the last call, in order; what the kernel coalesced is taken apart again.
    #[inline]
    pub fn each(&self, mut show: impl FnMut(Arrival<'_>)) {
        for message in 0..self.received {
            let header = &self.headers[message];
            let length = (header.msg_len as usize).min(PAYLOAD_OCTETS);
            let start = message * BUFFER_OCTETS;
            let octets = &self.buffers[start..start + length];
            let source = source(&self.names[message]);
            let (segment, received_us) = match header.msg_hdr.msg_controllen {
                0 => (0, None),
                _ => (self.segment_octets(message), self.received_us(message)),
            };
            // A datagram without payload is one too, but no chunk of anything.
            if segment == 0 || octets.is_empty() {
                show(Arrival { octets, source, received_us });
            } else {
                for octets in octets.chunks(segment) {
                    show(Arrival { octets, source, received_us });
                }
            }
        }
    }

    /// The drop counter that came with the last datagram.
    #[must_use]
    pub fn drops_reported(&self) -> Option<u32> {
        let last = self.received.checked_sub(1)?;
        self.control(last, libc::SOL_SOCKET, libc::SO_RXQ_OVFL).map(u32::from_ne_bytes)
    }

    /// Of how many octets each datagram of a message is, but for the last; 0 when it is one.
    fn segment_octets(&self, message: usize) -> usize {
        let octets = self.control(message, libc::SOL_UDP, libc::UDP_GRO);
        octets.map_or(0, u32::from_ne_bytes) as usize
    }

    /// When a message came, in µs since 1970.
    fn received_us(&self, message: usize) -> Option<i64> {
        let kind = libc::SCM_TIMESTAMPNS;
        let octets: [u8; size_of::<libc::timespec>()] =
            self.control(message, libc::SOL_SOCKET, kind)?;
        // SAFETY: as many octets as a `timespec` has, which is plain data.
        let time: libc::timespec = unsafe { std::ptr::read_unaligned(octets.as_ptr().cast()) };
        Some(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000)
    }

    /// The first octets of a control message of this kind.
    fn control<const N: usize>(
        &self,
        message: usize,
        level: libc::c_int,
        kind: libc::c_int,
    ) -> Option<[u8; N]> {
        let header = &self.headers[message].msg_hdr;
        // `msg_controllen` is what the kernel wrote; the header's own pointer is not followed, since
        // it may be stale.
        let written = header.msg_controllen.min(CONTROL_OCTETS);
        let mut rest = self.controls[message].0.get(..written)?;
        while rest.len() >= size_of::<libc::cmsghdr>() {
            // SAFETY: `rest` holds at least a whole `cmsghdr`, which is plain data.
            let head: libc::cmsghdr = unsafe { std::ptr::read_unaligned(rest.as_ptr().cast()) };
            let length = head.cmsg_len;
            if head.cmsg_level == level && head.cmsg_type == kind {
                let data = rest.get(size_of::<libc::cmsghdr>()..length)?;
                return data.first_chunk().copied();
            }
            rest = rest.get(length.max(1).next_multiple_of(align_of::<libc::cmsghdr>())..)?;
        }
        None
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self::new()
    }
}

/// Sets what the kernel changes in a header: how much room there is.
fn give_room(header: &mut libc::msghdr) {
    header.msg_namelen = size_of::<Name>() as libc::socklen_t;
    header.msg_controllen = CONTROL_OCTETS as _;
}

/// The socket's own count of dropped datagrams, modulo 2^32; none from a kernel before 4.12.
pub(super) fn drops(socket: RawFd) -> Option<u32> {
    let mut memory = [0_u32; SK_MEMINFO_VARS];
    let mut octets = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: `memory` has `octets` octets, is writable, and any bits are valid in it.
    let status = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            memory.as_mut_ptr().cast(),
            &raw mut octets,
        )
    };
    let is_there = status == 0 && octets as usize == size_of_val(&memory);
    is_there.then(|| memory[SK_MEMINFO_DROPS])
}

fn source(name: &Name) -> Option<IpAddr> {
    match libc::c_int::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a `sockaddr_in`, as the family says, and a `sockaddr_in6` is
            // larger and aligned for it.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => Some(Ipv6Addr::from(name.sin6_addr.s6_addr).to_canonical()),
        _ => None,
    }
}

/// linux/sock_diag.h
const SK_MEMINFO_VARS: usize = 9;
const SK_MEMINFO_DROPS: usize = 8;
