//! System call names and numbers: from a name to its row, from a row to a number on an architecture, and back.
//! The tables are generated, one file per architecture. The hash index over the names is built at compile time.

mod names;

mod aarch64;
mod arm;
mod loongarch64;
mod m68k;
mod mips;
mod mips64;
mod mips64n32;
mod parisc;
mod ppc;
mod ppc64;
mod riscv64;
mod s390;
mod s390x;
mod sh;
mod x32;
mod x86;
mod x86_64;

use crate::arch::Arch;

/// The number of names, over all architectures.
pub(crate) const ROWS: usize = names::NAMES.len();

/// Table entry: the architecture lacks the call.
const NONE: u16 = u16::MAX;
/// Table entries from here on are arm's private calls, whose numbers begin at 0xf0000.
const PRIVATE: u16 = 0xf000;
/// The number of slots reserved for private calls.
const PRIVATE_SLOTS: u16 = 8;

/// The numbers of one architecture. The numbers are dense, so each call also has a *slot*, an array index: the number
/// minus `base`, or for a private call an index after the last ordinary one.
pub(crate) struct Table {
    /// The base of all numbers: 0x40000000 on x32; 4000, 5000 and 6000 on mips.
    pub base: u32,
    numbers: &'static [u16; ROWS],
    last: u16,
    private: bool,
}

impl Table {
    const fn new(base: u32, numbers: &'static [u16; ROWS]) -> Table {
        let mut last = 0;
        let mut private = false;
        let mut row = 0;
        while row < ROWS {
            let number = numbers[row];
            if number >= PRIVATE && number != NONE {
                private = true;
            } else if number > last && number != NONE {
                last = number;
            }
            row += 1;
        }
        Table {
            base,
            numbers,
            last,
            private,
        }
    }

    /// The slot of the call with the name in `row`.
    #[inline]
    pub fn slot(&self, row: u16) -> Option<u16> {
        match self.numbers[usize::from(row)] {
            NONE => None,
            private @ PRIVATE.. => Some(self.last + 1 + (private - PRIVATE)),
            number => Some(number),
        }
    }

    /// The number of slots.
    pub fn slots(&self) -> u16 {
        self.last + 1 + if self.private { PRIVATE_SLOTS } else { 0 }
    }

    /// The first slot of a private call, or the number of slots if there is none.
    pub fn private_slots(&self) -> u16 {
        self.last + 1
    }

    /// The number of a slot. Slots are in the order of the numbers.
    pub fn number(&self, slot: u16) -> u32 {
        if slot <= self.last {
            self.base + u32::from(slot)
        } else {
            (u32::from(PRIVATE) << 4) + u32::from(slot - self.last - 1)
        }
    }
}

pub(crate) fn table(arch: Arch) -> &'static Table {
    static AARCH64: Table = Table::new(0, &aarch64::NUMBERS);
    static ARM: Table = Table::new(0, &arm::NUMBERS);
    static LOONGARCH64: Table = Table::new(0, &loongarch64::NUMBERS);
    static M68K: Table = Table::new(0, &m68k::NUMBERS);
    static MIPS: Table = Table::new(4000, &mips::NUMBERS);
    static MIPS64: Table = Table::new(5000, &mips64::NUMBERS);
    static MIPS64N32: Table = Table::new(6000, &mips64n32::NUMBERS);
    static PARISC: Table = Table::new(0, &parisc::NUMBERS);
    static PPC: Table = Table::new(0, &ppc::NUMBERS);
    static PPC64: Table = Table::new(0, &ppc64::NUMBERS);
    static RISCV64: Table = Table::new(0, &riscv64::NUMBERS);
    static S390: Table = Table::new(0, &s390::NUMBERS);
    static S390X: Table = Table::new(0, &s390x::NUMBERS);
    static SH: Table = Table::new(0, &sh::NUMBERS);
    static X32: Table = Table::new(crate::arch::X32_BIT, &x32::NUMBERS);
    static X86: Table = Table::new(0, &x86::NUMBERS);
    static X86_64: Table = Table::new(0, &x86_64::NUMBERS);
    match arch {
        Arch::Aarch64 => &AARCH64,
        Arch::Arm => &ARM,
        Arch::Loongarch64 => &LOONGARCH64,
        Arch::M68k => &M68K,
        Arch::Mips | Arch::Mipsel => &MIPS,
        Arch::Mips64 | Arch::Mipsel64 => &MIPS64,
        Arch::Mips64n32 | Arch::Mipsel64n32 => &MIPS64N32,
        Arch::Parisc | Arch::Parisc64 => &PARISC,
        Arch::Ppc => &PPC,
        Arch::Ppc64 | Arch::Ppc64le => &PPC64,
        Arch::Riscv64 => &RISCV64,
        Arch::S390 => &S390,
        Arch::S390x => &S390X,
        Arch::Sh | Arch::Sheb => &SH,
        Arch::X32 => &X32,
        Arch::X86 => &X86,
        Arch::X86_64 => &X86_64,
    }
}

/// The number of a call on an architecture, including x32's bit and mips' base. `None` if the architecture's table
/// does not know the name.
pub fn number(arch: Arch, name: &str) -> Option<u32> {
    let table = table(arch);
    table.slot(row(name)?).map(|slot| table.number(slot))
}

/// The name of a number on an architecture. If the headers give a number two names, the alphabetically first one.
pub fn name(arch: Arch, number: u32) -> Option<&'static str> {
    let table = table(arch);
    let row = (0..ROWS as u16).find(|&row| {
        table
            .slot(row)
            .is_some_and(|slot| table.number(slot) == number)
    })?;
    Some(row_name(row))
}

/// Every number from the first to the last of an architecture's table, including unused ones.
pub(crate) fn numbers(arch: Arch) -> impl Iterator<Item = u32> {
    let table = table(arch);
    (0..table.slots()).map(|slot| table.number(slot))
}

/// Whether any table knows the name.
pub fn is_known(name: &str) -> bool {
    row(name).is_some()
}

/// All names concatenated, plus the offset of each: a fifth of the size of an array of slices.
static TEXT: [u8; TEXT_LENGTH] = {
    let mut text = [0; TEXT_LENGTH];
    let (mut row, mut end) = (0, 0);
    while row < ROWS {
        let name = names::NAMES[row].as_bytes();
        let mut i = 0;
        while i < name.len() {
            text[end] = name[i];
            (i, end) = (i + 1, end + 1);
        }
        row += 1;
    }
    text
};

static STARTS: [u16; ROWS + 1] = {
    let mut starts = [0; ROWS + 1];
    let mut row = 0;
    while row < ROWS {
        starts[row + 1] = starts[row] + names::NAMES[row].len() as u16;
        row += 1;
    }
    starts
};

const TEXT_LENGTH: usize = {
    let (mut row, mut length) = (0, 0);
    while row < ROWS {
        length += names::NAMES[row].len();
        row += 1;
    }
    length
};

/// Open addressing, at most a quarter full, so that almost every name is found at the first probe.
const BUCKETS: usize = (ROWS * 4).next_power_of_two();

static INDEX: [u16; BUCKETS] = {
    let mut index = [NONE; BUCKETS];
    let mut row = 0;
    while row < ROWS {
        let mut bucket = hash(names::NAMES[row].as_bytes());
        while index[bucket] != NONE {
            bucket = (bucket + 1) % BUCKETS;
        }
        index[bucket] = row as u16;
        row += 1;
    }
    index
};

/// Hashes the first and the last eight bytes of the name and its length: two loads cover most names.
const fn hash(name: &[u8]) -> usize {
    let ends = match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(25)
        }
        _ => {
            let (mut bytes, mut i) = (0, 0);
            while i < name.len() {
                bytes = bytes << 8 | name[i] as u64;
                i += 1;
            }
            bytes
        }
    };
    // Multiplication carries bits upward only, so the bucket is taken from the top bits.
    ((ends ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        >> (u64::BITS - BUCKETS.trailing_zeros())) as usize
}

/// The row of a name.
pub(crate) fn row(name: &str) -> Option<u16> {
    let mut bucket = hash(name.as_bytes());
    loop {
        let row = INDEX[bucket];
        if row == NONE {
            return None;
        }
        if text(row) == name.as_bytes() {
            return Some(row);
        }
        bucket = (bucket + 1) % BUCKETS;
    }
}

pub(crate) fn row_name(row: u16) -> &'static str {
    // The text is cut where the generator joined the names, so never inside a character.
    core::str::from_utf8(text(row)).unwrap_or("")
}

fn text(row: u16) -> &'static [u8] {
    let row = usize::from(row);
    &TEXT[usize::from(STARTS[row])..usize::from(STARTS[row + 1])]
}

/// The two calls that stand for other calls on old architectures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Multiplexer {
    Socketcall,
    Ipc,
}

impl Multiplexer {
    pub const ALL: [Multiplexer; 2] = [Multiplexer::Socketcall, Multiplexer::Ipc];

    /// The row of the multiplexer itself.
    pub fn row(self) -> u16 {
        const SOCKETCALL: u16 = row_of("socketcall");
        const IPC: u16 = row_of("ipc");
        match self {
            Multiplexer::Socketcall => SOCKETCALL,
            Multiplexer::Ipc => IPC,
        }
    }

    /// The bits of the first argument that select the call. The argument is an int, and ipc keeps a version in its
    /// upper half.
    pub fn mask(self) -> u64 {
        match self {
            Multiplexer::Socketcall => 0xffff_ffff,
            Multiplexer::Ipc => 0xffff,
        }
    }

    const fn calls(self) -> &'static [(&'static str, u8)] {
        match self {
            // linux/net.h, SYS_*
            Multiplexer::Socketcall => &[
                ("socket", 1),
                ("bind", 2),
                ("connect", 3),
                ("listen", 4),
                ("accept", 5),
                ("getsockname", 6),
                ("getpeername", 7),
                ("socketpair", 8),
                ("send", 9),
                ("recv", 10),
                ("sendto", 11),
                ("recvfrom", 12),
                ("shutdown", 13),
                ("setsockopt", 14),
                ("getsockopt", 15),
                ("sendmsg", 16),
                ("recvmsg", 17),
                ("accept4", 18),
                ("recvmmsg", 19),
                ("sendmmsg", 20),
            ],
            // linux/ipc.h
            Multiplexer::Ipc => &[
                ("semop", 1),
                ("semget", 2),
                ("semctl", 3),
                ("semtimedop", 4),
                ("msgsnd", 11),
                ("msgrcv", 12),
                ("msgget", 13),
                ("msgctl", 14),
                ("shmat", 21),
                ("shmdt", 22),
                ("shmget", 23),
                ("shmctl", 24),
            ],
        }
    }
}

/// For each row: 0, or the call's number inside socketcall, or its number inside ipc plus 0x40.
static MULTIPLEXED: [u8; ROWS] = {
    let mut multiplexed = [0; ROWS];
    let mut row = 0;
    while row < ROWS {
        let name = names::NAMES[row];
        let mut m = 0;
        while m < Multiplexer::ALL.len() {
            let calls = Multiplexer::ALL[m].calls();
            let mut i = 0;
            while i < calls.len() {
                if same(calls[i].0, name) {
                    multiplexed[row] = calls[i].1 + m as u8 * 0x40;
                }
                i += 1;
            }
            m += 1;
        }
        row += 1;
    }
    multiplexed
};

/// The row of a name that must exist; evaluated at compile time.
const fn row_of(name: &str) -> u16 {
    let mut row = 0;
    while !same(names::NAMES[row], name) {
        row += 1;
    }
    row as u16
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// The multiplexer that can stand for the call in `row`, and the call's number inside it.
pub(crate) fn multiplexed(row: u16) -> Option<(Multiplexer, u8)> {
    match MULTIPLEXED[usize::from(row)] {
        0 => None,
        call @ ..0x40 => Some((Multiplexer::Socketcall, call)),
        call => Some((Multiplexer::Ipc, call - 0x40)),
    }
}
