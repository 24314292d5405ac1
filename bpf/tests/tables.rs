//! Compares the committed tables with the crates they are generated from, with another crate, and with libseccomp.

#[path = "../examples/tables/generate.rs"]
mod generate;
#[path = "support/libseccomp.rs"]
mod libseccomp;
#[path = "../examples/tables/sources.rs"]
mod sources;

use bpf::Arch;
use syscalls_crate as other;

/// Generated from libseccomp, which may be missing here. Tests of their own check them below.
const FROM_LIBSECCOMP: [&str; 2] = ["parisc", "s390"];

fn committed(file: &str) -> String {
    let path = format!("{}/src/tables/{file}.rs", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a committed table")
}

#[test]
fn the_tables_match_the_output_of_the_generator() {
    let (raw_sys, syscall_numbers) = sources::crates();
    let sources = generate::Sources {
        raw_sys: &raw_sys,
        syscall_numbers: &syscall_numbers,
        resolve: None,
    };
    let tables = generate::tables(&sources);
    let names = generate::names(&tables);
    assert!(
        committed("names") == generate::names_file(&names),
        "names.rs is out of date"
    );
    for (file, table) in &tables {
        assert!(
            committed(file) == generate::table_file(file, table, &names),
            "{file}.rs is out of date"
        );
    }
    assert_eq!(tables.len() + FROM_LIBSECCOMP.len(), 17);
}

/// Whether only 32-bit architectures have the call. The `syscalls` crate lists these for some others, too.
fn is_time64(name: &str) -> bool {
    name.ends_with("time64") || name == "clock_adjtime64"
}

/// Compares one table with that of the `syscalls` crate. Names that both know must have the same number; a name that
/// only one knows must be listed.
macro_rules! agrees {
    ($test:ident, $arch:ident, $module:ident, only_here: $here:expr, only_there: $there:expr) => {
        #[test]
        fn $test() {
            let is_64_bit = Arch::$arch.token() & 0x8000_0000 != 0;
            // The iterator of `syscalls` omits the last call.
            let last = other::$module::Sysno::last();
            let theirs = other::$module::Sysno::iter().chain([last]);
            let theirs: Vec<(&str, u32)> = theirs
                .map(|call| (call.name().trim_start_matches("r#"), call.id() as u32))
                .filter(|(name, _)| !name.starts_with("reserved") && !name.starts_with("unused"))
                .filter(|(name, number)| {
                    !(is_64_bit && (is_time64(name) || (403..424).contains(number)))
                })
                .collect();
            let mut only_there = Vec::new();
            for (name, number) in &theirs {
                match bpf::number(Arch::$arch, name) {
                    Some(ours) => assert_eq!(ours, *number, "{name}"),
                    None => only_there.push(*name),
                }
            }
            only_there.sort();
            assert_eq!(only_there, $there as [&str; _], "only there");
            let mut only_here: Vec<&str> = (0..7000)
                .chain(0xf0000..0xf0010)
                .filter_map(|number| bpf::name(Arch::$arch, number))
                .filter(|name| theirs.iter().all(|(other, _)| other != name))
                .collect();
            only_here.sort();
            assert_eq!(only_here, $here as [&str; _], "only here");
        }
    };
}

agrees!(the_x86_64_table_agrees_with_another_crate, X86_64, x86_64, only_here: ["listns"], only_there: []);
agrees!(the_x86_table_agrees_with_another_crate, X86, x86, only_here: ["listns"], only_there: []);
agrees!(the_arm_table_agrees_with_another_crate, Arm, arm, only_here: ["breakpoint", "cacheflush", "get_tls", "listns", "set_tls", "usr26", "usr32"], only_there: []);
agrees!(the_aarch64_table_agrees_with_another_crate, Aarch64, aarch64, only_here: ["listns", "newfstatat"], only_there: ["fstatat"]);
agrees!(the_riscv64_table_agrees_with_another_crate, Riscv64, riscv64, only_here: ["listns"], only_there: []);
agrees!(the_loongarch64_table_agrees_with_another_crate, Loongarch64, loongarch64, only_here: ["listns", "newfstatat"], only_there: ["fstatat", "getrlimit", "memfd_secret", "renameat", "setrlimit"]);
agrees!(the_mips_table_agrees_with_another_crate, Mips, mips, only_here: ["listns"], only_there: []);
agrees!(the_mips64_table_agrees_with_another_crate, Mips64, mips64, only_here: ["listns", "set_mempolicy_home_node"], only_there: []);
agrees!(the_powerpc_table_agrees_with_another_crate, Ppc, powerpc, only_here: ["listns"], only_there: []);
agrees!(the_powerpc64_table_agrees_with_another_crate, Ppc64, powerpc64, only_here: ["listns"], only_there: []);
agrees!(the_s390x_table_agrees_with_another_crate, S390x, s390x, only_here: ["listns"], only_there: []);

#[test]
fn libseccomp_agrees_on_every_number_it_knows() {
    let Some(library) = libseccomp::Libseccomp::load() else {
        println!("SKIPPED: libseccomp.so.2 is missing");
        return;
    };
    // The installed libseccomp may not know these architectures yet.
    let newer = [Arch::Loongarch64, Arch::M68k, Arch::Sh, Arch::Sheb];
    for arch in Arch::ALL.into_iter().filter(|arch| !newer.contains(arch)) {
        let mut compared = 0;
        for number in numbers(arch) {
            let Some(name) = bpf::name(arch, number) else {
                continue;
            };
            let theirs = library.resolve(libseccomp::token(arch), name);
            // Negative: newer than the library, or reached only through a multiplexer.
            if theirs >= 0 {
                assert_eq!(theirs as u32, number, "{name} on {}", arch.name());
                compared += 1;
            }
        }
        assert!(compared > 280, "only {compared} calls of {}", arch.name());
    }
}

/// Every number that the architecture could have.
fn numbers(arch: Arch) -> impl Iterator<Item = u32> {
    let x32 = if arch == Arch::X32 { 0x4000_0000 } else { 0 };
    (0..7000)
        .map(move |number| number | x32)
        .chain(0xf0000..0xf0010)
}

#[test]
fn names_and_numbers_convert_both_ways() {
    for arch in Arch::ALL {
        for number in numbers(arch) {
            if let Some(name) = bpf::name(arch, number) {
                assert_eq!(
                    bpf::number(arch, name),
                    Some(number),
                    "{name} on {}",
                    arch.name()
                );
                assert!(bpf::is_known(name));
            }
        }
    }
}

#[test]
fn a_name_that_no_table_has_is_unknown() {
    let names = [
        "",
        "x",
        "no_such_call",
        "reada",
        "rea",
        "sys_read",
        "read\0",
        "unused109",
        "arch_specific_syscall",
    ];
    for name in names {
        assert!(!bpf::is_known(name), "{name}");
        assert_eq!(bpf::number(Arch::X86_64, name), None);
    }
}

#[test]
fn numbers_carry_the_base_of_their_architecture() {
    assert_eq!(bpf::number(Arch::X86_64, "openat"), Some(257));
    assert_eq!(bpf::number(Arch::X86, "openat"), Some(295));
    assert_eq!(bpf::number(Arch::X32, "openat"), Some(0x4000_0101));
    assert_eq!(bpf::number(Arch::X32, "execve"), Some(0x4000_0208));
    assert_eq!(bpf::number(Arch::Mips, "openat"), Some(4288));
    assert_eq!(bpf::number(Arch::Mipsel64, "openat"), Some(5247));
    assert_eq!(bpf::number(Arch::Mips64n32, "openat"), Some(6251));
    assert_eq!(bpf::number(Arch::Arm, "set_tls"), Some(0xf0005));
    assert_eq!(bpf::number(Arch::Aarch64, "open"), None);
}
