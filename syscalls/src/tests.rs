//! What runs without the kernel: words, reports, entries of argv and envp, steps in words.

use crate::calls::{Arg, Birth, MountAttr, fork};
use crate::report::{Call, Kind, Report, Text};
use crate::slots::Slots;
use crate::step::{
    Attributes, Device, Entry, Execute, LastStep, Lossy, Node, Program, Setting, Step,
};
use crate::words;
use alloc::format;
use core::fmt::Write;
use linux_raw_sys::general::{
    CLONE_FILES, CLONE_SETTLS, CLONE_VM, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY,
    MS_PRIVATE, MS_REC, MS_SLAVE,
};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use std::string::{String, ToString};
use std::vec::Vec;

#[test]
fn capabilities_are_named_and_unknown_ones_numbered() {
    let words = |bits| words::Capabilities(bits).to_string();
    assert_eq!(words(0), "none");
    assert_eq!(words(1 << 5 | 1), "CAP_CHOWN CAP_KILL");
    assert_eq!(words(1 << 63), "63");
    assert_eq!(words((1 << 41) - 1), "all");
}

#[test]
fn attributes_of_a_mount_are_words_of_mount() {
    let words = |set: u32, clear: u32| {
        let mut words = Vec::new();
        let word = |word: &str| {
            words.push(String::from(word));
            Ok(())
        };
        words::attributes(set.into(), clear.into(), word).unwrap();
        words.join(" ")
    };
    assert_eq!(words(0, 0), "");
    assert_eq!(words(MOUNT_ATTR_RDONLY, MOUNT_ATTR_NODEV), "ro dev");
    assert_eq!(words(MOUNT_ATTR_NOATIME, 0), "noatime");
    assert_eq!(
        words(0, linux_raw_sys::general::MOUNT_ATTR__ATIME),
        "relatime"
    );
    assert_eq!(words::propagation((MS_SLAVE | MS_REC).into()), "slave");
    assert_eq!(words::propagation(0), "unchanged");
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let report = Report {
        kind: Kind::Failed,
        call: Call::hook_stopped,
        step: 0xfffe,
        errno: -7,
    };
    let mut message = [0; Report::MAX];
    let mut text = Text::new();
    text.push(b"of an earlier one");
    let len = report.encode(b"mount /proc", &mut message);
    assert_eq!(len, 8 + 11);
    let read = Report::decode(&message[..len], &mut text).unwrap().unwrap();
    assert_eq!((read.kind, read.call), (report.kind, report.call));
    assert_eq!((read.step, read.errno), (0xfffe, -7));
    assert_eq!(text.as_str(), "mount /proc");
}

#[test]
fn a_report_that_is_too_long_is_cut_off_and_a_wrong_one_is_an_error() {
    let report = Report {
        kind: Kind::Ready,
        call: Call::none,
        step: 0,
        errno: 0,
    };
    let mut message = [0; Report::MAX];
    assert_eq!(report.encode(&[b'x'; 2000], &mut message), Report::MAX);
    let mut text = Text::new();
    assert!(Report::decode(&message, &mut text).unwrap().is_some());
    assert_eq!(text.bytes(), [b'x'; 1016]);
    assert!(Report::decode(&message[..7], &mut text).unwrap().is_none());
    message[0] = 99;
    assert_eq!(
        Report::decode(&message, &mut text).unwrap_err(),
        Errno::BADMSG
    );
    // A call that a later program knows.
    message[..2].copy_from_slice(&[1, 255]);
    let read = Report::decode(&message, &mut text).unwrap().unwrap();
    assert_eq!(read.call, Call::none);
}

#[test]
fn a_text_ends_where_its_room_or_its_utf8_does() {
    let mut text = Text::<5>::new();
    write!(text, "abcdefg").unwrap();
    assert_eq!(text.as_str(), "abcde");
    text.clear();
    text.push(b"ab\xffc");
    assert_eq!(text.as_str(), "ab");
    assert_eq!(text.bytes(), b"ab\xffc");
}

#[test]
fn an_entry_says_what_it_holds_when_it_is_read() {
    let home = Entry::new("HOME=", "/");
    let (entry, fixed) = (home.arg(), Arg::new(c"A=1"));
    assert_eq!(entry.text().unwrap().as_c_str(), c"HOME=/");
    assert!(home.set("/root"));
    let before = entry.text().unwrap();
    // As long as there is room, which is less than 507 bytes.
    assert!(home.set(&"x".repeat(506)));
    assert!(!home.set(&"y".repeat(507)));
    assert_eq!(before.as_c_str(), c"HOME=/root");
    assert_eq!(entry.text().unwrap().to_bytes().len(), 511);
    assert_eq!(fixed.text().unwrap().as_c_str(), c"A=1");
    assert!(Arg::END.text().is_none());
}

#[test]
fn steps_are_said_in_words_and_in_detail_with_their_numbers() {
    let device = Device {
        mode: linux_raw_sys::general::S_IFCHR | 0o666,
        rdev: rustix::fs::makedev(1, 3),
        uid: 0,
        gid: 5,
    };
    let device = Step::Make(c"/dev/null", Node::Device(device));
    assert_eq!(device.to_string(), "make the device /dev/null");
    assert_eq!(
        format!("{device:#}"),
        "make the device /dev/null 20666 1:3 of 0:5"
    );
    let execute = LastStep::Execute(Execute {
        program: Program {
            name: c"sh",
            candidates: &[c"/bin/sh"],
        },
        argv: &[
            Arg::new(c"sh"),
            Arg::new(c"-c"),
            Arg::new(c"\xfftrue"),
            Arg::END,
        ],
        envp: &[Arg::END],
    });
    assert_eq!(execute.to_string(), "execute sh");
    assert_eq!(format!("{execute:#}"), "execute sh -c true");
    assert_eq!(
        Step::Set(Setting::Umask(0o22)).to_string(),
        "set the umask 022"
    );
    assert_eq!(Lossy(c"a\xffb").to_string(), "ab");
}

#[test]
fn attributes_say_what_is_on_the_mount_and_what_is_below_it() {
    let attributes = Attributes {
        own: MountAttr {
            set: (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV).into(),
            ..MountAttr::NONE
        },
        tree: MountAttr {
            propagation: MS_PRIVATE.into(),
            ..MountAttr::NONE
        },
    };
    assert_eq!(attributes.to_string(), " (ro, nodev) recursively (private)");
    assert_eq!(Attributes::NONE.to_string(), "");
}

#[test]
fn an_empty_slot_and_one_that_is_not_there_hold_nothing() {
    let mut slots = Slots::new(1);
    assert_eq!(slots.get(0).unwrap_err(), Errno::BADF);
    assert_eq!(slots.get(1).unwrap_err(), Errno::BADF);
    assert!(slots.take(0).is_none());
    assert!(slots.take(1).is_none());
}

#[test]
#[cfg_attr(miri, ignore = "makes system calls")]
fn a_slot_holds_its_descriptor_until_it_is_taken_or_the_table_goes() {
    let ends = || rustix::pipe::pipe().unwrap();
    let is_closed = |reader| rustix::io::read(reader, &mut [0; 1]) == Ok(0);
    let ((first, writer), (second, other)) = (ends(), ends());
    let mut slots = Slots::new(2);
    slots.fill(1, writer);
    rustix::io::write(slots.get(1).unwrap(), b"x").unwrap();
    assert_eq!(rustix::io::read(&first, &mut [0; 1]), Ok(1));
    drop(slots.take(1));
    assert!(is_closed(&first));
    slots.fill(1, other);
    drop(slots);
    assert!(is_closed(&second));
}

#[test]
#[cfg_attr(miri, ignore = "makes system calls")]
fn both_processes_own_what_the_fork_was_given() {
    let ends = rustix::pipe::pipe().unwrap();
    let child = |(reader, writer)| {
        drop(reader);
        i32::from(rustix::io::write(writer, b"x") != Ok(1)) + 7
    };
    let (_, pidfd, (reader, writer)) = fork(Birth::default(), ends, child).unwrap();
    drop(writer);
    assert_eq!(rustix::io::read(&reader, &mut [0; 2]), Ok(1));
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    assert_eq!(status.unwrap().unwrap().exit_status(), Some(7));
}

#[test]
fn a_fork_that_would_share_descriptors_or_memory_is_refused() {
    for flag in [CLONE_FILES, CLONE_VM, CLONE_SETTLS] {
        let birth = Birth {
            flags: flag.into(),
            cgroup: None,
        };
        assert_eq!(fork(birth, (), |()| 0).unwrap_err(), Errno::INVAL);
    }
}

#[test]
#[should_panic]
#[cfg_attr(miri, ignore = "makes system calls")]
fn a_slot_is_not_filled_twice() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let slots = Slots::new(1);
    slots.fill(0, reader);
    slots.fill(0, writer);
}
