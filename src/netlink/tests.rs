use super::*;
use std::vec;

/// A link's message as the kernel sends it: index 7, up, and an attribute before the name.
fn link() -> Vec<u8> {
    let header = [[0, 0, 1, 0], 7u32.to_ne_bytes(), 1u32.to_ne_bytes(), [0; 4]];
    let request = Request::get(16, &header.concat()).number(4, 1500);
    request.text(3, "dummy0").encode(5).unwrap()
}

/// A NLMSG_ERROR for request 5.
fn refusal(flags: u16, repeated: &[u8], text: &str) -> Vec<u8> {
    let header = [&(-17i32).to_ne_bytes(), repeated].concat();
    let message = Request::get(NLMSG_ERROR, &header).text(1, text);
    let mut bytes = message.encode(5).unwrap();
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

#[test]
fn a_request_is_encoded_as_specified() {
    let bytes = Request::get(18, &[1, 2, 3, 4]).text(3, "lo").encode(9);
    assert_eq!(
        bytes.unwrap(),
        [
            28, 0, 0, 0, 18, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, // the header
            1, 2, 3, 4, 7, 0, 3, 0, b'l', b'o', 0, 0
        ]
    );
}

#[test]
fn an_attribute_beyond_16_bits_is_refused_and_not_truncated() {
    let longest = Request::get(18, &[]).attribute(1, &[0; 65531]);
    assert_eq!(longest.encode(1).unwrap().len(), 16 + 65536);
    let too_long = Request::get(18, &[]).attribute(1, &[0; 65532]);
    assert_eq!(too_long.encode(1), None);
}

#[test]
fn a_link_is_read_and_the_answers_to_other_requests_are_not() {
    let mut other = link();
    other[8] = 4;
    let mut answer = Answer::new(5);
    let datagram = [other, link()].concat();
    assert_eq!(answer.read(&datagram), Ok(None));
    let name = "dummy0".into();
    let link = Link {
        index: 7,
        name,
        up: true,
    };
    assert_eq!(answer.decode(Link::parse), Ok(vec![link]));
    let done = Request::get(NLMSG_DONE, &[0; 4]).encode(5).unwrap();
    assert_eq!(answer.read(&done), Ok(Some(Ok(()))));
}

#[test]
fn a_refusal_has_the_kernels_explanation() {
    let (capped, whole) = (0x300, 0x200);
    let mut header = [0; 16];
    header[0] = 18;
    // The request was 18 bytes long, with padding 20.
    let all = [&header[..], &[0; 4]].concat();
    for (flags, repeated) in [(capped, &header[..]), (whole, &all)] {
        let refused = refusal(flags, repeated, "why");
        let end = Answer::new(5).read(&refused);
        let text = "why".into();
        let errno = Errno::EXIST;
        assert_eq!(end, Ok(Some(Err(Refusal { errno, text }))));
    }
    let end = Answer::new(5).read(&refusal(0x100, &header, "ignored"));
    assert_eq!(end, Ok(Some(Err(Errno::EXIST.into()))));
}

#[test]
fn a_truncated_message_is_refused_and_a_damaged_one_does_not_panic() {
    for whole in [link(), refusal(0x300, &[0; 16], "why")] {
        for n in 1..whole.len() {
            let read = Answer::new(5).read(&whole[..n]);
            let damaged = read == Err(Errno::BADMSG);
            assert!(damaged, "{n}: {read:?}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 127, 255] {
                let mut wrong = whole.clone();
                wrong[at] = value;
                let mut answer = Answer::new(5);
                let _ = answer.read(&wrong);
                let _ = answer.decode(Link::parse);
                let _ = answer.decode(Address::parse);
                let _ = answer.decode(Route::parse);
            }
        }
    }
}

#[test]
fn lengths_below_the_header_are_refused() {
    for length in [0u32, 1, 15] {
        let mut wrong = link();
        wrong[..4].copy_from_slice(&length.to_ne_bytes());
        let read = Answer::new(5).read(&wrong);
        assert_eq!(read, Err(Errno::BADMSG), "{length}");
    }
    assert_eq!(attributes(&[3, 0, 1, 0]), None);
    assert_eq!(attributes(&[4, 0, 1, 0]), Some(vec![(1, &[][..])]));
}

/// The payload of a request.
fn payload(request: Request) -> Vec<u8> {
    request.encode(1).unwrap().split_off(HEADER)
}

#[test]
fn an_address_is_added_as_it_was_without_its_label() {
    let message = Request::get(20, &[2, 24, 0x80, 0, 7, 0, 0, 0])
        .attribute(1, &[10, 0, 0, 9])
        .attribute(2, &[10, 0, 0, 1])
        .attribute(4, &[10, 0, 0, 255])
        .text(3, "dummy0")
        .number(8, 0x280);
    let address = Address::parse(&payload(message)).unwrap();
    assert_eq!((address.index, address.flags), (7, 0x280));
    assert_eq!(address.text(), "10.0.0.1/24");
    assert!(address.is_configured());
    let expected = Request::get(20, &[2, 24, 0x80, 0, 9, 0, 0, 0])
        .attribute(1, &[10, 0, 0, 9])
        .attribute(2, &[10, 0, 0, 1])
        .attribute(4, &[10, 0, 0, 255])
        .number(8, 0x280);
    assert_eq!(payload(address.add(9)), payload(expected));
    for (scope, flags) in [(253, 0x80), (0, 0)] {
        let address = Address::parse(&[2, 24, flags, scope, 7, 0, 0, 0]).unwrap();
        assert!(!address.is_configured(), "{scope} {flags}");
    }
}

#[test]
fn a_route_is_added_through_the_new_index() {
    let header = [10, 64, 0, 0, 254, 3, 0, 1, 4 | 16, 0, 0, 0];
    let mut destination = [0; 16];
    destination[..2].copy_from_slice(&[0x20, 1]);
    let message = Request::get(24, &header)
        .attribute(1, &destination)
        .attribute(5, &[0xfe; 16])
        .number(4, 7)
        .number(30, 1);
    let route = Route::parse(&payload(message)).unwrap();
    assert_eq!((route.index, route.text()), (Some(7), "2001::/64".into()));
    assert!(route.is_configured() && route.has_gateway());
    let header = [10, 64, 0, 0, 254, 3, 0, 1, 4, 0, 0, 0];
    let expected = Request::get(24, &header)
        .attribute(1, &destination)
        .attribute(5, &[0xfe; 16])
        .number(4, 9);
    assert_eq!(payload(route.add(9)), payload(expected));
    // The kernel's own, the local table, a blackhole.
    for (table, protocol, kind) in [(254, 2, 1), (255, 3, 1), (254, 3, 6)] {
        let header = [2, 24, 0, 0, table, protocol, 0, kind, 0, 0, 0, 0];
        assert!(!Route::parse(&header).unwrap().is_configured());
    }
}
