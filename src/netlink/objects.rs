//! Links, addresses and routes: from the kernel's messages, and the requests that read, add and change them.

use super::{Request, array, attributes, number, string};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use linux_raw_sys::net::{AF_INET, AF_INET6, net_device_flags::IFF_UP};
use linux_raw_sys::netlink::{
    _bindgen_ty_2 as ifla, _bindgen_ty_56 as ifa, IFA_F_PERMANENT, NLM_F_CREATE, NLM_F_EXCL,
    RTM_F_CLONED, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE,
    RTN_UNICAST, RTNH_F_ONLINK, RTPROT_KERNEL, RTPROT_RA, RTPROT_REDIRECT, rt_class_t, rt_scope_t,
    rtattr_type_t as rta,
};

/// The address families of addresses and routes.
pub const FAMILIES: [u8; 2] = [AF_INET as u8, AF_INET6 as u8];

/// A copy of an attribute: type and value.
type Attribute = (u16, Vec<u8>);

/// Copies the attributes whose types are in `kept`.
fn copies(bytes: &[u8], kept: &[u16]) -> Option<Vec<Attribute>> {
    let all = attributes(bytes)?.into_iter();
    let some = all.filter(|(kind, _)| kept.contains(kind));
    Some(some.map(|(kind, value)| (kind, value.to_owned())).collect())
}

fn find(attributes: &[Attribute], kind: u16) -> Option<&[u8]> {
    let found = attributes.iter().find(|(k, _)| *k == kind);
    found.map(|(_, value)| value.as_slice())
}

fn with_all(request: Request, attributes: &[Attribute]) -> Request {
    let each = attributes.iter();
    each.fold(request, |request, (kind, value)| {
        request.attribute(*kind, value)
    })
}

/// An IP address as text.
fn ip(bytes: Option<&[u8]>) -> String {
    let bytes = bytes.unwrap_or_default();
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(four), _) => format!("{}", Ipv4Addr::from(four)),
        (_, Ok(sixteen)) => format!("{}", Ipv6Addr::from(sixteen)),
        _ => "default".into(),
    }
}

/// A network interface (struct ifinfomsg).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
}

impl Link {
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let all = attributes(payload.get(16..)?)?;
        let (_, name) = all.into_iter().find(|a| a.0 == ifla::IFLA_IFNAME as u16)?;
        Some(Self {
            index: number(payload, 4)?,
            name: string(name)?.to_owned(),
            up: number(payload, 8)? & IFF_UP as u32 != 0,
        })
    }

    fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
        let mut header = [0; 16];
        for (at, value) in [(4, index), (8, flags), (12, change)] {
            header[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        header
    }

    /// Asks for the interface with this name.
    pub fn named(name: &str) -> Request {
        Request::get(RTM_GETLINK as u32, &Self::header(0, 0, 0))
            .text(ifla::IFLA_IFNAME as u16, name)
    }

    /// Asks for the interface with this index.
    pub fn at(index: u32) -> Request {
        Request::get(RTM_GETLINK as u32, &Self::header(index, 0, 0))
    }

    /// Asks for all interfaces.
    pub fn all() -> Request {
        Request::dump(RTM_GETLINK as u32, &Self::header(0, 0, 0))
    }

    /// Sets an interface up.
    pub fn up(index: u32) -> Request {
        let up = IFF_UP as u32;
        Request::change(RTM_NEWLINK as u32, 0, &Self::header(index, up, up))
    }

    /// Moves an interface into another network namespace, under this name (or template with `%d`) and index.
    /// The kernel sets it down.
    pub fn transfer(index: u32, namespace: u32, name: &str, new_index: u32) -> Request {
        Request::change(RTM_NEWLINK as u32, 0, &Self::header(index, 0, 0))
            .text(ifla::IFLA_IFNAME as u16, name)
            .number(ifla::IFLA_NET_NS_FD as u16, namespace)
            .number(ifla::IFLA_NEW_IFINDEX as u16, new_index)
    }
}

/// An IP address of an interface (struct ifaddrmsg).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub family: u8,
    pub prefix: u8,
    pub flags: u32,
    pub scope: u8,
    pub index: u32,
    attributes: Vec<Attribute>,
}

impl Address {
    /// Not the label, which has the name of the interface, nor lifetimes: a permanent address has none.
    const KEPT: [u16; 6] = [
        ifa::IFA_ADDRESS as u16,
        ifa::IFA_LOCAL as u16,
        ifa::IFA_BROADCAST as u16,
        ifa::IFA_FLAGS as u16,
        ifa::IFA_RT_PRIORITY as u16,
        ifa::IFA_PROTO as u16,
    ];

    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [family, prefix, flags, scope] = array(payload, 0)?;
        let attributes = copies(payload.get(8..)?, &Self::KEPT)?;
        let flags = match find(&attributes, ifa::IFA_FLAGS as u16) {
            Some(flags) => number(flags, 0)?,
            None => flags.into(),
        };
        Some(Self {
            family,
            prefix,
            flags,
            scope,
            index: number(payload, 4)?,
            attributes,
        })
    }

    /// Whether the address is the administrator's: permanent and global. Others are of their network only.
    pub fn is_configured(&self) -> bool {
        let global = rt_scope_t::RT_SCOPE_UNIVERSE as u8;
        self.flags & IFA_F_PERMANENT != 0 && self.scope == global
    }

    /// Asks for the addresses of one family that an interface has.
    pub fn of(index: u32, family: u8) -> Request {
        let index = index.to_ne_bytes();
        let header = [[family, 0, 0, 0], index].concat();
        Request::dump(RTM_GETADDR as u32, &header)
    }

    /// Adds the address to an interface.
    pub fn add(&self, index: u32) -> Request {
        let start = [self.family, self.prefix, self.flags as u8, self.scope];
        let header = [start, index.to_ne_bytes()].concat();
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let request = Request::change(RTM_NEWADDR as u32, flags, &header);
        with_all(request, &self.attributes)
    }

    /// As `ip` writes it.
    pub fn text(&self) -> String {
        let local = find(&self.attributes, ifa::IFA_LOCAL as u16);
        let address = local.or_else(|| find(&self.attributes, ifa::IFA_ADDRESS as u16));
        format!("{}/{}", ip(address), self.prefix)
    }
}

/// A route (struct rtmsg).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub family: u8,
    pub prefix: u8,
    pub source_prefix: u8,
    pub tos: u8,
    pub table: u8,
    pub protocol: u8,
    pub scope: u8,
    pub kind: u8,
    pub flags: u32,
    /// The interface. `None` for a route with several next hops, or without one.
    pub index: Option<u32>,
    /// The lifetime is limited.
    expires: bool,
    attributes: Vec<Attribute>,
}

impl Route {
    const KEPT: [u16; 11] = [
        rta::RTA_DST as u16,
        rta::RTA_SRC as u16,
        rta::RTA_GATEWAY as u16,
        rta::RTA_PRIORITY as u16,
        rta::RTA_PREFSRC as u16,
        rta::RTA_METRICS as u16,
        rta::RTA_TABLE as u16,
        rta::RTA_VIA as u16,
        rta::RTA_PREF as u16,
        rta::RTA_ENCAP_TYPE as u16,
        rta::RTA_ENCAP as u16,
    ];

    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [
            family,
            prefix,
            source_prefix,
            tos,
            table,
            protocol,
            scope,
            kind,
        ] = array(payload, 0)?;
        let rest = payload.get(12..)?;
        let of_device = [rta::RTA_OIF as u16, rta::RTA_EXPIRES as u16];
        let of_device = copies(rest, &of_device)?;
        let index = match find(&of_device, rta::RTA_OIF as u16) {
            Some(index) => Some(number(index, 0)?),
            None => None,
        };
        Some(Self {
            family,
            prefix,
            source_prefix,
            tos,
            table,
            protocol,
            scope,
            kind,
            flags: number(payload, 8)?,
            index,
            expires: find(&of_device, rta::RTA_EXPIRES as u16).is_some(),
            attributes: copies(rest, &Self::KEPT)?,
        })
    }

    /// Whether the route is the administrator's. The kernel makes others from addresses and from what it
    /// learns.
    pub fn is_configured(&self) -> bool {
        let learnt = [RTPROT_KERNEL, RTPROT_REDIRECT, RTPROT_RA];
        self.kind == RTN_UNICAST as u8
            && !learnt.contains(&u32::from(self.protocol))
            && self.table != rt_class_t::RT_TABLE_LOCAL as u8
            && self.flags & RTM_F_CLONED == 0
            && !self.expires
    }

    /// Whether the route leads through another host, which an earlier route must reach.
    pub fn has_gateway(&self) -> bool {
        [rta::RTA_GATEWAY, rta::RTA_VIA]
            .iter()
            .any(|kind| find(&self.attributes, *kind as u16).is_some())
    }

    /// Asks for the routes of one family through an interface.
    pub fn through(index: u32, family: u8) -> Request {
        let mut header = [0; 12];
        header[0] = family;
        Request::dump(RTM_GETROUTE as u32, &header).number(rta::RTA_OIF as u16, index)
    }

    /// Adds the route through an interface.
    pub fn add(&self, index: u32) -> Request {
        let start = [
            self.family,
            self.prefix,
            self.source_prefix,
            self.tos,
            self.table,
            self.protocol,
            self.scope,
            self.kind,
        ];
        let flags = self.flags & RTNH_F_ONLINK;
        let header = [&start[..], &flags.to_ne_bytes()].concat();
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let request = Request::change(RTM_NEWROUTE as u32, create, &header);
        with_all(request, &self.attributes).number(rta::RTA_OIF as u16, index)
    }

    /// As `ip` writes it, without the gateway.
    pub fn text(&self) -> String {
        match find(&self.attributes, rta::RTA_DST as u16) {
            None => "default".into(),
            destination => format!("{}/{}", ip(destination), self.prefix),
        }
    }
}
