//! Generates the system call tables of every architecture from the sources of the crates that maintain them.
//! Shared by the generator (`main.rs` in this directory) and by the test that compares the committed tables with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// From a name to its number, without the architecture's base.
pub type Table = BTreeMap<String, u32>;

/// The source of a table: `linux-raw-sys`, generated from the kernel's headers, if it covers the architecture.
enum Source {
    RawSys(&'static str),
    SyscallNumbers(&'static str),
    /// No crate covers the architecture: ask libseccomp for each name, with this architecture token.
    Libseccomp(u32),
}

/// File name, base of the numbers, source. Both byte orders share one file.
const TABLES: &[(&str, u32, Source)] = &[
    ("aarch64", 0, Source::RawSys("aarch64")),
    ("arm", 0, Source::RawSys("arm")),
    ("loongarch64", 0, Source::RawSys("loongarch64")),
    ("m68k", 0, Source::RawSys("m68k")),
    ("mips", 4000, Source::RawSys("mips")),
    ("mips64", 5000, Source::RawSys("mips64")),
    ("mips64n32", 6000, Source::SyscallNumbers("mipsn32")),
    ("parisc", 0, Source::Libseccomp(0xf)),
    ("ppc", 0, Source::RawSys("powerpc")),
    ("ppc64", 0, Source::RawSys("powerpc64")),
    ("riscv64", 0, Source::RawSys("riscv64")),
    ("s390", 0, Source::Libseccomp(0x16)),
    ("s390x", 0, Source::RawSys("s390x")),
    ("sh", 0, Source::SyscallNumbers("sh")),
    ("x32", 0x4000_0000, Source::RawSys("x32")),
    ("x86", 0, Source::RawSys("x86")),
    ("x86_64", 0, Source::RawSys("x86_64")),
];

/// arm's private calls, far above the others. The headers give them their own prefix (`__ARM_NR_`).
const ARM_PRIVATE: [(&str, u32); 6] = [
    ("breakpoint", 0xf0001),
    ("cacheflush", 0xf0002),
    ("usr26", 0xf0003),
    ("usr32", 0xf0004),
    ("set_tls", 0xf0005),
    ("get_tls", 0xf0006),
];

/// Constants in the headers that share the prefix of the numbers but are not calls.
const NOT_CALLS: [&str; 5] = [
    "Linux",
    "OABI_SYSCALL_BASE",
    "SYSCALL_BASE",
    "SYSCALL_MASK",
    "arch_specific_syscall",
];

/// All architectures share the numbers from here on, so a table that ends early can be continued.
const UNIFORM_FROM: u32 = 424;

/// From libseccomp's architecture token and a name to a number.
pub type Resolve<'a> = dyn Fn(u32, &str) -> i32 + 'a;

/// The source directories of `linux-raw-sys` and `syscall-numbers`. `resolve` asks libseccomp.
pub struct Sources<'a> {
    pub raw_sys: &'a Path,
    pub syscall_numbers: &'a Path,
    pub resolve: Option<&'a Resolve<'a>>,
}

/// Every table that the sources can provide, by file name.
pub fn tables(sources: &Sources) -> BTreeMap<&'static str, Table> {
    let mut tables = BTreeMap::new();
    for (file, base, source) in TABLES {
        let table = match source {
            Source::RawSys(arch) => {
                let mut table = raw_sys(sources.raw_sys, arch, *base);
                // linux-raw-sys follows the kernel more closely, so newer calls come from there.
                let known: BTreeSet<u32> = table.values().copied().collect();
                let newer = syscall_numbers(
                    sources.syscall_numbers,
                    if *file == "ppc" { "powerpc" } else { arch },
                    *base,
                );
                table.extend(
                    newer
                        .into_iter()
                        .filter(|(_, number)| !known.contains(number)),
                );
                table
            }
            Source::SyscallNumbers(arch) => syscall_numbers(sources.syscall_numbers, arch, *base),
            Source::Libseccomp(_) => continue,
        };
        tables.insert(*file, table);
    }
    if let Some(resolve) = sources.resolve {
        let names: BTreeSet<String> = tables
            .values()
            .flat_map(|table| table.keys().cloned())
            .collect();
        for (file, _, source) in TABLES {
            let Source::Libseccomp(token) = source else {
                continue;
            };
            let mut table: Table = tables["x86_64"].clone();
            table.retain(|_, number| *number >= UNIFORM_FROM);
            for name in &names {
                // Negative: libseccomp does not know the call, or reaches it only through a multiplexer.
                if let Ok(number) = u32::try_from(resolve(*token, name)) {
                    table.insert(name.clone(), number);
                }
            }
            // s390 has direct calls besides the multiplexers, with the numbers of s390x.
            if *file == "s390" {
                for (name, number) in &tables["s390x"] {
                    // libseccomp uses these pseudo-numbers for multiplexed calls. The kernel has no direct semtimedop
                    // on s390.
                    if (-299..0).contains(&resolve(*token, name)) && name != "semtimedop" {
                        table.insert(name.clone(), *number);
                    }
                }
            }
            tables.insert(*file, table);
        }
    }
    tables
}

fn raw_sys(root: &Path, arch: &str, base: u32) -> Table {
    let text = std::fs::read_to_string(root.join("src").join(arch).join("general.rs"))
        .expect("linux-raw-sys source");
    let mut table = constants(&text, "pub const __NR_", ": u32 = ", base);
    if arch == "arm" {
        for (name, number) in ARM_PRIVATE {
            table.insert(name.into(), number);
        }
    }
    table
}

fn syscall_numbers(root: &Path, arch: &str, base: u32) -> Table {
    let Ok(text) = std::fs::read_to_string(root.join("src").join(format!("{arch}.rs"))) else {
        return Table::new();
    };
    let table = constants(&text, "pub const SYS_", ": c_long = ", base);
    // This crate uses the kernel's entry points for the old 32-bit time calls; profiles use the names of the headers.
    let renamed = |name: &str| -> String {
        let plain = name
            .strip_suffix("_time32")
            .or_else(|| name.strip_suffix("32"));
        match plain {
            Some(
                plain @ ("gettimeofday" | "settimeofday" | "clock_getres" | "clock_nanosleep"
                | "clock_settime"),
            )
            | Some(
                plain @ ("clock_gettime" | "timer_settime" | "timer_gettime" | "timerfd_settime"),
            )
            | Some(plain @ "timerfd_gettime") => plain.into(),
            _ => name.into(),
        }
    };
    table
        .into_iter()
        .map(|(name, number)| (renamed(&name), number))
        .collect()
}

fn constants(text: &str, prefix: &str, middle: &str, base: u32) -> Table {
    let mut table = Table::new();
    for line in text.lines() {
        let Some((name, number)) = line
            .strip_prefix(prefix)
            .and_then(|rest| rest.split_once(middle))
        else {
            continue;
        };
        if NOT_CALLS.contains(&name) || name.starts_with("unused") || name.starts_with("reserved") {
            continue;
        }
        let number = number.trim_end_matches(';').replace('_', "");
        let number = match number.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        table.insert(name.into(), number.expect("a number") - base);
    }
    table
}

/// All names of all tables, sorted. This is the row order of every file.
pub fn names(tables: &BTreeMap<&'static str, Table>) -> Vec<String> {
    let names: BTreeSet<String> = tables
        .values()
        .flat_map(|table| table.keys().cloned())
        .collect();
    names.into_iter().collect()
}

/// The text of `names.rs`.
pub fn names_file(names: &[String]) -> String {
    let mut text = String::from(
        "//! Generated by `cargo run -p bpf --example tables`: every system call name of every table, sorted.\n\
         //! The row of a name is its row in the other files.\n\n",
    );
    let _ = writeln!(
        text,
        "#[rustfmt::skip]\npub const NAMES: [&str; {}] = [",
        names.len()
    );
    for name in names {
        let _ = writeln!(text, "    \"{name}\",");
    }
    text.push_str("];\n");
    text
}

/// The text of one architecture's file: one number per name, or `NONE` if the architecture lacks the call.
pub fn table_file(file: &str, table: &Table, names: &[String]) -> String {
    let mut text = format!(
        "//! Generated by `cargo run -p bpf --example tables`: the system call numbers of {file}, in the order of the names.\n\
         //! Without the architecture's base; `arm`'s private calls stand at 0xf000 instead of 0xf0000.\n\n",
    );
    let _ = writeln!(
        text,
        "#[rustfmt::skip]\npub static NUMBERS: [u16; {}] = [",
        names.len()
    );
    for name in names {
        let number = match table.get(name) {
            None => u16::MAX,
            Some(&number) if number >= 0xf0000 => {
                u16::try_from(number - 0xf0000 + 0xf000).expect("a private call")
            }
            Some(&number) => u16::try_from(number).expect("a small number"),
        };
        let number = if number == u16::MAX {
            "u16::MAX".into()
        } else {
            number.to_string()
        };
        let _ = writeln!(text, "    {number}, // {name}");
    }
    text.push_str("];\n");
    text
}
